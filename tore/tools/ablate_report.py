"""The table and the picture of an ablation: what each cell costs, and how far it came."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tore.files import write_whole
from tore.tools.ablate_grid import Cell
from tore.tools.cost_plot import Panel, Point, draw
from tore.tools.tables import csv_text, markdown

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
        return f"{table}\n\nno run has a {ERRORS[JUDGED]}: no sample of the validation set has labelled 3D joints"
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
    return Panel(points, "multiply-accumulates of one picture / $10^9$", f"{ERRORS[JUDGED]} in mm{spread}")
