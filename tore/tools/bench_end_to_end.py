"""Whole pictures through `tore infer`'s own stages: reading, cropping, the network, drawing, writing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tore.body.body_model import BodyModel
from tore.inference.outputs import Wanted
from tore.inference.predictor import MeshRecovery
from tore.inference.run import Job, Run
from tore.modeling.prediction import MeshPrediction

PICTURE_SIZE, JPEG_QUALITY = (640, 480), 90
REST_CAMERA = (0.9, 0.0, 0.0)  # scale, tx, ty of a figure in the middle of its crop


class AtRest(nn.Module):
    """The network at its full cost, its answer replaced by the figure at rest in the middle of the crop.

    Random weights give no body, and drawing costs what the mesh covers.
    """

    vertices: Tensor
    camera: Tensor

    def __init__(self, network: nn.Module, body: BodyModel) -> None:
        super().__init__()
        self.network = network
        pose = torch.zeros(1, 72 if body.kind == "body" else 48)
        pose[0, 0] = torch.pi if body.kind == "body" else 0.0
        device = next(network.parameters()).device
        with torch.no_grad():
            rest = body.cpu().targets(pose, torch.zeros(1, 10)).vertices[-1]  # (1, V, 3)
        self.register_buffer("vertices", rest.to(device))
        self.register_buffer("camera", torch.tensor([REST_CAMERA]).to(device))

    def forward(self, images: Tensor) -> MeshPrediction:
        """images (B, 3, n, n)."""
        batch = len(images)
        vertices, camera = self.vertices.expand(batch, -1, -1), self.camera.expand(batch, -1)
        return self.network(images)._replace(vertices=vertices, camera=camera)


def made_pictures(count: int, folder: Path) -> list[Path]:
    """Writes `count` smooth colour pictures as JPEG files of 640 x 480."""
    random = np.random.default_rng(0)
    paths = [folder / f"{index:03d}.jpg" for index in range(count)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 256, (15, 20, 3), np.uint8))
        coarse.resize(PICTURE_SIZE, Image.Resampling.BICUBIC).save(path, quality=JPEG_QUALITY)
    return paths


def time_stages(
    networks: Mapping[str, nn.Module],
    bodies: Mapping[str, BodyModel],
    pictures: Sequence[Path],
    *,
    batch_size: int,
    repeats: int,
    tell: Callable[[], object] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Milliseconds per picture of each stage and in all, for each network: medians over `repeats` after one untimed.

    Stages run side by side, so that all of it can take less than their sum. networks: with random weights; each round
    runs all of them in turn. bodies: each network's own.
    """
    recoveries = {name: MeshRecovery(AtRest(network, bodies[name]), bodies[name]) for name, network in networks.items()}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in networks}
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(path, Path(folder) / path.stem) for path in pictures]
        for number in range(repeats + 1):
            for name, recovery in recoveries.items():
                run = Run(recovery, Wanted(), batch_size=batch_size, overwrite=True)
                start = time.perf_counter()
                failed = [report.error for report in run(jobs) if report.error]
                whole = time.perf_counter() - start
                if failed:
                    raise ValueError(failed[0])
                if number:
                    stages = run.seconds | {"all": whole}
                    taken[name].append({stage: 1000 * seconds / len(jobs) for stage, seconds in stages.items()})
                tell()
    return {
        name: {stage: statistics.median(row[stage] for row in rows) for stage in rows[0]}
        for name, rows in taken.items()
    }
