"""What a camera sees: textured triangle meshes, and several of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tore.visualize.renderer import vertex_normals

__all__ = ["Surface", "plain_texture", "vertex_normals"]

Array = NDArray[np.floating]
Index = NDArray[np.integer]


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
