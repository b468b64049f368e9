"""The runs of an ablation: one budget, one set of settings, each cell through the training script's own engine."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from typing import Any

from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.schedule import iterations_per_epoch
from tore.files import read_json, write_json
from tore.tools.ablate_grid import TRAINERS, Cell, cell_arguments
from tore.tools.train_run import run

SETTINGS, RESULT = "ablation.json", "result.json"


def set_budget(args: argparse.Namespace) -> int:
    """Sets `args.num_train_epochs` to what `args.steps` comes to, and returns the steps of those whole epochs.

    Raises ValueError for a budget or a training set that gives no step, or where nothing would be judged.
    """
    if args.steps < 1 or args.val_yaml.lower() == "none":
        raise ValueError("an ablation needs --steps of at least 1 and a --val_yaml")
    samples = len(MeshDataset(Path(args.data_dir) / args.train_yaml, True, "body"))
    per_epoch = iterations_per_epoch(samples, args.per_gpu_train_batch_size * args.accumulate)
    args.num_train_epochs = -(-args.steps // per_epoch)
    return args.num_train_epochs * per_epoch


def claim(folder: Path, settings: dict[str, Any]) -> None:
    """Notes in the folder what holds for all of its cells.

    Raises ValueError where it holds an ablation under other settings, naming the first that differ.
    """
    path = folder / SETTINGS
    wanted = json.loads(json.dumps(settings))
    if path.is_file():
        there = read_json(path)
        if not isinstance(there, dict):
            raise ValueError(f"{path} holds no settings of an ablation: give another --out")
        other = [f"--{n} {there.get(n)} (now {wanted[n]})" for n in wanted if there.get(n) != wanted[n]]
        if other:
            raise ValueError(f"{folder} holds an ablation with {', '.join(other)}: give the same, or another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)


def place_of(folder: Path, cell: Cell, seed: int) -> Path:
    """The folder of a cell's run."""
    return folder / cell.name / f"seed-{seed}"


def train_cell(args: argparse.Namespace, cell: Cell, seed: int, folder: Path) -> int:
    """Trains and evaluates one cell, from where an earlier call was cut off, and notes its result.

    Returns the training script's exit code; what it raises is not caught.
    """
    flags = cell_arguments(args, cell, seed, folder)
    code = run(flags, network=cell.network, kind="body", network_options=TRAINERS[cell.network].network_options)
    if code == 0:
        write_json(folder / RESULT, {**cell.facts(), "seed": seed, **last_validation(folder / "metrics.jsonl")})
    return code


def last_validation(path: Path) -> dict[str, Any]:
    """The errors after the last epoch (not the best ones): {"steps", "mpjpe", "pa_mpjpe", ...}."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["kind"] == "validation"][-1]
    return {"steps": last["iteration"]} | {n: v for n, v in last.items() if n not in ("kind", "iteration", "epoch")}


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
