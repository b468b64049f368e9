"""From the flags of a run to its trainer."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tore.body import load_body
from tore.body.body_model import BodyModel
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.set_identity import set_identity
from tore.datasets.sets import TSVSet
from tore.deploy.compiler import check_compiler
from tore.engine.checkpoints import CheckpointFolder, load_training_state
from tore.engine.distributed import Processes
from tore.engine.ema import MovingAverage
from tore.engine.logs import RunLog
from tore.engine.optimiser import build_optimiser
from tore.engine.random_state import seed_process
from tore.engine.schedule import Schedule
from tore.engine.step import LossStep
from tore.engine.trainer import Trainer
from tore.engine.validation import evaluate
from tore.evaluation.evaluator import EvaluationResult
from tore.losses.total import RECIPES
from tore.modeling.backbones import STRIDE
from tore.modeling.build import describe
from tore.modeling.checkpoints import save_weights
from tore.tools.resuming import Pace, accept_changes, changes_of, plain_flags
from tore.tools.set_check import check_before, trains
from tore.tools.train_recipe import optimiser_from, recipe_from, surface_faces
from tore.tools.train_setup import (
    JOINT_NAMES,
    GroundTruth,
    LoaderBatches,
    Network,
    build_network,
    measure_maker,
    target_maker,
    validation_loader,
)


@dataclass(frozen=True)
class RunSetting:
    """What a run is about: its flags, the network and body that its script stands for, and where it runs."""

    args: argparse.Namespace
    network: str  # "fastmetro" | "metro"
    kind: str  # "body" | "hand"
    options: dict[str, Any]  # of `create_model`
    processes: Processes
    log: RunLog

    @property
    def validation_yaml(self) -> Path | None:
        """The set to validate on, or None."""
        return None if self.args.val_yaml.lower() == "none" else Path(self.args.data_dir) / self.args.val_yaml


def wanted_checkpoint(setting: RunSetting, checkpoints: CheckpointFolder) -> Path | None:
    """The checkpoint folder to go on from. An elastic restart goes on by itself."""
    wanted = setting.args.resume
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if wanted == "auto" or (restarted and wanted == "none"):
        newest = checkpoints.newest_sound(setting.log.line)
        if newest is None:
            setting.log.line(f"no checkpoint in {setting.args.output_dir} yet: the run begins")
        return newest
    newest = checkpoints.newest()
    if wanted != "none":
        return Path(wanted)
    if newest is not None:
        raise ValueError(
            f"{newest} is there from an earlier run: go on with --resume auto, or choose another --output_dir"
        )
    return None


def network_of(setting: RunSetting, state: dict[str, Any] | None) -> Network:
    """The network on its device; `state` is the training state that will be loaded into it, if any."""
    args, device = setting.args, setting.processes.device
    model, notes = build_network(args, setting.network, setting.kind, setting.options, fresh=state is None)
    for note in notes:
        setting.log.line(note)
    if state is not None:
        check_same_network(state, describe(model.config))
    model.to(device)
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    if args.compile:
        check_compiler(device)
        model.compile()
    seed_process(args.seed + setting.processes.rank)
    return model


def check_same_network(state: dict[str, Any], flags: dict[str, Any]) -> None:
    """ValueError where a training state is of another network than the flags'; dropout alone may change on the way."""
    if "model" not in state["config"]:
        raise ValueError("the checkpoint to resume from is no training script's: it may be a warm-up's; name another")
    saved = state["config"]["model"]
    other = [
        f"{name} {saved.get(name)} (flags: {flags[name]})"
        for name in flags
        if name != "dropout" and saved.get(name) != flags[name]
    ]
    if other:
        raise ValueError(f"the checkpoint was trained with {', '.join(other)}; give the same flags")


def sets_of(setting: RunSetting, batches: LoaderBatches) -> dict[str, Any]:
    """The identity of the run's sets, by their flags; None for no validation."""
    judged = setting.validation_yaml
    return {
        "train_yaml": set_identity(batches.dataset.rows),
        "val_yaml": None if judged is None else set_identity(TSVSet(judged)),
    }


def go_on(trainer: Trainer, setting: RunSetting, state: dict[str, Any], resumed: Path, sets: dict[str, Any]) -> None:
    """Takes up a saved state where nothing of the run has changed, or only what --allow_changes lets through."""
    args, log = setting.args, setting.log
    pace = Pace(
        args.lr, trainer.schedule, args.num_train_epochs, trainer.batches.per_epoch, trainer.batches.global_batch
    )
    changes = changes_of(args, state, pace, sets)
    accept_changes(changes, resumed, allowed=args.allow_changes, say=log.line)
    log.line(f"going on from {resumed}")
    trainer.resume(state)
    if changes.judged and trainer.progress.best is not None:
        log.line(f"{trainer.progress.best['checkpoint']} was the best by another judging: the best is chosen anew")
        trainer.progress.best = None


def training_batches(setting: RunSetting) -> LoaderBatches:
    """The training set's batches for this process."""
    args = setting.args
    yaml = Path(args.data_dir) / args.train_yaml
    data = MeshDataset(
        yaml,
        not args.no_augmentation,
        setting.kind,
        seed=args.seed,
        on_bad_sample=args.on_bad_sample,
        fast_crop=args.fast_crop,
    )
    return LoaderBatches(
        data,
        batch_size=args.per_gpu_train_batch_size,
        accumulate=args.accumulate,
        workers=args.num_workers,
        processes=setting.processes,
    )


def loss_step(setting: RunSetting, model: Network, body: BodyModel) -> LossStep:
    """Targets, forward pass and losses of the run's network and body."""
    config = model.config
    recipe = recipe_from(setting.args, config)
    masked = config.network == "metro"
    return LossStep(
        recipe=recipe,
        make_targets=target_maker(body),
        regress_joints=body.regress_joints,
        faces=surface_faces(recipe, body, setting.args.body_dir),
        masks_joints=masked,
        masks_vertices=masked and not config.geometry_reduction,
        stride=STRIDE,
        processes=setting.processes,
        amp=setting.args.amp,
    )


def validation(
    setting: RunSetting, model: Network, body: BodyModel
) -> Callable[[Callable[[], bool]], EvaluationResult | None] | None:
    """The trainer's validation function, or None without a validation set."""
    if setting.validation_yaml is None:
        return None
    args, kind, processes = setting.args, setting.kind, setting.processes
    data = MeshDataset(setting.validation_yaml, False, kind)
    check_before(data, body, processes, setting.log.line, body_dir=args.body_dir)
    loader = validation_loader(
        data, batch_size=args.per_gpu_eval_batch_size, workers=args.num_workers, processes=processes
    )
    measure = measure_maker(
        body,
        GroundTruth(body, args.body_dir, processes.device),
        centre=RECIPES[setting.network, kind].centre,
        oracle=args.oracle,
        channels_last=args.channels_last,
    )

    def validate(give_up: Callable[[], bool]) -> EvaluationResult | None:
        found = evaluate(
            model,
            loader,
            measure,
            joint_names=JOINT_NAMES[kind],
            processes=processes,
            parametric=model.config.smpl_regressor,
            kind=kind,
            give_up=give_up,
        )
        return found[0] if found is not None else None

    return validate


def drawing(setting: RunSetting, faces: Tensor) -> Callable[..., Any] | None:
    """The trainer's drawing function, or None where nothing is to be drawn or the renderer's packages are missing."""
    if not setting.args.visual_steps or not setting.processes.is_main:
        return None
    try:
        from tore.tools.training_sheet import TrainingSheet  # needs the `render` extra
        from tore.visualize.renderer import need_render_packages

        need_render_packages("pictures of training steps")
    except ImportError as error:
        setting.log.line(f"no pictures of training steps: {error}")
        return None
    return TrainingSheet(Path(setting.args.output_dir) / "pictures", faces=faces, stride=STRIDE)


def build_trainer(setting: RunSetting, batches: LoaderBatches) -> Trainer:
    """Everything of the run, put together and, where wanted, taken up where an earlier one ended."""
    args, processes, log = setting.args, setting.processes, setting.log
    checkpoints = CheckpointFolder(Path(args.output_dir), keep=args.keep_checkpoints)
    resume_from = wanted_checkpoint(setting, checkpoints)
    state = load_training_state(resume_from) if resume_from is not None else None
    model = network_of(setting, state)
    body = load_body(setting.kind, args.body_dir).to(processes.device)
    step = loss_step(setting, model, body)
    usable = trains(step.recipe, setting.kind)
    check_before(batches.dataset, body, processes, log.line, body_dir=args.body_dir, usable=usable)
    recipe, sets = optimiser_from(args, setting.network), sets_of(setting, batches)
    trainer = Trainer(
        network=model,
        step=step,
        optimiser=build_optimiser(model.parameters(), recipe, args.lr),
        optimiser_recipe=recipe,
        apart=model.smpl_regressor,
        base_lr=args.lr,
        batches=batches,
        epochs=args.num_train_epochs,
        processes=processes,
        log=log,
        checkpoints=checkpoints,
        save_published=lambda path: save_weights(model, path),
        config={"flags": plain_flags(args), "model": describe(model.config), "sets": sets},
        validate=validation(setting, model, body),
        draw=drawing(setting, body.faces),
        average=MovingAverage(model, args.ema) if args.ema else None,
        accumulate=args.accumulate,
        channels_last=args.channels_last,
        freeze_batch_norm=args.freeze_batch_norm,
        logging_steps=args.logging_steps,
        visual_steps=args.visual_steps,
        save_steps=args.save_steps,
        on_nan=args.on_nan,
        seed=args.seed,
        schedule=Schedule(args.schedule, args.warm_up_share),
    )
    if state is not None and resume_from is not None:
        go_on(trainer, setting, state, resume_from, sets)
    return trainer
