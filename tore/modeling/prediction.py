"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from tore.modeling.smpl_regressor import SMPLRegressor


class MeshPrediction(NamedTuple):
    """One mesh per picture; lengths in metres, root-free (training centres nothing).

    camera: (B, 3) weak perspective: scale, tx, ty; a point (x, y) lands at scale * (x + tx, y + ty) in [-1, 1].
    joints: (B, J, 3) joints predicted directly (body 14, hand 21).
    vertices_coarse: (B, 431 | 195, 3).
    vertices_mid: (B, 1723, 3), None for hands.
    vertices: (B, 6890 | 778, 3).
    heatmap: (B, M, h * w) where each kept image token looked, None without a reduction of image tokens.
    rotations: (B, 24, 3, 3) of SMPL's joints relative to their parents, None without the SMPL parameter regressor.
    betas: (B, 10) of SMPL's shape, likewise.
    """

    camera: Tensor
    joints: Tensor
    vertices_coarse: Tensor
    vertices_mid: Tensor | None
    vertices: Tensor
    heatmap: Tensor | None
    rotations: Tensor | None = None
    betas: Tensor | None = None

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
) -> MeshPrediction:
    """A prediction from the coarse mesh and its `finer` levels (one or two, coarse to full)."""
    mid = finer[0] if len(finer) == 2 else None
    if smpl_regressor is None:
        return MeshPrediction(camera, joints, coarse, mid, finer[-1], heatmap)
    return MeshPrediction(camera, joints, coarse, mid, finer[-1], heatmap, *smpl_regressor(finer[0]))
