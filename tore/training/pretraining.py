"""Pre-training of the image side: each image token learns to be a joint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from tore.datasets.label import Label
from tore.datasets.loader import LoaderBatches
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import set_identity
from tore.engine.distributed import Processes
from tore.engine.logging import Monitoring, RunLog
from tore.engine.optimization import Optimization, OptimizerRecipe, Schedule, build_optimizer
from tore.engine.state import CheckpointFolder, Checkpointing, load_training_state
from tore.engine.step import AMP_TYPES, Batch, StepResult, predicted
from tore.engine.trainer import Trainer
from tore.files import read_yaml, write_whole
from tore.image_format import IMAGE_SIZE, IMAGENET_MEAN, IMAGENET_STD, STRIDE
from tore.losses.criterion import weighted_sum
from tore.losses.terms import absolute_distance, joints_2d_loss, labelled_mean
from tore.modeling.backbones import Backbone, load_backbone_weights
from tore.modeling.build import FastMETROConfig
from tore.modeling.image_token_pruning import kept_tokens
from tore.modeling.initialization import WarmUpNetwork, load_parts, save_image_side
from tore.training.network_options import BODIES
from tore.training.options import Options, current_names, option, refuse_unknown
from tore.training.resuming import Pace, accept_changes, changes_of, recorded
from tore.training.set_check import check_before

WEIGHTS = {"heatmap": 0.1, "joints_2d": 1.0, "joints_3d": 4.0}
LEAST = 1e-8  # of a heatmap's weights, below which no logarithm goes


def heatmap_targets(joints_2d: Tensor, grid: tuple[int, int]) -> Tensor:
    """Where joints (B, J, 2) in [-1, 1] lie on a feature map: (B, J, h*w), shared out over the four nearest cells.

    The shares of a joint sum to 1; one beyond the outermost cells' middles counts to the outermost cells.
    """
    height, width = grid
    size = joints_2d.new_tensor((width, height))
    place = ((joints_2d + 1) / 2 * size - 0.5).clamp(min=0).minimum(size - 1)  # (B, J, 2)
    columns, rows = (
        (1 - (place[..., axis, None] - torch.arange(count).to(place)).abs()).clamp(min=0)
        for axis, count in ((0, width), (1, height))
    )
    return (rows[..., :, None] * columns[..., None, :]).flatten(2)  # (B, J, h*w)


def warm_up_terms(
    prediction: Any, batch: Mapping[str, Tensor], joint_of: Tensor, grid: tuple[int, int]
) -> dict[str, Tensor]:
    """The unweighted terms by name, means over tokens; confidence-weighted, 3D over the samples with 3D joints.

    prediction: `heatmap (B, M, h*w)`, `joints_2d (B, M, 2)`, `joints_3d (B, M, 3)`; batch: the data set's
    `joints_2d (B, J, 3)`, `joints_3d (B, J, 4)`, `has_3d_joints (B,)`; joint_of (M,): which joint a token is.
    A joint outside of the crop has no heatmap.
    """
    seen, space = batch["joints_2d"][:, joint_of], batch["joints_3d"][:, joint_of]
    inside = seen[..., 2] * (seen[..., :2].abs() < 1).all(-1)
    aims = heatmap_targets(seen[..., :2], grid)
    cross_entropy = -(aims * prediction.heatmap.clamp(min=LEAST).log()).sum(-1)  # (B, M)
    error = space[..., 3:] * absolute_distance(prediction.joints_3d, space[..., :3])
    return {
        "heatmap": (inside * cross_entropy).mean(),
        "joints_2d": joints_2d_loss(prediction.joints_2d, seen, distance=absolute_distance),
        "joints_3d": labelled_mean(error, batch["has_3d_joints"], None),
    }


NETWORK = ("arch", "body", "model_dim_1", "keep_ratio", "image_size", "image_mean", "image_std")
RECIPE = OptimizerRecipe("adamw", weight_decay=1e-2, clip="norm", clip_limit=1.0)


@dataclass(frozen=True)
class PretrainConfig(Options):
    """The configuration of a pre-training of the image side."""

    train_yaml: str = option("")
    data_dir: str = option("")
    body: str = option("body", choices=BODIES)
    arch: str = option("")
    model_dim_1: int = option(512)
    keep_ratio: float = option(0.8)
    size: int = option(224)
    image_size: int = option(IMAGE_SIZE, least=1)
    image_mean: tuple[float, ...] = option(IMAGENET_MEAN)
    image_std: tuple[float, ...] = option(IMAGENET_STD)
    num_train_epochs: int = option(10, least=1)
    per_gpu_train_batch_size: int = option(32, least=1)
    lr: float = option(2e-3, least=0)
    warm_up_share: float = option(0.05)
    backbone_weights: str | None = option(None)
    pretrained: str | None = option(None)
    amp: str = option("none", choices=tuple(AMP_TYPES))
    num_workers: int = option(4, least=0)
    on_bad_sample: str = option("raise", choices=("raise", "skip"))
    output_dir: str = option("output/warm-up")
    resume: str = option("none", choices=("none", "auto"))
    allow_changes: bool = option(False)
    logging_steps: int = option(100, least=1)
    no_tensorboard: bool = option(False)
    device: str = option("auto")
    seed: int = option(88)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        """Checks also the schedule."""
        super().__post_init__()
        self.rates()

    @classmethod
    def from_flags(cls, args: object) -> PretrainConfig:
        """From the command's parsed flags; `typed` of them are the given ones."""
        values = {name: value for name, value in vars(args).items() if name in cls.names()}
        return cls(**values, given=frozenset(getattr(args, "typed", ())) & values.keys())

    @classmethod
    def from_yaml(cls, path: str | Path) -> PretrainConfig:
        """Reads what `to_yaml` writes; options may be left out. ValueError names the file and what is wrong."""
        content = read_yaml(path) or {}
        try:
            content = current_names(content)
            if not isinstance(content, dict):
                raise ValueError("a configuration of `tore pretrain` holds options, such as `lr: 1e-3`")
            refuse_unknown(content, [*cls.names(), "given"], "tore pretrain")
            values = {name: value for name, value in content.items() if name != "given"}
            given = content.get("given", list(values))
            if not isinstance(given, list):
                raise ValueError("`given` is a list of options")
            refuse_unknown(given, cls.names(), "tore pretrain")
            return cls(**values, given=frozenset(given))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def to_yaml(self, path: str | Path) -> None:
        """Writes the configuration, whole or not at all."""
        content = {**self.plain(), "given": sorted(self.given)}
        write_whole(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def values(self) -> dict[str, Any]:
        """Option -> plain value."""
        return self.plain()

    def gives(self, name: str) -> bool:
        """Whether an option was given."""
        return name in self.given or getattr(self, name) != self.defaults()[name]

    def rates(self) -> Schedule:
        """The learning rate's schedule. ValueError for a share of rising steps that is none."""
        return Schedule("cosine", self.warm_up_share)


@dataclass(frozen=True)
class WarmUpStep:
    """From a batch to its loss; see `tore.engine.step.LossStep`."""

    grid: tuple[int, int]
    joint_of: Tensor
    processes: Processes
    amp: torch.dtype | None

    def __call__(self, model: nn.Module, batch: Batch, progress: float) -> StepResult:
        """`progress` changes nothing: the weights stay."""
        prediction = predicted(model, batch["image"], processes=self.processes, amp=self.amp)
        terms = warm_up_terms(prediction, batch, self.joint_of, self.grid)
        return StepResult(weighted_sum(terms, WEIGHTS), terms, WEIGHTS, prediction, None)


def usable(label: Label) -> bool:
    """Whether a label moves one of the warm-up's losses."""
    joints_3d = label.has_3d_joints and (label.joints_3d[:, 3] > 0).any()
    return bool(joints_3d or (label.joints_2d[:, 2] > 0).any())


def newest_checkpoint(config: PretrainConfig, checkpoints: CheckpointFolder, log: RunLog) -> Path | None:
    """The checkpoint folder of an earlier run, if any. ValueError where it is not to be resumed, or cannot be read."""
    if config.resume == "auto":
        return checkpoints.newest_sound(log.line)
    newest = checkpoints.newest()
    if newest is not None:
        raise ValueError(f"{newest} is there from an earlier run: add --resume auto, or choose another --output_dir")
    return newest


def image_side_of(config: PretrainConfig) -> FastMETROConfig:
    """A network whose image side is the configuration's."""
    images = {name: getattr(config, name) for name in ("image_size", "image_mean", "image_std")}
    return FastMETROConfig(arch=config.arch, **images)


def training_batches(config: PretrainConfig, processes: Processes, log: RunLog) -> LoaderBatches:
    """The training set's batches for this process; the set is checked before."""
    yaml, image_format = Path(config.data_dir) / config.train_yaml, image_side_of(config).image_format
    options: dict[str, Any] = {"seed": config.seed, "on_bad_sample": config.on_bad_sample}
    data = MeshDataset(yaml, True, config.body, image_format=image_format, **options)
    check_before(data, None, processes, log.line, usable=usable)
    return LoaderBatches(
        data,
        batch_size=config.per_gpu_train_batch_size,
        workers=config.num_workers,
        rank=processes.rank,
        world_size=processes.size,
        pin_memory=processes.device.type == "cuda",
    )


def build_network(config: PretrainConfig, joints: int) -> WarmUpNetwork:
    """The network of the run with the files that the configuration names; `joints`: how many the labels have."""
    backbone = Backbone(config.arch)
    if config.backbone_weights is not None:
        load_backbone_weights(backbone, config.backbone_weights)
    network = WarmUpNetwork(
        backbone=backbone,
        width=config.model_dim_1,
        tokens=kept_tokens(config.keep_ratio, image_side_of(config).image_positions),
        joints=joints,
        size=config.size,
    )
    if config.pretrained is not None:
        load_parts(network, config.pretrained)
    return network


def optimization_of(config: PretrainConfig, network: WarmUpNetwork) -> Optimization:
    """How the configuration has the network optimized."""
    return Optimization(
        build_optimizer(network.parameters(), RECIPE, config.lr),
        RECIPE,
        lr=config.lr,
        epochs=config.num_train_epochs,
        schedule=config.rates(),
        channels_last=True,
    )


def go_on(trainer: Trainer, config: PretrainConfig, newest: Path, sets: dict[str, Any], log: RunLog) -> None:
    """Takes up a saved state where nothing of the run has changed, or only what --allow_changes lets through."""
    state, batches = load_training_state(newest), trainer.batches
    pace = Pace(config.lr, config.rates(), config.num_train_epochs, batches.per_epoch, batches.global_batch)
    check_same_image_side(config, recorded(state), newest)
    accept_changes(changes_of(config, state, pace, sets), newest, allowed=config.allow_changes, say=log.line)
    log.line(f"resuming from {newest}")
    trainer.resume(state)


def build_trainer(config: PretrainConfig, processes: Processes, log: RunLog) -> Trainer:
    """The trainer of pre-training, resumed where an earlier run ended on request."""
    checkpoints = CheckpointFolder(Path(config.output_dir), keep=1)
    newest = newest_checkpoint(config, checkpoints, log)
    batches = training_batches(config, processes, log)
    network = build_network(config, batches.dataset.layout.joint_rows[0])
    sets = {"train_yaml": set_identity(batches.dataset.rows)}
    network.to(processes.device).to(memory_format=torch.channels_last)
    cells = config.size // STRIDE
    trainer = Trainer(
        network=network,
        step=WarmUpStep((cells, cells), network.joint_of, processes, AMP_TYPES[config.amp]),
        batches=batches,
        processes=processes,
        optimization=optimization_of(config, network),
        monitoring=Monitoring(log, logging_steps=config.logging_steps),
        checkpointing=Checkpointing(
            checkpoints,
            save_weights=lambda path: save_image_side(network, path),
            config={"run": config.plain(), "sets": sets},
        ),
        seed=config.seed,
    )
    if newest is not None:
        go_on(trainer, config, newest, sets, log)
    return trainer


def check_same_image_side(config: PretrainConfig, saved: Mapping[str, Any], newest: Path) -> None:
    """ValueError where the checkpoint is of another image side than the flags', whatever changes are allowed."""
    now = config.plain()
    other = [
        f"--{name} {saved[name]} (now {now[name]})"
        for name in NETWORK
        if name in saved and str(saved[name]) != str(now[name])
    ]
    if other:
        raise ValueError(f"{newest} was trained with {', '.join(other)}; give the same flags, or another --output_dir")
