"""Runs the whole project without a licensed file or a download, and writes a report page.

The network that comes with the project recovers the person of a photograph, is judged beside two baselines on images of
rendered people (or hands) that it never saw, recovers meshes from them, and is trained on with rendered images that are
made first; another network learns a few images by overfitting. What is done is kept: the same command resumes where it
was stopped. --from_scratch trains a new network in place of the one that comes with the project.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tore.cli.flags import FlagParser, HelpFormatter, names, shown
from tore.demo.report import write_report
from tore.demo.stages import SMALL_BACKBONE, Demo, DemoOptions
from tore.demo.training import StoppedError
from tore.engine.faults import EXIT_STOPPED
from tore.files import check_outputs
from tore_runtime.entry import entry_point


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog="tore demo", description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--body", choices=("body", "hand"), default="body", help="what is recovered")
    add("--checkpoint", type=Path, metavar="PATH", help="network to show (default: the one that ships, else new)")
    add("--from_scratch", action="store_true", help="train a new network in place of one that is there")
    add("--minutes", type=float, default=0.5, help="of training")
    add("--arch", help=f"backbone of new networks, or of a --checkpoint that does not tell [{SMALL_BACKBONE}]")
    add(*names("--val_images"), type=int, default=128, help="held-out images to be judged by; of people at most 128")
    add(*names("--train_images"), type=int, default=128, help="images to train on; more minutes deserve more")
    add("--shown", type=int, default=6, help="held-out images in the report, the first ones")
    add(*names("--overfit_images"), type=int, default=8, help="images to learn by overfitting")
    add("--overfit_steps", type=int, default=100, help="steps to learn them in, 0: leave this out")
    add(*names("--output_dir"), type=Path, default=Path("output/demo"), help="report and everything behind it")
    add("--device", default="auto", help="auto, cpu, cuda, mps")
    processes = min(os.cpu_count() or 1, 8)
    add(*names("--num_workers"), type=int, default=processes, help="processes that make images")
    add("--seed", type=int, default=0, help="of images, weights and order")
    return parser


def check(args: argparse.Namespace) -> None:
    """ValueError for numbers that cannot be."""
    lowest = {"val_images": 1, "train_images": 16, "shown": 1, "overfit_images": 1, "num_workers": 1}
    for name, least in lowest.items():
        if getattr(args, name) < least:
            raise ValueError(f"{shown(args, name)}: give {least} or more")
    if args.minutes <= 0 or args.overfit_steps < 0:
        raise ValueError(
            f"--minutes {args.minutes:g} must be above 0 and --overfit_steps {args.overfit_steps} not below"
        )
    check_outputs(folder=args.output_dir)
    if args.checkpoint is not None and args.from_scratch:
        raise ValueError("--checkpoint names a network and --from_scratch asks for a new one; leave one of them out")


@entry_point("tore demo", interrupted="stopped; the same command resumes from here")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs; 2 for bad input, 75 where a signal stopped training after it had saved, 130 where it stopped the rest."""
    args = build_parser().parse_args(argv)
    check(args)
    given = sys.argv[1:] if argv is None else argv
    try:
        found = Demo(DemoOptions(**vars(args)), say=print).run()
        report = write_report(found, args.output_dir / "report.html", command=shlex.join(["tore", "demo", *given]))
    except StoppedError as error:
        print(f"tore demo: {error}; the same command resumes from here", file=sys.stderr)
        return EXIT_STOPPED
    print(f"report: {report.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
