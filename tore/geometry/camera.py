"""Cameras: weak perspective in a crop, pinhole in an image, and the way from one to the other."""

from __future__ import annotations

import torch

from manopth.tensors import full_precision
from tore_runtime.camera import (
    CROP_FOCAL_LENGTH,
    FIELD_OF_VIEW_SIZE,
    CropViews,
    PinholeCamera,
    fitted_translation,
    image_translation,
    pinhole_of_crop,
)

__all__ = [
    "CROP_FOCAL_LENGTH",
    "FIELD_OF_VIEW_SIZE",
    "CropViews",
    "PinholeCamera",
    "crop_camera",
    "crop_camera_translation",
    "fitted_translation",
    "image_translation",
    "pinhole_of_crop",
    "project_weak_perspective",
]


@full_precision
def project_weak_perspective(points: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Crop coordinates (B, N, 2) of points (B, N, 3) in meters: scale * (xy + translation), depth left out."""
    scale, translation = camera[:, None, :1], camera[:, None, 1:]  # (B,1,1), (B,1,2)
    return scale * (points[..., :2] + translation)


@full_precision
def crop_camera_translation(
    camera: torch.Tensor, focal_length: float = CROP_FOCAL_LENGTH, size: int = FIELD_OF_VIEW_SIZE
) -> torch.Tensor:
    """Translation (B, 3) in meters that makes a pinhole camera see the mesh as the weak-perspective one does.

    `focal_length` is in pixels of a crop of `size` x `size`, its principal point in the middle.
    """
    scale, x, y = camera.unbind(-1)
    return torch.stack([x, y, 2 * focal_length / (size * scale + 1e-9)], -1)


@full_precision
def crop_camera(
    translation: torch.Tensor,
    centers: torch.Tensor,
    sides: torch.Tensor,
    principal_points: torch.Tensor,
    focal_lengths: torch.Tensor,
) -> torch.Tensor:
    """The inverse of `image_translation`: weak-perspective camera (B, 3) of a crop from a translation (B, 3)."""
    depth = translation[:, 2]
    beside = (centers - principal_points) * (depth / focal_lengths)[:, None]  # (B,2)
    scale = 2 * focal_lengths / (sides * depth)
    return torch.cat([scale[:, None], translation[:, :2] - beside], 1)
