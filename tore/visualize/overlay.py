"""A mesh drawn over the picture it was recovered from, and the mesh alone from other sides."""

from __future__ import annotations

import numpy as np

from tore.visualize.pinhole import PinholeCamera, crop_camera
from tore.visualize.renderer import MESH_COLOR, Render, render

VIEW_BACKGROUND = 255


def overlay(
    picture: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: PinholeCamera,
    *,
    color: np.ndarray | tuple[float, float, float] = MESH_COLOR,
    opacity: float = 1.0,
    samples: int = 3,
) -> np.ndarray:
    """The picture (H, W, 3) uint8 with the mesh (V, 3) metres, camera frame, drawn over it: same shape, uint8.

    color: of the whole mesh, or (V, 3), in [0, 1].
    """
    height, width = picture.shape[:2]
    drawn = render(vertices, faces, camera, (height, width), colors=color, background=picture, samples=samples)
    if opacity == 1.0:
        return drawn.color
    return np.rint(opacity * drawn.color + (1 - opacity) * picture.astype(np.float64)).astype(np.uint8)


def overlay_crop(
    crop: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    weak_perspective: np.ndarray,
    *,
    color: tuple[float, float, float] = MESH_COLOR,
    samples: int = 3,
) -> np.ndarray:
    """A square crop (n, n, 3) uint8 with the mesh, seen by the crop's weak-perspective camera (3,) scale, tx, ty.

    vertices: (V, 3) metres, as the network gives them with that camera. n need not be 224.
    """
    if crop.shape[0] != crop.shape[1]:
        raise ValueError(f"a weak-perspective camera belongs to a square crop, this one is {crop.shape[:2]}")
    camera, translation = crop_camera(weak_perspective, size=crop.shape[0])
    return overlay(crop, vertices + translation, faces, camera, color=color, samples=samples)


def turned(vertices: np.ndarray, degrees: float) -> np.ndarray:
    """Vertices (V, 3) turned about the vertical through the middle of their box; 90 shows the side, 180 the back."""
    middle = (vertices.min(0) + vertices.max(0)) / 2
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    return (vertices - middle) @ matrix.T + middle


def view(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    degrees: float = 0.0,
    size: int = 224,
    color: tuple[float, float, float] = MESH_COLOR,
    samples: int = 3,
) -> Render:
    """The mesh alone on white, turned by `degrees`, framed so that every turn of it fits a square of `size` pixels."""
    middle = (vertices.min(0) + vertices.max(0)) / 2
    radius = float(np.linalg.norm(vertices - middle, axis=1).max())
    distance = 6 * radius
    # the ball of that radius touches the frame where asin(radius / distance) does
    focal = 0.48 * size * np.sqrt(distance**2 - radius**2) / radius
    camera = PinholeCamera(float(focal), (size / 2, size / 2))
    placed = turned(vertices, degrees) - middle + np.array([0, 0, distance])
    paper = np.full((size, size, 3), VIEW_BACKGROUND, np.uint8)
    return render(placed, faces, camera, (size, size), colors=color, background=paper, samples=samples)
