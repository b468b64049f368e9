"""Rotations from axis-angle, quaternions and six numbers, batched over any leading dimensions.

Matrices turn column vectors: `rotated = matrix @ vector`. Angles are radians, quaternions have the real
part first. Every function follows its input's dtype and device and is differentiable everywhere.
"""

from __future__ import annotations

import torch

from .tensors import full_precision

# Official: the angle is the length of the vector with this added to each component, so that it has a
# gradient at no rotation; the axis is the vector itself over that angle.
ANGLE_SHIFT = 1e-8
TINY = 1e-12


@full_precision
def quaternion_to_matrix(quaternion: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4), real part first, of any length above 0."""
    unit = quaternion / quaternion.norm(dim=-1, keepdim=True).clamp_min(TINY)
    w, x, y, z = unit.unbind(-1)
    ww, xx, yy, zz = w * w, x * x, y * y, z * z
    wx, wy, wz, xy, xz, yz = w * x, w * y, w * z, x * y, x * z, y * z
    entries = (
        ww + xx - yy - zz, 2 * (xy - wz), 2 * (wy + xz),
        2 * (wz + xy), ww - xx + yy - zz, 2 * (yz - wx),
        2 * (xz - wy), 2 * (wx + yz), ww - xx - yy + zz,
    )  # fmt: skip
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


@full_precision
def axis_angle_to_matrix(axis_angle: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) of axis-angle vectors (..., 3) in radians, through the quaternion as in the
    official code.
    """
    angle = (axis_angle + ANGLE_SHIFT).norm(dim=-1, keepdim=True).clamp_min(TINY)
    axis = axis_angle / angle
    half = 0.5 * angle
    return quaternion_to_matrix(torch.cat([half.cos(), half.sin() * axis], -1))


def _unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-8)


@full_precision
def rotation_6d_to_matrix(numbers: torch.Tensor, robust: bool = False) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) of two raw vectors (..., 6), which become the first two *columns*.

    The first vector keeps its direction and the second is made orthogonal to it (Zhou et al. 2019). With
    `robust` both give way equally: the columns lie at 45 degrees to either side of their middle.
    """
    first, second = numbers[..., :3], numbers[..., 3:]
    if robust:
        first, second = _unit(first), _unit(second)
        middle, across = _unit(first + second), _unit(first - second)
        x, y = _unit(middle + across), _unit(middle - across)
        z = _unit(torch.linalg.cross(x, y))
    else:
        x = _unit(first)
        z = _unit(torch.linalg.cross(x, second))
        y = torch.linalg.cross(z, x)
    return torch.stack([x, y, z], -1)


@full_precision
def nearest_orthogonal(matrix: torch.Tensor, reflections: bool = True) -> torch.Tensor:
    """The orthogonal matrices nearest to (..., 3, 3), which are those that maximise trace(orthogonal^T matrix).

    With `reflections` False the nearest *rotations*. The gradient goes through the optimum's stationarity condition
    and not through the decomposition, whose derivative is infinite where singular values agree (as they do at
    every rotation). Where several are nearest one of them is given, with no gradient along the tie.
    """
    left, values, right = torch.linalg.svd(matrix.detach())
    if not reflections:
        sign = torch.where(torch.linalg.det(left @ right) < 0, -1.0, 1.0).to(values)  # (...)
        signs = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
        right, values = signs[..., None] * right, values * signs
    # At the optimum `inside` is diagonal; its skew part, first order, turns the optimum when the matrix moves.
    inside = left.mT @ matrix @ right.mT
    pair_sum = values[..., :, None] + values[..., None, :]
    floor = values[..., :1, None] * torch.finfo(values.dtype).eps + torch.finfo(values.dtype).tiny
    turn = torch.where(pair_sum > floor, (inside - inside.mT) / pair_sum.clamp_min(floor), 0.0)
    return left @ (torch.eye(3, dtype=values.dtype, device=values.device) + turn) @ right


@full_precision
def nearest_rotation(matrix: torch.Tensor) -> torch.Tensor:
    """A rotation matrix (..., 3, 3) for each matrix (..., 3, 3): the nearest orthogonal one.

    Official: a reflection becomes a rotation by negating its third column, which is not the nearest one.
    """
    orthogonal = nearest_orthogonal(matrix)
    sign = torch.linalg.det(orthogonal.detach()).sign()  # (...)
    signs = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return orthogonal * signs[..., None, :]
