"""Flags that the training of every network shares, under their official names and meanings.

Their defaults and choices are those of the configuration (`tore.training.config`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from tore.cli.flags import add_body_dir, add_idle_flags, current_word, names, take_negative_numbers
from tore.datasets.augmentation import Draw
from tore.datasets.convert.freihand import TRUTH_FILES
from tore.datasets.convert.reading import require
from tore.training.config import DataOptions, OptimizationOptions
from tore.training.hand_submission import HandOptions
from tore.training.network_options import NetworkOptions
from tore.training.resuming import Config

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
    group.add_argument("--rot", type=float, nargs="+", default=ROTATIONS, metavar="DEGREES", help="of the image")
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
        raise ValueError(f"--sc {min(args.sc):g} shows nothing of an image; use scales above 0, such as 0.7")
    views = (Draw(scale=scale, rotation=rotation) for scale, rotation in product(args.sc, args.rot))
    return tuple(view for view in dict.fromkeys(views) if view != REFERENCE)


def hand_options_of(args: argparse.Namespace, usual_zip: Path | None = None) -> HandOptions:
    """What the flags ask for; `usual_zip`: where the submission goes, if it can be made, when they do not say.

    Raises ValueError for annotations without predictions to score, FileNotFoundError where they are missing.
    """
    if args.annotations is not None and args.pred_zip is None and usual_zip is None:
        raise ValueError("--annotations scores a submission: name it with --pred_zip FILE.zip")
    for name in TRUTH_FILES if args.annotations is not None else ():
        require(args.annotations / name)
    return HandOptions(views_of(args), args.pred_zip or usual_zip, args.annotations, args.pred_zip is not None)


BACKBONE_WEIGHTS = (
    "ImageNet file of the backbone, 'timm' for timm's own weights (the default of networks by timm's names), or 'none' "
    "to start from scratch; movenet-thunder's come with the package"
)
WORKERS = "loading processes of each process; on a CPU without cores free for them, evaluation reads by threads instead"


def true_or_false(text: str) -> bool:
    """The official boolean flags take a word."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'true' nor 'false'")
    return text.lower() == "true"


def widths(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 1024,256,128") from error


def numbers(text: str, example: str = "0.9,0,0") -> tuple[float, ...]:
    """Three numbers with commas between them."""
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers such as {example}") from error
    return first, second, third


def color(text: str) -> tuple[float, ...]:
    """Red, green and blue with commas between them."""
    return numbers(text, "0.485,0.456,0.406")


def add_shared_flags(parser: argparse.ArgumentParser, kind: str) -> None:
    """Adds every flag that is not one network's own; `kind`: "body" | "hand". Their defaults are set by `set_usual`."""
    parser.set_defaults(notices=[])
    take_negative_numbers(parser)
    _add_data(parser)
    _add_training(parser)
    _add_deviations(parser, kind)
    _add_losses(parser, kind)
    _add_run(parser)
    if kind == "hand":
        add_hand_flags(parser)
    add_idle_flags(parser, {"--img_scale_factor": "the side of the network's images is --image_size"})


def set_usual(parser: argparse.ArgumentParser, values: Mapping[str, Any]) -> None:
    """Makes `values` the defaults of the flags of that name."""
    for action in parser._actions:
        if action.dest in values and not action.required:
            value = values[action.dest]  # a list of numbers with commas between them is one word: a tuple
            action.default = tuple(value) if isinstance(value, list) and action.nargs is None else value


def parse_over_file(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, read: Callable[[str], Config]
) -> argparse.Namespace:
    """The parsed flags, over what the --config file gives, which counts as typed; `read`: the configuration of a file.

    `from_file` of the result: the options that the file alone gives, and `config` its path, None without one.
    """
    parser.add_argument("--config", metavar="FILE", help="YAML file of a configuration; flags go over it")
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    path = first.parse_known_args(argv)[0].config
    given: dict[str, Any] = {}
    if path is not None:
        config = read(path)
        given = {name: value for name, value in config.values().items() if config.gives(name)}
    for action in parser._actions:
        action.required = action.required and action.dest not in given
    set_usual(parser, given)
    args = parser.parse_args(argv)
    args.from_file = sorted(given.keys() - args.typed.keys())
    args.typed = {**{name: f"--{name}" for name in given}, **args.typed}
    return args


def add_network_flags(group: argparse._ArgumentGroup, options: type[NetworkOptions], *, baseline: str) -> None:
    """What any network can be made of and whose recipe trains it; `baseline` is the network without reduction."""
    group.add_argument(
        "--token_reduction",
        choices=options.choices("token_reduction"),
        help=f"tore: the paper's; none: {baseline}'s [tore, or what --checkpoint holds]",
    )
    group.add_argument(
        "--geometry_reduction",
        type=true_or_false,
        help="'true': the main Transformer sees joints alone [true, with --token_reduction none false]",
    )
    add_image_flags(group)
    group.add_argument(
        "--freeze_backbone",
        type=true_or_false,
        help="'true': the backbone is not trained, batch norm included [true with movenet-thunder alone]",
    )
    group.add_argument(
        "--recipe",
        choices=options.recipes,
        help="whose official losses and gradient clipping; flags of the losses change it",
    )


def add_image_flags(group: argparse._ActionsContainer) -> None:
    """What the network is shown."""
    group.add_argument(
        "--image_size", type=int, help="side of its square images in pixels [224, of movenet-thunder 256]"
    )
    group.add_argument(
        "--image_mean",
        type=color,
        metavar="R,G,B",
        help="of its images' colors, from 0 to 1 [ImageNet's, of MoveNet 0.5]",
    )
    group.add_argument("--image_std", type=color, metavar="R,G,B", help="likewise, the deviation")


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data and files")
    group.add_argument("--data_dir", help="root of the data sets; yaml paths are relative to it")
    group.add_argument("--train_yaml", help="training set")
    group.add_argument("--val_yaml", help="'none': no validation")
    group.add_argument("--num_workers", type=int, help=WORKERS)
    add_body_dir(group, data_sets=True)
    group.add_argument("--backbone_weights", help=BACKBONE_WEIGHTS)
    group.add_argument(*names("--output_dir"), help="folder of checkpoints, logs and images")
    group.add_argument(
        *names("--checkpoint"),
        metavar="PATH",
        help="a state_dict.bin (or its folder) to start or evaluate from",
    )
    group.add_argument("--resume", help="none | auto: resume from the newest checkpoint | its folder")
    group.add_argument(
        "--allow_changes",
        action="store_true",
        help="with --resume: resume although the set or a flag is another one than the run began with",
    )
    group.add_argument(
        "--fast_crop",
        action="store_true",
        help="cut training crops by one affine warp of an image decoded no larger than needed (docs/dev/speed.md)",
    )
    group.add_argument("--on_bad_sample", choices=DataOptions.choices("on_bad_sample"), help="of the training set")


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("-a", "--arch", help="backbone: an official name, movenet-thunder or any of timm's")
    group.add_argument("--per_gpu_train_batch_size", type=int, help="images of one training process in a step")
    group.add_argument("--per_gpu_eval_batch_size", type=int, help="images of one process in an evaluation batch")
    group.add_argument(
        *names("--lr"),
        type=float,
        help="learning rate; --schedule says how it falls",
    )
    group.add_argument(
        "--schedule",
        type=current_word("schedule"),
        choices=OptimizationOptions.choices("schedule"),
        help="official: to a tenth at half of the epochs; cosine: to zero",
    )
    group.add_argument("--warm_up_share", type=float, help="share of the steps in which the rate rises first")
    group.add_argument("--num_train_epochs", type=int, help="passes over the training set")
    group.add_argument("--accumulate", type=int, help="batches per step")
    group.add_argument("--amp", choices=OptimizationOptions.choices("amp"), help="dtype of the forward pass")
    group.add_argument("--compile", action="store_true", help="torch.compile the network; a CPU needs a C++ compiler")
    group.add_argument(
        "--channels_last", action="store_true", help="keep feature maps channels-last, faster on most devices"
    )
    group.add_argument("--ema", type=float, help="decay of a moving average of the weights, 0: none")
    group.add_argument("--freeze_batch_norm", action="store_true", help="keep running statistics as they are")


def _add_deviations(parser: argparse.ArgumentParser, kind: str) -> None:
    text = "what short runs from scratch need; none of it is official, and all of it is off by default"
    group = parser.add_argument_group("deviations", text)
    group.add_argument(
        "--gradient_clip",
        choices=OptimizationOptions.choices("gradient_clip"),
        help="how gradients are clipped [as the network's recipe]",
    )
    group.add_argument("--gradient_clip_limit", type=float, help="of an entry or of the norm [as the recipe]")
    _add_starts(group)
    _add_pose_network(group, kind)
    _add_images(group)


def _add_starts(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        *names("--pretrained"),
        metavar="PATH",
        help="state_dict.bin, or its folder, of `tore pretrain` or of a network: where parts of the new one start",
    )
    group.add_argument(
        *names("--pretrained_parts"),
        nargs="+",
        choices=NetworkOptions.choices("pretrained_parts"),
        help="what of it is taken; rest: all behind the token reduction",
    )
    group.add_argument(
        *names("--template_initialization"),
        action="store_true",
        help="start the shape regressor at the resting body's mesh",
    )
    group.add_argument(
        *names("--camera_initialization"),
        type=numbers,
        metavar="S,X,Y",
        help="start the camera at this scale and shift (0.9,0,0)",
    )


def _add_pose_network(group: argparse._ArgumentGroup, kind: str) -> None:
    group.add_argument(
        "--pose_network_lr",
        type=float,
        metavar="SHARE",
        help="learning rate of a pose network that is trained, in shares of the size of its weights",
    )
    if kind == "body":
        group.add_argument(
            "--keypoint_maps_loss_weight", type=float, help="weight of MoveNet's own maps, where it is trained; 0: none"
        )
        group.add_argument(
            "--pose_network_from", type=int, metavar="BLOCK", help="the first block of MoveNet that is trained with it"
        )


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--no_augmentation", action="store_true", help="crop training images as in evaluation, and mask no joint"
    )
    group.add_argument(
        "--shift_augmentation",
        type=float,
        metavar="SHARE",
        help="move training crops by up to this share of a side",
    )
    group.add_argument(
        "--occlusion_augmentation",
        type=float,
        metavar="SHARE",
        help="share of training images with a rectangle on it",
    )
    group.add_argument(
        "--cache_features",
        metavar="DIR",
        help="store what a frozen backbone gives for the training images there, once, and train on it",
    )
    group.add_argument("--cache_augmentations", type=int, metavar="N", help="how many of each image are stored")


def _add_losses(parser: argparse.ArgumentParser, kind: str) -> None:
    group = parser.add_argument_group("losses")
    group.add_argument(*names("--joints_loss_weight"), type=float, help="weight of the 3D joints [the recipe's]")
    group.add_argument(*names("--vertices_loss_weight"), type=float, help="weight of the vertices [the recipe's]")
    group.add_argument(
        "--joints_2d_loss_weight", type=float, help="weight of the 2D joints [as --vertices_loss_weight, the recipe's]"
    )
    group.add_argument("--vloss_w_full", type=float, help="share of the full mesh's vertices [the recipe's]")
    middle = "a body's 1723" if kind == "body" else "the coarse mesh's"
    group.add_argument("--vloss_w_sub", type=float, help=f"share of {middle} vertices [the recipe's]")
    if kind == "hand":
        return
    group.add_argument("--vloss_w_sub2", type=float, help="share of the coarse mesh's vertices [the recipe's]")
    group.add_argument("--smpl_regressor", action="store_true", help="regress a body's SMPL parameters from its mesh")
    group.add_argument("--smpl_param_loss_weight", type=float, help="weight of the SMPL parameter regressor's term")


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the run")
    group.add_argument("--run_eval_only", action="store_true", help="evaluate --checkpoint on --val_yaml")
    group.add_argument("--oracle", type=true_or_false, help="judge the directly predicted joints")
    group.add_argument("--logging_steps", type=int, help="steps between log lines")
    group.add_argument("--visual_steps", type=int, help="steps between images, 0: none")
    group.add_argument("--save_steps", type=int, help="steps between checkpoints, 0: after epochs only")
    group.add_argument("--keep_checkpoints", type=int, help="last ones kept, beside the best")
    group.add_argument("--on_nan", choices=OptimizationOptions.choices("on_nan"), help="when a loss is not finite")
    group.add_argument("--no_tensorboard", action="store_true", help="write no TensorBoard files")
    group.add_argument("--quiet", action="store_true", help="log lines go into log.txt alone; the bar stays")
    group.add_argument("--device", help="cuda (the CPU where there is none), cpu, auto")
    group.add_argument("--seed", type=int, help="of weights, order and augmentation")
    group.add_argument(*names("--local_rank"), type=int, help="set by torch.distributed.launch")
