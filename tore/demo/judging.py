"""The demo's table: networks and constant meshes evaluated on the same held-out images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tore.body.body_model import BodyModel
from tore.datasets.mesh_dataset import MeshDataset
from tore.demo.training import BATCH, NETWORK
from tore.engine.distributed import Processes
from tore.image_format import OFFICIAL_FORMAT, ImageFormat
from tore.modeling.heads import MeshPrediction
from tore.paths import SYNTHETIC
from tore.training.evaluate import Evaluation

POSED_AT_ONCE = 64  # meshes posed together
MIDDLE_CAMERA = (0.9, 0.0, 0.0)  # a person who fills most of the crop


class ConstantMesh(nn.Module):
    """A network that never looks at its images.

    vertices: (V, 3) meters, the full mesh it gives. image_format: the one of the network that it is compared with, so
    that it is judged on the same crops.
    """

    vertices: Tensor
    joints: Tensor
    camera: Tensor

    def __init__(self, body: BodyModel, vertices: Tensor, image_format: ImageFormat = OFFICIAL_FORMAT) -> None:
        super().__init__()
        self.levels, self.image_format = body.levels, image_format
        self.register_buffer("vertices", vertices[None])
        self.register_buffer("joints", body.regress_joints(vertices[None]))
        self.register_buffer("camera", vertices.new_tensor([MIDDLE_CAMERA]))

    def forward(self, images: Tensor) -> MeshPrediction:
        """images: (B, 3, H, W)."""
        camera, joints, vertices = (
            part.expand(len(images), -1, -1) for part in (self.camera[None], self.joints, self.vertices)
        )
        coarser = self.levels.downsample(vertices)
        middle = coarser[0] if len(coarser) > 1 else None
        return MeshPrediction(camera[:, 0], joints, coarser[-1], middle, vertices, None)


@torch.no_grad()
def rest_mesh(body: BodyModel) -> Tensor:
    """(V, 3) minus the root: the mean shape at rest, upright before the camera (a hand: as its model rests)."""
    device = body.faces.device
    pose = torch.zeros(1, 3 * body.skinned.num_joints, device=device)
    if body.kind == "body":
        pose[0, 0] = math.pi  # the camera's y points down
    return body.targets(pose, torch.zeros(1, 10, device=device)).vertices[-1][0]


@torch.no_grad()
def mean_mesh(body: BodyModel, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """(V, 3): the mean, vertex by vertex, of a training set's true meshes, each minus its root.

    targets: `pose` and `betas` of each sample, as `MeshDataset.targets` gives them: along the axes of its crop.
    """
    if not targets:
        raise ValueError("a mean mesh of no labels is requested; give a training set that has some")
    device, total = body.faces.device, torch.zeros((), dtype=torch.float64)
    for start in range(0, len(targets), POSED_AT_ONCE):
        part = targets[start : start + POSED_AT_ONCE]
        pose, betas = (torch.stack([one[name].float() for one in part]).to(device) for name in ("pose", "betas"))
        total = total + body.targets(pose, betas).vertices[-1].cpu().double().sum(0)
    return (total / len(targets)).float().to(device)


ERRORS = {"mpjpe": "MPJPE", "pa_mpjpe": "PA-MPJPE", "mpvpe": "MPVPE"}
MEAN, REST = "mean mesh of the training set", "rest pose of the body model"


def held_out_evaluation(
    body: BodyModel, yaml: Path, device: torch.device, workers: int, image_format: ImageFormat = OFFICIAL_FORMAT
) -> Evaluation:
    """Of every network, which sees `image_format`, and constant mesh of the table on the same held-out set."""
    return Evaluation(
        MeshDataset(yaml, False, body.kind, image_format=image_format),
        body,
        network=NETWORK,
        body_dir=SYNTHETIC,
        processes=Processes(device=device),
        batch_size=BATCH,
        workers=workers,
    )


def judged(evaluation: Evaluation, model: nn.Module) -> dict[str, Any]:
    """The metrics in millimetres by name, and `protocol`: how they were measured, a line for each fact."""
    result = evaluation(model).result
    return {**result.metrics, "protocol": evaluation.protocol(model).lines(result)}


def judge_baselines(evaluation: Evaluation, training: Path, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """What the mean mesh of a training set and the resting body score."""
    body, shown = evaluation.body, evaluation.data.image_format
    data = MeshDataset(training, False, body.kind, image_format=shown)
    targets = [data.targets(index) for index in range(len(data))]
    found = {}
    for name, vertices in ((MEAN, mean_mesh(body, targets)), (REST, rest_mesh(body))):
        found[name] = judged(evaluation, ConstantMesh(body, vertices, shown))
        say(f"  {name}: {in_words(found[name])}")
    return found


def in_words(metrics: dict[str, Any]) -> str:
    """The three errors on a line; one that no image has a label for is absent."""
    return ", ".join(
        f"{text} {metrics[name]:.1f} mm" if name in metrics else f"{text} absent" for name, text in ERRORS.items()
    )
