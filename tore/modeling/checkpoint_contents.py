"""Which file a checkpoint is, the wrappings of other programs around what it holds, and what its shapes tell."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

SET_FREELY = ("dropout", "frozen_backbone")  # fields of a configuration that change no weight and may be set by hand
FILE_NAME = "state_dict.bin"  # in the folder of a training checkpoint
PRETRAINED_NAME = "model.safetensors"  # in a folder that `MeshRecovery.save_pretrained` wrote, and on the hub
FILE_NAMES = (FILE_NAME, PRETRAINED_NAME)
HAND_VERTICES = 195  # of the coarse mesh
Shapes = Mapping[str, tuple[int, ...]]


def checkpoint_file(path: str | Path) -> Path:
    """The file that the path of a checkpoint means: itself, or the file of `FILE_NAMES` in a checkpoint folder.

    Raises FileNotFoundError for a folder without one, such as that of a whole run, naming the folders in it that do,
    and ValueError for a folder with both.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    held = [path / name for name in FILE_NAMES if (path / name).is_file()]
    if len(held) == 1:
        return held[0]
    if held:
        raise ValueError(f"{path} holds {' and '.join(FILE_NAMES)}: name the file that is meant")
    inside = sorted({file.parent.name for name in FILE_NAMES for file in path.glob(f"*/{name}")})
    others = f"; name a checkpoint folder in it: {', '.join(inside)}" if inside else "; name the checkpoint itself"
    raise FileNotFoundError(f"{path} is a folder without a {' or '.join(FILE_NAMES)}{others}")


def shape_facts(network: str, shapes: Shapes) -> dict[str, Any]:
    """Configuration fields that shapes tell; an entry that is missing leaves its field at the default."""
    facts = _metro_facts(shapes) if network == "metro" else _fastmetro_facts(shapes)
    facts["smpl_regressor"] = any(name.startswith("smpl_regressor.") for name in shapes)
    places = {"shape_regressor.vertex_tokens": 0, "query_tokens.vertices": 0, "upsampling.steps.0.weight": 1}
    if HAND_VERTICES in (shapes[name][axis] for name, axis in places.items() if len(shapes.get(name, ())) > axis):
        facts["body"] = "hand"
    return facts


def _fastmetro_facts(shapes: Shapes) -> dict[str, Any]:
    pairs = {
        "widths": [shapes.get(f"transformer_{i}.encoder_norm.weight") for i in (1, 2)],
        "hidden": [shapes.get(f"transformer_{i}.encoder.0.feed_forward.linear1.weight") for i in (1, 2)],
    }
    facts: dict[str, Any] = {name: tuple(s[0] for s in found if s) for name, found in pairs.items() if all(found)}
    facts["layers"] = _count(shapes, r"transformer_1\.encoder\.(\d+)\.")
    if not any(name.startswith("token_reduction.") for name in shapes):
        return facts | {"image_reduction": "none", "kept_tokens": None}
    return facts | _noted(shapes, {"kept_tokens": ("token_reduction.assign.weight", 0)})


def _metro_facts(shapes: Shapes) -> dict[str, Any]:
    facts = _noted(
        shapes,
        {
            "image_tokens": ("select_tokens.weight", 1),
            "hidden": ("blocks.0.layers.0.intermediate.weight", 0),
            "regressor_hidden": ("shape_regressor.transformer.encoder.0.feed_forward.linear1.weight", 0),
            "camera_hidden": ("camera_head.of_points.weight", 0),
        },
    )
    facts["layers"] = _count(shapes, r"blocks\.0\.layers\.(\d+)\.")
    if regressor_layers := _count(shapes, r"shape_regressor\.transformer\.encoder\.(\d+)\."):
        facts["regressor_layers"] = regressor_layers
    widths = [shapes.get(f"blocks.{i}.embedding.weight", (0,))[0] for i in range(3)]
    if all(widths):
        facts["widths"] = tuple(widths)
    if any(name.startswith("select_tokens.") for name in shapes):
        facts["image_mixing"] = "learned"
    coarse = shapes.get("upsampling.steps.0.weight", ())
    camera = shapes.get("camera_head.of_points.weight", ())
    if len(coarse) == len(camera) == 2:
        facts["camera_points"] = "vertices" if camera[1] == coarse[1] else "all"
    return facts


def _noted(shapes: Shapes, fields: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """Field -> the size of an entry's axis, where the entry is there and has it."""
    return {field: shapes[name][axis] for field, (name, axis) in fields.items() if len(shapes.get(name, ())) > axis}


def _count(names: Iterable[str], pattern: str) -> int:
    """1 + the largest number that the pattern's group takes, 0 when nothing fits."""
    found = (re.match(pattern, name) for name in names)
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)


# Where training programs keep a network's tensors in their checkpoints.
KEEPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "model_state", "weights", "params")
AVERAGES = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "averaged_model")
# What torch.compile, FSDP and activation checkpointing put anywhere into a name.
WITHIN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# What DataParallel, DDP, AveragedModel and training frameworks put in front of all names.
IN_FRONT = ("module", "model", "net", "network", "ema_model", "ema")
WRAPPERS = ("OptimizedModule", "DataParallel", "DistributedDataParallel", "AveragedModel")
COUNTERS = ("n_averaged", "num_updates", "initted", "decay")  # an average's own numbers


def named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by their plain names in what a checkpoint file holds, out of every wrapping.

    Raises ValueError where it holds none, or a network and its average, which may differ.
    """
    held = _unpacked(content, path, ())
    names = {name: plain_name(name) for name in held if name not in COUNTERS}
    while (front := {name.partition(".")[0] for name in names.values()}) and front <= set(IN_FRONT) and len(front) == 1:
        names = {name: plain.partition(".")[2] for name, plain in names.items()}
    if len(set(names.values())) < len(names) or "" in names.values():
        raise ValueError(f"{path} holds an entry twice, with and without a prefix; save one network's state_dict()")
    return {plain: held[name] for name, plain in names.items()}


def plain_name(name: str) -> str:
    """`name` without DataParallel's prefix and without what compiling and sharding put inside."""
    parts = [part for part in name.split(".") if part not in WITHIN]
    while len(parts) > 1 and parts[0] == "module":
        parts = parts[1:]
    return ".".join(parts)


def _unpacked(content: Any, path: Path, inside: tuple[str, ...]) -> dict[str, Tensor]:
    where = f"{path} ({' / '.join(inside)})" if inside else str(path)
    if not isinstance(content, Mapping):
        found = type(content).__name__
        raise ValueError(f"{where} holds no flat dictionary of tensors but a {found}; give a state_dict()")
    kept = [n for n in (*KEEPERS, *AVERAGES) if isinstance(content.get(n), Mapping) and _has_tensors(content[n])]
    beside = any(isinstance(value, Tensor) and "." in str(name) for name, value in content.items())
    if len(kept) > 1 or (kept and beside):
        raise ValueError(
            f"{where} holds several sets of tensors ({', '.join(kept)}) and does not say which is meant: save the one "
            f"wanted as a file of its own: torch.save(torch.load({str(path)!r}, weights_only=True)[{kept[-1]!r}], FILE)"
        )
    if kept:
        return _unpacked(content[kept[0]], path, (*inside, kept[0]))
    others = [str(n) for n, value in content.items() if not isinstance(value, Tensor) and str(n) not in COUNTERS]
    if others or not content:
        raise ValueError(
            f"{where} holds no flat dictionary of tensors (it holds {', '.join(others[:5]) or 'nothing'}); "
            "use the state_dict.bin of a checkpoint folder, or a file that save_model wrote"
        )
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _has_tensors(value: Mapping[Any, Any], depth: int = 3) -> bool:
    if any(isinstance(item, Tensor) for item in value.values()):
        return True
    return depth > 0 and any(isinstance(item, Mapping) and _has_tensors(item, depth - 1) for item in value.values())


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside torch.compile, DataParallel, DistributedDataParallel and AveragedModel, in any order."""
    while True:
        inner = getattr(model, "_orig_mod", None) if hasattr(model, "_orig_mod") else getattr(model, "module", None)
        if not isinstance(inner, nn.Module) or type(model).__name__ not in WRAPPERS:
            return model
        model = inner


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dictionary under its plain names, also where parts of the network are compiled or wrapped.

    Raises ValueError for tensors that are spread over processes or have no numbers.
    """
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} is a {type(value).__name__}, as in a quantized network: it would not load again")
        if value.is_meta or type(value).__name__ == "DTensor":
            raise ValueError(f"{name} is on the meta device or spread over processes; gather the whole network first")
        state[bare_name(name)] = value
    return state


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The entries that hold a number which is not finite."""
    floats = ((name, value) for name, value in state.items() if value.is_floating_point())
    return [name for name, value in floats if not bool(value.isfinite().all())]


def bare_name(name: str) -> str:
    """`name` without the wrappers' parts; the networks here have no part of these names themselves."""
    return ".".join(part for part in name.split(".") if part not in (*WITHIN, "module"))


def check_overrides(told: Mapping[str, Any], overrides: Mapping[str, Any], path: Path) -> None:
    """ValueError where a field was set by hand to another value than the file's; some may be any."""
    other = {n: v for n, v in overrides.items() if n not in SET_FREELY and n in told and not _same(n, v, told[n])}
    if other:
        found = ", ".join(f"{name} {told[name]}, not {value}" for name, value in other.items())
        raise ValueError(f"{path} holds a network with {found}: leave that out, or name another file")


def _same(name: str, asked: Any, there: Any) -> bool:
    """Whether two values of a field make one network; the tag behind a timm name only tells its weights."""
    if name == "arch":
        return str(asked).partition(".")[0] == str(there).partition(".")[0]
    return (tuple(asked) if isinstance(asked, list) else asked) == there


def parts_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Number of learned parameters per part of a state dictionary under our names (buffers not counted)."""
    counts: dict[str, int] = defaultdict(int)
    for name, value in state.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            counts[name.split(".")[0]] += value.numel()
    return dict(counts)
