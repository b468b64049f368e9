"""What a scene is made of: textured triangle meshes, and the camera that sees them.

World frame: meters, y up. Pixel (row i, column j) has its center at (j + 0.5, i + 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tore.geometry.camera import PinholeCamera
from tore_runtime.renderer import vertex_normals

__all__ = ["Camera", "Surface", "plain_texture", "unit", "vertex_normals"]

Array = NDArray[np.floating]
Index = NDArray[np.integer]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Surface:
    """A textured triangle mesh in meters.

    `vertices (N, 3)`, `faces (F, 3)`. `places (T, 2)` are texture coordinates, u to the right and v up, in [0, 1];
    `face_places (F, 3)` are the rows of each face's corners in them. `texture (H, W, 4)` is RGBA, its row 0 is v = 1.
    Where `cut_out` is set, alpha below one half is a hole that light passes. `gloss` goes from 0, matt, to 1; skin has
    about .2.
    """

    name: str
    vertices: Array
    faces: Index
    places: Array
    face_places: Index
    texture: NDArray[np.uint8]
    cut_out: bool = False
    gloss: float = 0.0

    def check(self) -> None:
        """Raises ValueError, with the surface's name, where arrays do not fit together."""
        for word, index, rows in (
            ("faces", self.faces, self.vertices),
            ("face_places", self.face_places, self.places),
        ):
            if index.shape != self.faces.shape or (index.size and not 0 <= index.min() <= index.max() < len(rows)):
                raise ValueError(f"surface {self.name!r}: {word} {index.shape} do not fit {len(rows)} rows")
        if self.texture.ndim != 3 or self.texture.shape[2] != 4 or self.texture.dtype != np.uint8:
            raise ValueError(
                f"surface {self.name!r}: the texture is {self.texture.dtype} {self.texture.shape}; "
                "it must be uint8 (height, width, 4)"
            )


def plain_texture(color: Sequence[float]) -> NDArray[np.uint8]:
    """A texture (2, 2, 4) of one sRGB color (3,) in 0 .. 255, without holes."""
    out = np.full((2, 2, 4), 255, np.uint8)
    out[:, :, :3] = np.clip(np.rint(np.asarray(color)), 0, 255)
    return out


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in the world: `rotation (3, 3)` from world to camera axes (x right, y down, z away),
    `position (3,)` meters.
    """

    lens: PinholeCamera
    rotation: NDArray[np.float64]
    position: NDArray[np.float64]

    def to_camera(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """World points (..., 3) in camera axes."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """World points (..., 3) -> continuous pixels (..., 2); NaN behind the camera."""
        seen = self.to_camera(points)
        seen = np.where(seen[..., 2:] > 1e-6, seen, np.nan)
        return self.lens.project(seen)

    def directions(self, pixels: Floats) -> Floats:
        """Unit world directions (P, 3) of the rays through continuous pixels (P, 2)."""
        rays = np.ones((len(pixels), 3), np.float32)
        rays[:, :2] = (pixels - np.asarray(self.lens.principal_point, np.float32)) / self.lens.focal_length
        return unit(rays) @ self.rotation.astype(np.float32)

    def all_directions(self, size: int) -> Floats:
        """(size, size, 3) those of the rays through the pixels' centers."""
        x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
        return self.directions(np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)).reshape(size, size, 3)


def unit(vectors: Floats) -> Floats:
    """Vectors (P, 3) at length 1."""
    return vectors / np.sqrt(np.maximum(np.einsum("pc,pc->p", vectors, vectors), np.float32(1e-12)))[:, None]
