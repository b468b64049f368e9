"""`tore freihand`: checks a FreiHAND submission, and scores it where the released annotations are at hand.

tore freihand pred.zip --annotations datasets/freihand-site
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tore import __version__
from tore.datasets.convert.freihand import evaluation_truth
from tore.entry import entry_point
from tore.evaluation.evaluator import MILLIMETRES, EvaluationResult
from tore.evaluation.freihand import doubts, read_predictions, score
from tore.evaluation.hand_shares import CURVE_LIMIT, CURVE_STEPS
from tore.evaluation.protocol import HAND_WORDS, Protocol, summary, unit_of
from tore.files import check_outputs, write_json, write_whole
from tore.tools.help import HelpFormatter
from tore.visualize import report
from tore.visualize.charts import Series, line_chart

NAME_WIDTH = 13  # characters of a protocol line's name


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="tore freihand", description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("predictions", type=Path, help="the zip that the server takes, or its pred.json")
    parser.add_argument("--annotations", type=Path, help="folder of evaluation_xyz.json and evaluation_verts.json")
    parser.add_argument("--json", type=Path, help="write metrics, curves and protocol")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a page with the curves and all figures")
    return parser


def score_file(path: Path, annotations: Path) -> tuple[EvaluationResult, Protocol]:
    """A submission's metrics against the annotations in a folder, and how they were measured."""
    truth = evaluation_truth(annotations)
    joints, vertices = read_predictions(path)
    with tqdm(total=len(joints), unit="hand", desc="score", leave=False, disable=None, file=sys.stderr) as bar:
        result = score(joints, vertices, *truth, bar.update)
    words = HAND_WORDS | {"joint_source": "as the file gives them", "box_source": "the file's own"}
    return result, Protocol(data=str(path), ground_truth=f"the released annotations in {annotations}", **words)


def save_scores(path: Path, result: EvaluationResult, protocol: Protocol) -> None:
    """Metrics, curves and protocol as JSON."""
    write_json(path, {**result.as_dict(), "protocol": vars(protocol)})


def page_of(result: EvaluationResult, protocol: Protocol) -> str:
    """The same as a page: figures, the curves, every joint, the protocol."""
    limits = np.linspace(0, CURVE_LIMIT * MILLIMETRES, CURVE_STEPS).tolist()
    shares = {name.split("_")[0]: [100 * share for share in curve] for name, curve in result.curves.items()}
    chart = line_chart(
        [Series(name, list(zip(limits, curve, strict=True))) for name, curve in shares.items()],
        label="share of aligned errors within a distance",
        x_label="mm",
        y_label="%",
    )
    tiles = [(f"{value:.3f} {unit_of(name)}".rstrip(), name) for name, value in result.metrics.items()]
    joints = [
        (name, *(f"{errors[key]:.2f}" if key in errors else "-" for key in ("mpjpe", "pa_mpjpe")))
        for name, errors in result.per_joint.items()
    ]
    facts = [(line[:NAME_WIDTH].strip(), line[NAME_WIDTH:]) for line in protocol.lines(result)]
    sections = [
        report.Section("Within how many millimetres", report.card(chart)),
        report.Section("Every joint", report.table(("joint", "MPJPE", "PA-MPJPE"), joints)),
        report.Section("How it was measured", report.words_table(facts)),
    ]
    title = "Hands against FreiHAND's annotations"
    return report.page(title, report.tiles(tiles), sections, report.paragraph(f"tore {__version__}", "soft"))


def run(args: argparse.Namespace) -> None:
    """Checks, and scores where there is something to score against."""
    joints, vertices = read_predictions(args.predictions)
    print(f"{args.predictions}: {len(joints)} hands of 21 joints and 778 vertices, in metres")
    for doubt in doubts(joints, vertices):
        print(f"{args.predictions}: {doubt}", file=sys.stderr)
    if args.annotations is None:
        if args.json or args.report:
            raise ValueError("--json and --report write scores, which need --annotations DIR")
        return
    result, protocol = score_file(args.predictions, args.annotations)
    print(summary(result, protocol, None))
    if args.json is not None:
        save_scores(args.json, result, protocol)
    if args.report is not None:
        write_whole(args.report, page_of(result, protocol))


@entry_point("tore freihand")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs with the options of `argv`; 2 when something that the user can mend is wrong."""
    args = build_parser().parse_args(argv)
    check_outputs(args.json, args.report)
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
