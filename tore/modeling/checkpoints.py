"""Checkpoints: official files and our own, read strictly and written."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tore.body.identity import BodyIdentity
from tore.body.topology import Topology
from tore.device import resolve_device
from tore.files import read_tensors, write_tensors
from tore.image_format import OFFICIAL_FORMAT, STRIDE
from tore.modeling.backbones import OFFICIAL, identify
from tore.modeling.build import (
    WITHOUT_GEOMETRY_REDUCTION,
    ModelConfig,
    build_model,
    configure,
    describe,
    topology_for,
)
from tore.modeling.checkpoint_contents import (
    bare_name,
    check_overrides,
    checkpoint_file,
    named_tensors,
    not_finite,
    own_state,
    shape_facts,
    unwrapped,
)
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO
from tore.modeling.official_layout import (
    SHAPE_REGRESSOR,
    TRUNK,
    from_official_names,
    has_official_layout,
    network_of,
    official_state,
    recorded_heads,
    usual_heads,
)
from tore.modeling.recorded_body import (
    RECORD,
    body_dir_for,
    identity_in,
    licensed,
    refuse_another_body,
    refuse_removed_body,
    without_mark,
)
from tore.modeling.shipped_backbone import LEFT_OUT, left_out_entries, without_backbone
from tore.paths import takes_data_dir

FORMATS, OWN_FORMAT = "tore-", "tore-1"  # what the names of all our formats begin with, and today's


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: the network's configuration, its tensors under our names, and what was left out."""

    path: Path
    layout: str  # "official" | "own" | "own names"
    config: ModelConfig
    state: dict[str, Tensor]
    told: dict[str, Any]  # fields of the configuration that the file itself tells, and `network`
    dropped: tuple[str, ...]  # entries that nothing reads
    unexpected: tuple[str, ...]  # entries that belong to no part
    trained_on: BodyIdentity | None = None  # the body model; None where nothing tells


@takes_data_dir
def load_model(
    path: str | Path | Checkpoint,
    body_dir: str | Path | None = None,
    device: str | torch.device = "auto",
    **overrides: Any,
) -> FastMETRO | METRO:
    """The network of an official or own checkpoint, in evaluation mode.

    Args:
        path: the checkpoint file, its folder, or what `read_checkpoint` gave for it.
        body_dir: folder of the body model files, or "synthetic"; None means the synthetic one where the file records
            it, else `tore.paths.body_dir()`.
        device: "auto", "cpu", "cuda", "cuda:1", "mps" ...
        overrides: fields of the configuration to set by hand, such as `arch` for a backbone that has no
            official name, or `heads` of an official file that does not record them; and `trained_on`, the body model's
            name where the file has no record of it ("synthetic").

    Raises:
        FileNotFoundError: the checkpoint or a body model file is missing.
        ValueError: the file is no checkpoint, an override contradicts what it tells, it was trained on another body
            model, or its entries do not fit; every missing, unexpected and misshapen entry is listed by part.
    """
    checkpoint = path if isinstance(path, Checkpoint) else read_checkpoint(path, **overrides)
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):  # the caller's generator and default device stay
        topology = topology_for(checkpoint.config, body_dir_for(checkpoint.trained_on, body_dir))
        refuse_another_body(checkpoint.trained_on, topology.identity, checkpoint.path)
        model = _built(checkpoint, topology)
    model.trained_on = checkpoint.trained_on
    expected = model.state_dict()
    # Files of old torch versions, and many that were converted, have no step counters in their batch norms.
    counters = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")}
    checkpoint.state.update({name: value for name, value in counters.items() if name not in checkpoint.state})
    _check(checkpoint, expected)
    if bad := not_finite(checkpoint.state):
        raise ValueError(
            f"{checkpoint.path} holds numbers that are not finite in {len(bad)} entries, such as {bad[0]}: its "
            "training diverged or the file is damaged; use an earlier checkpoint, or get it again"
        )
    model.load_state_dict(checkpoint.state)
    dtypes = {value.dtype for value in checkpoint.state.values() if value.is_floating_point()}
    dtype = torch.float64 if dtypes == {torch.float64} else torch.float32  # whatever the process's default is
    return model.to(resolve_device(device), dtype).eval()


def _built(checkpoint: Checkpoint, topology: Topology) -> FastMETRO | METRO:
    """The network of the configuration that a file tells. ValueError, naming the file, where that makes none."""
    try:
        return build_model(checkpoint.config, topology)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{checkpoint.path} tells of a network that cannot be ({error}); get the file again") from None


def read_checkpoint(path: str | Path, *, trained_on: str | None = None, **overrides: Any) -> Checkpoint:
    """Reads a checkpoint file, or that of a checkpoint folder, and works out its network, without building it."""
    checkpoint = _read(checkpoint_file(path), overrides)
    refuse_removed_body(checkpoint.trained_on, checkpoint.path)
    if trained_on is None:
        return checkpoint
    held = checkpoint.trained_on
    if held is not None and held.is_known and held.name != trained_on:
        raise ValueError(f"{checkpoint.path} records the body model {held}: leave {RECORD}={trained_on!r} out")
    return replace(checkpoint, trained_on=held if held is not None and held.is_known else BodyIdentity(trained_on))


def _read(path: Path, overrides: Mapping[str, Any]) -> Checkpoint:
    content = read_tensors(path)
    if isinstance(content, dict) and content.get("format") == OWN_FORMAT:
        return _own_layout(content, path, overrides)
    if isinstance(content, dict) and str(content.get("format")).startswith(FORMATS):
        raise ValueError(
            f"{path} has the format {content['format']} of another version of tore, and this one reads {OWN_FORMAT}: "
            "install that version, or have the file written by this one"
        )
    if isinstance(content, dict) and {"iteration", "optimizer"} <= content.keys():
        raise ValueError(f"{path} is the state of a training run; use {path.with_name('state_dict.bin')} beside it")
    entries = named_tensors(content, path)
    if any(name.startswith(TRUNK) for name in entries):
        return from_own_names(entries, path, **overrides)
    return from_official(entries, path, **overrides)


def _own_layout(content: Mapping[str, Any], path: Path, overrides: Mapping[str, Any]) -> Checkpoint:
    config, state = content.get("config"), content.get("state_dict")
    if not isinstance(config, dict) or not isinstance(state, dict) or "network" not in config:
        raise ValueError(f"{path} is damaged: it lacks its configuration or its tensors; get it again")
    config, marked = without_mark(config)
    record = content.get(RECORD)
    body = BodyIdentity.from_plain(record, path) if record is not None else None if RECORD in content else marked
    told = _with_image_size({n: tuple(value) if isinstance(value, list) else value for n, value in config.items()})
    check_overrides(told, overrides, path)
    try:
        configured = configure(**{**told, **overrides})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    state = {bare_name(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if LEFT_OUT in content:
        state |= left_out_entries(configured.arch, content[LEFT_OUT], path)
    return Checkpoint(path, "own", configured, state, told, (), (), body)


def from_own_names(entries: Mapping[str, Tensor], path: Path, **overrides: Any) -> Checkpoint:
    """A network's plain `state_dict()`, with the configuration that its shapes tell and `overrides` add.

    Raises ValueError naming the arguments that are missing: `arch` where the backbone is none of the official ones,
    `image_reduction` where no entry tells how image tokens are reduced.
    """
    state = dict(entries)
    network = "metro" if any(name.startswith(("select_tokens.", "blocks.")) for name in state) else "fastmetro"
    facts = _with_image_size(shape_facts(network, {name: tuple(value.shape) for name, value in state.items()}))
    facts["geometry_reduction"] = any(name.startswith("shape_regressor.") for name in state)
    if network == "metro":
        facts.setdefault("image_mixing", "mean")
    elif steps := sum(name.startswith("upsampling.steps.") for name in state):
        facts["learned_upsampling"] = steps // 2
    lacking = []
    if (arch := _arch_of(state)) is not None:
        facts["arch"] = arch
    elif "arch" not in overrides:
        lacking.append("arch='resnet50' or another backbone's name")
    if facts.get("image_reduction") == "none" and "image_reduction" not in overrides:
        lacking.append("image_reduction='none', or the name of a token reduction without weights")
    if lacking:
        raise ValueError(
            f"{path} is a plain state_dict() of this project's networks and does not tell everything: "
            f"give load_model(..., {', '.join(lacking)}), or write the file with tore.save_model(model, FILE)"
        )
    unsure = ("image_reduction", "kept_tokens") if facts.get("image_reduction") == "none" else ()
    told = {"network": network, "body": "body"} | {n: value for n, value in facts.items() if n not in unsure}
    check_overrides(told, overrides, path)
    return Checkpoint(path, "own names", configure(network, **{**facts, **overrides}), state, told, (), ())


def from_official(entries: Mapping[str, Tensor], path: Path, **overrides: Any) -> Checkpoint:
    """An official layout's entries under our names, with the configuration that their shapes tell.

    Raises ValueError when the entries are of neither network or the backbone is not recognised.
    """
    network = network_of(entries, path)
    geometry_reduction = any(name.startswith(SHAPE_REGRESSOR) for name in entries)
    state, dropped, unexpected = from_official_names(entries, network, geometry_reduction)
    facts = _with_image_size(shape_facts(network, {name: tuple(value.shape) for name, value in state.items()}))
    usual = {} if geometry_reduction else WITHOUT_GEOMETRY_REDUCTION.get((network, facts.get("body", "body")), {})
    told = {"network": network, "body": "body", "geometry_reduction": geometry_reduction, **facts}
    told |= recorded_heads(entries, network, path)
    arch = _arch_of(state)
    if arch is not None:
        told["arch"] = arch
    elif "arch" not in overrides:
        raise ValueError(
            f"{path} holds a backbone that is none of {', '.join(OFFICIAL)}: name it with arch=... "
            "(--arch of a command), or get the whole file again if it should be one of these"
        )
    check_overrides(told, overrides, path)
    config = configure(**{**usual, **told, **overrides})
    body = identity_in(entries[RECORD], path) if RECORD in entries else licensed(config.body)
    return Checkpoint(path, "official", config, state, told, dropped, unexpected, body)


def _with_image_size(told: dict[str, Any]) -> dict[str, Any]:
    """The facts of a file with METRO's image size, which its number of image tokens tells."""
    if "image_tokens" not in told or "image_size" in told:
        return told
    return told | {"image_size": STRIDE * math.isqrt(told["image_tokens"])}


def save_model(model: nn.Module, path: str | Path, half: bool = False, leave_out_backbone: bool = False) -> None:
    """Writes our own layout: it remembers what shapes cannot tell (heads, dropout, any backbone, the body model).

    A network inside torch.compile, DataParallel, DistributedDataParallel or AveragedModel is taken out of them. A path
    that ends in `.safetensors` gives a file of that format, with a checksum in its metadata.

    `half` stores learned numbers in 16 bits, for half the file; they are loaded as float32. Running statistics, which
    may lie beyond 16 bits, stay as they are.

    `leave_out_backbone` leaves out a backbone that comes with this package and is as it came; the file names it by its
    checksum (`tore.modeling.shipped_backbone`).

    Raises ValueError for what is no FastMETRO or METRO network, or would not load again, as with numbers that are not
    finite, and for a backbone to leave out that is another one.
    """
    network = network_in(model)
    state = own_state(network)
    _check_loadable(network, state)
    record: dict[str, Any] = {}
    if leave_out_backbone:
        state, record[LEFT_OUT] = without_backbone(network.config.arch, state)
    if half:
        learned = {bare_name(name) for name, _ in network.named_parameters()}
        state |= {name: value.detach().half() for name, value in state.items() if name in learned}
    if bad := not_finite(state):
        beyond = "; leave half out" if half else ""
        raise ValueError(f"{len(bad)} entries, such as {bad[0]}, would hold numbers that are not finite{beyond}")
    record[RECORD] = None if network.trained_on is None else network.trained_on.described()
    content = {"format": OWN_FORMAT, "config": describe(network.config), **record, "state_dict": state}
    write_tensors(content, path)


def network_in(model: nn.Module) -> FastMETRO | METRO:
    """The network in its wrappers. ValueError for anything else."""
    network = unwrapped(model)
    if not isinstance(network, FastMETRO | METRO) or not hasattr(network, "config"):
        raise ValueError(
            f"a {type(network).__name__} is no FastMETRO or METRO network and would not load again; "
            "give the network that create_model or load_model made"
        )
    return network


def _check_loadable(network: FastMETRO | METRO, state: Mapping[str, Tensor]) -> None:
    """ValueError where the network has other entries than its configuration makes."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    made = network.layout
    other = sorted(name for name in shapes.keys() | made.keys() if shapes.get(name) != made.get(name))
    if other:
        raise ValueError(
            f"the network was changed after it was made ({len(other)} entries, such as {', '.join(other[:3])}), and a "
            "file of it would not load again; save its state_dict() with torch.save, or undo the change"
        )


def save_official(model: nn.Module, path: str | Path) -> None:
    """Writes the official layout, every official entry present; what this network does not carry is zeros.

    Two entries are ours, which `load_model` reads and the official code passes over: `attention_heads`, where they are
    not the usual ones, and `trained_on`, the body model, where its fingerprint is known.
    """
    network = network_in(model)
    state = own_state(network)
    _check_loadable(network, state)
    write_tensors(official_state(network, state), path)


save_published = save_official  # its name until version 0.3


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Writes the official layout where it can hold the network, else our own; `load_model` reads both.

    The official layout does not tell the attention heads, nor which images a network takes, nor that its backbone is
    frozen: others than the usual need our own.
    """
    config = network_in(model).config
    usual = usual_heads(config) and config.image_format == OFFICIAL_FORMAT and not config.frozen_backbone
    (save_official if usual and has_official_layout(config) else save_model)(model, path)


def _arch_of(state: Mapping[str, Tensor]) -> str | None:
    return identify({name.removeprefix(TRUNK): value.shape for name, value in state.items() if name.startswith(TRUNK)})


def _check(checkpoint: Checkpoint, expected: Mapping[str, Tensor]) -> None:
    """ValueError listing every entry that does not fit, by part and under the file's own kind of name."""
    findings: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in expected.keys() - checkpoint.state.keys():
        findings["missing"][name.split(".")[0]].append(name)
    for name in checkpoint.state.keys() - expected.keys():
        findings["unexpected"][name.split(".")[0]].append(name)
    for name in checkpoint.unexpected:
        findings["unexpected"]["unknown part"].append(name)
    for name in expected.keys() & checkpoint.state.keys():
        if expected[name].shape != checkpoint.state[name].shape:
            there, wanted = tuple(checkpoint.state[name].shape), tuple(expected[name].shape)
            findings["of another shape"][name.split(".")[0]].append(f"{name} {there} instead of {wanted}")
    if not findings:
        return
    lines = [f"{checkpoint.path} does not fit {checkpoint.config.network} with {checkpoint.config.arch}:"]
    for finding, parts in findings.items():
        for part, names in sorted(parts.items()):
            lines.append(f"  {finding} in {part} ({len(names)}): {', '.join(sorted(names))}")
    lines.append("get the file again, or name the right options in load_model(...)")
    raise ValueError("\n".join(lines))
