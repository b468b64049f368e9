"""The weak-perspective camera of the crop, and the pinhole camera that draws its overlay.

The camera (B, 3) is scale, tx, ty in the frame of the square crop: x right, y down, [-1, 1] from edge to edge.
"""

from __future__ import annotations

import torch

from manopth.precision import full_precision


@full_precision
def project_weak_perspective(points: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Crop coordinates (B, N, 2) of points (B, N, 3) in metres: scale * (xy + translation), depth left out."""
    scale, translation = camera[:, None, :1], camera[:, None, 1:]  # (B,1,1), (B,1,2)
    return scale * (points[..., :2] + translation)


@full_precision
def crop_camera_translation(camera: torch.Tensor, focal_length: float = 1000.0, size: int = 224) -> torch.Tensor:
    """Translation (B, 3) in metres that makes a pinhole camera see the mesh as the weak-perspective one does.

    `focal_length` is in pixels of a crop of `size` x `size`, its principal point in the middle.
    """
    scale, x, y = camera.unbind(-1)
    return torch.stack([x, y, 2 * focal_length / (size * scale + 1e-9)], -1)


@full_precision
def picture_translation(
    camera: torch.Tensor,
    centers: torch.Tensor,
    sides: torch.Tensor,
    principal_points: torch.Tensor,
    focal_lengths: torch.Tensor,
) -> torch.Tensor:
    """Translation (B, 3) in metres that brings meshes before the pinhole camera of the whole picture.

    camera: (B, 3) weak perspective of a square crop. centers, sides: (B, 2) and (B,), that crop's middle and side in
    pixels of the whole picture. principal_points, focal_lengths: (B, 2) and (B,), the whole picture's camera in pixels.

    Points at the depth of the mesh's origin land exactly where the crop's camera puts them:
    Z = 2 f / (side s), X = tx + (cx - px) Z / f, and Y likewise. Persons of one picture share its camera, so
    that their depths compare.
    """
    depth = 2 * focal_lengths / (sides * camera[:, 0] + 1e-9)  # (B,)
    beside = (centers - principal_points) * (depth / focal_lengths)[:, None]  # (B,2)
    return torch.cat([camera[:, 1:] + beside, depth[:, None]], 1)


@full_precision
def crop_camera(
    translation: torch.Tensor,
    centers: torch.Tensor,
    sides: torch.Tensor,
    principal_points: torch.Tensor,
    focal_lengths: torch.Tensor,
) -> torch.Tensor:
    """The inverse of `picture_translation`: weak-perspective camera (B, 3) of a crop from a translation (B, 3)."""
    depth = translation[:, 2]
    beside = (centers - principal_points) * (depth / focal_lengths)[:, None]  # (B,2)
    scale = 2 * focal_lengths / (sides * depth)
    return torch.cat([scale[:, None], translation[:, :2] - beside], 1)
