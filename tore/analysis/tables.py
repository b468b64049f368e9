"""Tables and cost plots."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tore.files import write_whole

Rows = Sequence[Mapping[str, Any]]


def shown(value: Any) -> str:
    """A cell for a person: "-" for nothing, one decimal of large and of round numbers, three of small ones."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    return f"{value:.{1 if size >= 100 or value == round(value, 1) else 2 if size >= 1 else 3}f}"


def markdown(rows: Rows) -> str:
    """The rows under their first row's keys, columns padded so that it reads as it is; numbers to the right."""
    names = list(rows[0])
    cells = [names, *([shown(row.get(name)) for name in names] for row in rows)]
    numeric = [all(isinstance(row.get(name), (int, float, type(None))) for row in rows) for name in names]
    widths = [max(3, *(len(line[column]) for line in cells)) for column in range(len(names))]

    def line(texts: Sequence[str]) -> str:
        padded = (t.rjust(w) if n else t.ljust(w) for t, w, n in zip(texts, widths, numeric, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, numeric, strict=True))
    return "\n".join([line(cells[0]), f"|{rule}|", *map(line, cells[1:])])


def csv_text(rows: Rows) -> str:
    """The rows as CSV with every key that any row has, in order of appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


MARKERS = "osD^vP*X<>"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")  # Okabe and Ito's
DOTS_PER_INCH = 110
LEAST_SPAN = 0.2  # of an axis, as a share of its middle: smaller differences shall look small


@dataclass(frozen=True)
class Point:
    """One network: what it costs and one or more values of what that buys."""

    label: str
    x: float
    ys: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """A diagram's points and the names of its axes; `from_zero`: the upright axis begins at 0."""

    points: Sequence[Point]
    x_title: str
    y_title: str
    from_zero: bool = False


def need_plot_package() -> None:
    """ImportError with one sentence where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(f'drawing a plot needs matplotlib: pip install "tore[render]" ({error})') from error


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Writes the panels beside each other under one legend, as PNG.

    A label has the same color and mark in every panel; several values are small marks with their mean over them.
    Raises ImportError where matplotlib is missing.
    """
    need_plot_package()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels) + 2.2, 4.2), layout="constrained")
    labels = list(dict.fromkeys(point.label for panel in panels for point in panel.points))
    styles = {label: (COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]) for i, label in enumerate(labels)}
    handles = {}
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for point in panel.points:
            color, marker = styles[point.label]
            if len(point.ys) > 1:
                axes.plot([point.x] * len(point.ys), point.ys, marker, color=color, ms=4, alpha=0.5, ls="-", lw=0.8)
            (handles[point.label],) = axes.plot(point.x, statistics.mean(point.ys), marker, color=color, ms=8)
        axes.set(xlabel=panel.x_title, ylabel=panel.y_title)
        axes.set(xlim=_widened(axes.get_xlim()), ylim=_widened(axes.get_ylim()))
        if panel.from_zero:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.legend([handles[label] for label in labels], labels, loc="outside right center", frameon=False, fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH)
    write_whole(path, stream.getvalue())


def _widened(limits: tuple[float, float]) -> tuple[float, float]:
    """An axis's limits, or wider ones about the same middle where they span less than `LEAST_SPAN` of it."""
    low, high = limits
    middle = (low + high) / 2
    half = max(high - low, LEAST_SPAN * abs(middle)) / 2
    return middle - half, middle + half
