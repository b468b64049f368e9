"""Recovers the people or hands of images and draws their meshes: an image, several, a folder, or a quoted pattern.

tore infer photo.jpg
tore infer --body hand photo.jpg
tore infer photo.jpg folder/ "*.png" --checkpoint state_dict.bin --output_dir out

The people of each image are found (--detector), and <name>_tore_pred.jpg is written, the image and their meshes over it
side by side, with a file for each person. The network (FastMETRO or METRO), its backbone and its body are worked out
from the checkpoint; without one the network that ships is used. Folders and patterns give images in natural order
(1, 2, 10). Exit code: 0 if every image was processed, also if nobody is found in it (a line says so) or a box file says
that nobody is in it (even in all of them: a line says so), 1 if some could not be read, drawn or written (each is
named, the others are processed), 2 if nothing could start.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from tore.cli.checkpoint_flags import FAST_RULES, add_checkpoint_flags, add_fast_flags, open_network, runs_export
from tore.cli.flags import (
    FlagParser,
    HelpFormatter,
    Rule,
    add_body_dir,
    add_idle_flags,
    check_rules,
    names,
    take_negative_numbers,
)
from tore.cli.people_flags import add_people_flags, boxes_file, check_people_flags, finder_for, jobs_of
from tore.device import keep_freed_memory
from tore.files import check_outputs
from tore.inference.predictor import BATCH_SIZE, MeshRecovery
from tore.paths import default_checkpoint
from tore_runtime.entry import check_numbers, entry_point, sentence_of
from tore_runtime.focal_length import OFFICIAL, FocalChoice
from tore_runtime.inputs import find_images
from tore_runtime.mesh_files import FORMATS as MESH_FORMATS
from tore_runtime.mesh_files import SCENE_FORMATS, need_mesh_packages
from tore_runtime.names import json_text, readable
from tore_runtime.outputs import TURNS, PoseFile, Wanted
from tore_runtime.pipeline import Job, Run
from tore_runtime.reports import Row, frames_text, line_of, outside_text, row_of, table_of
from tore_runtime.result import FORMATS as RESULT_FORMATS
from tore_runtime.wanted_people import CENTER, doubts

MANY = 16  # images, from which on a line says that --fast would be quicker
EXIT_SOME_FAILED, EXIT_NOT_STARTED = 1, 2
RULES = (
    Rule(
        ("fit",),
        lambda args: not (args.save_results or args.save_poses or args.json_lines),
        "the parameters would be written nowhere; add --save_results, --save_poses or --json_lines",
    ),
    Rule(("frame_rate",), lambda args: args.save_poses is None, "is written with the poses; add --save_poses"),
    Rule(("compile",), lambda args: True, "the network is compiled no more, use --fast", refused=False),
    Rule(("no_fast",), lambda args: True, "the network itself runs unless --fast is said", refused=False),
    *FAST_RULES,
)


def build_parser() -> argparse.ArgumentParser:
    """The official flags and our own."""
    parser = FlagParser(prog="tore infer", description=__doc__, formatter_class=HelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("image", nargs="*", metavar="IMAGE", help="images, folders, quoted patterns")
    file = "official or own checkpoint, or its folder, or the folder of an export [the shipped network]"
    add(*names("--checkpoint"), type=Path, metavar="PATH", help=file)
    add("--body", choices=("body", "hand"), help="whose network, where none is given [body]")
    add(*names("--images"), nargs="+", metavar="PATH", help="likewise, as the official script names them")
    add(*names("--output_dir"), type=Path, metavar="DIR", help="where to write (default: beside each image)")
    add_body_dir(parser, data_sets=False)
    add_people_flags(parser)
    camera = parser.add_argument_group("camera of the whole images (default: from EXIF, else its diagonal)")
    camera.add_argument("--focal_length", type=focal_length, help=f"pixels, or {OFFICIAL}: 1000 for 224 pixels")
    camera.add_argument("--fov", type=float, metavar="DEGREES", help="field of view over the longer side")
    add("--save_mesh", choices=MESH_FORMATS, help="write each mesh")
    add("--save_scene", choices=SCENE_FORMATS, help="write all people of an image before its camera into one file")
    add("--save_results", choices=RESULT_FORMATS, help="write joints, vertices, cameras, names and units")
    add("--save_poses", type=Path, metavar="NPZ", help="write everyone's pose, shape and place into one file")
    fitted = "the default for --save_poses where the network does not regress them"
    add("--fit", action="store_true", help=f"fit pose, shape and place of the body model to each mesh; {fitted}")
    add("--frame_rate", type=float, help="images per second where they are a film's frames, for --save_poses")
    add("--views", nargs="*", choices=tuple(TURNS), help="draw the mesh from other sides (alone: side and back)")
    add("--show_tokens", action="store_true", help="draw the attention map of each kept image token")
    add("--no_overlay", action="store_true", help="leave <name>_tore_pred.jpg out")
    add("--refine", action="store_true", help="move people toward the keypoints that MoveNet finds in their crops")
    add("--batch_size", type=int, help=f"most people in one pass [{BATCH_SIZE}, or as many as keep an export busy]")
    add("--arch", metavar="NAME", help="the backbone's name, for one that the file does not tell")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--amp", action="store_true", help="half precision where that is safe; an export computes in bfloat16")
    form = parser.add_mutually_exclusive_group()
    add_fast_flags(parser, form)
    form.add_argument(*names("--no_fast"), action="store_true", help=argparse.SUPPRESS)
    add("--compile", action="store_true", help=argparse.SUPPRESS)
    add("--overwrite", action="store_true", help="replace files that are there")
    add("--json_lines", action="store_true", help="print one JSON object per image instead of the table")
    parser.set_defaults(notices=[])
    add_checkpoint_flags(parser)
    add_idle_flags(parser, {"--seed": "nothing is drawn at random"})
    take_negative_numbers(parser)
    return parser


def focal_length(text: str) -> float | str:
    """An argparse type: a number, or the word for the official one."""
    return text if text == OFFICIAL else float(text)


def wanted_files(args: argparse.Namespace) -> Wanted:
    """Which files to write; asks at once for packages that they need."""
    views = tuple(args.views or ("side", "back")) if args.views is not None else ()
    overlay, chosen = not args.no_overlay, (args.save_mesh, args.save_results, args.save_scene)
    wanted = Wanted(overlay, views, args.show_tokens, *chosen)
    if wanted.mesh or wanted.scene:
        need_mesh_packages()
    if not (wanted.endings() or wanted.scene or args.save_poses or args.json_lines):
        choices = "--save_results, --save_mesh, --save_scene, --save_poses or --json_lines"
        raise ValueError(f"--no_overlay leaves nothing to write; add {choices}")
    return wanted


def named_images(args: argparse.Namespace) -> list[Path]:
    """The images of the command line. ValueError where it names none."""
    given = [*args.image, *(args.images or [])]
    if not given:
        raise ValueError("no image is named; write tore infer photo.jpg, or a folder, or a quoted pattern")
    return find_images(given, tell)


def tell(text: str) -> None:
    """One line beside the results."""
    print(f"tore infer: {readable(text)}", file=sys.stderr)


def pose_file(args: argparse.Namespace, recovery: MeshRecovery, jobs: list[Job]) -> PoseFile | None:
    """Where --save_poses gathers the poses."""
    if args.save_poses is None:
        return None
    images = [job.image for job in jobs]
    return PoseFile(args.save_poses, images, frame_rate=args.frame_rate, overwrite=args.overwrite)


def follow(run: Run, jobs: list[Job], json_lines: bool, poses: PoseFile | None) -> list[Row]:
    """Runs all jobs behind a progress bar, names failures at once; returns the table's rows."""
    rows, finds = [], run.finder is not None
    nobody = "no hand" if run.recovery.kind == "hand" else "nobody"
    with tqdm(total=len(jobs), unit="image", disable=None, file=sys.stderr) as bar:
        for report in run(jobs):
            if report.error:
                bar.clear()
                tell(report.error)
            if report.frames > 1:
                bar.clear()
                tell(frames_text(report))
            if report.outside:
                bar.clear()
                tell(outside_text(report))
            if finds and not report.error and not report.people:
                bar.clear()
                tell(f"{report.job.image}: {nobody} was found; a lower --box_threshold may find more")
            if json_lines:
                print(json_text(line_of(report)), flush=True)
            if poses is not None:
                poses.add(report.job.image, report.people)
            rows.append(row_of(report))
            bar.update()
    return rows


def tell_doubts(rows: list[Row], args: argparse.Namespace) -> None:
    """Says where a box file left nobody, or may hold corners, and who was not refined."""
    if stayed := [text for row in rows for text in row.stayed]:
        listed = "; ".join(sorted(set(stayed))[:3])
        tell(f"{len(stayed)} of {sum(row.people for row in rows)} people were not refined but are {listed}")
    for text in doubts(rows, args, boxes_file(args)):
        tell(text)


def save(poses: PoseFile) -> bool:
    """Writes the gathered poses and says where; False, with the reason said, when that failed."""
    try:
        written = poses.write()
    except OSError as error:
        print(f"tore infer: the poses were not written: {sentence_of(error, sys.argv)}", file=sys.stderr)
        return False
    gaps = f" ({poses.failed} images without anybody: NaN rows, valid is False)" if written and poses.failed else ""
    print(f"poses: {written or 'nobody was recovered, nothing written'}{gaps}", file=sys.stderr)
    return True


def recovery_for(args: argparse.Namespace, images: int) -> MeshRecovery:
    """The network; says what is idle, and for many images that there is a faster way."""
    ignored = check_rules(args, RULES)
    if args.checkpoint is None:
        args.checkpoint = default_checkpoint(args.body or "body")
        known = "on features of pose networks that know photographs"
        tell(f"the network is {args.checkpoint.name}, which ships: trained on rendered images alone, {known}")
    checkpoint, notes = open_network(args, args.checkpoint)
    for note in [*args.notices, *ignored, *notes]:
        tell(note)
    options = {"amp": args.amp, "fast": args.fast, "runtime": args.runtime, "tell": tell}
    if images >= MANY and not (args.no_fast or runs_export(args)):
        tell(f"{images} images: --fast runs the network faster on a CPU, after an export that is made once")
    recovery = MeshRecovery.from_checkpoint(checkpoint, args.body_dir, args.device, **options)
    if args.body not in (None, recovery.body.kind):
        whom = "hands" if recovery.body.kind == "hand" else "people"
        raise ValueError(f"--body {args.body}: {args.checkpoint} recovers {whom}; leave --body out")
    return recovery


@entry_point("tore infer")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; see the exit codes above."""
    return run_inference(build_parser().parse_args(argv))


@entry_point("tore infer")
def official_main(argv: Sequence[str] | None = None) -> int:
    """`main` as the official script: its crop and its camera where the command line names none, of a checkpoint."""
    args = build_parser().parse_args(argv)
    if args.checkpoint is None:
        raise ValueError("no checkpoint is named; add --checkpoint FILE")
    if args.detector is None and args.box is None and args.left_box is None:
        args.detector = CENTER
    if args.focal_length is None and args.fov is None:
        args.focal_length = OFFICIAL
    return run_inference(args)


def run_inference(args: argparse.Namespace) -> int:
    """What parsed flags ask for; returns the exit code."""
    FocalChoice(args.focal_length, args.fov)  # what cannot be is told before anything is read
    check_numbers(args, {"batch_size": 1}, above_0=("frame_rate",))
    check_people_flags(args)
    keep_freed_memory()
    check_outputs(args.save_poses, folder=args.output_dir)
    wanted, jobs = wanted_files(args), jobs_of(args, named_images(args), tell)
    recovery = recovery_for(args, len(jobs))
    if args.show_tokens and not recovery.prunes_tokens:
        raise ValueError(f"{args.checkpoint} prunes no image tokens; leave --show_tokens out")
    if (args.left or args.left_box) and recovery.body.kind != "hand":
        raise ValueError(f"{args.checkpoint} recovers people; leave --left and --left_box out")
    if args.refine:
        recovery.refiner()  # what cannot be refined is told before anything is read
    finder = finder_for(args, recovery, fast=args.fast, tell=tell)
    options = {"focal_length": args.focal_length, "fov": args.fov, "overwrite": args.overwrite, "refine": args.refine}
    fit = args.fit or (args.save_poses is not None and not (recovery.regresses_parameters or args.refine))
    if fit and not args.fit:
        tell("the network regresses no parameters: pose, shape and place are fitted to its meshes, as with --fit")
    batch_size = recovery.usual_batch if args.batch_size is None else args.batch_size
    run = Run(recovery, wanted, batch_size=batch_size, finder=finder, fit=fit, **options)
    poses = pose_file(args, recovery, jobs)
    rows = follow(run, jobs, args.json_lines, poses)
    tell_doubts(rows, args)
    if not args.json_lines:
        for line in table_of(rows, run.seconds, recovery.body.kind):
            print(line)
    saved = poses is None or save(poses)
    return EXIT_SOME_FAILED if any(row.failed for row in rows) or not saved else 0


if __name__ == "__main__":
    sys.exit(main())
