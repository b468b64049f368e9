"""What a command line says of the people in its images: boxes, a file of boxes, a detector, or the center of each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from tore_runtime.boxes import parse_boxes, read_boxes
from tore_runtime.detector import chosen
from tore_runtime.finding import Finding
from tore_runtime.inputs import detections_for, output_stems
from tore_runtime.pipeline import Job
from tore_runtime.reports import Row

MOVENET, MEDIAPIPE = "movenet", "mediapipe"
CENTER = "none"  # no detector: the center of each image, as in the official script
USUAL = {"body": MOVENET, "hand": CENTER}  # by kind; a network of upright hands has MEDIAPIPE
Shown = Callable[[argparse.Namespace, str], str]  # how a flag is told, by its destination
BOX_FLAG: dict[str, Any] = {"nargs": "+", "action": "extend", "metavar": "X,Y,W,H"}  # of --box and --left_box
BOX_HELP = "a person's box in pixels; networks on MoveNet are shown it rotated where keypoints are surer that way"


def plain_flag(args: argparse.Namespace, dest: str) -> str:
    """A flag by its own name."""
    return f"--{dest}"


def usual_detector(recovery: Finding) -> str:
    """Who finds people or hands for a network where nobody is named."""
    return MEDIAPIPE if recovery.image_format.upright else USUAL[recovery.kind]


def check_flags(args: argparse.Namespace, file: Path | None, shown: Shown = plain_flag) -> None:
    """ValueError for flags that do not go together, or a threshold that no score is above or below.

    file: of boxes, whose scores are on any scale; a detector's are from 0 to 1.
    """
    boxes = args.box or args.left_box
    if args.left_box and (args.detector or args.left):
        raise ValueError("--left_box goes with --box alone; beside a file of boxes --left says that all are left hands")
    if args.box_format and not (file or boxes):
        raise ValueError("--box_format goes with a file of boxes, --box and --left_box; leave it out")
    if boxes or args.detector == CENTER:
        why = "the boxes are given" if boxes else "nobody is looked for"
        refuse(args, ("box_threshold", "people"), why, shown)
    threshold = args.box_threshold
    if threshold is not None and not (isfinite(threshold) if file else 0 <= threshold <= 1):
        scores = f"a finite number, on the scale of the scores in {file}" if file else "a score from 0 to 1"
        raise ValueError(f"--box_threshold {threshold:g}: give {scores}")


def jobs_of(
    args: argparse.Namespace,
    images: Sequence[Path],
    file: Path | None,
    people: int | str | None,
    tell: Callable[[str], object],
) -> list[Job]:
    """The images with their boxes, where those are given, and output names; what is left out is said.

    file: of boxes. people: how many of each image, None where it is not said. `check_flags` has passed the flags.
    """
    box_format = args.box_format or "xywh"
    right, left = (parse_boxes(words, box_format) if words else [] for words in (args.box, args.left_box))
    boxes: list[Any] = [right + left or None] * len(images)
    if file is not None:
        found, notes = detections_for(images, read_boxes(file, box_format, args.box_threshold))
        boxes = [chosen(own, people or "all") for own in found]
        for note in notes:
            tell(note)
    sides = [False] * len(right) + [True] * len(left) if left else args.left or None
    stems = output_stems(images, args.output_dir)
    return [Job(*parts, sides) for parts in zip(images, stems, boxes, strict=True)]


def detector_name(
    args: argparse.Namespace, recovery: Finding, given: bool, shown: Shown = plain_flag, weights: Sequence[str] = ()
) -> str | None:
    """Who is to find people or hands; None where boxes are `given`, or the center of each image is taken.

    weights: flags about a detector's networks. Raises ValueError for flags that come to nothing.
    """
    name = args.detector or usual_detector(recovery)
    if given or name == CENTER:
        refuse(args, weights, "no detector is at work", shown)
        if not given:
            refuse(args, ("box_threshold", "people"), "nobody is looked for; name a --detector", shown)
        return None
    if args.left:
        raise ValueError(f"--left: the detector {name} tells which hands are left ones; leave it out")
    return name


def refuse(args: argparse.Namespace, flags: Sequence[str], why: str, shown: Shown) -> None:
    """ValueError where one of the flags is given."""
    for dest in flags:
        if getattr(args, dest) is not None:
            raise ValueError(f"{shown(args, dest)}: {why}; leave it out")


def doubts(rows: Sequence[Row], args: argparse.Namespace, file: Path | None) -> list[str]:
    """Sentences where boxes were left out or may hold corners, and where a file of boxes left nobody."""
    outside, told = sum(row.outside for row in rows), []
    people = sum(row.people for row in rows) + outside
    beyond = sum(row.beyond for row in rows) + outside
    if outside:
        told.append(f"{outside} of {people} boxes lie outside of their image and were left out")
    if file and not people and not any(row.failed for row in rows):
        told.append(f"nobody was recovered: {file} has no box for any image that could be read")
    if (file or args.box) and 2 * beyond >= people > 0 and args.box_format is None and beyond:
        told.append(f"{beyond} of {people} boxes reach beyond their image; if they are corners, add --box_format xyxy")
    return told
