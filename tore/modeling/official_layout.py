"""The official layout of a checkpoint: which networks it can hold, and their tensors under its names and under ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from tore.image_format import OFFICIAL_FORMAT
from tore.modeling.backbones import OFFICIAL
from tore.modeling.build import CONFIGS, ModelConfig
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO
from tore.modeling.official_keys import UNREAD, backbone_names, network_name
from tore.modeling.recorded_body import RECORD, entry_of, licensed

OFFICIAL_REDUCTIONS = ("itp", "none")  # of image tokens
BACKBONE = "backbone."
TRUNK = "backbone.trunk."
HEADS = ("heads", "regressor_heads")
HEADS_ENTRY = "attention_heads"
SHAPE_REGRESSOR = "transformer_3."  # what tells TORE's files from the baselines'


def network_of(entries: Iterable[str], path: Path) -> str:
    """ "fastmetro" or "metro", by the names of the entries. ValueError for a file of neither."""
    names = list(entries)
    if any(name.startswith("trans_encoder.") for name in names):
        return "metro"
    if any(name.startswith("transformer_1.") for name in names):
        return "fastmetro"
    first = list(dict.fromkeys(name.partition(".")[0] for name in names))
    raise ValueError(
        f"{path} is no checkpoint of FastMETRO or METRO: none of its {len(names)} entries begins with "
        f"transformer_1 or trans_encoder, but with {', '.join(first[:5])}; use the state_dict.bin of a checkpoint "
        "folder, or save the network's own state_dict() where it lies beside other modules"
    )


def from_official_names(
    entries: Mapping[str, Tensor], network: str, geometry_reduction: bool
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """The tensors under our names; the entries that nothing reads; and those that belong to no part."""
    dropped = tuple(name for name in entries if UNREAD.fullmatch(name))
    state: dict[str, Tensor] = {}
    unexpected = []
    inside = [n.removeprefix(BACKBONE) for n in entries if n.startswith(BACKBONE) and n not in dropped]
    for name, ours in backbone_names(inside).items():
        state[TRUNK + ours] = entries[BACKBONE + name]
    for name, value in entries.items():
        if name.startswith(BACKBONE) or name in (*dropped, HEADS_ENTRY, RECORD):
            continue
        ours_or_none = network_name(name, network, geometry_reduction)
        if ours_or_none is None:
            unexpected.append(name)
        else:
            state[ours_or_none] = value
    return state, dropped, tuple(unexpected)


def has_official_layout(config: ModelConfig) -> bool:
    """Whether it can hold the network's reduction of image tokens."""
    return getattr(config, "image_reduction", "itp") in OFFICIAL_REDUCTIONS


def _heads_of(config: ModelConfig) -> dict[str, int]:
    """The numbers of attention heads, which the shape of no entry tells, by the configuration's fields."""
    return {field.name: getattr(config, field.name) for field in fields(config) if field.name in HEADS}


def usual_heads(config: ModelConfig) -> bool:
    """Whether the attention heads are the official ones, which the layout does not tell."""
    return _heads_of(config) == _heads_of(type(config)())


def recorded_heads(entries: Mapping[str, Tensor], network: str, path: Path) -> dict[str, int]:
    """The heads that a file of the official layout records by an entry of ours; empty where they are the usual ones."""
    if HEADS_ENTRY not in entries:
        return {}
    names, numbers = list(_heads_of(CONFIGS[network]())), entries[HEADS_ENTRY].flatten().tolist()
    if len(names) != len(numbers):
        raise ValueError(f"{path} is damaged: {HEADS_ENTRY} holds {numbers} for {', '.join(names)}; get it again")
    return {name: int(number) for name, number in zip(names, numbers, strict=True)}


def official_state(network: FastMETRO | METRO, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's `state` under its official names, and zeros for the official entries that nothing reads.

    Raises ValueError for a network that the official layout cannot tell from another.
    """
    config = network.config
    if not has_official_layout(config):
        raise ValueError(
            f"the official layout knows no token reduction {config.image_reduction!r}; write it with save_model"
        )
    if config.image_format != OFFICIAL_FORMAT:
        raise ValueError(f"the official layout does not tell of {config.image_format}; write it with save_model")
    trunk = backbone_names(
        (name.removeprefix(TRUNK) for name in state if name.startswith(TRUNK)), to_official=True, arch=config.arch
    )
    out = {BACKBONE + official: state[TRUNK + ours] for ours, official in trunk.items()}
    for name, value in state.items():
        if not name.startswith(TRUNK):
            official_name = network_name(name, config.network, config.geometry_reduction, to_official=True)
            if official_name is None:
                raise ValueError(f"the official layout has no entry for {name}; write it with save_model")
            out[official_name] = value
    if not usual_heads(config):
        out[HEADS_ENTRY] = torch.tensor(list(_heads_of(config).values()), device="cpu")
    if network.trained_on is not None and (network.trained_on.is_known or network.trained_on != licensed(config.body)):
        out[RECORD] = entry_of(network.trained_on)
    for name, shape in _unread_shapes(network).items():
        out[name] = torch.zeros(1).expand(shape)  # one stored number, whatever the shape
    return out


def _unread_shapes(network: FastMETRO | METRO) -> dict[str, tuple[int, ...]]:
    """Official entries that nothing reads: BERT's embeddings and poolers, ImageNet classifiers."""
    shapes: dict[str, tuple[int, ...]] = {}
    arch = network.config.arch
    classifier = "_fc" if arch.startswith("efficientnet") else "classifier" if arch.startswith("hrnet") else None
    if classifier and arch in OFFICIAL:
        shapes[f"{BACKBONE}{classifier}.weight"] = (1000, network.backbone.channels)
        shapes[f"{BACKBONE}{classifier}.bias"] = (1000,)
    widths = network.config.widths if isinstance(network, METRO) else ()
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
