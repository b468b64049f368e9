"""Solids for the synthetic figures: smooth unions of tubes, ellipsoids and trunk profiles, and their skin.

A solid is a function of points (N, 3) in meters that is negative inside, about the distance to the skin near it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tore.synthetic.edge_collapse import Array

Field = Callable[[Array], Array]  # points (N, 3) -> values (N,)

MISSING_EXTRA = "making a synthetic figure needs the package scikit-image: pip install scikit-image"


@dataclass(frozen=True)
class Tube:
    """A chain of spheres, neighbors joined by cones: `points` (K, 3) and `radii` (K,) in meters.

    `squash` divides the coordinates about the first point before the distance is taken: (1.4, 1, 1)
    makes the tube 1.4 times as wide in x.
    """

    points: Sequence[Sequence[float]]
    radii: Sequence[float]
    squash: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, p: Array) -> Array:
        """Distance-like values (N,) of the points (N, 3)."""
        origin, squash = np.asarray(self.points[0], dtype=float), np.asarray(self.squash)
        centers = (np.asarray(self.points, dtype=float) - origin) / squash
        local = (p - origin) / squash
        if len(centers) == 1:
            return np.linalg.norm(local - centers[0], axis=1) - self.radii[0]
        values = np.full(len(p), np.inf)
        for k in range(len(centers) - 1):
            axis, start = centers[k + 1] - centers[k], local - centers[k]
            along = np.clip(start @ axis / (axis @ axis), 0.0, 1.0)
            radius = self.radii[k] + (self.radii[k + 1] - self.radii[k]) * along
            np.minimum(values, np.linalg.norm(start - along[:, None] * axis, axis=1) - radius, out=values)
        return values


@dataclass(frozen=True)
class Ellipsoid:
    """An axis-aligned ellipsoid: center and half axes in meters."""

    center: Sequence[float]
    axes: Sequence[float]

    def __call__(self, p: Array) -> Array:
        """Distance-like values (N,) of the points (N, 3)."""
        local = (p - np.asarray(self.center)) / np.asarray(self.axes)
        near = np.linalg.norm(local, axis=1)
        slope = np.linalg.norm(local / np.asarray(self.axes), axis=1)
        return near * (near - 1.0) / np.maximum(slope, 1e-9)


@dataclass(frozen=True)
class Profile:
    """A trunk along y: rows of (y, half width in x, half depth in z, z of the middle), joined smoothly."""

    rows: Sequence[Sequence[float]]

    def __call__(self, p: Array) -> Array:
        """Distance-like values (N,) of the points (N, 3)."""
        from scipy.interpolate import PchipInterpolator

        rows = np.asarray(self.rows, dtype=float)
        height = np.clip(p[:, 1], rows[0, 0], rows[-1, 0])
        wide, deep, middle = PchipInterpolator(rows[:, 0], rows[:, 1:])(height).T
        ring = np.hypot(p[:, 0] / wide, (p[:, 2] - middle) / deep)
        side = (ring - 1.0) * np.minimum(wide, deep)
        beyond = p[:, 1] - height
        return np.hypot(np.maximum(side, 0.0), beyond) + np.minimum(side, 0.0)


def smooth_min(a: Array, b: Array, width: float) -> Array:
    """The smaller of two values, rounded off where they differ by less than `width` meters."""
    share = np.maximum(width - np.abs(a - b), 0.0) / width
    return np.minimum(a, b) - share * share * width * 0.25


def union(parts: Sequence[tuple[Field, float]]) -> Field:
    """One solid of many: each part comes with the width in meters over which it melts into those before it."""

    def field(p: Array) -> Array:
        values = parts[0][0](p)
        for part, width in parts[1:]:
            values = smooth_min(values, part(p), width)
        return values

    return field


def gradient(field: Field, p: Array, step: float = 1e-4) -> Array:
    """Central differences (N, 3) of a field."""
    out = np.empty_like(p)
    for axis in range(3):
        shift = np.zeros(3)
        shift[axis] = step
        out[:, axis] = (field(p + shift) - field(p - shift)) / (2 * step)
    return out


def project(field: Field, p: Array, flat: NDArray[np.bool_], axis: int, rounds: int = 2) -> Array:
    """Newton steps of the points (N, 3) onto the skin; points marked `flat` keep their coordinate `axis`."""
    for _ in range(rounds):
        slope = gradient(field, p)
        slope[flat, axis] = 0.0
        p = p - slope * (field(p) / np.maximum((slope**2).sum(1), 0.05))[:, None]
    return p


def skin(field: Field, lower: Sequence[float], upper: Sequence[float], step: float) -> tuple[Array, NDArray[np.int64]]:
    """Marching cubes over a box: vertices (V, 3) and faces (F, 3), wound outwards, open where the box cuts the solid.

    Only the blocks of four cells a side that the skin can pass through are evaluated finely.
    Raises ImportError with the command to run where scikit-image is missing.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise ImportError(MISSING_EXTRA) from error
    low = np.asarray(lower, dtype=float)
    blocks = np.ceil((np.asarray(upper) - low) / (4 * step)).astype(int)
    centers = low + (np.stack(np.meshgrid(*map(np.arange, blocks), indexing="ij"), -1) + 0.5) * 4 * step
    coarse = field(centers.reshape(-1, 3)).reshape(blocks)
    grid = np.repeat(np.repeat(np.repeat(coarse, 4, 0), 4, 1), 4, 2)
    near = np.repeat(np.repeat(np.repeat(np.abs(coarse) < 6 * step, 4, 0), 4, 1), 4, 2)
    index = np.argwhere(near)
    grid[near] = field(low + index * step)
    vertices, faces, _, _ = marching_cubes(grid, 0.0, spacing=(step, step, step), gradient_direction="descent")
    return vertices.astype(np.float64) + low, faces.astype(np.int64)


def weld(vertices: Array, faces: NDArray[np.int64], pinch: float) -> tuple[Array, NDArray[np.int64]]:
    """Merges vertices that agree to `pinch` meters and drops the faces and vertices that this leaves empty."""
    _, first, label = np.unique(
        np.round(vertices / pinch).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    faces = label.reshape(-1)[faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    used, flat = np.unique(faces[whole], return_inverse=True)
    return vertices[first][used], flat.reshape(-1, 3)
