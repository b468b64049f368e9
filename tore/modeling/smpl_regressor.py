"""The SMPL parameter regressor (FastMETRO's optional last room): rotations and shape of a predicted mesh.

It reads the middle mesh without sending a gradient back, so that any body network can carry it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tore.geometry.rotations import nearest_orthogonal

SMPL_JOINTS = 24
SMPL_BETAS = 10


class ResidualBlock(nn.Module):
    """relu(x + BN(Linear(relu(BN(Linear x)))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width), nn.BatchNorm1d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        return (x + self.layers(x)).relu()


class SMPLRegressor(nn.Module):
    """Vertices of one mesh level -> the rotations and betas of a SMPL body."""

    def __init__(self, *, vertices: int, width: int = 1024, blocks: int = 2) -> None:
        """`vertices`: how many the level has, 1723 as published."""
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(3 * vertices, width), nn.BatchNorm1d(width), nn.ReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.head = nn.Linear(width, 9 * SMPL_JOINTS + SMPL_BETAS)

    def forward(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """vertices (B, V, 3), metres, detached here -> rotations (B, 24, 3, 3), betas (B, 10)."""
        numbers = self.head(self.blocks(self.embedding(vertices.detach().flatten(1))))
        matrices, betas = numbers.split((9 * SMPL_JOINTS, SMPL_BETAS), dim=1)
        return signed_rotation(matrices.unflatten(1, (SMPL_JOINTS, 3, 3))), betas


def signed_rotation(matrix: Tensor) -> Tensor:
    """A rotation (..., 3, 3) for every matrix (..., 3, 3): the nearest orthogonal matrix times its determinant.

    Published: a reflection becomes a rotation by turning the sign of all nine entries, which is not the nearest one.
    The gradient is that of the orthogonal matrix, finite also where singular values agree. Half precision, which has
    no decomposition, is lifted to float32, and so is the result.
    """
    matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
    with torch.autocast(matrix.device.type, enabled=False):
        orthogonal = nearest_orthogonal(matrix)
        return orthogonal * torch.linalg.det(orthogonal.detach()).sign()[..., None, None]
