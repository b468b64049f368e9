"""The flags that evaluations of hands have besides: test-time augmentation, pred.json, released annotations."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from tore.datasets.augmentation import Draw
from tore.datasets.convert.freihand import TRUTH_FILES
from tore.datasets.convert.reading import require
from tore.tools.hand_predictions import HandWishes
from tore.tools.help import take_negative_numbers

SCALES = (0.7, 0.8, 0.9, 1.0, 1.1)
ROTATIONS = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0)
REFERENCE = Draw()  # the crop as it is, to which the others are aligned


def add_hand_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them to a parser as a group."""
    group = parser.add_argument_group(
        "hands", "what evaluations of hands do besides (of a training script: with --run_eval_only)"
    )
    group.add_argument(
        "--multiscale_inference",
        action="store_true",
        help="average over views: every scale of --sc with every rotation of --rot, aligned to the plain crop's mesh",
    )
    group.add_argument(
        "--sc", type=float, nargs="+", default=SCALES, metavar="SCALE", help="of the crop's side, 1: as it is"
    )
    group.add_argument("--rot", type=float, nargs="+", default=ROTATIONS, metavar="DEGREES", help="of the picture")
    take_negative_numbers(parser)  # for --rot
    group.add_argument("--pred_zip", type=Path, help="write FreiHAND's pred.json, zipped as its server takes it")
    group.add_argument(
        "--annotations", type=Path, help="folder of evaluation_xyz.json and evaluation_verts.json, to score against"
    )


def views_of(args: argparse.Namespace) -> tuple[Draw, ...]:
    """The views that the flags ask for beside the plain crop. ValueError for a scale that shows nothing."""
    if not args.multiscale_inference:
        return ()
    if min(args.sc) <= 0:
        raise ValueError(f"--sc {min(args.sc):g} shows nothing of a picture; use scales above 0, such as 0.7")
    views = (Draw(scale=scale, rotation=rotation) for scale, rotation in product(args.sc, args.rot))
    return tuple(view for view in dict.fromkeys(views) if view != REFERENCE)


def wishes_of(args: argparse.Namespace, usual_zip: Path | None = None) -> HandWishes:
    """What the flags ask for; `usual_zip`: where the submission goes, if it can be made, when they do not say.

    Raises ValueError for annotations without predictions to score, FileNotFoundError where they are missing.
    """
    if args.annotations is not None and args.pred_zip is None and usual_zip is None:
        raise ValueError("--annotations scores a submission: name it with --pred_zip FILE.zip")
    for name in TRUTH_FILES if args.annotations is not None else ():
        require(args.annotations / name)
    return HandWishes(views_of(args), args.pred_zip or usual_zip, args.annotations, args.pred_zip is not None)
