"""The demo's table: networks and baselines on the same held-out pictures, by the evaluation of every tool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tore.body.body_model import BodyModel
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.paths import STAND_IN
from tore.tools.baselines import ConstantMesh, mean_mesh, rest_mesh
from tore.tools.demo_training import BATCH, NETWORK
from tore.tools.evaluation_report import evaluate_set, protocol_of
from tore.tools.train_setup import GroundTruth

ERRORS = {"mpjpe": "MPJPE", "pa_mpjpe": "PA-MPJPE", "mpvpe": "MPVPE"}
MEAN, REST = "mean mesh of the training set", "rest pose of the body model"


class Judge:
    """Evaluates on one held-out set."""

    def __init__(self, body: BodyModel, yaml: Path, device: torch.device, workers: int) -> None:
        self.body, self.yaml, self.workers = body.to(device), yaml, workers
        self.processes = Processes(device=device)
        self.truth = GroundTruth(body, STAND_IN, device)

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """The metrics in millimetres by name, and `protocol`: how they were measured, a line for each fact."""
        kind = self.body.kind
        result, _ = evaluate_set(
            model,
            MeshDataset(self.yaml, False, kind),
            self.body,
            self.truth,
            network=NETWORK,
            oracle=False,
            batch_size=BATCH,
            workers=self.workers,
            processes=self.processes,
        )
        lines = protocol_of(kind, self.yaml, self.truth, oracle=False).lines(result)
        return {**result.metrics, "protocol": lines}


def judge_baselines(judge: Judge, training: Path, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """What the mean mesh of a training set and the resting body score."""
    data = MeshDataset(training, False, judge.body.kind)
    labels = [data.label(index) for index in range(len(data))]
    found = {}
    for name, vertices in ((MEAN, mean_mesh(judge.body, labels)), (REST, rest_mesh(judge.body))):
        found[name] = judge(ConstantMesh(judge.body, vertices))
        say(f"  {name}: {in_words(found[name])}")
    return found


def in_words(metrics: dict[str, Any]) -> str:
    """The three errors on a line; one that no picture has a label for is absent."""
    return ", ".join(
        f"{text} {metrics[name]:.1f} mm" if name in metrics else f"{text} absent" for name, text in ERRORS.items()
    )
