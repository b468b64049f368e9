"""Evaluates a checkpoint on a TSV set: `tore evaluate --checkpoint state_dict.bin --val_yaml valid.yaml`.

Or on images with 2D keypoints, a JSON file in COCO's form: `--keypoints labels.json --images folder` prints PCK, the
share of joints near their labels, of all people, of each kind of image that the file names, and of each joint.

Network, backbone and size come from the file. Under torchrun the processes share the samples and give the same numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tore.cli.checkpoint_flags import FAST_RULES, add_checkpoint_flags, add_fast_flags, open_network, runs_export
from tore.cli.flags import FlagParser, HelpFormatter, Rule, add_body_dir, check_rules, image_path, names
from tore.cli.training_flags import WORKERS, add_hand_flags, hand_options_of, true_or_false
from tore.cli.training_rules import HAND_ONLY, HAND_RULES
from tore.datasets.keypoints import read_keypoints
from tore.detection import DETECTORS, detector_of
from tore.device import keep_freed_memory
from tore.engine.distributed import Processes, start_processes
from tore.export.loading import load_network
from tore.files import check_outputs, write_json
from tore.inference.predictor import MeshRecovery
from tore.modeling.checkpoints import Checkpoint
from tore.modeling.recorded_body import body_dir_for
from tore.training.evaluation_report import ReportFiles, report
from tore.training.hand_submission import HandOptions
from tore.training.keypoint_evaluation import BOX_FACTOR, FOUND, TURNS, evaluate_keypoints, with_bar
from tore_runtime.crop import UPRIGHT_MARGIN
from tore_runtime.entry import check_numbers, entry_point
from tore_runtime.record import is_export

TSV_ONLY = (
    *("val_yaml", "data_dir", "oracle", "fit", "per_gpu_eval_batch_size", "num_workers", "samples", "worst"),
    "worst_sheet",
    *HAND_ONLY,
)
KEYPOINTS_ONLY = ("images", "box_factor", "detector", "hand_turn", "refine")
RULES = (
    Rule(TSV_ONLY, lambda args: args.keypoints is not None, "is for TSV sets; leave it out, or leave --keypoints out"),
    Rule(KEYPOINTS_ONLY, lambda args: args.keypoints is None, "goes with --keypoints FILE; add it"),
    Rule(("worst",), lambda args: args.worst_sheet is None, "goes with --worst_sheet FILE; add it"),
    Rule(("amp",), lambda args: not runs_export(args), "an export computes in bfloat16; add --fast"),
    *FAST_RULES,
    *HAND_RULES,
)


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog="tore evaluate", description=__doc__, allow_abbrev=False, formatter_class=HelpFormatter)
    file = "state_dict.bin, or its folder, or the folder of an export"
    parser.add_argument(*names("--checkpoint"), required=True, metavar="PATH", help=file)
    parser.add_argument("--val_yaml", help="relative to --data_dir")
    parser.add_argument("--data_dir", default=".", help="root of the data sets")
    add_body_dir(parser, data_sets=True)
    parser.add_argument("--arch", help="the backbone's name, for one that the file does not tell")
    parser.add_argument("--oracle", type=true_or_false, default=False, help="judge the directly predicted joints")
    parser.add_argument("--fit", action="store_true", help="judge the body model fitted to each mesh, too (fit_*)")
    parser.add_argument("--per_gpu_eval_batch_size", type=int, default=16, help="images of one process in a batch")
    parser.add_argument("--num_workers", type=int, default=4, help=WORKERS)
    add_fast_flags(parser)
    parser.add_argument("--amp", action="store_true", help="an export computes in bfloat16, on processors that have it")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(*names("--local_rank"), type=int, help="set by torch.distributed.launch")
    parser.add_argument("--json", type=Path, help="write metrics, protocol and the paper's row")
    parser.add_argument("--samples", type=Path, help="write every sample's errors, one JSON object a line")
    parser.add_argument("--worst", type=int, default=12, help="how many samples --worst_sheet shows")
    parser.add_argument("--worst_sheet", type=image_path, help="write a contact sheet of the worst samples")
    keypoints = parser.add_argument_group("2D keypoints")
    keypoints.add_argument("--keypoints", type=Path, metavar="FILE", help="people or hands in COCO's form")
    keypoints.add_argument("--images", type=Path, metavar="DIR", help="folder of their images [the file's]")
    keypoints.add_argument(
        "--box_factor",
        type=float,
        help=f"side of a crop over the longer side of the box [{BOX_FACTOR}, of upright hands {UPRIGHT_MARGIN}]",
    )
    keypoints.add_argument(
        "--hand_turn",
        choices=TURNS,
        default=FOUND,
        help="of labeled boxes: with mediapipe-hand, hands are turned upright as found or as labeled",
    )
    keypoints.add_argument(
        "--detector", metavar="NAME", help=f"find people: {', '.join(DETECTORS)}, module:function [labeled boxes]"
    )
    keypoints.add_argument("--refine", action="store_true", help="judge people refined by MoveNet's keypoints, too")
    parser.set_defaults(notices=[])
    add_checkpoint_flags(parser)
    add_hand_flags(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Evaluates with the parsed flags."""
    check_numbers(args, {"per_gpu_eval_batch_size": 1, "num_workers": 0, "worst": 1}, above_0=("box_factor",))
    check_outputs(args.json, args.samples, args.worst_sheet, args.pred_zip)
    keep_freed_memory()
    ignored = check_rules(args, RULES)
    if args.keypoints is None and args.val_yaml is None:
        raise ValueError("nothing to evaluate on: give a set with --val_yaml, or 2D keypoints with --keypoints")
    exported = is_export(args.checkpoint)
    processes = start_processes("cpu" if exported and args.device == "auto" else args.device, args.local_rank)
    try:
        checkpoint, notes = open_network(args, args.checkpoint)
        for note in [*args.notices, *ignored, *notes] if processes.is_main else []:
            print(note, file=sys.stderr)
        if args.keypoints is not None:
            run_keypoints(args, checkpoint, processes)
            return
        tell = partial(print, file=sys.stderr)
        options: dict[str, Any] = {"fast": args.fast, "half": args.amp, "runtime": args.runtime, "tell": tell}
        model: Any = load_network(checkpoint, args.body_dir, processes.device, **options)
        body_dir = body_dir_for(model.trained_on, args.body_dir)
        hand = hand_options_of(args)
        if model.config.body != "hand" and hand != HandOptions():
            raise ValueError(f"{args.checkpoint} recovers people; leave the flags of hands out")
        report(
            model,
            Path(args.data_dir) / args.val_yaml,
            body_dir=body_dir,
            oracle=args.oracle,
            fit=args.fit,
            batch_size=args.per_gpu_eval_batch_size,
            workers=args.num_workers,
            processes=processes,
            say=print,
            files=ReportFiles(args.json, args.samples, args.worst_sheet, args.worst),
            hand=hand,
        )
    finally:
        processes.close()


def run_keypoints(args: argparse.Namespace, checkpoint: Checkpoint | Path, processes: Processes) -> None:
    """Evaluates on 2D keypoints, in one process."""
    if processes.size > 1:
        raise ValueError(f"{args.keypoints} is evaluated by one process; start the command without torchrun")
    file, images = read_keypoints(args.keypoints), args.images or args.keypoints.parent
    if not images.is_dir():
        raise FileNotFoundError(f"{images} is not a folder: name the one that the images' names start from")
    detector, tell = None, partial(print, file=sys.stderr)
    options: dict[str, Any] = {"fast": args.fast, "amp": args.amp, "runtime": args.runtime, "tell": tell}
    recovery = MeshRecovery.from_checkpoint(checkpoint, args.body_dir, processes.device, **options)
    if args.detector is not None:
        detector = detector_of(args.detector, device=processes.device, fast=args.fast, runtime=args.runtime, tell=tell)
    shown = {"box_factor": args.box_factor, "detector": detector, "hand_turn": args.hand_turn, "refine": args.refine}
    found = evaluate_keypoints(recovery, file, images, **shown, progress=with_bar)
    print(found.text())
    if args.json is not None:
        write_json(args.json, found.as_dict())


@entry_point("tore evaluate")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs with the flags of `argv`; 2 when something that the user can mend is wrong."""
    run(build_parser().parse_args(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
