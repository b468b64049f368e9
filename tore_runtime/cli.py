"""Recovers the people of images by exported networks, and draws and saves their meshes; without torch.

tore-infer photo.jpg
tore-infer photo.jpg folder/ "*.png" --save_mesh obj --output_dir out
tore-infer photo.jpg --networks DIR

The networks are exports (`tore export people --output_dir DIR`): those that came with the package, or those of DIR.
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

from tore_runtime.boxes import FORMATS as BOX_FORMATS
from tore_runtime.boxes import parse_boxes, read_boxes
from tore_runtime.crops import Place
from tore_runtime.detector import Detection, chosen, find, people_wanted
from tore_runtime.entry import entry_point
from tore_runtime.files import check_output_folder
from tore_runtime.focal_length import OFFICIAL, FocalChoice
from tore_runtime.inputs import detections_for, find_images, output_stems
from tore_runtime.mesh_files import FORMATS as MESH_FORMATS
from tore_runtime.mesh_files import SCENE_FORMATS, need_mesh_packages
from tore_runtime.movenet import THRESHOLD
from tore_runtime.names import json_text, readable
from tore_runtime.outputs import TURNS, Wanted
from tore_runtime.pipeline import Job, Run
from tore_runtime.predictor import NETWORK, RUNTIME, ExportedRecovery, networks_folder, people_finder
from tore_runtime.reports import Row, line_of, outside_text, row_of, table_of
from tore_runtime.result import FORMATS as RESULT_FORMATS
from tore_runtime.sessions import PRECISIONS, RUNTIMES

MOVENET, CENTER = "movenet", "none"
EXIT_SOME_FAILED = 1
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
    add("--networks", type=Path, metavar="DIR", help="what `tore export people` made [TORE_RUNTIME_DIR, the package's]")
    add("--checkpoint", type=Path, metavar="DIR", help="another network's export in the place of the one there")
    add("--output_dir", type=Path, metavar="DIR", help="where to write (default: beside each image)")
    who = f"{MOVENET}, {CENTER} (the center of the image), or a JSON file of boxes [{MOVENET}; for hands {CENTER}]"
    people = parser.add_mutually_exclusive_group()
    people.add_argument("--detector", metavar="NAME", help=who)
    people.add_argument("--box", nargs="+", action="extend", metavar="X,Y,W,H", help="a person's box in pixels")
    add("--people", default="all", metavar="WHO", help="all, largest, or a number of people in an image [all]")
    add("--box_threshold", type=float, metavar="SCORE", help="leave out whom the detector or the file scores lower")
    add("--box_format", choices=tuple(BOX_FORMATS), default="xywh", help="what a box's four numbers are [xywh]")
    add("--left", action="store_true", help="hands: all are left ones")
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
    if args.detector in (None, MOVENET, CENTER):
        return None
    if not args.detector.lower().endswith(".json"):
        raise ValueError(f"--detector {args.detector} is not known here: use {MOVENET}, {CENTER} or a file of boxes")
    return Path(args.detector)


def jobs_of(args: argparse.Namespace, images: Sequence[Path], wanted_people: int | str) -> list[Job]:
    """The images with their boxes, where those are given, and output names."""
    given = parse_boxes(args.box, args.box_format) if args.box else None
    boxes: list[list[Place] | None] = [None if given is None else list(given)] * len(images)
    if (file := boxes_file(args)) is not None:
        found, notes = detections_for(images, read_boxes(file, args.box_format, args.box_threshold))
        boxes = [list(chosen(people, wanted_people)) for people in found]
        for note in notes:
            tell(note)
    stems = output_stems(images, args.output_dir)
    return [Job(*parts, args.left or None) for parts in zip(images, stems, boxes, strict=True)]


def finder_for(args: argparse.Namespace, recovery: ExportedRecovery, wanted_people: int | str) -> Finder | None:
    """From an image to its people; None where boxes are given, or the center of each image is taken."""
    given = args.box or boxes_file(args) is not None
    name = args.detector or (MOVENET if recovery.kind == "body" else CENTER)
    if given or name == CENTER:
        lost = [] if boxes_file(args) is not None else ["box_threshold"] * (args.box_threshold is not None)
        if args.people != "all" and boxes_file(args) is None:
            lost.append("people")
        if lost:
            raise ValueError(f"--{lost[0]}: nobody is looked for; leave it out, or use --detector {MOVENET}")
        return None
    if recovery.kind == "hand":
        raise ValueError(f"--detector {name} finds people, but {recovery.checkpoint} recovers hands; give --box")
    threshold = THRESHOLD if args.box_threshold is None else args.box_threshold
    if not 0 <= threshold <= 1:
        raise ValueError(f"box threshold {threshold:g}: give a score from 0 to 1")
    folder = networks_folder(args.networks)
    detector = people_finder(folder, runtime=args.runtime, threads=args.threads, threshold=threshold)
    return partial(find, detector, people=wanted_people)


def follow(run: Run, jobs: list[Job], json_lines: bool) -> list[Row]:
    """Runs all jobs, names failures at once; returns the table's rows."""
    rows = []
    for report in run(jobs):
        if report.error:
            tell(report.error)
        elif run.finder is not None and not report.people:
            tell(f"{report.job.image}: nobody was found; a lower --box_threshold may find more")
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
    FocalChoice(args.focal_length, args.fov)  # one that cannot be is told before anything is read
    check_output_folder(args.output_dir)
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"--threads {args.threads}: give 1 or more")
    people = people_wanted(args.people)
    wanted, jobs = wanted_files(args), jobs_of(args, find_images(args.image, tell), people)
    network = args.checkpoint or networks_folder(args.networks) / NETWORK
    recovery = ExportedRecovery(network, runtime=args.runtime, precision=args.precision, threads=args.threads)
    if args.show_tokens and not recovery.prunes_tokens:
        raise ValueError(f"{network} says nothing of image tokens; leave --show_tokens out")
    if args.left and recovery.kind != "hand":
        raise ValueError(f"{network} recovers people; leave --left out")
    finder = finder_for(args, recovery, people)
    options = {"focal_length": args.focal_length, "fov": args.fov, "overwrite": args.overwrite}
    batch_size = recovery.usual_batch if args.batch_size is None else args.batch_size
    run = Run(recovery, wanted, batch_size=batch_size, finder=finder, **options)
    rows = follow(run, jobs, args.json_lines)
    if not args.json_lines:
        print("\n".join(table_of(rows, run.seconds)))
    return EXIT_SOME_FAILED if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
