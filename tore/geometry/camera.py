"""Cameras: weak perspective in a crop, pinhole in an image, and the way from one to the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from manopth.tensors import full_precision

# The official crop's camera: 1000 pixels at a side of 224. Crops of every size have its field of view.
CROP_FOCAL_LENGTH = 1000.0
FIELD_OF_VIEW_SIZE = 224


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
def image_translation(
    camera: torch.Tensor,
    centers: torch.Tensor,
    sides: torch.Tensor,
    principal_points: torch.Tensor,
    focal_lengths: torch.Tensor,
) -> torch.Tensor:
    """Translation (B, 3) in meters that brings meshes before the pinhole camera of the whole image.

    camera: (B, 3) weak perspective of a square crop. centers, sides: (B, 2) and (B,), that crop's middle and side in
    pixels of the whole image. principal_points, focal_lengths: (B, 2) and (B,), the whole image's camera in pixels.

    Points at the depth of the mesh's origin land exactly where the crop's camera puts them:
    Z = 2 f / (side s), X = tx + (cx - px) Z / f, and Y likewise. Persons of one image share its camera, so
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
    """The inverse of `image_translation`: weak-perspective camera (B, 3) of a crop from a translation (B, 3)."""
    depth = translation[:, 2]
    beside = (centers - principal_points) * (depth / focal_lengths)[:, None]  # (B,2)
    scale = 2 * focal_lengths / (sides * depth)
    return torch.cat([scale[:, None], translation[:, :2] - beside], 1)


@dataclass(frozen=True)
class PinholeCamera:
    """Focal length in pixels (square ones) and principal point (x, y) in continuous pixels."""

    focal_length: float
    principal_point: tuple[float, float]

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) meters in the camera frame -> (..., 2) continuous pixels (x, y); z must not be zero."""
        return points[..., :2] / points[..., 2:] * self.focal_length + np.asarray(self.principal_point)


def pinhole_of_crop(weak_perspective: np.ndarray, size: int = FIELD_OF_VIEW_SIZE) -> tuple[PinholeCamera, np.ndarray]:
    """The camera of a square crop, and the translation that brings root-centered vertices before it.

    weak_perspective: (3,) scale s, tx, ty of the crop's [-1, 1] range. size: the crop's side in pixels.
    Returns the pinhole camera (focal length 1000 px at a side of 224) and the translation (3,) in meters,
    (tx, ty, 2 * 1000 / (224 s + 1e-9)), which depends on the weak camera alone.
    """
    camera = torch.from_numpy(np.array(weak_perspective, np.float64)).reshape(1, 3)
    translation = crop_camera_translation(camera, focal_length=CROP_FOCAL_LENGTH, size=FIELD_OF_VIEW_SIZE)
    pinhole = PinholeCamera(CROP_FOCAL_LENGTH * size / FIELD_OF_VIEW_SIZE, (size / 2, size / 2))
    return pinhole, translation[0].numpy()
