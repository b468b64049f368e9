"""Conversions between axis-angle, quaternion, 6D and matrix rotations, under PyTorch3D's names, and turns of vectors.

Matrices turn column vectors: `rotated = matrix @ vector`. Angles are radians, quaternions (..., 4) have the real part
first, and the 6D form is the matrix's first two *columns* (PyTorch3D takes rows). All are batched over any leading
dimensions, keep dtype and device, and have finite gradients everywhere, no rotation and half turns included.
"""

from __future__ import annotations

import torch

from manopth.rotations import (
    axis_angle_to_matrix,
    nearest_orthogonal,
    quaternion_to_matrix,
    rotation_6d_to_matrix,
)
from manopth.tensors import full_precision

__all__ = [
    "axis_angle_to_matrix",
    "matrix_to_axis_angle",
    "matrix_to_quaternion",
    "matrix_to_rotation_6d",
    "nearest_orthogonal",
    "quaternion_to_axis_angle",
    "quaternion_to_matrix",
    "rotation_6d_to_matrix",
    "smallest_rotation",
    "turned",
]

SMALL_SINE = 1e-12
TURNED_ROUND = 0.02  # 1 + cosine below which a vector counts as turned about by the most


@full_precision
def matrix_to_quaternion(matrix: torch.Tensor) -> torch.Tensor:
    """Unit quaternions (..., 4), real part not negative, of rotation matrices (..., 3, 3)."""
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in matrix.unbind(-2))
    x, y, z = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m10 + m01, m20 + m02, m21 + m12
    # Row i is the quaternion times 4 of its own i-th component: the longest row is the exact one.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, x, y, z], -1),
            torch.stack([x, 1 + m00 - m11 - m22, xy, xz], -1),
            torch.stack([y, xy, 1 - m00 + m11 - m22, yz], -1),
            torch.stack([z, xz, yz, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )  # (..., 4, 4)
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)  # (...)
    row = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    unit = row / row.norm(dim=-1, keepdim=True)
    return torch.where(unit[..., :1] < 0, -unit, unit)


@full_precision
def quaternion_to_axis_angle(quaternion: torch.Tensor) -> torch.Tensor:
    """Axis-angle vectors (..., 3), no longer than pi, of unit quaternions (..., 4)."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    squared = imaginary.square().sum(-1, keepdim=True)
    small = squared < SMALL_SINE
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    # Below a millionth of a radian, angle / sine is 2 / cosine to the last digit.
    ratio = torch.where(small, 2 / torch.where(small, real, torch.ones_like(real)), 2 * torch.atan2(sine, real) / sine)
    return imaginary * ratio


@full_precision
def matrix_to_axis_angle(matrix: torch.Tensor) -> torch.Tensor:
    """Axis-angle vectors (..., 3) in radians, no longer than pi, of rotation matrices (..., 3, 3)."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def matrix_to_rotation_6d(matrix: torch.Tensor) -> torch.Tensor:
    """The first two columns (..., 6) of rotation matrices (..., 3, 3), one after the other."""
    return torch.cat([matrix[..., :, 0], matrix[..., :, 1]], -1)


def smallest_rotation(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3): the smallest rotation that brings unit vectors (..., 3) to others.

    Of vectors that are nearly opposite it is none, but finite with its derivatives: no smallest one is defined there.
    """
    x, y, z = torch.linalg.cross(start, end).unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))
    cosine = (start * end).sum(-1)[..., None, None]
    same = torch.eye(3, dtype=skew.dtype, device=skew.device)
    return same + skew + skew @ skew / (1 + cosine).clamp(min=TURNED_ROUND)


def turned(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (..., 3) turned by matrices (..., 3, 3)."""
    return (matrices @ vectors[..., None])[..., 0]
