"""Draws a training run's curves from its `metrics.jsonl`: the loss and its terms, and the validation errors.

python scripts/plot_run.py output/metrics.jsonl --out curve.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TERMS = ("loss", "joints_3d", "vertices", "joints_2d")
ERRORS = ("mpjpe", "pa_mpjpe", "mpvpe")


def read_metrics(path: Path) -> list[dict]:
    """The lines of the file. ValueError names the line that is no JSON object."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} line {number} is no JSON object ({error}); give a run's metrics.jsonl") from None
    return rows


def draw(rows: list[dict], out: Path) -> None:
    """Left the training terms as shares of their first value, right the validation errors in millimetres."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    train = [row for row in rows if row["kind"] == "train"]
    for name in TERMS:
        points = [(row["iteration"], row[name]) for row in train if name in row]
        if points:
            left.plot([x for x, _ in points], [y / points[0][1] for _, y in points], label=name)
    left.set(title="training", xlabel="iteration", ylabel="share of the first value", yscale="log")
    judged = [row for row in rows if row["kind"] == "validation"]
    for name in ERRORS:
        points = [(row["iteration"], row[name]) for row in judged if name in row]
        right.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name.upper().replace("_", "-"))
    right.set(title="validation", xlabel="iteration", ylabel="mm")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)


def main() -> int:
    """Draws one run; 2 where the file cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", type=Path, help="metrics.jsonl of a run")
    parser.add_argument("--out", type=Path, required=True, help="image to write")
    options = parser.parse_args()
    try:
        draw(read_metrics(options.metrics), options.out)
    except (OSError, ValueError) as error:
        print(f"plot_run: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
