"""A grid of networks trained under one budget: its cells, runs and report."""

from __future__ import annotations

import itertools
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from tore.analysis.cost import measure_cost
from tore.analysis.tables import Panel, Point, csv_text, draw, markdown
from tore.body.topology import Topology
from tore.datasets.loader import iterations_per_epoch
from tore.datasets.mesh_dataset import MeshDataset
from tore.files import read_json, write_json, write_whole
from tore.modeling import create_model
from tore.training.config import RunConfig
from tore.training.options import current_names
from tore.training.run import run

ITP = "itp"  # the paper's image token pruning; the configuration's name for it is "tore"


@dataclass(frozen=True)
class Cell:
    """One network of the grid: its image token reducer, the share it keeps, and geometry token reduction."""

    network: str  # "fastmetro" | "metro"
    reducer: str  # a name of `tore.modeling.token_reduction_baselines.REDUCERS`
    keep_ratio: float | None  # None where image tokens are not reduced
    gtr: bool

    @property
    def name(self) -> str:
        """Its folder's name, such as "fastmetro-itp-0.2-gtr"."""
        ratio = "" if self.keep_ratio is None else f"-{self.keep_ratio:g}"
        return f"{self.network}-{self.reducer}{ratio}{'-gtr' if self.gtr else ''}"

    def options(self) -> dict[str, Any]:
        """The options of a run that make this network."""
        tore = self.gtr if self.network == "metro" else self.reducer == ITP  # METRO's reduction is that of geometry
        options = {"geometry_reduction": self.gtr, "token_reduction": "tore" if tore else self.reducer}
        return options if self.keep_ratio is None else {**options, "keep_ratio": self.keep_ratio}

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


def cell_config(config: RunConfig, cell: Cell, seed: int, folder: Path) -> RunConfig:
    """The configuration of one cell and seed; its run resumes where it was cut off."""
    return config.changed(**cell.options(), seed=seed, output_dir=str(folder), resume="auto")


def cost_of(config: RunConfig, cell: Cell, topology: Topology) -> dict[str, Any]:
    """Kept image tokens, millions of parameters and 10^9 multiply-accumulates of the cell's network.

    Raises ValueError for a network that cannot be.
    """
    network = cell_config(config, cell, config.run.seed, Path()).network
    options = network.create_options()
    with torch.device("meta"):  # tensors without storage: only sizes count
        model = create_model(cell.network, arch=network.arch, topology=topology, device="meta", **options)
    cost = measure_cost(model)
    tokens = getattr(model.config, "kept_tokens", None)
    return {"kept_tokens": tokens, "Mparams": cost.total_parameters / 1e6, "GMACs": cost.total_macs_here / 1e9}


SETTINGS, RESULT = "ablation.json", "result.json"


def with_budget(config: RunConfig, steps: int) -> tuple[RunConfig, int]:
    """The configuration with as many epochs as `steps` comes to, and the steps of those whole epochs.

    Raises ValueError for a budget or a training set that gives no step, or where nothing would be judged.
    """
    if steps < 1 or config.data.validation_set is None:
        raise ValueError("an ablation needs --steps of at least 1 and a --val_yaml")
    samples = len(MeshDataset(config.data.training_set, True, "body"))
    per_epoch = iterations_per_epoch(samples, config.data.per_gpu_train_batch_size * config.optimization.accumulate)
    epochs = -(-steps // per_epoch)
    return config.changed(num_train_epochs=epochs), epochs * per_epoch


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Notes in the folder what holds for all of its cells.

    Raises ValueError where it holds an ablation under other settings, naming the first that differ.
    """
    path = folder / SETTINGS
    wanted = json.loads(json.dumps(settings))
    if path.is_file():
        there = read_json(path)
        if not isinstance(there, dict):
            raise ValueError(f"{path} holds no settings of an ablation: give another --output_dir")
        there = current_names(there)
        other = [f"--{n} {there.get(n)} (now {wanted[n]})" for n in wanted if there.get(n) != wanted[n]]
        if other:
            raise ValueError(
                f"{folder} holds an ablation with {', '.join(other)}: give the same, or another --output_dir"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)


def place_of(folder: Path, cell: Cell, seed: int) -> Path:
    """The folder of a cell's run."""
    return folder / cell.name / f"seed-{seed}"


def train_cell(config: RunConfig, cell: Cell, seed: int, folder: Path) -> int:
    """Trains and evaluates one cell, from where an earlier call was cut off, and notes its result.

    Returns the run's exit code; what it raises is not caught.
    """
    code = run(cell_config(config, cell, seed, folder))
    if code == 0:
        found = last_validation(folder / "metrics.jsonl", config.optimization.num_train_epochs)
        write_json(folder / RESULT, {**cell.facts(), "seed": seed, **found})
    return code


def last_validation(path: Path, epochs: int) -> dict[str, Any]:
    """What the run's own `Evaluation` found after its last epoch (not the best): {"steps", "mpjpe", "pa_mpjpe", ...}.

    Raises ValueError for a log without that validation.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["kind"] == "validation" and line["epoch"] == epochs]
    if not last:
        raise ValueError(
            f"{path} has no validation after epoch {epochs}, the last one: delete its folder to train the cell again"
        )
    found = last[-1]
    return {"steps": found["iteration"]} | {n: v for n, v in found.items() if n not in ("kind", "iteration", "epoch")}


def results_under(folder: Path) -> dict[Cell, list[dict[str, Any]]]:
    """The results of every finished run in an ablation's folder, by cell and in the order of their seeds."""
    found: dict[Cell, list[dict[str, Any]]] = defaultdict(list)
    for path in folder.glob(f"*/seed-*/{RESULT}"):
        try:
            result = dict(read_json(path))
            found[Cell(**{field.name: result.pop(field.name) for field in fields(Cell)})].append(result)
        except (KeyError, TypeError):
            raise ValueError(f"{path} holds no result of an ablation: delete it to train that cell again") from None
    return {cell: sorted(results, key=lambda result: result["seed"]) for cell, results in found.items()}


ERRORS = {"pa_mpjpe": "PA-MPJPE", "mpjpe": "MPJPE", "mpvpe": "MPVPE"}
Judged = tuple[Cell, Mapping[str, Any], Sequence[Mapping[str, Any]]]  # a cell, its cost, its results
JUDGED = "pa_mpjpe"  # whose spread over the seeds is shown


def row_of(cell: Cell, cost: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A line of the table: names, cost, then means over the seeds in millimetres."""
    row: dict[str, Any] = {"network": cell.network, "reducer": cell.reducer, "keep": cell.keep_ratio}
    row |= {"GTR": "yes" if cell.gtr else "no", **cost, "seeds": len(results), "steps": results[0]["steps"]}
    for name, title in ERRORS.items():
        values = [result[name] for result in results if result.get(name) is not None]
        row[title] = statistics.mean(values) if values else None
    judged = judged_values(results)
    return row | {
        f"lowest {ERRORS[JUDGED]}": min(judged, default=None),
        f"highest {ERRORS[JUDGED]}": max(judged, default=None),
    }


def judged_values(results: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The judged error of each result that has it; none where no sample of the validation set has what it compares."""
    return tuple(result[JUDGED] for result in results if result.get(JUDGED) is not None)


def write_report(folder: Path, cells: Sequence[Judged], *, plot: bool) -> str:
    """Writes table.md, table.csv, table.json and, with `plot`, plot.png; returns the table.

    cells: each has a result.
    """
    rows = [row_of(*parts) for parts in cells]
    table = markdown(rows)
    write_whole(folder / "table.md", table + "\n")
    write_whole(folder / "table.csv", csv_text(rows))
    runs = [{**cell.facts(), **cost, **result} for cell, cost, results in cells for result in results]
    write_whole(folder / "table.json", json.dumps({"cells": rows, "runs": runs}, indent=2) + "\n")
    if not any(judged_values(results) for _, _, results in cells):
        return f"{table}\n\nno run has a {ERRORS[JUDGED]}: no sample of the validation set has labeled 3D joints"
    if plot:
        draw([panel_of(cells)], folder / "plot.png")
    return table


def panel_of(cells: Sequence[Judged]) -> Panel:
    """Error against cost: a point per seed, their mean larger."""
    points = []
    for cell, cost, results in cells:
        label = cell.name.removeprefix(f"{cell.network}-")
        if ys := judged_values(results):
            points.append(Point(label, cost["GMACs"], ys))
    runs = max((len(point.ys) for point in points), default=1)
    spread = f", {runs} seeds and their mean" if runs > 1 else ""
    return Panel(points, "multiply-accumulates of one image / $10^9$", f"{ERRORS[JUDGED]} in mm{spread}")
