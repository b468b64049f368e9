"""The flags about who is in the images: a detector, a file of boxes, boxes, or the center of each image."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tore.cli.flags import names, shown, typed_flags
from tore.detection import DETECTORS, Detection, detector_of, people_wanted
from tore.inference.predictor import MeshRecovery
from tore_runtime import wanted_people
from tore_runtime.boxes import FORMATS
from tore_runtime.pipeline import Job
from tore_runtime.wanted_people import BOX_FLAG, BOX_HELP, CENTER, MEDIAPIPE, USUAL, detector_name

BOXES_FLAG = "--boxes"  # an old spelling of --detector, for a file whatever its name ends in
Finder = Callable[[np.ndarray], list[Detection]]


def add_people_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --detector, --box and what belongs to them."""
    group = parser.add_argument_group("people")
    people = group.add_mutually_exclusive_group()
    detectors = (
        f"who finds people: {', '.join(DETECTORS)}, torchvision:MODEL, module:function, {CENTER} (the center of the "
        'image), or a JSON file of boxes: {"name.jpg": [[x, y, width, height], ...], ...}, with scores or without, or '
        f"COCO annotations or results [{USUAL['body']}; for hands {MEDIAPIPE} with mediapipe-hand, "
        f"else {USUAL['hand']}]"
    )
    people.add_argument(*names("--detector"), metavar="NAME", help=detectors)
    people.add_argument("--box", **BOX_FLAG, help=f"{BOX_HELP}; may be repeated")
    add = group.add_argument
    add("--people", type=_people, metavar="WHO", help="all, largest, or a number of people in an image [all]")
    add("--box_threshold", type=float, metavar="SCORE", help="leave out whom the detector or the file scores lower")
    add("--box_format", choices=tuple(FORMATS), help="what a box's four numbers are [xywh]")
    add("--detector_weights", type=Path, metavar="FILE", help="the detector's weights, in place of its usual file")
    add("--left", action="store_true", help="hands: all are left ones (the network sees them mirrored)")
    add("--left_box", **BOX_FLAG, help="hands: a left one's box, beside the right ones of --box")


def _people(text: str) -> int | str:
    try:
        return people_wanted(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def boxes_file(args: argparse.Namespace) -> Path | None:
    """The file of boxes, where --detector names one."""
    name = args.detector
    if name is None or name in (*DETECTORS, CENTER):
        return None
    is_file = typed_flags(args).get("detector") == BOXES_FLAG or name.lower().endswith(".json")
    return Path(name) if is_file or Path(name).is_file() else None


def check_people_flags(args: argparse.Namespace) -> None:
    """ValueError for flags of people that cannot be, before anything is read."""
    wanted_people.check_flags(args, boxes_file(args), shown)


def jobs_of(args: argparse.Namespace, images: Sequence[Path], tell: Callable[[str], object]) -> list[Job]:
    """The images with their boxes, where those are given, and output names; what is left out is said."""
    return wanted_people.jobs_of(args, images, boxes_file(args), args.people, tell)


def finder_for(
    args: argparse.Namespace, recovery: MeshRecovery, *, fast: bool, tell: Callable[[str], object]
) -> Finder | None:
    """From an image to its people, or hands; None where boxes are given, or the center of each image is taken.

    recovery: whose network it is. Raises ValueError and FileNotFoundError as `detector_of`.
    """
    given = bool(args.box or args.left_box) or boxes_file(args) is not None
    name = detector_name(args, recovery, given, shown, ("detector_weights",))
    if name is None:
        return None
    options = {"device": recovery.device, "weights": args.detector_weights, "fast": fast}
    options |= {"runtime": args.runtime, "tell": tell}
    detector = detector_of(name, threshold=args.box_threshold, **options)
    if getattr(detector, "hands", False) and recovery.body.kind != "hand":
        raise ValueError(f"--detector {name} finds hands, but {args.checkpoint} recovers people; leave it out")
    return partial(recovery.find, detector, people=args.people or "all")
