"""`tore freihand`: checks a FreiHAND submission, and scores it where the released annotations are at hand.

tore freihand pred.zip
tore freihand pred.zip --annotations datasets/freihand-site --report freihand.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tore.cli.flags import FlagParser, HelpFormatter
from tore.evaluation.freihand import read_predictions, sanity_warnings
from tore.evaluation.protocol import summary
from tore.files import check_outputs, write_whole
from tore.training.hand_submission import page_of, save_scores, score_file
from tore_runtime.entry import entry_point


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = FlagParser(prog="tore freihand", description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("predictions", type=Path, help="the zip that the server takes, or its pred.json")
    parser.add_argument("--annotations", type=Path, help="folder of evaluation_xyz.json and evaluation_verts.json")
    parser.add_argument("--json", type=Path, help="write metrics, curves and protocol")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a page with the curves and all figures")
    return parser


def run(args: argparse.Namespace) -> None:
    """Checks, and scores where there is something to score against."""
    joints, vertices = read_predictions(args.predictions)
    print(f"{args.predictions}: {len(joints)} hands of 21 joints and 778 vertices, in meters")
    for doubt in sanity_warnings(joints, vertices):
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
