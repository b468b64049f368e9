"""Recovers the people or hands of images by exported networks, and draws and saves their meshes; without torch.

tore-infer photo.jpg
tore-infer --body hand photo.jpg
tore-infer photo.jpg folder/ "*.png" --save_mesh obj --output_dir out
tore-infer photo.jpg --networks DIR

The networks are exports: those that came with the package, or those of DIR (`tore export people --output_dir DIR`, and
`tore export hands` with the same DIR for hands).
<name>_tore_pred.jpg is written, the image and the meshes over it side by side, with a file for each person. Exit code:
0 if every image was processed, 1 if some could not be read, drawn or written (each is named, the others are processed),
2 if nothing could start.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tore_runtime import wanted_people
from tore_runtime.boxes import FORMATS as BOX_FORMATS
from tore_runtime.detector import Detection, people_wanted
from tore_runtime.entry import check_numbers, entry_point
from tore_runtime.files import check_output_folder
from tore_runtime.focal_length import OFFICIAL, FocalChoice
from tore_runtime.hands import THRESHOLD as HAND_THRESHOLD
from tore_runtime.inputs import find_images
from tore_runtime.mesh_files import FORMATS as MESH_FORMATS
from tore_runtime.mesh_files import SCENE_FORMATS, need_mesh_packages
from tore_runtime.names import json_text, readable
from tore_runtime.outputs import TURNS, Wanted
from tore_runtime.pipeline import Job, Run
from tore_runtime.predictor import (
    FINDER,
    LANDMARKS,
    NETWORKS,
    PALMS,
    PLACER,
    RUNTIME,
    ExportedRecovery,
    hand_finder,
    hand_placer,
    keypoint_placer,
    networks_folder,
    people_finder,
)
from tore_runtime.record import is_export
from tore_runtime.reports import Row, frames_text, line_of, outside_text, row_of, table_of
from tore_runtime.result import FORMATS as RESULT_FORMATS
from tore_runtime.sessions import PRECISIONS, RUNTIMES
from tore_runtime.wanted_people import BOX_FLAG, BOX_HELP, CENTER, MEDIAPIPE, MOVENET, detector_name, doubts, jobs_of

EXIT_SOME_FAILED = 1
NEEDS_TORCH = {  # flags of `tore infer` that are none here
    "save_poses": "poses are fitted by the body model's solver",
    "fit": "poses are fitted by the body model's solver",
    "frame_rate": "it is written with the poses, which are fitted by the body model's solver",
    "refine": "people are moved by the body model's solver",
}
Finder = Callable[[np.ndarray], list[Detection]]


def build_parser() -> argparse.ArgumentParser:
    """The flags, which are spelled as those of `tore infer`."""
    parser = argparse.ArgumentParser(
        prog="tore-infer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("image", nargs="+", metavar="IMAGE", help="images, folders, quoted patterns")
    add("--body", choices=tuple(NETWORKS), help="whom to recover, where no network is named [body]")
    made = "what `tore export people` and `hands` made [TORE_RUNTIME_DIR, the package's]"
    add("--networks", type=Path, metavar="DIR", help=made)
    add("--checkpoint", type=Path, metavar="DIR", help="another network's export in the place of the one there")
    add("--output_dir", type=Path, metavar="DIR", help="where to write (default: beside each image)")
    who = f"{MOVENET}, {MEDIAPIPE} (hands), {CENTER} (the center of the image), or a JSON file of boxes "
    who += f"[{MOVENET}; for hands {MEDIAPIPE} where the network sees them upright, else {CENTER}]"
    people = parser.add_mutually_exclusive_group()
    people.add_argument("--detector", metavar="NAME", help=who)
    people.add_argument("--box", **BOX_FLAG, help=BOX_HELP)
    add("--people", metavar="WHO", help="all, largest, or a number of people in an image [all]")
    add("--box_threshold", type=float, metavar="SCORE", help="leave out whom the detector or the file scores lower")
    add("--box_format", choices=tuple(BOX_FORMATS), help="what a box's four numbers are [xywh]")
    add("--left", action="store_true", help="hands: all are left ones")
    add("--left_box", **BOX_FLAG, help="hands: a left one's box, beside the right ones of --box")
    add("--focal_length", type=_focal_length, help=f"of the images' camera, pixels, or {OFFICIAL}")
    add("--fov", type=float, metavar="DEGREES", help="field of view over the longer side")
    add("--save_mesh", choices=MESH_FORMATS, help="write each mesh")
    add("--save_scene", choices=SCENE_FORMATS, help="write all people of an image before its camera into one file")
    add("--save_results", choices=RESULT_FORMATS, help="write joints, vertices, cameras, names and units")
    add("--views", nargs="*", choices=tuple(TURNS), help="draw the mesh from other sides (alone: side and back)")
    add("--show_tokens", action="store_true", help="draw the attention map of each kept image token")
    add("--no_overlay", action="store_true", help="leave <name>_tore_pred.jpg out")
    add("--batch_size", type=int, help="most people in one pass [as many as keep the processor busy]")
    add("--runtime", choices=RUNTIMES, default=RUNTIME, help=f"what runs the networks [{RUNTIME}]")
    add("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="of the network in openvino [float32]")
    add("--threads", type=int, help="of the processor [all]")
    add("--overwrite", action="store_true", help="replace files that are there")
    add("--json_lines", action="store_true", help="print one JSON object per image instead of the table")
    for name in ("save_poses", "frame_rate"):
        add(f"--{name}", help=argparse.SUPPRESS)
    for name in ("fit", "refine"):
        add(f"--{name}", action="store_const", const=True, help=argparse.SUPPRESS)
    return parser


def _focal_length(text: str) -> float | str:
    return text if text == OFFICIAL else float(text)


def tell(text: str) -> None:
    """One line beside the results."""
    print(f"tore-infer: {readable(text)}", file=sys.stderr)


def wanted_files(args: argparse.Namespace) -> Wanted:
    """Which files to write. ValueError where there are none."""
    views = tuple(args.views or ("side", "back")) if args.views is not None else ()
    chosen_files = (args.save_mesh, args.save_results, args.save_scene)
    wanted = Wanted(not args.no_overlay, views, args.show_tokens, *chosen_files)
    if wanted.mesh or wanted.scene:
        need_mesh_packages()
    if not (wanted.endings() or wanted.scene or args.json_lines):
        choices = "--save_results, --save_mesh, --save_scene or --json_lines"
        raise ValueError(f"--no_overlay leaves nothing to write; add {choices}")
    return wanted


def boxes_file(args: argparse.Namespace) -> Path | None:
    """The file of boxes, where --detector names one. ValueError for what is no detector here."""
    if args.detector in (None, MOVENET, MEDIAPIPE, CENTER):
        return None
    if not args.detector.lower().endswith(".json"):
        known = f"{MOVENET}, {MEDIAPIPE}, {CENTER} or a file of boxes"
        raise ValueError(f"--detector {args.detector} is not known here: use {known}")
    return Path(args.detector)


def check_flags(args: argparse.Namespace) -> None:
    """ValueError for flags that cannot be, before anything is read."""
    for name, why in NEEDS_TORCH.items():
        if getattr(args, name) is not None:
            raise ValueError(f"--{name}: {why}, which needs torch; use `tore infer` of the package tore for it")
    FocalChoice(args.focal_length, args.fov)
    check_numbers(args, {"batch_size": 1, "threads": 1})
    wanted_people.check_flags(args, boxes_file(args))
    check_output_folder(args.output_dir)


def recovery_for(args: argparse.Namespace) -> ExportedRecovery:
    """The network. ValueError for flags that it does not go with; says what of its outputs is not saved."""
    name = NETWORKS[args.body or "body"]
    network = args.checkpoint or networks_folder(args.networks, name) / name
    options = {"runtime": args.runtime, "precision": args.precision, "threads": args.threads}
    recovery = ExportedRecovery(network, networks=args.networks, **options)
    if args.body not in (None, recovery.kind):
        whom = "hands" if recovery.kind == "hand" else "people"
        raise ValueError(f"--body {args.body}: {network} recovers {whom}; leave --body out")
    if args.show_tokens and not recovery.prunes_tokens:
        raise ValueError(f"{network} says nothing of image tokens; leave --show_tokens out")
    if (args.left or args.left_box) and recovery.kind != "hand":
        raise ValueError(f"{network} recovers people; leave --left and --left_box out")
    if "rotations" in recovery.record.outputs and (args.save_results or args.json_lines):
        tell(f"{network} tells pose and shape too, which are not saved: they need the body model; `tore infer` has it")
    return recovery


def folder_with(name: str, args: argparse.Namespace, recovery: ExportedRecovery) -> Path:
    """The folder of a detector's export: the network's neighbor, else the one of `networks_folder`."""
    return recovery.networks if is_export(recovery.networks / name) else networks_folder(args.networks, name)


def finder_for(args: argparse.Namespace, recovery: ExportedRecovery, people: int | str) -> Finder | None:
    """From an image to its people or hands; None where boxes are given, or the center of each image is taken."""
    given = bool(args.box or args.left_box) or boxes_file(args) is not None
    name = detector_name(args, recovery, given)
    options = {"runtime": args.runtime, "threads": args.threads}
    if recovery.image_format.upright and name != MEDIAPIPE:
        recovery.hand_placer = hand_placer(folder_with(LANDMARKS, args, recovery), **options)
    if given and recovery.turns_people:
        try:
            recovery.keypoint_placer = keypoint_placer(folder_with(PLACER, args, recovery), **options)
        except FileNotFoundError as lacking:
            recovery.turns_people = False
            tell(f"people in boxes stay upright, none is looked at for its rotation: {lacking}")
    if name is None:
        return None
    if name == MEDIAPIPE and recovery.kind != "hand":
        raise ValueError(f"--detector {name} finds hands, but {recovery.checkpoint} recovers people; leave it out")
    if name == MOVENET:
        finder = people_finder(folder_with(FINDER, args, recovery), threshold=args.box_threshold, **options)
        return partial(recovery.find, finder, people=people)
    least = HAND_THRESHOLD if args.box_threshold is None else args.box_threshold
    palms = hand_finder(folder_with(PALMS, args, recovery), threshold=least, **options)
    recovery.hand_placer = palms.placer
    return partial(recovery.find, palms, people=people)


def follow(run: Run, jobs: list[Job], json_lines: bool) -> list[Row]:
    """Runs all jobs, names failures at once; returns the table's rows."""
    rows = []
    for report in run(jobs):
        if report.error:
            tell(report.error)
        elif run.finder is not None and not report.people:
            nobody = "no hand" if run.recovery.kind == "hand" else "nobody"
            tell(f"{report.job.image}: {nobody} was found; a lower --box_threshold may find more")
        if report.frames > 1:
            tell(frames_text(report))
        if report.outside:
            tell(outside_text(report))
        if json_lines:
            print(json_text(line_of(report)), flush=True)
        rows.append(row_of(report))
    return rows


@entry_point("tore-infer")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; see the exit codes above."""
    args = build_parser().parse_args(argv)
    check_flags(args)
    people = people_wanted(args.people or "all")
    wanted, file = wanted_files(args), boxes_file(args)
    jobs = jobs_of(args, find_images(args.image, tell), file, people, tell)
    recovery = recovery_for(args)
    finder = finder_for(args, recovery, people)
    options = {"focal_length": args.focal_length, "fov": args.fov, "overwrite": args.overwrite}
    batch_size = recovery.usual_batch if args.batch_size is None else args.batch_size
    run = Run(recovery, wanted, batch_size=batch_size, finder=finder, **options)
    rows = follow(run, jobs, args.json_lines)
    for text in doubts(rows, args, file):
        tell(text)
    if not args.json_lines:
        print("\n".join(table_of(rows, run.seconds, recovery.kind)))
    return EXIT_SOME_FAILED if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
