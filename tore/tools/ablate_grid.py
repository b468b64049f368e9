"""The cells of an ablation: which networks it compares, and what each costs."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tore.body.topology import Topology
from tore.modeling import create_model
from tore.modeling.cost import measure_cost
from tore.tools import run_tore_fm_bodymesh, run_tore_m_bodymesh
from tore.tools.flags import Flags, typed_flags

TRAINERS = {"fastmetro": run_tore_fm_bodymesh, "metro": run_tore_m_bodymesh}
GRID_FLAGS = ("network", "out", "reducers", "keep_ratios", "gtr", "seeds", "steps", "no_plot")
ITP = "itp"  # the paper's image token pruning; the training script's name for it is "tore"


@dataclass(frozen=True)
class Cell:
    """One network of the grid: its image token reducer, the share it keeps, and geometry token reduction."""

    network: str  # "fastmetro" | "metro"
    reducer: str  # a name of `tore.modeling.token_reduction_by_name.REDUCERS`
    keep_ratio: float | None  # None where image tokens are not reduced
    gtr: bool

    @property
    def name(self) -> str:
        """Its folder's name, such as "fastmetro-itp-0.2-gtr"."""
        ratio = "" if self.keep_ratio is None else f"-{self.keep_ratio:g}"
        return f"{self.network}-{self.reducer}{ratio}{'-gtr' if self.gtr else ''}"

    def flags(self) -> dict[str, Any]:
        """The training script's flags that make this network."""
        flags: dict[str, Any] = {"geometry_reduction": self.gtr}
        flags["token_reduction"] = "tore" if self.reducer == ITP else self.reducer
        if self.keep_ratio is not None:
            flags["keep_ratio"] = self.keep_ratio
        return flags

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def cells_of(network: str, reducers: Sequence[str], ratios: Sequence[float], gtr: Sequence[bool]) -> list[Cell]:
    """Every combination once; a network whose image tokens are not reduced has no ratio.

    Raises ValueError for a reducer that METRO cannot have: its image tokens are mixed, not chosen.
    """
    if network == "metro" and list(reducers) != ["none"]:
        raise ValueError(f"METRO has no image tokens to reduce: give --reducers none, not {' '.join(reducers)}")
    found = []
    for reducer, geometry in itertools.product(reducers, gtr):
        kept: Sequence[float | None] = [None] if reducer == "none" else ratios
        found += [Cell(network, reducer, ratio, geometry) for ratio in kept]
    return list(dict.fromkeys(found))


def cell_arguments(args: argparse.Namespace, cell: Cell, seed: int, folder: Path) -> argparse.Namespace:
    """The training script's parsed flags `args` as they are for one cell and seed; it goes on where it was cut off."""
    own = {name: value for name, value in vars(args).items() if name not in GRID_FLAGS}
    values = own | cell.flags() | {"seed": seed, "output_dir": str(folder), "resume": "auto"}
    made = Flags(**values)
    made.typed = {dest: name for dest, name in typed_flags(args).items() if dest in values}
    return made


def cost_of(args: argparse.Namespace, cell: Cell, topology: Topology) -> dict[str, Any]:
    """Kept image tokens, millions of parameters and 10^9 multiply-accumulates of the cell's network.

    Raises ValueError for a network that cannot be.
    """
    options = TRAINERS[cell.network].network_options(cell_arguments(args, cell, args.seed, Path()))
    with torch.device("meta"):  # tensors without storage: only sizes count
        model = create_model(cell.network, arch=args.arch, topology=topology, device="meta", **options)
    cost = measure_cost(model)
    tokens = getattr(model.config, "kept_tokens", None)
    return {"kept_tokens": tokens, "Mparams": cost.total_parameters / 1e6, "GMACs": cost.total_macs_here / 1e9}
