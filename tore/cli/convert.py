"""`tore convert SOURCE`: a METRO TSV set from annotations and images as their sites give them (docs/DATA.md)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tore.cli.flags import FlagParser, HelpFormatter, add_body_dir, names
from tore.datasets.convert.coco import CocoKeypoints
from tore.datasets.convert.entries import Source
from tore.datasets.convert.freihand import BACKGROUNDS, FreiHand
from tore.datasets.convert.spin import SpinAnnotations
from tore.datasets.convert.threedpw import SPLITS, Pose2MeshAnnotations, ThreeDPWSequences
from tore.datasets.convert.writing import convert
from tore.files import check_outputs
from tore_runtime.entry import entry_point

SET_NAMES = {"training": "train", "evaluation": "test", "test": "test_has_gender"}


def build_parser() -> argparse.ArgumentParser:
    """One sub-command per source."""
    parser = FlagParser(prog="tore convert", description=__doc__, formatter_class=HelpFormatter)
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")

    spin = sources.add_parser("spin", help="an .npz annotation file of GraphCMR or SPIN", formatter_class=HelpFormatter)
    spin.add_argument("--annotations", required=True, help="the .npz file")
    spin.add_argument("--images", required=True, help="folder that the file's image names start from")
    spin.add_argument("--name", required=True, help="name of the set, for example train")

    coco = sources.add_parser("coco", help="2D keypoints in COCO's form", formatter_class=HelpFormatter)
    coco.add_argument("--annotations", required=True, help="the JSON file, for example person_keypoints_train2017.json")
    coco.add_argument("--images", required=True, help="folder that the file's image names start from")
    coco.add_argument("--name", required=True, help="name of the set, for example train")

    site = sources.add_parser("3dpw", help="3DPW as its site gives it", formatter_class=HelpFormatter)
    site.add_argument("--root", required=True, help="folder that holds imageFiles and sequenceFiles")
    site.add_argument("--split", required=True, choices=SPLITS)
    site.add_argument("--name", help="name of the set (default: train, validation, test_has_gender)")

    mesh = sources.add_parser("3dpw-pose2mesh", help="3DPW as Pose2Mesh gives it", formatter_class=HelpFormatter)
    mesh.add_argument("--root", required=True, help="folder that holds imageFiles")
    mesh.add_argument("--annotations", required=True, help="3DPW_train.json or 3DPW_test.json")
    mesh.add_argument("--name", required=True, help="name of the set; the official ones are train, test_has_gender")

    hand = sources.add_parser("freihand", help="FreiHAND as its site gives it", formatter_class=HelpFormatter)
    hand.add_argument("--root", required=True, help="folder that holds training, evaluation and their JSON files")
    hand.add_argument("--split", required=True, choices=sorted(BACKGROUNDS))
    hand.add_argument("--name", help="name of the set (default: train, test)")

    for command in (site, mesh):
        add_body_dir(command, data_sets=False)
    for command in (spin, coco, site, mesh, hand):
        command.add_argument(*names("--output_dir"), required=True, help="folder of the new set")
        command.add_argument("--skip_missing", action="store_true", help="leave out and count rows without an image")
        command.add_argument("--restart", action="store_true", help="delete the set that is there and begin anew")
        command.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def open_source(options: argparse.Namespace) -> Source:
    """The source that the options name."""
    if options.source == "spin":
        return SpinAnnotations(options.annotations)
    if options.source == "coco":
        return CocoKeypoints(options.annotations)
    if options.source == "3dpw":
        return ThreeDPWSequences(options.root, options.split, body_dir=options.body_dir)
    if options.source == "3dpw-pose2mesh":
        return Pose2MeshAnnotations(options.annotations, body_dir=options.body_dir)
    return FreiHand(options.root, options.split)


def summary(report: dict[str, Any], yaml: str) -> str:
    """The report as lines of text."""
    shares = "  ".join(f"{flag} {share:.1%}" for flag, share in report["shares"].items())
    lines = [f"{yaml}: {report['rows']} rows of {report['entries']}", f"  {shares}"]
    for reason, found in report["left_out"].items():
        lines.append(f"  left out {found['count']}: {reason}, for example {found['first'][0]}")
    return "\n".join(lines)


@entry_point("tore convert", interrupted="stopped; the same command resumes from here")
def main(argv: Sequence[str] | None = None) -> int:
    """Converts, prints the report; 2 and one sentence on stderr where that fails."""
    options = build_parser().parse_args(argv)
    name = options.name or SET_NAMES.get(options.split, options.split)
    images = options.images if options.source in ("spin", "coco") else options.root
    check_outputs(folder=options.output_dir)
    source = open_source(options)
    switches = {"skip_missing": options.skip_missing, "restart": options.restart}
    report = convert(source, images, options.output_dir, name, **switches, show_progress=not options.quiet)
    print(summary(report, f"{options.output_dir}/{name}.yaml"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
