"""Skirts of any length on MakeHuman's base points, which need no file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tore.synthetic.assets import Piece
from tore.synthetic.clothes_files import BASE_SCALE, ClothesMesh, Hold
from tore.synthetic.garments import SKIN_POINTS, free_mesh

Index = NDArray[np.int64]

FIRST_POINT, BLOCKS, AROUND = 18002, 10, 36  # MakeHuman's skirt: blocks of two rings
LENGTHS, FLARES = (7, 8, 10, 12, 13, 16, 18), (0.0, 0.1, 0.25)
TILTS = np.linspace(-0.3, 0.3, 61)
HIDDEN_BELOW = 0.03  # of the skirt's upper edge and above its hem, meters
HIPS = 0.35  # from the middle on the mean person: the hands are farther
SCALE_POINTS = ((5399, 11998), (791, 881), (962, 5320))  # that MakeHuman scales clothes by, along x, y and z


@lru_cache(maxsize=1)
def skirt_rings() -> Index:
    """(19, 36) base points of the rings of MakeHuman's skirt from the waist down, each in order around the body."""
    base = free_mesh().base
    rings: list[Index] = []
    for block in range(BLOCKS):
        rows = FIRST_POINT + 2 * AROUND * block + np.arange(2 * AROUND)
        points = base[rows]
        angle = np.arctan2(points[:, 0], points[:, 2] - points[:, 2].mean())
        halves = [_parted(points, angle, tilt) for tilt in TILTS]
        best = max(halves, key=lambda half: min(_closest(angle[mine]) for mine in half))
        rings += [rows[mine[np.argsort(angle[mine])]] for mine in best]
    return np.array(rings)


def _parted(points: NDArray[np.float64], angle: NDArray[np.float64], tilt: float) -> tuple[Index, Index]:
    """The upper and the lower half of points, by their height over a plane that rises forward by `tilt`."""
    order = np.argsort(-(points[:, 1] - tilt * points[:, 2]))
    return order[:AROUND], order[AROUND:]


def _closest(angle: NDArray[np.float64]) -> float:
    around = np.sort(angle)
    return float(np.diff(np.append(around, around[0] + 2 * np.pi)).min())


@lru_cache(maxsize=32)
def skirt(rings: int, flare: float) -> Piece:
    """A skirt of the upper `rings`, 2 to 20, of MakeHuman's; it widens by `flare` meters a meter downward."""
    if not 2 <= rings <= 2 * BLOCKS:
        raise ValueError(f"a skirt has 2 to {2 * BLOCKS} rings, not {rings}")
    base = free_mesh().base
    rows = skirt_rings()[:rings]
    points = base[rows]
    out = points - points.mean(1, keepdims=True)
    out[..., 1] = 0
    out /= np.linalg.norm(out, axis=2, keepdims=True)
    depth = points[:1, :, 1:2] - points[..., 1:2]
    offsets = (flare * depth * out / BASE_SCALE).reshape(-1, 3)
    scales = tuple(
        (first, second, float(abs(base[first, axis] - base[second, axis])) / BASE_SCALE)
        for axis, (first, second) in enumerate(SCALE_POINTS)
    )
    edge = points[0, :, 1].mean() - HIDDEN_BELOW
    inside = (base[:SKIN_POINTS, 1] < edge) & (base[:SKIN_POINTS, 1] > points[-1, :, 1].mean() + HIDDEN_BELOW)
    hips = np.flatnonzero(inside & (np.abs(base[:SKIN_POINTS, 0]) < HIPS))
    count = rows.size
    shares = np.tile([1.0, 0.0, 0.0], (count, 1))
    hold = Hold(np.repeat(rows.reshape(-1, 1), 3, 1), shares, offsets, scales, hips if rings > 4 else hips[:0])
    return Piece("skirt", Path("skirt"), "skirt", "female", hold, _sheet(rings), None)


def _sheet(rings: int) -> ClothesMesh:
    """A closed sheet around `rings` rings, with a seam in its texture."""
    row, column = (index.ravel() for index in np.mgrid[: rings - 1, :AROUND])
    corners = [(row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1)]
    vertex = [lower * AROUND + around % AROUND for lower, around in corners]
    place = [lower * (AROUND + 1) + around for lower, around in corners]
    u, v = np.meshgrid(np.linspace(0, 1, AROUND + 1), np.linspace(1, 0, rings))

    def triangles(index: list[Index]) -> Index:
        return np.concatenate(
            [np.stack([index[0], index[1], index[2]], 1), np.stack([index[0], index[2], index[3]], 1)]
        )

    return ClothesMesh(rings * AROUND, triangles(vertex), np.stack([u.ravel(), v.ravel()], 1), triangles(place))


def draw_skirt(rng: np.random.Generator) -> Piece:
    """A skirt of a drawn length and width."""
    return skirt(LENGTHS[int(rng.integers(len(LENGTHS)))], FLARES[int(rng.integers(len(FLARES)))])
