"""The demo's training runs: their configurations, as many steps as fit the minutes, and the run's curves."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tore.demo.data import repeated_set
from tore.engine.state import CheckpointFolder
from tore.files import read_json, write_json
from tore.modeling.build import ModelConfig
from tore.paths import SYNTHETIC
from tore.training.config import RunConfig, official
from tore.training.run import run

NETWORK = "fastmetro"
BATCH = 16
PROBE_STEPS = 8
STEPS_SHARE = 0.8  # of the minutes; validation, checkpoints and starting take the rest
MOST_EPOCHS, LEAST_EPOCH = 8, 25  # validations of a run; steps between two of them
LINES = 40  # points of a training curve
# From scratch: a small network without dropout, its mesh and camera started at a resting figure in the crop's middle.
SMALL: dict[str, Any] = {
    "model_name": "FastMETRO_S",
    "keep_ratio": 0.8,
    "model_dim_1": 256,
    "feedforward_dim_1": 1024,
    "backbone_weights": "none",
    "template_initialization": True,
    "lr": 5e-4,
}
CAMERA_START = {"body": (0.9, 0.0, 0.0), "hand": (8.0, 0.0, 0.0)}  # a figure that fills most of the crop
# Few steps: careful ones, and averaged, running statistics of batch norms included.
GOING_ON: dict[str, Any] = {"lr": 5e-5, "ema": 0.98}
SHARED: dict[str, Any] = {
    "transformer_dropout": 0.0,
    "channels_last": True,
    "schedule": "cosine",
    "warm_up_share": 0.05,
    "visual_steps": 0,
    "no_tensorboard": True,
    "quiet": True,
    "keep_checkpoints": 1,
    "resume": "auto",
    "data_dir": "",
    "body_dir": SYNTHETIC,
}


class StoppedError(Exception):
    """A signal stopped a training run after it had saved."""


@dataclass(frozen=True)
class Where:
    """What runs share: the figure, and the machine's part."""

    kind: str  # "body" | "hand"
    device: str
    workers: int
    seed: int


@dataclass(frozen=True)
class Sets:
    """What a run reads: a synthetic set of `rows` images to train on, and one to be judged by."""

    training: Path
    rows: int
    validation: Path

    def of_length(self, length: int, target: Path) -> Path:
        """The training set gone through again and again up to `length` samples: one epoch of a run."""
        return repeated_set(self.training, [index % self.rows for index in range(length)], target)


@dataclass(frozen=True)
class Plan:
    """A run's length: `epochs` of `steps` each, a validation after every epoch; `batch` images in a step."""

    epochs: int
    steps: int
    batch: int = BATCH


def from_scratch(arch: str, kind: str) -> RunConfig:
    """The configuration of a new small network of a "body" or "hand"."""
    return official(NETWORK, kind).changed(**SHARED, **SMALL, arch=arch, camera_initialization=CAMERA_START[kind])


def going_on(checkpoint: Path, network: ModelConfig) -> RunConfig:
    """The configuration that trains on from a checkpoint of this network."""
    of_file = {"checkpoint": str(checkpoint), "arch": network.arch, "transformer_nhead": network.heads}
    return official(NETWORK, network.body).changed(**SHARED, **GOING_ON, **of_file)


def plan_for(minutes: float, sets: Sets, config: RunConfig, where: Where, folder: Path) -> Plan:
    """How many steps fit into `minutes`, from a few measured ones; remembered in the folder, so that it stays."""
    note = folder / "plan.json"
    if note.is_file():
        try:
            return Plan(**read_json(note))
        except TypeError:
            raise ValueError(f"{note} holds no plan of a training: delete it") from None
    short = sets.of_length(PROBE_STEPS * BATCH, folder / "probe.yaml")
    probe = config.changed(train_yaml=str(short), val_yaml="none", num_train_epochs=1, logging_steps=1)
    train(probe, where, folder / "probe")
    speeds = [line["images_per_second"] for line in lines_of(folder / "probe", "train")]
    seconds = BATCH / statistics.median(speeds[PROBE_STEPS // 2 :])
    total = max(1, int(STEPS_SHARE * 60 * minutes / seconds))
    epochs = max(1, min(MOST_EPOCHS, total // LEAST_EPOCH))
    plan = Plan(epochs, total // epochs)
    write_json(note, vars(plan))
    return plan


def train_by(plan: Plan, sets: Sets, config: RunConfig, where: Where, folder: Path) -> None:
    """Trains by the plan into `folder`; resumes where an earlier call was stopped."""
    passes = sets.of_length(plan.steps * plan.batch, folder / "train.yaml")
    planned = config.changed(
        train_yaml=str(passes),
        val_yaml=str(sets.validation),
        num_train_epochs=plan.epochs,
        per_gpu_train_batch_size=plan.batch,
        logging_steps=max(1, plan.epochs * plan.steps // LINES),
    )
    train(planned, where, folder)


def train(config: RunConfig, where: Where, folder: Path) -> None:
    """One training run. StoppedError where a signal stopped it, ValueError for other ends than its own."""
    own = config.changed(output_dir=str(folder), device=where.device, seed=where.seed, num_workers=where.workers)
    code = run(own)
    if code:
        raise StoppedError(f"training in {folder} was stopped after it had saved")


def newest_weights(folder: Path) -> Path:
    """The weights of a run's last checkpoint."""
    checkpoint = CheckpointFolder(folder, keep=1).newest()
    assert checkpoint is not None, folder
    return checkpoint / "state_dict.bin"


def lines_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    """A run's logged lines of a kind: "train", "validation"."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == kind]


def curves_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value): the losses of training and the errors of validation."""
    found: dict[str, list[tuple[int, float]]] = {}
    for kind, names in (
        ("train", ("loss", "joints_3d", "vertices", "joints_2d")),
        ("validation", ("mpjpe", "pa_mpjpe")),
    ):
        for line in lines_of(folder, kind):
            for name in names:
                if name in line:  # a metric that no image has a label for is absent
                    found.setdefault(name, []).append((line["iteration"], line[name]))
    return found
