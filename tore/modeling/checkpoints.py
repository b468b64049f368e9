"""Reading and writing checkpoints: the published layout and our own.

The published layout is a flat dictionary of tensors; everything about the network is worked out from the
entries' names and shapes. Our own layout is `{"format", "config", "state_dict"}` with the names of our modules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tore.device import resolve_device
from tore.modeling.backbones import PUBLISHED, identify
from tore.modeling.build import (
    WITHOUT_GEOMETRY_REDUCTION,
    ModelConfig,
    build_model,
    configure,
    describe,
    topology_for,
)
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO
from tore.modeling.published_keys import UNREAD, backbone_names, network_name
from tore.modeling.shape_facts import shape_facts
from tore.modeling.tensor_file import read_tensors, write_tensors

OWN_FORMAT = "tore-1"
PUBLISHED_REDUCTIONS = ("itp", "none")  # of image tokens
BACKBONE = "backbone."
TRUNK = "backbone.trunk."
SHAPE_REGRESSOR = "transformer_3."  # what tells TORE's files from the baselines'


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: the network's configuration, its tensors under our names, and what was left out."""

    path: Path
    layout: str  # "published" | "own"
    config: ModelConfig
    state: dict[str, Tensor]
    dropped: tuple[str, ...]  # entries that nothing reads
    unexpected: tuple[str, ...]  # entries that belong to no room


def load_model(
    path: str | Path, data_dir: str | Path | None = None, device: str | torch.device = "auto", **overrides: Any
) -> FastMETRO | METRO:
    """The network of a published or own checkpoint, in evaluation mode.

    Args:
        path: the checkpoint file.
        data_dir: folder of the body model files; None means `tore.paths.body_dir()`, or the stand-in's own
            folder for a network that was trained on it.
        device: "auto", "cpu", "cuda", "cuda:1", "mps" ...
        overrides: fields of the configuration to set by hand, such as `arch` for a backbone that has no
            published name, or `heads`, which no entry tells.

    Raises:
        FileNotFoundError: the checkpoint or a body model file is missing.
        ValueError: the file is no checkpoint, or its entries do not fit; every missing, unexpected and
            misshapen entry is listed by room.
    """
    checkpoint = read_checkpoint(path, **overrides)
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):  # the caller's generator and default device stay
        model = build_model(checkpoint.config, topology_for(checkpoint.config, data_dir))
    _check(checkpoint, model.state_dict())
    model.load_state_dict(checkpoint.state)
    dtypes = {value.dtype for value in checkpoint.state.values() if value.is_floating_point()}
    dtype = torch.float64 if dtypes == {torch.float64} else torch.float32  # whatever the process's default is
    return model.to(resolve_device(device), dtype).eval()


def read_checkpoint(path: str | Path, **overrides: Any) -> Checkpoint:
    """Reads a checkpoint file and works out its network, without building it."""
    path = Path(path)
    content = read_tensors(path)
    if isinstance(content, dict) and content.get("format") == OWN_FORMAT:
        config = configure(**{**content["config"], **overrides})
        return Checkpoint(path, "own", config, content["state_dict"], (), ())
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path} holds no flat dictionary of tensors; use the state_dict.bin of a checkpoint folder")
    entries = {name.removeprefix("module."): value for name, value in content.items()}
    return from_published(entries, path, **overrides)


def from_published(entries: Mapping[str, Tensor], path: Path, **overrides: Any) -> Checkpoint:
    """A published layout's entries under our names, with the configuration that their shapes tell.

    Raises ValueError when the entries are of neither network or the backbone is not recognised.
    """
    dropped = tuple(name for name in entries if UNREAD.fullmatch(name))
    network = _network_of(entries, path)
    geometry_reduction = any(name.startswith(SHAPE_REGRESSOR) for name in entries)
    state: dict[str, Tensor] = {}
    unexpected = []
    inside = [n.removeprefix(BACKBONE) for n in entries if n.startswith(BACKBONE) and n not in dropped]
    for name, ours in backbone_names(inside).items():
        state[TRUNK + ours] = entries[BACKBONE + name]
    for name, value in entries.items():
        if name.startswith(BACKBONE) or name in dropped:
            continue
        ours_or_none = network_name(name, network, geometry_reduction)
        if ours_or_none is None:
            unexpected.append(name)
        else:
            state[ours_or_none] = value
    facts = shape_facts(network, {name: tuple(value.shape) for name, value in state.items()})
    usual = {} if geometry_reduction else WITHOUT_GEOMETRY_REDUCTION.get((network, facts.get("body", "body")), {})
    values = {"geometry_reduction": geometry_reduction, **usual, **facts, **overrides}
    if "arch" not in values:
        values["arch"] = _arch_of(state, path)
    return Checkpoint(path, "published", configure(network, **values), state, dropped, tuple(unexpected))


def save_model(model: FastMETRO | METRO, path: str | Path, half: bool = False) -> None:
    """Writes our own layout: it remembers what shapes cannot tell (heads, dropout, any backbone, stand-in).

    `half` stores learned numbers in 16 bits, for half the file; they are loaded as float32. Running statistics, which
    may lie beyond 16 bits, stay as they are.
    """
    state = model.state_dict()
    if half:
        state |= {name: value.detach().half() for name, value in model.named_parameters()}
    content = {"format": OWN_FORMAT, "config": describe(model.config), "state_dict": state}
    write_tensors(content, path)


def save_published(model: FastMETRO | METRO, path: str | Path) -> None:
    """Writes the published layout, every published entry present; what this network does not carry is zeros."""
    write_tensors(published_state(model), path)


def save_weights(model: FastMETRO | METRO, path: str | Path) -> None:
    """Writes the published layout where it can hold the network, else our own; `load_model` reads both."""
    (save_published if _has_published_layout(model.config) else save_model)(model, path)


def _has_published_layout(config: ModelConfig) -> bool:
    return getattr(config, "image_reduction", "itp") in PUBLISHED_REDUCTIONS


def published_state(model: FastMETRO | METRO) -> dict[str, Tensor]:
    """The network's tensors under their published names, and zeros for the published entries nothing reads.

    Raises ValueError for a network that the published layout cannot tell from another.
    """
    config, state = model.config, model.state_dict()
    if not _has_published_layout(config):
        raise ValueError(
            f"the published layout knows no token reduction {config.image_reduction!r}; write it with save_model"
        )
    trunk = backbone_names(
        (name.removeprefix(TRUNK) for name in state if name.startswith(TRUNK)), to_published=True, arch=config.arch
    )
    out = {BACKBONE + published: state[TRUNK + ours] for ours, published in trunk.items()}
    for name, value in state.items():
        if not name.startswith(TRUNK):
            published_name = network_name(name, config.network, config.geometry_reduction, to_published=True)
            if published_name is None:
                raise ValueError(f"the published layout has no entry for {name}; write it with save_model")
            out[published_name] = value
    for name, shape in _unread_shapes(model).items():
        out[name] = torch.zeros(1).expand(shape)  # one stored number, whatever the shape
    return out


def _unread_shapes(model: FastMETRO | METRO) -> dict[str, tuple[int, ...]]:
    """Published entries that nothing reads: BERT's embeddings and poolers, ImageNet classifiers."""
    shapes: dict[str, tuple[int, ...]] = {}
    arch = model.config.arch
    classifier = "_fc" if arch.startswith("efficientnet") else "classifier" if arch.startswith("hrnet") else None
    if classifier and arch in PUBLISHED:
        shapes[f"{BACKBONE}{classifier}.weight"] = (1000, model.backbone.channels)
        shapes[f"{BACKBONE}{classifier}.bias"] = (1000,)
    widths = model.config.widths if isinstance(model, METRO) else ()
    for index, width in enumerate(widths):
        bert = f"trans_encoder.{index}.bert"
        shapes[f"{bert}.embeddings.word_embeddings.weight"] = (30522, width)
        shapes[f"{bert}.embeddings.position_embeddings.weight"] = (512, width)
        shapes[f"{bert}.embeddings.token_type_embeddings.weight"] = (2, width)
        shapes[f"{bert}.embeddings.LayerNorm.weight"] = (width,)
        shapes[f"{bert}.embeddings.LayerNorm.bias"] = (width,)
        shapes[f"{bert}.pooler.dense.weight"] = (width, width)
        shapes[f"{bert}.pooler.dense.bias"] = (width,)
    return shapes


def _network_of(entries: Iterable[str], path: Path) -> str:
    names = list(entries)
    if any(name.startswith("trans_encoder.") for name in names):
        return "metro"
    if any(name.startswith("transformer_1.") for name in names):
        return "fastmetro"
    raise ValueError(
        f"{path} is no checkpoint of FastMETRO or METRO: none of its {len(names)} entries begins with "
        "transformer_1 or trans_encoder; use the state_dict.bin of a checkpoint folder"
    )


def _arch_of(state: Mapping[str, Tensor], path: Path) -> str:
    shapes = {name.removeprefix(TRUNK): value.shape for name, value in state.items() if name.startswith(TRUNK)}
    arch = identify(shapes)
    if arch is None:
        raise ValueError(
            f"{path} holds a backbone of {len(shapes)} entries that is none of {', '.join(PUBLISHED)}: "
            "name it with arch=..., or get the whole file again if it should be one of these"
        )
    return arch


def _check(checkpoint: Checkpoint, expected: Mapping[str, Tensor]) -> None:
    """ValueError listing every entry that does not fit, by room and under the file's own kind of name."""
    findings: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in expected.keys() - checkpoint.state.keys():
        findings["missing"][name.split(".")[0]].append(name)
    for name in checkpoint.state.keys() - expected.keys():
        findings["unexpected"][name.split(".")[0]].append(name)
    for name in checkpoint.unexpected:
        findings["unexpected"]["unknown room"].append(name)
    for name in expected.keys() & checkpoint.state.keys():
        if expected[name].shape != checkpoint.state[name].shape:
            there, wanted = tuple(checkpoint.state[name].shape), tuple(expected[name].shape)
            findings["of another shape"][name.split(".")[0]].append(f"{name} {there} instead of {wanted}")
    if not findings:
        return
    lines = [f"{checkpoint.path} does not fit {checkpoint.config.network} with {checkpoint.config.arch}:"]
    for finding, rooms in findings.items():
        for room, names in sorted(rooms.items()):
            lines.append(f"  {finding} in {room} ({len(names)}): {', '.join(sorted(names))}")
    lines.append("get the file again, or name the right options in load_model(...)")
    raise ValueError("\n".join(lines))


def rooms_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Number of learned parameters per room of a state dictionary under our names (buffers not counted)."""
    counts: dict[str, int] = defaultdict(int)
    for name, value in state.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            counts[name.split(".")[0]] += value.numel()
    return dict(counts)
