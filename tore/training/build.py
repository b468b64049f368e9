"""From the configuration of a run to its trainer: network, batches, losses, optimizer, validation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tore import paths
from tore.body import load_body
from tore.body.body_model import BodyModel
from tore.body.topology import template_points
from tore.datasets.loader import LoaderBatches
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import TSVSet, set_identity
from tore.device import check_compiler
from tore.engine.distributed import Processes
from tore.engine.logging import Monitoring, RunLog
from tore.engine.optimization import Optimization, SizedSteps, build_optimizer
from tore.engine.pose_network import PoseNetworkStep
from tore.engine.state import CheckpointFolder, Checkpointing, MovingAverage, load_training_state, seed_process
from tore.engine.step import LossStep, step_of
from tore.engine.trainer import Trainer
from tore.evaluation.evaluator import EvaluationResult
from tore.image_format import MOVENET_THUNDER, STRIDE, ImageFormat
from tore.inference.refinement import coco_rows
from tore.modeling import create_model, load_model
from tore.modeling.backbones import KEYPOINTS_OF, NONE, SHIPPED, TIMM
from tore.modeling.build import add_smpl_regressor, describe
from tore.modeling.checkpoints import Checkpoint, read_checkpoint, save_weights
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.initialization import PARTS_TO_LOAD, load_parts, start_camera, start_from_template
from tore.modeling.metro import METRO
from tore.modeling.recorded_body import body_dir_for, refuse_another_body, trained_on_of
from tore.training.config import RunConfig
from tore.training.evaluate import Evaluation
from tore.training.feature_storing import stored_dataset
from tore.training.network_options import COORDINATES, FastMETROOptions, METROOptions
from tore.training.options import flag_text
from tore.training.recipes import optimizer_from, recipe_from, surface_faces
from tore.training.resuming import Pace, accept_changes, body_of_state, changes_of, check_same_network, record_of
from tore.training.set_check import check_before, trains
from tore.training.sheet import TrainingSheet

Network = FastMETRO | METRO


def imagenet_file(arch: str, wanted: str | None) -> Path | str | None:
    """The backbone's ImageNet file, None for `--backbone_weights none`; FileNotFoundError when it is missing.

    "timm" stands for timm's own weights, which networks by timm's names start from unless a file is named.
    """
    if wanted == NONE:
        return None
    if arch in KEYPOINTS_OF and wanted is None:
        return SHIPPED
    if wanted == SHIPPED:
        return wanted
    if wanted == TIMM or (wanted is None and arch not in paths.BACKBONE_WEIGHTS):
        return TIMM
    path = paths.backbone_weights(arch, wanted)
    if path is None or not path.is_file():
        name = path or paths.models_dir() / paths.BACKBONE_WEIGHTS.get(arch, "?")
        raise FileNotFoundError(
            f"ImageNet weights of {arch} are missing ({name}): get the file (docs/DATA.md), name another with "
            "--backbone_weights PATH, take timm's with --backbone_weights timm, or start from scratch with "
            "--backbone_weights none"
        )
    return path


def _starts_warm(config: RunConfig) -> bool:
    """Whether --pretrained brings the backbone of a network by timm's name; METRO takes nothing else from it."""
    options = config.network
    takes = isinstance(options, METROOptions) or PARTS_TO_LOAD[0] in options.pretrained_parts
    return bool(options.pretrained) and takes and options.arch not in paths.BACKBONE_WEIGHTS


def checkpoint_of(config: RunConfig) -> Checkpoint | None:
    """The checkpoint whose network the run takes, if any; what no file tells is as the options say."""
    options = config.network
    if options.checkpoint is None:
        return None
    names = ("arch", "image_size", "image_mean", "image_std")
    overrides = {name: getattr(options, name) for name in names if config.gives(name)}
    checkpoint = read_checkpoint(options.checkpoint, **overrides)
    fast = isinstance(options, FastMETROOptions)
    places = {"heads": "transformer_nhead" if fast else "num_attention_heads"}
    places["dropout"] = "transformer_dropout" if fast else "drop_out"
    places["frozen_backbone"] = "freeze_backbone"
    told = {field: getattr(options, name) for field, name in places.items() if config.gives(name)}
    return replace(checkpoint, config=replace(checkpoint.config, **told))


def start_network(model: Network, config: RunConfig) -> None:
    """The deviations from the official start that the options ask for."""
    options = config.network
    if options.pretrained:
        load_parts(model, options.pretrained, list(options.pretrained_parts))
    if options.template_initialization:
        joints, vertices = template_points(model.config.body, config.data.body_dir)
        start_from_template(model, vertices, joints)
    if options.camera_initialization:
        start_camera(model, options.camera_initialization)


def build_network(config: RunConfig, checkpoint: Checkpoint | None, *, fresh: bool) -> tuple[Network, list[str]]:
    """The network of the run and what there is to say about it; `fresh`: its backbone starts from ImageNet.

    With a checkpoint it is that one's; --smpl_regressor adds that submodule to it where it has none.
    """
    options, body_dir = config.network, config.data.body_dir
    if checkpoint is None:
        wanted = options.backbone_weights or (NONE if _starts_warm(config) else None)
        weights = imagenet_file(options.arch, wanted) if fresh else None
        model = create_model(
            options.network,
            arch=options.arch,
            body=options.body,
            body_dir=body_dir,
            backbone_weights=weights,
            **options.create_options(),
        )
        if fresh:
            start_network(model, config)
        return model, first_inputs(model, config)
    path, held = checkpoint.path, checkpoint.config
    if held.network != options.network or held.body != options.body:
        raise ValueError(f"{path} holds a {held.network} of a {held.body}, not {options.network} of a {options.body}")
    model = load_model(checkpoint, body_dir, "cpu")
    model.train()
    notes = [f"weights from {path}: {describe(model.config)}"]
    if options.smpl_regressor and not model.config.smpl_regressor:
        if config.run.run_eval_only:
            raise ValueError(f"{path} holds no SMPL parameter regressor; leave --smpl_regressor out")
        add_smpl_regressor(model)
        notes.append("the SMPL parameter regressor is new and starts at random")
    return model, notes


def first_inputs(model: Network, config: RunConfig) -> list[str]:
    """A line where --input_feat_dim names another width of the first block than the backbone gives."""
    options, wanted = config.network, COORDINATES + model.backbone.channels
    if not isinstance(options, METROOptions) or "input_feat_dim" not in config.given:
        return []
    if options.input_feat_dim[0] == wanted:
        return []
    said = flag_text("input_feat_dim", options.input_feat_dim)
    return [f"{said}: with {options.arch} the first block takes {wanted} inputs"]


@dataclass(frozen=True)
class RunSetting:
    """What a run is about: its configuration, where it runs, and the checkpoint whose network it takes, if any."""

    config: RunConfig
    processes: Processes
    log: RunLog
    checkpoint: Checkpoint | None = None

    @property
    def kind(self) -> str:
        """A "body" or a "hand"."""
        return self.config.network.body

    @property
    def output_dir(self) -> Path:
        """Where the run writes."""
        return Path(self.config.run.output_dir)


def on_recorded_body(setting: RunSetting, state: Mapping[str, Any] | None = None) -> RunSetting:
    """The setting on the body model that its training state, else its checkpoint, records, where none is named."""
    config, checkpoint = setting.config, setting.checkpoint
    recorded = body_of_state(state) if state is not None else checkpoint.trained_on if checkpoint is not None else None
    body_dir = body_dir_for(recorded, config.data.body_dir)
    data = replace(config.data, body_dir=None if body_dir is None else str(body_dir))
    return replace(setting, config=replace(config, data=data))


def wanted_checkpoint(setting: RunSetting, checkpoints: CheckpointFolder) -> Path | None:
    """The checkpoint folder to resume from. An elastic restart resumes by itself."""
    wanted = setting.config.run.resume
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if wanted == "auto" or (restarted and wanted == "none"):
        newest = checkpoints.newest_sound(setting.log.line)
        if newest is None:
            setting.log.line(f"no checkpoint in {setting.output_dir} yet: the run begins")
        return newest
    newest = checkpoints.newest()
    if wanted != "none":
        return Path(wanted)
    if newest is not None:
        raise ValueError(
            f"{newest} is there from an earlier run: resume with --resume auto, or choose another --output_dir"
        )
    return None


def network_of(setting: RunSetting, state: dict[str, Any] | None) -> Network:
    """The network on its device; `state` is the training state that will be loaded into it, if any."""
    options, device = setting.config.optimization, setting.processes.device
    model, notes = build_network(setting.config, setting.checkpoint, fresh=state is None)
    for note in notes:
        setting.log.line(note)
    if state is not None:
        check_same_network(state, describe(model.config))
    train_keypoints(model, setting.config)
    model.to(device)
    if options.channels_last:
        model.to(memory_format=torch.channels_last)
    if options.compile:
        check_compiler(device)
        model.compile()
    seed_process(setting.config.run.seed + setting.processes.rank)
    return model


def sets_of(setting: RunSetting, batches: LoaderBatches) -> dict[str, Any]:
    """The identity of the run's sets, by their flags; None for no validation."""
    judged = setting.config.data.validation_set
    return {
        "train_yaml": set_identity(batches.dataset.rows),
        "val_yaml": None if judged is None else set_identity(TSVSet(judged)),
    }


def go_on(trainer: Trainer, setting: RunSetting, state: dict[str, Any], resumed: Path, sets: dict[str, Any]) -> None:
    """Takes up a saved state where nothing of the run has changed, or only what --allow_changes lets through."""
    config, log, batches = setting.config, setting.log, trainer.batches
    options = config.optimization
    pace = Pace(options.lr, options.rates(), options.num_train_epochs, batches.per_epoch, batches.global_batch)
    changes = changes_of(config, state, pace, sets)
    accept_changes(changes, resumed, allowed=config.run.allow_changes, say=log.line)
    log.line(f"resuming from {resumed}")
    trainer.resume(state)
    if changes.judged and trainer.progress.best is not None:
        log.line(f"{trainer.progress.best['checkpoint']} was the best by another judging: the best is chosen anew")
        trainer.progress.best = None


def training_batches(setting: RunSetting, model: Network) -> LoaderBatches:
    """The training set's batches for this process, of images as the network is shown them or of stored features."""
    config, options, processes = setting.config, setting.config.data, setting.processes
    chosen = {
        "yaml": options.training_set,
        "train": not options.no_augmentation,
        "body": setting.kind,
        "seed": config.run.seed,
        "on_bad_sample": options.on_bad_sample,
        "fast_crop": options.fast_crop,
        "image_format": model.config.image_format,
        "shift": options.shift_augmentation,
        "occlusion": options.occlusion_augmentation,
    }
    data = MeshDataset(**chosen)
    if options.cache_features is not None:
        data = stored_dataset(
            model,
            chosen,
            folder=options.cache_features,
            augmentations=options.cache_augmentations,
            workers=options.num_workers,
            processes=processes,
            say=setting.log.line,
        )
    return LoaderBatches(
        data,
        batch_size=options.per_gpu_train_batch_size,
        accumulate=config.optimization.accumulate,
        workers=options.num_workers,
        rank=processes.rank,
        world_size=processes.size,
        pin_memory=processes.device.type == "cuda",
    )


def trains_pose_network(model: Network) -> bool:
    """Whether the backbone is a pose network that is trained."""
    return model.config.arch in KEYPOINTS_OF and not model.config.frozen_backbone


def train_keypoints(model: Network, config: RunConfig) -> None:
    """Trains MoveNet's heads with its backbone where their maps are weighed.

    ValueError for options about it that would have no effect.
    """
    weight, trained = config.losses.keypoint_maps_loss_weight, trains_pose_network(model)
    if config.gives("pose_network_lr") and not trained:
        raise ValueError("--pose_network_lr is the rate of a pose network that is trained; add --freeze_backbone false")
    if config.gives("pose_network_from") and not weight:
        raise ValueError("--pose_network_from goes with --keypoint_maps_loss_weight; leave it out, or give both")
    if not weight:
        return
    said = flag_text("keypoint_maps_loss_weight", weight)
    if model.config.arch != MOVENET_THUNDER or not getattr(model.config, "keypoint_queries", False):
        raise ValueError(f"{said} weighs the maps of a network with MoveNet's keypoints in its queries; leave it out")
    if not trained or config.data.cache_features is not None:
        raise ValueError(f"{said} trains MoveNet; add --freeze_backbone false, and leave --cache_features out")
    if config.network.checkpoint is None:
        raise ValueError(f"{said} keeps MoveNet's maps as a checkpoint has them; name it with --checkpoint")
    first, blocks = config.optimization.pose_network_from, len(model.backbone.trunk.network.blocks)
    if first > blocks:
        raise ValueError(f"--pose_network_from {first}: MoveNet has {blocks} blocks; use 0 to {blocks}")
    model.backbone.trunk.train_from(first)


def loss_step(setting: RunSetting, model: Network, body: BodyModel) -> LossStep:
    """Targets, forward pass and losses of the run's network and body."""
    recipe = recipe_from(setting.config, model.config)
    faces = surface_faces(recipe, body, setting.config.data.body_dir)
    amp, device = setting.config.optimization.amp, setting.processes.device
    options: dict[str, Any] = {"processes": setting.processes, "amp": amp, "faces": faces}
    if not recipe.keypoint_maps:
        return step_of(model, body, recipe, **options)
    # No saved state is loaded yet: this is the checkpoint's MoveNet, also when a run resumes.
    before = deepcopy(model.backbone.trunk.network).requires_grad_(False)
    rows = torch.from_numpy(coco_rows(body)[0]).float().to(device)
    return step_of(model, body, recipe, make_step=partial(PoseNetworkStep, before=before, rows=rows), **options)


def validation(
    setting: RunSetting, model: Network, body: BodyModel
) -> Callable[[Callable[[], bool]], EvaluationResult | None] | None:
    """The trainer's validation function, or None without a validation set."""
    config, options = setting.config, setting.config.data
    if options.validation_set is None:
        return None
    evaluation = Evaluation(
        MeshDataset(options.validation_set, False, setting.kind, image_format=model.config.image_format),
        body,
        network=config.network.network,
        body_dir=options.body_dir,
        processes=setting.processes,
        batch_size=options.per_gpu_eval_batch_size,
        workers=options.num_workers,
        oracle=config.run.oracle,
        channels_last=config.optimization.channels_last,
        say=setting.log.line,
    )
    return partial(evaluation.validate, model)


def drawing(setting: RunSetting, faces: Tensor, image_format: ImageFormat) -> Callable[..., Any] | None:
    """The trainer's drawing function, or None where nothing is to be drawn."""
    if not setting.config.run.visual_steps or not setting.processes.is_main:
        return None
    if setting.config.data.cache_features is not None:
        setting.log.line("no images of the training are drawn: stored features hold none")
        return None
    return TrainingSheet(setting.output_dir / "pictures", faces=faces, stride=STRIDE, image_format=image_format)


def optimization_of(config: RunConfig, model: Network) -> Optimization:
    """How the options have the network optimized."""
    options, recipe = config.optimization, optimizer_from(config)
    optimizer = build_optimizer(model.parameters(), recipe, options.lr)
    apart: list[torch.nn.Module | None] = [model.smpl_regressor]  # it sends the others no gradient
    if trains_pose_network(model):
        backbone = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
        SizedSteps(optimizer, backbone, options.pose_network_lr / options.lr if options.lr else 0.0)
        apart.append(model.backbone)  # its gradients are thousands of times larger
    return Optimization(
        optimizer,
        recipe,
        lr=options.lr,
        epochs=options.num_train_epochs,
        schedule=options.rates(),
        accumulate=options.accumulate,
        average=MovingAverage(model, options.ema) if options.ema else None,
        apart=tuple(part for part in apart if part is not None),
        channels_last=options.channels_last,
        freeze_batch_norm=options.freeze_batch_norm,
        on_nan=options.on_nan,
    )


def build_trainer(setting: RunSetting) -> tuple[Trainer, MeshDataset]:
    """Everything of the run, put together and, where wanted, taken up where an earlier one ended; its training set."""
    processes, log, run = setting.processes, setting.log, setting.config.run
    checkpoints = CheckpointFolder(setting.output_dir, keep=run.keep_checkpoints)
    resume_from = wanted_checkpoint(setting, checkpoints)
    state = load_training_state(resume_from) if resume_from is not None else None
    setting = on_recorded_body(setting, state)
    config, body_dir = setting.config, setting.config.data.body_dir
    model = network_of(setting, state)
    batches = training_batches(setting, model)
    body = load_body(setting.kind, body_dir).to(processes.device)
    began_on = trained_on_of(model) if state is None else body_of_state(state)
    refuse_another_body(began_on, body.identity, resume_from or "the network")
    model.trained_on = body.identity
    step = loss_step(setting, model, body)
    usable = trains(step.recipe, setting.kind)
    check_before(batches.dataset, body, processes, log.line, body_dir=body_dir, usable=usable)
    sets = sets_of(setting, batches)
    trainer = Trainer(
        network=model,
        step=step,
        batches=batches,
        processes=processes,
        optimization=optimization_of(config, model),
        monitoring=Monitoring(
            log,
            validate=validation(setting, model, body),
            draw=drawing(setting, body.faces, model.config.image_format),
            logging_steps=run.logging_steps,
            visual_steps=run.visual_steps,
        ),
        checkpointing=Checkpointing(
            checkpoints,
            save_weights=lambda path: save_weights(model, path),
            config=record_of(config, describe(model.config), body.identity, sets),
            save_steps=run.save_steps,
        ),
        seed=run.seed,
    )
    if state is not None and resume_from is not None:
        go_on(trainer, setting, state, resume_from, sets)
    return trainer, batches.dataset
