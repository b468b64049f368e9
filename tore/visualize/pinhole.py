"""The pinhole camera of every drawing, and the one statement of where a pixel lies.

Camera frame: x right, y down, z away from the viewer, metres. Picture frame: continuous pixels, the outer
corner of the upper left pixel at (0, 0); pixel (row i, column j) covers [j, j+1) x [i, i+1) and its centre is
(j + 0.5, i + 0.5). A point of the crop's [-1, 1] range therefore lies at (p + 1) / 2 * size pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tore.geometry.camera import crop_camera_translation

CROP_FOCAL_LENGTH = 1000.0  # pixels at a crop of CROP_SIZE, as published
CROP_SIZE = 224


@dataclass(frozen=True)
class PinholeCamera:
    """Focal length in pixels (square ones) and principal point (x, y) in continuous pixels."""

    focal_length: float
    principal_point: tuple[float, float]

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) metres in the camera frame -> (..., 2) continuous pixels (x, y); z must not be zero."""
        return points[..., :2] / points[..., 2:] * self.focal_length + np.asarray(self.principal_point)

    def resized(self, factor: float) -> PinholeCamera:
        """The camera of the same picture made `factor` times as large."""
        x, y = self.principal_point
        return PinholeCamera(self.focal_length * factor, (x * factor, y * factor))


def crop_camera(weak_perspective: np.ndarray, size: int = CROP_SIZE) -> tuple[PinholeCamera, np.ndarray]:
    """The camera of a square crop, and the translation that brings root-centred vertices before it.

    weak_perspective: (3,) scale s, tx, ty of the crop's [-1, 1] range. size: the crop's side in pixels.
    Returns the pinhole camera (focal length 1000 px at a side of 224) and the translation (3,) in metres,
    (tx, ty, 2 * 1000 / (224 s + 1e-9)), which depends on the weak camera alone.
    """
    camera = torch.from_numpy(np.array(weak_perspective, np.float64)).reshape(1, 3)
    translation = crop_camera_translation(camera, focal_length=CROP_FOCAL_LENGTH, size=CROP_SIZE)
    pinhole = PinholeCamera(CROP_FOCAL_LENGTH * size / CROP_SIZE, (size / 2, size / 2))
    return pinhole, translation[0].numpy()
