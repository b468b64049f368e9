"""The pinhole camera of an image, and how meshes with weak-perspective cameras of crops come before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# The official crop's camera: 1000 pixels at a side of 224. Crops of every size have its field of view.
CROP_FOCAL_LENGTH = 1000.0
FIELD_OF_VIEW_SIZE = 224
FEW = 0.02  # of a mesh's vertices; where fewer lie within the image, they do not tell its place


class CropViews(NamedTuple):
    """The cameras of B square crops, and those of the whole images that they are from."""

    cameras: np.ndarray  # (B, 3) weak perspective of the crop's [-1, 1] range: scale s, tx and ty in meters
    centers: np.ndarray  # (B, 2) the crop's middle (x, y) in pixels of the whole image
    sides: np.ndarray  # (B,) its side in pixels of the whole image
    principal_points: np.ndarray  # (B, 2) of the whole image's camera, (x, y) in pixels
    focal_lengths: np.ndarray  # (B,) of the whole image's camera, in pixels


def image_translation(views: CropViews) -> np.ndarray:
    """Translation (B, 3) in meters that brings meshes before the pinhole camera of the whole image.

    Points at the depth of the mesh's origin land exactly where the crop's camera puts them:
    Z = 2 f / (side s), X = tx + (cx - px) Z / f, and Y likewise. Persons of one image share its camera, so
    that their depths compare.
    """
    depth = 2 * views.focal_lengths / (views.sides * views.cameras[:, 0] + 1e-9)  # (B,)
    beside = (views.centers - views.principal_points) * (depth / views.focal_lengths)[:, None]  # (B,2)
    return np.concatenate([views.cameras[:, 1:] + beside, depth[:, None]], 1)


def fitted_translation(vertices: np.ndarray, views: CropViews) -> np.ndarray:
    """Translation (B, 3) in meters from which the whole image's camera sees meshes where the crops' cameras see them.

    vertices: (B, V, 3) in meters. The principal points of `views` are to be the images' middles.
    By least squares over the vertices within the image, in meters at their depth; over all where hardly any are. A
    crop's camera that was fitted to keypoints of the whole body is best at the body's mean, not at the depth of its
    origin, and a near person's parts are drawn larger or smaller than it says.
    """
    cameras, centers, sides, principal_points, focal_lengths = views
    points = cameras[:, None, :1] * (vertices[..., :2] + cameras[:, None, 1:]) * sides[:, None, None] / 2
    points = points + (centers - principal_points)[:, None]  # (B,V,2) pixels from the image's middle
    seen = (np.abs(points) <= principal_points[:, None]).all(2)  # (B,V)
    weights = np.where(seen.mean(1)[:, None] < FEW, 1.0, seen)[..., None]
    weights = weights / weights.sum(1, keepdims=True)  # (B,V,1)
    rays = points / focal_lengths[:, None, None]  # x and y at z = 1
    beside = rays * vertices[..., 2:] - vertices[..., :2]  # is to be tx - ray tz, ty - ray tz
    middle, mean = (weights * rays).sum(1), (weights * beside).sum(1)  # (B,2)
    apart = rays - middle[:, None]
    depth = -(weights * apart * beside).sum((1, 2)) / ((weights * apart**2).sum((1, 2)) + 1e-18)  # (B,)
    return np.concatenate([mean + middle * depth[:, None], depth[:, None]], 1)


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
    camera, middle = np.asarray(weak_perspective, np.float64)[None], np.full((1, 2), FIELD_OF_VIEW_SIZE / 2)
    side, focal_length = np.array([float(FIELD_OF_VIEW_SIZE)]), np.array([CROP_FOCAL_LENGTH])
    pinhole = PinholeCamera(CROP_FOCAL_LENGTH * size / FIELD_OF_VIEW_SIZE, (size / 2, size / 2))
    return pinhole, image_translation(CropViews(camera, middle, side, middle, focal_length))[0]
