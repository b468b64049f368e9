"""A network, a body and a training set small enough to train in milliseconds, with batch norm and dropout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tore.engine.distributed import Processes
from tore.engine.logging import Monitoring, RunLog
from tore.engine.optimization import FASTMETRO_OPTIMIZER, Optimization, build_optimizer
from tore.engine.state import CheckpointFolder, Checkpointing, MovingAverage, seed_process
from tore.engine.step import LossStep
from tore.engine.trainer import Trainer
from tore.losses.criterion import Targets
from tore.losses.recipes import FASTMETRO_BODY

SIZES = (4, 8, 16)
JOINTS, CELLS = 14, 4


class ToyPrediction(NamedTuple):
    camera: Tensor
    joints: Tensor
    vertices_coarse: Tensor
    vertices_mid: Tensor
    vertices: Tensor
    heatmap: Tensor

    @property
    def levels(self) -> tuple[Tensor, ...]:
        return self.vertices_coarse, self.vertices_mid, self.vertices


class ToyNetwork(nn.Module):
    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(144, 16)
        )
        counts = (3, JOINTS * 3, *(n * 3 for n in SIZES), 2 * CELLS)
        self.heads = nn.ModuleList(nn.Linear(16, count) for count in counts)

    def forward(self, images: Tensor) -> ToyPrediction:
        hidden = self.trunk(images)
        camera, *points, heat = (head(hidden) for head in self.heads)
        heatmap = heat.unflatten(1, (2, CELLS)).softmax(-1)
        return ToyPrediction(camera, *(p.unflatten(1, (-1, 3)) for p in points), heatmap)


def sample(index: int, epoch: int) -> dict[str, Tensor]:
    r = np.random.RandomState(1000 * epoch + index)
    arrays = {
        "image": r.standard_normal((3, 8, 8)),
        "joints_3d": np.abs(r.standard_normal((JOINTS, 4))),
        "joints_2d": r.uniform(-1, 1, (JOINTS, 3)),
        **{f"level_{n}": r.standard_normal((n, 3)) * 0.3 for n in SIZES},
        "has_smpl": np.float64(index % 3 != 0),
        "has_3d_joints": np.float64(index % 4 != 0),
    }
    return {name: torch.from_numpy(np.asarray(value, dtype=np.float32)) for name, value in arrays.items()}


class ToyBatches:
    """Samples in order, epoch after epoch; a process takes its part of each global batch."""

    def __init__(self, processes: Processes, *, samples: int = 22, batch: int = 4, accumulate: int = 1) -> None:
        self.processes, self.batch, self.accumulate = processes, batch, accumulate
        self.global_batch = batch * accumulate * processes.size
        self.per_epoch = samples // self.global_batch
        self.poison: set[int] = set()

    def epoch(self, epoch: int, start: int) -> Iterator[dict]:
        for iteration in range(start, self.per_epoch):
            for micro in range(self.accumulate):
                first = iteration * self.global_batch + (micro * self.processes.size + self.processes.rank) * self.batch
                indices = range(first, first + self.batch)
                samples = [sample(index, epoch) for index in indices]
                out = {name: torch.stack([s[name] for s in samples]) for name in samples[0]}
                if self.poison & set(indices):
                    out["image"][0] = float("nan")
                yield out | {"key": [f"image{index}" for index in indices]}


def make_targets(batch: dict) -> Targets:
    return Targets(
        vertices=tuple(batch[f"level_{n}"] for n in SIZES),
        joints_3d=batch["joints_3d"],
        joints_2d=batch["joints_2d"],
        has_mesh=batch["has_smpl"],
        has_joints_3d=batch["has_3d_joints"],
    )


def make_trainer(
    output: Path,
    *,
    processes: Processes | None = None,
    epochs: int = 2,
    dropout: float = 0.2,
    ema: float = 0.0,
    amp: str = "none",
    itp: float = 1e-3,
    batches: ToyBatches | None = None,
    keep: int = 3,
    dtype: torch.dtype = torch.float32,
    **options,
) -> Trainer:
    processes = processes or Processes()
    seed_process(5)
    network = ToyNetwork(dropout).to(dtype)
    seed_process(5 + processes.rank)
    regressor = torch.from_numpy(np.random.RandomState(3).dirichlet(np.ones(SIZES[-1]), JOINTS)).to(dtype)
    step = LossStep(
        recipe=FASTMETRO_BODY.__class__(**{**vars(FASTMETRO_BODY.without_surface()), "itp": itp}),
        make_targets=make_targets,
        regress_joints=lambda vertices: regressor @ vertices,
        faces=torch.tensor([[0, 1, 2]]),
        masks_joints=False,
        stride=4,
        processes=processes,
        amp=amp,
    )
    return Trainer(
        network=network,
        step=step,
        batches=batches or ToyBatches(processes, accumulate=options.get("accumulate", 1)),
        processes=processes,
        optimization=Optimization(
            build_optimizer(network.parameters(), FASTMETRO_OPTIMIZER, 1e-2),
            FASTMETRO_OPTIMIZER,
            lr=1e-2,
            epochs=epochs,
            average=MovingAverage(network, ema) if ema else None,
            **own(Optimization, options),
        ),
        monitoring=Monitoring(
            RunLog(output if processes.is_main else None, echo=lambda text: None, tensorboard=False),
            **{"logging_steps": 3, **own(Monitoring, options)},
        ),
        checkpointing=Checkpointing(
            CheckpointFolder(output, keep=keep),
            save_weights=lambda path: torch.save(network.state_dict(), path),
            config={"toy": True},
            **own(Checkpointing, options),
        ),
        seed=5,
    )


def own(group: type, options: dict) -> dict:
    """Those of the options that belong to a group of the trainer's."""
    return {name: value for name, value in options.items() if name in {each.name for each in fields(group)}}
