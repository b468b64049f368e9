"""Teaches the image side of FastMETRO+TORE where joints are, before the network trains: for runs from scratch.

tore warm-up --train_yaml train.yaml --arch mobilenetv4_conv_small --output_dir output/warm-up

The newest checkpoint's state_dict.bin holds backbone, projection and token reduction; training takes it with
--warm_start. Use it where no ImageNet weights are to be had.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tore.datasets.label import Label
from tore.datasets.mesh_dataset import CROP_SIZE, LAYOUTS, MeshDataset
from tore.datasets.set_identity import set_identity
from tore.engine.checkpoints import CheckpointFolder, load_training_state
from tore.engine.distributed import Processes, start_processes
from tore.engine.logs import RunLog
from tore.engine.optimiser import OptimiserRecipe, build_optimiser
from tore.engine.random_state import seed_process
from tore.engine.schedule import Schedule
from tore.engine.signals import EXIT_STOPPED
from tore.engine.step import AMP_TYPES, Batch, StepResult
from tore.engine.trainer import Trainer
from tore.entry import entry_point
from tore.files import check_outputs
from tore.losses.total import weighted_sum
from tore.losses.warm_up import WEIGHTS, warm_up_terms
from tore.memory import keep_freed_memory
from tore.modeling.backbones import STRIDE, Backbone
from tore.modeling.imagenet_weights import load_backbone_weights
from tore.modeling.token_reduction_base import kept_tokens
from tore.modeling.warm_up import WarmUpNetwork, load_rooms, save_image_side
from tore.tools.flags import FlagParser, Rule, check_rules
from tore.tools.help import HelpFormatter
from tore.tools.resuming import Pace, accept_changes, changes_of, plain_flags
from tore.tools.set_check import check_before
from tore.tools.train_rules import check_ranges
from tore.tools.train_run import open_log
from tore.tools.train_setup import LoaderBatches

NETWORK = ("arch", "body", "model_dim_1", "keep_ratio")
RULES = (
    Rule(
        ("backbone_weights",),
        lambda args: args.warm_start is not None,
        "the backbone starts from --warm_start; leave one of the two out",
    ),
    Rule(("allow_changes",), lambda args: args.resume == "none", "goes with --resume; add --resume auto"),
)
RECIPE = OptimiserRecipe("adamw", weight_decay=1e-2, clip="norm", clip_limit=1.0)


@dataclass(frozen=True)
class WarmUpStep:
    """From a batch to its loss; see `tore.engine.step.LossStep`."""

    grid: tuple[int, int]
    joint_of: Tensor
    processes: Processes
    amp: torch.dtype | None

    def __call__(self, model: nn.Module, batch: Batch, progress: float) -> StepResult:
        """`progress` changes nothing: the weights stay."""
        with torch.autocast(self.processes.device.type, self.amp, enabled=self.amp is not None):
            prediction = model(batch["image"])
        prediction = type(prediction)(*(value.float() for value in prediction))
        terms = warm_up_terms(prediction, batch, self.joint_of, self.grid)
        return StepResult(weighted_sum(terms, WEIGHTS), terms, WEIGHTS, prediction, None)


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog="tore warm-up", description=__doc__, formatter_class=HelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("--train_yaml", required=True, help="training set, relative to --data_dir")
    add("--data_dir", default="", help="root of the data sets")
    add("--body", choices=tuple(LAYOUTS), default="body", help="what the set shows")
    add("-a", "--arch", required=True, help="backbone: a published name or any of timm's")
    add("--model_dim_1", type=int, default=512, help="width of the tokens")
    add("--keep_ratio", type=float, default=0.8, help="share of the image tokens that is kept")
    add("--size", type=int, default=224, help="side that pictures are brought to; 128 costs a third")
    add("--num_train_epochs", type=int, default=10, help="passes over the training set")
    add("--per_gpu_train_batch_size", type=int, default=32, help="pictures of one training process in a step")
    add("--lr", type=float, default=2e-3, help="learning rate; it falls along a cosine")
    add("--warm_up_share", type=float, default=0.05, help="share of the steps in which the rate rises")
    add("--backbone_weights", type=Path, help="ImageNet file of the backbone to start from")
    add("--warm_start", type=Path, help="an earlier warm-up's state_dict.bin to start from, of any --size")
    add("--amp", choices=tuple(AMP_TYPES), default="none", help="number type of the forward pass")
    add("--num_workers", type=int, default=4, help="loading processes of each training process")
    add("--on_bad_sample", choices=("raise", "skip"), default="raise")
    add("--output_dir", default="output/warm-up", help="folder of checkpoints and logs")
    add("--resume", choices=("none", "auto"), default="none", help="auto: go on from the newest checkpoint")
    add("--allow_changes", action="store_true", help="with --resume: go on although the set or a flag is another one")
    add("--logging_steps", type=int, default=100, help="steps between log lines")
    add("--no_tensorboard", action="store_true", help="write no TensorBoard files")
    add("--device", default="auto", help="auto, cpu, cuda, mps")
    add("--seed", type=int, default=88, help="of weights, order and augmentation")
    add("--local_rank", "--local-rank", type=int, help="set by torch.distributed.launch")
    return parser


def usable(label: Label) -> bool:
    """Whether a label moves one of the warm-up's losses."""
    joints_3d = label.has_3d_joints and (label.joints_3d[:, 3] > 0).any()
    return bool(joints_3d or (label.joints_2d[:, 2] > 0).any())


def build_trainer(args: argparse.Namespace, processes: Processes, log: RunLog) -> Trainer:
    """The warm-up's trainer, taken up where an earlier run ended if that is asked for."""
    checkpoints = CheckpointFolder(Path(args.output_dir), keep=1)
    newest = checkpoints.newest()
    if newest is not None and args.resume == "none":
        raise ValueError(f"{newest} is there from an earlier run: add --resume auto, or choose another --output_dir")
    data = MeshDataset(
        Path(args.data_dir) / args.train_yaml, True, args.body, seed=args.seed, on_bad_sample=args.on_bad_sample
    )
    check_before(data, None, processes, log.line, usable=usable)
    workers, batch = args.num_workers, args.per_gpu_train_batch_size
    batches = LoaderBatches(data, batch_size=batch, accumulate=1, workers=workers, processes=processes)
    backbone = Backbone(args.arch)
    if args.backbone_weights is not None:
        load_backbone_weights(backbone, args.backbone_weights)
    network = WarmUpNetwork(
        backbone=backbone,
        width=args.model_dim_1,
        tokens=kept_tokens(args.keep_ratio, (CROP_SIZE // STRIDE) ** 2),
        joints=data.layout.joint_rows[0],
        size=args.size,
    )
    if args.warm_start is not None:
        load_rooms(network, args.warm_start)
    sets = {"train_yaml": set_identity(data.rows)}
    schedule = Schedule("cosine", args.warm_up_share)
    network.to(processes.device).to(memory_format=torch.channels_last)
    cells = args.size // STRIDE
    trainer = Trainer(
        network=network,
        step=WarmUpStep((cells, cells), network.joint_of, processes, AMP_TYPES[args.amp]),
        optimiser=build_optimiser(network.parameters(), RECIPE, args.lr),
        optimiser_recipe=RECIPE,
        base_lr=args.lr,
        batches=batches,
        epochs=args.num_train_epochs,
        processes=processes,
        log=log,
        checkpoints=checkpoints,
        save_published=lambda path: save_image_side(network, path),
        config={"flags": plain_flags(args), "sets": sets},
        channels_last=True,
        logging_steps=args.logging_steps,
        seed=args.seed,
        schedule=schedule,
    )
    if newest is not None:
        state = load_training_state(newest)
        pace = Pace(args.lr, schedule, args.num_train_epochs, batches.per_epoch, batches.global_batch)
        check_same_image_side(args, state["config"]["flags"], newest)
        accept_changes(changes_of(args, state, pace, sets), newest, allowed=args.allow_changes, say=log.line)
        log.line(f"going on from {newest}")
        trainer.resume(state)
    return trainer


def check_same_image_side(args: argparse.Namespace, saved: Mapping[str, Any], newest: Path) -> None:
    """ValueError where the checkpoint is of another image side than the flags', whatever changes are allowed."""
    other = [
        f"--{name} {saved[name]} (now {getattr(args, name)})"
        for name in NETWORK
        if name in saved and str(saved[name]) != str(getattr(args, name))
    ]
    if other:
        raise ValueError(f"{newest} was trained with {', '.join(other)}; give the same flags, or another --output_dir")


@entry_point("tore warm-up")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs with the flags of `argv`. 0: done, 2: something that the user can mend, 75: stopped after saving."""
    args = build_parser().parse_args(argv)
    check_outputs(folder=args.output_dir)
    check_ranges(args)
    check_rules(args, RULES)
    keep_freed_memory()
    processes = start_processes(args.device, args.local_rank)
    try:
        seed_process(args.seed)
        log = open_log(args, processes)
        trainer = build_trainer(args, processes, log)
        if trainer.finished:
            log.line(f"finished: all {trainer.epochs} epochs are done, nothing is left to train")
            return 0
        stopped_by = trainer.run()
        log.line("finished" if stopped_by is None else f"stopped by {stopped_by}; go on with --resume auto")
        return 0 if stopped_by is None else EXIT_STOPPED
    finally:
        processes.close()


if __name__ == "__main__":
    sys.exit(main())
