"""The tables, files and image of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tore.analysis.cost import PARTS
from tore.analysis.subjects import Subject
from tore.analysis.tables import Panel, Point, markdown

Row = dict[str, Any]
PAPER_NAMES = {"paper GFLOPs": "cost", "paper images/s": "images_per_second", "paper PA-MPJPE": "pa_mpjpe"}
GMACS_TITLE = "multiply-accumulates of one image / $10^9$"


def cost_row(subject: Subject) -> Row:
    """Parameters in millions; multiply-accumulates / 1e9 as in the official code, as run here, and by part."""
    cost = subject.cost
    row = {"subject": subject.label, "Mparams": cost.total_parameters / 1e6}
    row |= {"GMACs": cost.total_macs / 1e9, "GMACs here": cost.total_macs_here / 1e9}
    return row | {part: cost.macs[part] / 1e9 for part in PARTS}


def paper_row(subject: Subject, timings: Sequence[Row]) -> Row:
    """Our numbers and the paper's of one network, each in a column of its own; None where there is none."""
    own = [timing["images/s"] for timing in timings if timing["subject"] == subject.label]
    here = {
        "paper GFLOPs": ("GMACs", round(subject.cost.total_macs / 1e9, 1)),
        "paper images/s": ("best images/s", max(own, default=None)),
        "paper PA-MPJPE": ("PA-MPJPE", subject.request.pa_mpjpe),
    }
    row: Row = {"subject": subject.label}
    for column, name in PAPER_NAMES.items():
        row |= dict([here[column]]) | {column: getattr(subject.paper, name, None)}
    return row


def flat_rows(subjects: Sequence[Subject], timings: Sequence[Row]) -> list[Row]:
    """For CSV and JSON: all that is known of a subject before each of its timings, or alone where it has none."""
    rows = []
    for subject in subjects:
        parameters = subject.cost.parameters.items()
        fixed = subject.facts() | cost_row(subject) | {f"Mparams {part}": count / 1e6 for part, count in parameters}
        fixed |= {"PA-MPJPE": subject.request.pa_mpjpe}
        fixed |= {column: getattr(subject.paper, name, None) for column, name in PAPER_NAMES.items()}
        rows += [fixed | timing for timing in timings if timing["subject"] == subject.label] or [fixed]
    return rows


def report(
    subjects: Sequence[Subject], timings: Sequence[Row], stages: Sequence[Row], *, paper: bool, protocol: str
) -> str:
    """What a person reads: cost by part, times, stages, and with `paper` the paper's numbers beside ours."""
    costs = [cost_row(subject) for subject in subjects]
    empty = [part for part in PARTS if not any(row[part] for row in costs)]
    costs = [{name: value for name, value in row.items() if name not in empty} for row in costs]
    parts = [
        "Cost: parameters in millions, multiply-accumulates / 1e9 of one image (the paper's GFLOPs) as the official",
        'code runs them and by part; "here" as this code runs them.\n',
        markdown(costs),
    ]
    if timings:
        parts += [f"\nThe network alone. {protocol}\n", markdown(timings)]
    if stages:
        parts += ["\nEnd to end, milliseconds an image: medians.\n", markdown(stages)]
    if paper:
        parts += [
            "\nBeside the paper, whose columns are its own: PA-MPJPE in mm on Human3.6M, images/s on its GPU.\n",
            markdown([paper_row(subject, timings) for subject in subjects]),
        ]
    return "\n".join(parts)


def panels_of(subjects: Sequence[Subject], timings: Sequence[Row]) -> list[Panel]:
    """Throughput against cost for every type and batch, and the error where any subject has one."""
    gmacs = {subject.label: subject.cost.total_macs_here / 1e9 for subject in subjects}
    panels = []
    for dtype, batch in dict.fromkeys((timing["dtype"], timing["batch"]) for timing in timings):
        same = [timing for timing in timings if (timing["dtype"], timing["batch"]) == (dtype, batch)]
        points = [Point(timing["subject"], gmacs[timing["subject"]], (timing["images/s"],)) for timing in same]
        panels.append(Panel(points, GMACS_TITLE, f"images a second, batch {batch}, {dtype}", from_zero=True))
    judged = [subject for subject in subjects if subject.request.pa_mpjpe is not None]
    if judged:
        points = [Point(s.label, gmacs[s.label], (s.request.pa_mpjpe or 0.0,)) for s in judged]
        panels.append(Panel(points, GMACS_TITLE, "PA-MPJPE in mm"))
    return panels
