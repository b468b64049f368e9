"""The SMPL parameter regressor, and what a network returns."""

from __future__ import annotations

from typing import NamedTuple

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
        """`vertices`: how many the level has, 1723 as in the official code."""
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(3 * vertices, width), nn.BatchNorm1d(width), nn.ReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.head = nn.Linear(width, 9 * SMPL_JOINTS + SMPL_BETAS)

    def forward(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """vertices (B, V, 3), meters, detached here -> rotations (B, 24, 3, 3), betas (B, 10)."""
        matrices, betas = self.matrices(vertices)
        return signed_rotation(matrices), betas

    def matrices(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """The same before `signed_rotation`: any matrices (B, 24, 3, 3), betas (B, 10)."""
        numbers = self.head(self.blocks(self.embedding(vertices.detach().flatten(1))))
        matrices, betas = numbers.split((9 * SMPL_JOINTS, SMPL_BETAS), dim=1)
        return matrices.unflatten(1, (SMPL_JOINTS, 3, 3)), betas


def signed_rotation(matrix: Tensor) -> Tensor:
    """A rotation (..., 3, 3) for every matrix (..., 3, 3): the nearest orthogonal matrix times its determinant.

    Official: a reflection becomes a rotation by turning the sign of all nine entries, which is not the nearest one.
    The gradient is that of the orthogonal matrix, finite also where singular values agree. Half precision, which has
    no decomposition, is lifted to float32, and so is the result.
    """
    matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
    with torch.autocast(matrix.device.type, enabled=False):
        orthogonal = nearest_orthogonal(matrix)
        return orthogonal * torch.linalg.det(orthogonal.detach()).sign()[..., None, None]


class MeshPrediction(NamedTuple):
    """One mesh per image; lengths in meters, root-free (training centers nothing).

    camera: (B, 3) weak perspective: scale, tx, ty; a point (x, y) lands at scale * (x + tx, y + ty) in [-1, 1].
    joints: (B, J, 3) joints predicted directly (body 14, hand 21).
    vertices_coarse: (B, 431 | 195, 3).
    vertices_mid: (B, 1723, 3), None for hands.
    vertices: (B, 6890 | 778, 3).
    heatmap: (B, M, h * w) attention map of each kept image token, None without a reduction of image tokens.
    rotations: (B, 24, 3, 3) of SMPL's joints relative to their parents, None without the SMPL parameter regressor.
    betas: (B, 10) of SMPL's shape, likewise.
    keypoints: (B, K, 3 or more) that the backbone found in the image as it was shown: x, y in shares of its sides,
    score, and what else it says; None where they don't enter the network.
    """

    camera: Tensor
    joints: Tensor
    vertices_coarse: Tensor
    vertices_mid: Tensor | None
    vertices: Tensor
    heatmap: Tensor | None
    rotations: Tensor | None = None
    betas: Tensor | None = None
    keypoints: Tensor | None = None

    def __repr__(self) -> str:
        shapes = (f"{name}={None if value is None else tuple(value.shape)}" for name, value in self._asdict().items())
        return f"MeshPrediction({', '.join(shapes)})"

    def __eq__(self, other: object) -> bool:
        """Whether it is the same object: tensors have no one truth value."""
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """The vertex levels present, coarse to full."""
        return tuple(level for level in (self.vertices_coarse, self.vertices_mid, self.vertices) if level is not None)


def assemble(
    camera: Tensor,
    joints: Tensor,
    coarse: Tensor,
    finer: tuple[Tensor, ...],
    heatmap: Tensor | None,
    smpl_regressor: SMPLRegressor | None,
    keypoints: Tensor | None = None,
) -> MeshPrediction:
    """A prediction from the coarse mesh and its `finer` levels (one or two, coarse to full)."""
    mid = finer[0] if len(finer) == 2 else None
    rotations, betas = (None, None) if smpl_regressor is None else smpl_regressor(finer[0])
    return MeshPrediction(camera, joints, coarse, mid, finer[-1], heatmap, rotations, betas, keypoints)
