"""Where people stand: a background drawn by rules or cut from a photograph."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.random import RandomState

PHOTOGRAPH_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
KEPT_PHOTOGRAPHS = 64  # decoded ones, per process
SUBPIXEL = 4


def find_photographs(folder: Path) -> tuple[Path, ...]:
    """The images of a folder and the folders below it, sorted. ValueError where there is none."""
    found = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOGRAPH_ENDINGS))
    if not found:
        raise ValueError(f"{folder} holds no image ({', '.join(PHOTOGRAPH_ENDINGS)}) to use as a background")
    return found


def draw_background(rng: RandomState, size: int, photographs: Sequence[Path] = ()) -> np.ndarray:
    """(size, size, 3) uint8 RGB."""
    if photographs:
        return _photograph(rng, size, photographs)
    kind = rng.choice(["outdoors", "room", "clutter", "blur"], p=[0.35, 0.3, 0.2, 0.15])
    if kind in ("outdoors", "room"):
        canvas = _horizon(rng, size, indoors=kind == "room")
        shapes = int(rng.randint(2, 9))
    else:
        canvas = 0.12 + 0.55 * _tint(rng) + _clouds(rng, size, (2, 4, 8, 16)) * rng.uniform(0.4, 0.9)
        shapes = int(rng.randint(6, 22)) if kind == "clutter" else int(rng.randint(0, 4))
    canvas = canvas + _clouds(rng, size, (16, 32, 64)) * rng.uniform(0.02, 0.16)
    image = np.rint(canvas.clip(0, 1) * 255).astype(np.uint8)
    for _ in range(shapes):
        _draw_shape(rng, image)
    blur = float(rng.uniform(0.0, 2.2)) * size / 256
    return cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.3 else image


def _tint(rng: RandomState, value: tuple[float, float] = (0.15, 0.95), saturation: float = 0.6) -> np.ndarray:
    color = colorsys.hsv_to_rgb(rng.random_sample(), saturation * rng.random_sample() ** 1.5, rng.uniform(*value))
    return np.array(color, np.float32)


def _clouds(rng: RandomState, size: int, cells: Sequence[int]) -> np.ndarray:
    """(size, size, 3) smooth noise around 0, coarse waves stronger than fine ones."""
    total = np.zeros((size, size, 3), np.float32)
    for count in cells:
        gray = rng.standard_normal((count, count, 1)) * 0.8
        color = rng.standard_normal((min(count, 8), min(count, 8), 3)) * 0.22
        for grid in (np.repeat(gray, 3, axis=2), color):
            smooth = cv2.resize(grid.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
            total += smooth * (0.35 * (cells[0] / count) ** 0.5)
    return total


def _horizon(rng: RandomState, size: int, indoors: bool) -> np.ndarray:
    """(size, size, 3) float: wall over floor, or sky over ground, with a slanted line between."""
    level, slant = rng.uniform(0.3, 0.8) * size, rng.uniform(-0.12, 0.12)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    below = (y - level - slant * (x - size / 2)).clip(-0.5, 0.5)[..., None] + 0.5
    upper, lower = _tint(rng, (0.35, 1.0), 0.4), _tint(rng, (0.15, 0.8), 0.5)
    if not indoors:
        upper, lower = (
            np.array([0.55, 0.72, 0.95], np.float32) * rng.uniform(0.5, 1.05) + 0.1 * _tint(rng),
            0.6 * lower + 0.4 * np.array([0.35, 0.42, 0.22], np.float32) * rng.uniform(0.5, 1.3),
        )
    fade = (y / size)[..., None] * rng.uniform(-0.25, 0.25)
    top = upper + fade + 0.15 * _clouds(rng, size, (2, 4, 8)) * rng.random_sample()
    bottom = lower - fade + 0.3 * _clouds(rng, size, (8, 16, 32)) * rng.random_sample()
    if indoors and rng.random_sample() < 0.4:  # planks or tiles
        bottom = bottom + 0.06 * np.sign(np.sin(x * rng.uniform(0.1, 0.5) + y * rng.uniform(-0.3, 0.3)))[..., None]
    return (1 - below) * top + below * bottom


def _draw_shape(rng: RandomState, image: np.ndarray) -> None:
    """One filled thing of any kind, place and color: box, blob, many-sided, or a rounded bar as limbs are."""
    size = len(image)
    kind = rng.choice(["box", "blob", "polygon", "bar"])
    color = tuple(map(int, np.rint(_tint(rng) * 255)))
    middle = rng.uniform(0, size, 2)
    extent = size * rng.uniform(0.04, 0.32, 2)
    if kind == "blob":
        box = (tuple(middle.tolist()), tuple((2 * extent).tolist()), float(rng.uniform(0, 180)))
        cv2.ellipse(image, box, color, -1, cv2.LINE_AA)
    elif kind == "bar":
        end = middle + rng.uniform(-0.4, 0.4, 2) * size
        thickness = max(1, int(size * rng.uniform(0.01, 0.07)))
        start, stop = (tuple(map(int, point)) for point in (middle, end))
        cv2.line(image, start, stop, color, thickness, cv2.LINE_AA)
    else:
        sides = 4 if kind == "box" else int(rng.randint(3, 8))
        angles = np.arange(sides) * 2 * np.pi / sides + (np.pi / 4 if kind == "box" else rng.uniform(0, 6))
        radius = 1.4 if kind == "box" else rng.uniform(0.5, 1.2, sides)
        corners = (
            np.stack([np.cos(angles), np.sin(angles)], axis=1) * (extent * np.ones(2)) * np.reshape(radius, (-1, 1))
        )
        tilt = np.deg2rad(rng.uniform(-8, 8))
        corners = corners @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        fixed = np.rint((middle + corners) * 2**SUBPIXEL).astype(np.int32)
        cv2.fillPoly(image, [fixed], color, cv2.LINE_AA, SUBPIXEL)


def _photograph(rng: RandomState, size: int, photographs: Sequence[Path]) -> np.ndarray:
    """A random square of a random photograph, maybe mirrored."""
    path = photographs[int(rng.randint(len(photographs)))]
    share, left, top = rng.uniform(0.5, 1.0), rng.random_sample(), rng.random_sample()
    mirrored = rng.random_sample() < 0.5
    image = _decoded(path, 3 * size)
    side = max(1, int(min(image.shape[:2]) * share))
    y, x = int(top * (image.shape[0] - side)), int(left * (image.shape[1] - side))
    cut = image[y : y + side, x : x + side]
    cut = cut[:, ::-1] if mirrored else cut
    return cv2.resize(np.ascontiguousarray(cut), (size, size), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=KEPT_PHOTOGRAPHS)
def _decoded(path: Path, limit: int) -> np.ndarray:
    """The photograph in RGB, its shorter side at most `limit`. ValueError where it cannot be decoded."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise ValueError(f"{path} cannot be decoded as an image: take it out of the folder of backgrounds")
    factor = limit / min(image.shape[:2])
    if factor < 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return image[:, :, ::-1]
