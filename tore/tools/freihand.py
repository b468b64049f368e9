"""`tore freihand`: checks a FreiHAND submission, and scores it where the released annotations are at hand.

tore freihand pred.zip --annotations datasets/freihand-site
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from tore.datasets.convert.freihand import evaluation_truth
from tore.engine.checkpoints import write_json
from tore.evaluation.freihand import doubts, read_predictions, score
from tore.evaluation.protocol import HAND_WORDS, Protocol, summary
from tore.tools.help import HelpFormatter

EXIT_BAD_INPUT = 2


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="tore freihand", description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("predictions", type=Path, help="the zip that the server takes, or its pred.json")
    parser.add_argument("--annotations", type=Path, help="folder of evaluation_xyz.json and evaluation_verts.json")
    parser.add_argument("--json", type=Path, help="write metrics, curves and protocol")
    return parser


def score_file(path: Path, annotations: Path, json_path: Path | None = None) -> str:
    """The table of a submission's metrics against the annotations in a folder; also written to `json_path`."""
    truth = evaluation_truth(annotations)
    joints, vertices = read_predictions(path)
    with tqdm(total=len(joints), unit="hand", desc="score", leave=False, disable=None, file=sys.stderr) as bar:
        result = score(joints, vertices, *truth, bar.update)
    words = HAND_WORDS | {"joint_source": "as the file gives them", "box_source": "the file's own"}
    protocol = Protocol(data=str(path), ground_truth=f"the released annotations in {annotations}", **words)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        write_json(json_path, {**result.as_dict(), "protocol": vars(protocol)})
    return summary(result, protocol, None)


def run(args: argparse.Namespace) -> None:
    """Checks, and scores where there is something to score against."""
    joints, vertices = read_predictions(args.predictions)
    print(f"{args.predictions}: {len(joints)} hands of 21 joints and 778 vertices, in metres")
    for doubt in doubts(joints, vertices):
        print(f"{args.predictions}: {doubt}", file=sys.stderr)
    if args.annotations is not None:
        print(score_file(args.predictions, args.annotations, args.json))
    elif args.json is not None:
        raise ValueError("--json writes scores, which need --annotations DIR")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs with the options of `argv`; 2 when something that the user can mend is wrong."""
    args = build_parser().parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError) as error:
        print(f"tore freihand: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
