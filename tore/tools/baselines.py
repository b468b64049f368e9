"""What a network has to beat: the same mesh for every picture, judged by the same evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tore.body.body_model import BodyModel
from tore.datasets.label import Label
from tore.modeling.prediction import MeshPrediction

BATCH = 64  # meshes posed together
MIDDLE_CAMERA = (0.9, 0.0, 0.0)  # a person who fills most of the crop


class ConstantMesh(nn.Module):
    """A network that never looks at its pictures. vertices: (V, 3) metres, the full mesh it gives."""

    vertices: Tensor
    joints: Tensor
    camera: Tensor

    def __init__(self, body: BodyModel, vertices: Tensor) -> None:
        super().__init__()
        self.levels = body.levels
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
def mean_mesh(body: BodyModel, labels: Sequence[Label]) -> Tensor:
    """(V, 3): the mean, vertex by vertex, of the true meshes of a training set's labels, each minus its root."""
    if not labels:
        raise ValueError("the mean mesh of no labels is asked for; give a training set that has some")
    device, total = body.faces.device, torch.zeros((), dtype=torch.float64)
    for start in range(0, len(labels), BATCH):
        part = labels[start : start + BATCH]
        pose, betas = (
            torch.from_numpy(np.stack(rows)).float().to(device)
            for rows in ([label.pose for label in part], [label.betas for label in part])
        )
        total = total + body.targets(pose, betas).vertices[-1].cpu().double().sum(0)
    return (total / len(labels)).float().to(device)
