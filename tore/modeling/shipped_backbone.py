"""Files without a backbone that comes with this package: they name it by its checksum.

A frozen backbone is the same in every network that has it, so a network's file need not hold it again. Such a file
loads wherever the package has the same backbone, and says so where it has another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tore.files import checksum
from tore.modeling.backbones import SHIPPED, Backbone, load_backbone_weights

LEFT_OUT = "shipped_backbone"  # the name of the record: architecture and checksum
BACKBONE = "backbone."  # in front of its entries in a network


@lru_cache(maxsize=2)
def shipped_entries(arch: str) -> tuple[Mapping[str, Tensor], str]:
    """The entries of a backbone that comes with this package, and their checksum. ValueError where none does."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        backbone = Backbone(arch)
    load_backbone_weights(backbone, SHIPPED)
    entries = backbone.state_dict()
    return entries, checksum(entries)


def without_backbone(arch: str, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A network's entries without those of its backbone `arch`, and the record of it.

    Raises ValueError where the backbone is not, number for number, the one that comes with this package.
    """
    expected = shipped_entries(arch)[1]
    own = {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}
    if (found := checksum(own)) != expected:
        raise ValueError(
            f"the network's backbone (checksum {found}) is not the {arch} that comes with this package ({expected}): "
            "a file without it would not load again; leave leave_out_backbone out"
        )
    rest = {name: value for name, value in state.items() if not name.startswith(BACKBONE)}
    return rest, {"arch": arch, "checksum": found}


def left_out_entries(arch: str, record: Any, path: Path) -> dict[str, Tensor]:
    """The backbone's entries that the file `path` leaves out, by their names in a network of the backbone `arch`.

    record: what `without_backbone` gave. Raises ValueError for a damaged one, and where the package's backbone is
    another one.
    """
    if not isinstance(record, dict) or record.get("arch") != arch or not isinstance(record.get("checksum"), str):
        raise ValueError(
            f"{path} is damaged: its record {LEFT_OUT} is {record!r}, and its backbone {arch}; get it again"
        )
    try:
        entries, found = shipped_entries(arch)
    except ValueError:
        found = "none"
    if found != record["checksum"]:
        raise ValueError(
            f"{path} leaves its backbone out, {arch} with the checksum {record['checksum']}; the one that comes with "
            f"this package has {found}: use the version of the package that wrote the file, or get a file that holds "
            "its backbone"
        )
    return {BACKBONE + name: value.clone() for name, value in entries.items()}
