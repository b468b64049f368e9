"""Typed flags about a network beside a checkpoint, which tells its network by itself: the same one or an error.

What a file does not tell is taken from the flags: a backbone without an official name, the attention heads and the
images of the official layout, and the dropout of further training.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tore.cli.flags import Rule, add_idle_flags, shown, typed_flags, value_text
from tore.cli.training_flags import color, widths
from tore.image_format import IMAGE_SIZE, STRIDE
from tore.modeling.build import reduction_fields
from tore.modeling.checkpoints import Checkpoint, read_checkpoint
from tore.modeling.image_token_pruning import kept_tokens
from tore.modeling.model_names import NARROW, NARROW_FIELDS, SIZES
from tore.training.network_options import BERT_INTERMEDIATE, COORDINATES
from tore_runtime.record import is_export, read_record
from tore_runtime.sessions import RUNTIMES

HEADS = {"fastmetro": "transformer_nhead", "metro": "num_attention_heads"}
DROPOUT = {"fastmetro": "transformer_dropout", "metro": "drop_out"}
NARROWEST = ("model_dim_3", "feedforward_dim_3")  # the shape regressor's, as wide as the second Transformer
FASTMETRO_FLAGS = (
    "model_name", "keep_ratio", "model_dim_1", "model_dim_2", *NARROWEST[:1], "feedforward_dim_1",
    "feedforward_dim_2", *NARROWEST[1:], "transformer_nhead", "conv_1x1_dim", "keypoint_queries",
)  # fmt: skip
IMAGE_FLAGS = ("image_size", "image_mean", "image_std")
METRO_FLAGS = ("num_hidden_layers", "num_attention_heads", "intermediate_size", "input_feat_dim", "hidden_feat_dim")
IDLE = {
    "--model_name_or_path": "no file of BERT is read",
    "--hidden_size": "METRO's widths are --hidden_feat_dim",
    "--legacy_setting": "nothing depends on it",
}
Facts = Mapping[str, Any]  # what a checkpoint tells: fields of its configuration, `network` and `channels`


def add_checkpoint_flags(parser: argparse.ArgumentParser) -> None:
    """The official flags about a network, for a command that takes it from a checkpoint: they are compared with it."""
    text = (
        "the checkpoint tells them; a typed one must say the same (heads and images are taken where the file does not "
        "tell them)"
    )
    group = parser.add_argument_group("the network", text)
    group.add_argument("--model_name", metavar="NAME", help="FastMETRO_XS, FastMETRO_S, FastMETRO_M or FastMETRO_L")
    group.add_argument("--keep_ratio", type=float, help="share of the image tokens that is kept")
    for name in ("model_dim", "feedforward_dim"):
        for number, what in enumerate(("first", "second", "shape regressor's"), 1):
            group.add_argument(f"--{name}_{number}", type=int, metavar="N", help=f"width, the {what} Transformer")
    group.add_argument("--conv_1x1_dim", type=int, metavar="N", help="channels that the backbone gives")
    group.add_argument("--image_size", type=int, metavar="N", help="side of its square images in pixels")
    group.add_argument("--image_mean", type=color, metavar="R,G,B", help="what the images' colors are normalized by")
    group.add_argument("--image_std", type=color, metavar="R,G,B", help="likewise, the deviation")
    group.add_argument("--transformer_nhead", type=int, metavar="N", help="attention heads of FastMETRO")
    group.add_argument("--num_hidden_layers", type=int, metavar="N", help="layers of each of METRO's blocks")
    group.add_argument("--num_attention_heads", type=int, metavar="N", help="attention heads of METRO's blocks")
    group.add_argument("--intermediate_size", type=int, metavar="N", help="of METRO's blocks")
    group.add_argument("--input_feat_dim", type=widths, metavar="A,B,C", help="inputs of METRO's blocks")
    group.add_argument("--hidden_feat_dim", type=widths, metavar="A,B,C", help="widths of METRO's blocks")
    reason = "dropout is for training alone"
    add_idle_flags(parser, IDLE | {"--transformer_dropout": reason, "--drop_out": reason})
    add_idle_flags(parser, {"--pos_type": "the position code is the sine code"}, only={"--pos_type": "sine"})


def add_fast_flags(parser: argparse.ArgumentParser, form: argparse._ActionsContainer | None = None) -> None:
    """--fast, in the group `form` where there is one, and --runtime; `FAST_RULES` go with them."""
    kept = "on a CPU the network's export, made on first use and kept (pip install 'tore[fast]'); else fewer operations"
    (form or parser).add_argument("--fast", action="store_true", help=kept)
    parser.add_argument("--runtime", choices=RUNTIMES, help=f"what runs an export [{RUNTIMES[0]}]")


def runs_export(args: argparse.Namespace) -> bool:
    """Whether the flags name an export, or ask for one to be made where the network runs on a CPU."""
    return args.fast or (args.checkpoint is not None and is_export(args.checkpoint))


FAST_RULES = (
    Rule(("runtime",), lambda args: not runs_export(args), "goes with --fast, or with an export as --checkpoint"),
)


def open_network(args: argparse.Namespace, path: str | Path) -> tuple[Checkpoint | Path, list[str]]:
    """As `open_checkpoint`, for a command that takes an export as well, whose path is returned."""
    if not is_export(path):
        return open_checkpoint(args, path)
    facts = {name: tuple(v) if isinstance(v, list) else v for name, v in read_record(path).network.items()}
    other, notes = compare(args, facts)
    if "arch" in typed_flags(args) and args.arch != facts["arch"]:
        other.append(f"{shown(args, 'arch')}, but the file has {facts['arch']}")
    if other:
        raise ValueError(f"{path} holds another network: {'; '.join(other)}; leave the flags out")
    return Path(path), notes


def open_checkpoint(args: argparse.Namespace, path: str | Path) -> tuple[Checkpoint, list[str]]:
    """The checkpoint of a command's flags, and what there is to say about them.

    ValueError naming every typed flag that says another thing about the network than the file, with both values.
    """
    arch = {"arch": args.arch} if "arch" in typed_flags(args) else {}
    checkpoint = read_checkpoint(path, **arch)
    other, notes = compare(args, told_facts(checkpoint))
    if other:
        raise ValueError(f"{checkpoint.path} holds another network: {'; '.join(other)}; leave the flags out")
    config = checkpoint.config
    named = {"heads": HEADS[config.network], "dropout": DROPOUT[config.network], "frozen_backbone": "freeze_backbone"}
    named |= {name: name for name in IMAGE_FLAGS}
    given = {field: getattr(args, dest) for field, dest in named.items() if dest in typed_flags(args)}
    given = {field: value for field, value in given.items() if hasattr(args, named[field])}
    return replace(checkpoint, config=replace(config, **given)), notes


def told_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the file tells about its network."""
    facts, state = dict(checkpoint.told), checkpoint.state
    places = {"fastmetro": ("image_projection.weight", 0), "metro": ("blocks.0.embedding.weight", COORDINATES)}
    entry, beside = places[checkpoint.config.network]
    if entry in state and state[entry].dim() > 1:
        facts["channels"] = state[entry].shape[1] - beside
    return facts


def compare(args: argparse.Namespace, facts: Facts) -> tuple[list[str], list[str]]:
    """The typed flags that say another thing than `facts`, each with both values; and lines on those without effect."""
    typed, network = typed_flags(args), facts["network"]
    flags: dict[str, tuple[str, ...]] = {"fastmetro": FASTMETRO_FLAGS, "metro": METRO_FLAGS}
    own, (foreign,) = flags.pop(network), flags.values()
    if getattr(args, "token_reduction", None) == "none":  # --keep_ratio has been answered beside it
        own = tuple(dest for dest in own if dest != "keep_ratio")
    other = []
    if "image_size" in typed:  # it is taken where the file does not tell it
        facts = {"image_size": getattr(args, "image_size", IMAGE_SIZE), **facts}
    for dest in (*own, *IMAGE_FLAGS):
        there = READERS[dest](getattr(args, dest), facts) if dest in typed and hasattr(args, dest) else None
        if there is not None:
            other.append(f"{shown(args, dest)}, but the file has {there}")
    other += list(_reductions(args, facts))
    strangers = [dest for dest in foreign if dest in typed and hasattr(args, dest)]
    if network == "metro":  # FastMETRO's flags ask for a network that this is none of
        return other + [f"{shown(args, dest)}, but the file has METRO" for dest in strangers], []
    return other, [f"{shown(args, dest)} has no effect: the file has FastMETRO" for dest in strangers]


def _reductions(args: argparse.Namespace, facts: Facts) -> Iterator[str]:
    """The flags of the token reduction that say another thing."""
    typed, network, body = typed_flags(args), facts["network"], facts.get("body", "body")
    reduction = getattr(args, "token_reduction", None) if "token_reduction" in typed else None
    geometry = getattr(args, "geometry_reduction", None) if "geometry_reduction" in typed else None
    asked = {} if geometry is None else {"geometry_reduction": geometry}
    if reduction is not None:
        asked = reduction_fields(network, body, reduction, geometry)
    flags = {"image_reduction": "token_reduction", "geometry_reduction": "geometry_reduction"}
    for field, dest in flags.items():
        if field in asked and field in facts and asked[field] != facts[field]:
            said = shown(args, dest if dest in typed else "token_reduction")
            yield f"{said}, but the file has {field} {value_text(facts[field])}, not {value_text(asked[field])}"


def _is(field: str, place: int | None = None) -> Callable[[Any, Facts], str | None]:
    """A reader of one field, or of one place in it: None where the typed value is there."""

    def read(value: Any, facts: Facts) -> str | None:
        if field not in facts:
            return None
        there = facts[field] if place is None else facts[field][place]
        return None if value == there else value_text(there)

    return read


def _of_shape_regressor(field: str) -> Callable[[Any, Facts], str | None]:
    def read(value: Any, facts: Facts) -> str | None:
        return _is(field, 1)(value, facts) if facts["geometry_reduction"] else "no shape regressor"

    return read


def _model_name(value: str, facts: Facts) -> str | None:
    names = {layers: f"FastMETRO_{size}" for size, layers in SIZES.items()}
    there, asked = names.get(facts["layers"], f"{facts['layers']} layers a side"), value.replace("-", "_")
    narrow = all(facts.get(field) == known for field, known in NARROW_FIELDS.items())
    return None if asked == there or (narrow and asked == f"FastMETRO_{NARROW}") else there


def _keep_ratio(value: float, facts: Facts) -> str | None:
    positions = (facts.get("image_size", IMAGE_SIZE) // STRIDE) ** 2
    there, asked = facts.get("kept_tokens"), kept_tokens(value, positions)
    if there is None:
        return "no reduction of image tokens"
    return None if asked == there else f"{there} tokens ({there / positions:.3g} of {positions}), not {asked}"


def _keypoint_queries(value: bool | None, facts: Facts) -> str | None:
    there = facts.get("keypoint_queries", False)
    return None if value == there else value_text(there)


def _intermediate_size(value: int, facts: Facts) -> str | None:
    return _is("hidden")(BERT_INTERMEDIATE if value < 0 else value, facts)


def _input_feat_dim(value: tuple[int, ...], facts: Facts) -> str | None:
    first = (COORDINATES + facts["channels"],) if "channels" in facts else value[:1]
    there = (*first, *(width // 2 for width in facts["widths"][:-1]))
    return None if value == there else value_text(there)


READERS: dict[str, Callable[[Any, Facts], str | None]] = {
    "model_name": _model_name,
    "keep_ratio": _keep_ratio,
    "keypoint_queries": _keypoint_queries,
    "model_dim_1": _is("widths", 0),
    "model_dim_2": _is("widths", 1),
    "model_dim_3": _of_shape_regressor("widths"),
    "feedforward_dim_1": _is("hidden", 0),
    "feedforward_dim_2": _is("hidden", 1),
    "feedforward_dim_3": _of_shape_regressor("hidden"),
    "conv_1x1_dim": _is("channels"),
    "transformer_nhead": _is("heads"),
    "num_hidden_layers": _is("layers"),
    "num_attention_heads": _is("heads"),
    "intermediate_size": _intermediate_size,
    "input_feat_dim": _input_feat_dim,
    "hidden_feat_dim": _is("widths"),
    **{name: _is(name) for name in IMAGE_FLAGS},
}
