"""Rows of plain values as a Markdown table, as CSV, and as files that appear whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

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
