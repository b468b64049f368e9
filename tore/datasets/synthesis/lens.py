"""What lies between person and file: things in front of the person, exposure, sensor noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import RandomState

from tore.datasets.synthesis.paint import draw_cloth

OCCLUDED = 0.35  # share of the pictures with something in front
MOST_HIDDEN = 0.4  # of a person
QUALITY = (60, 96)


def draw_occluder(rng: RandomState, picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture (n, n, 3) uint8, perhaps with a thing before the person whose pixels are mask (n, n) bool.

    A thing that would hide more than `MOST_HIDDEN` of the person is left out.
    """
    wanted = rng.random_sample() < OCCLUDED
    kind = rng.choice(["post", "table", "ball", "board"])
    share, extent = rng.random_sample(), rng.uniform(0.05, 0.22, 2) * len(picture)
    angle, color, second = float(rng.uniform(-25, 25)), draw_cloth(rng), draw_cloth(rng)
    grain = rng.standard_normal((12, 12)).astype(np.float32)
    if not wanted or not mask.any():
        return picture
    rows, columns = np.nonzero(mask)
    pick = int(share * len(rows))
    cover = _cover(kind, len(picture), float(columns[pick]), float(rows[pick]), extent, angle)
    if cover[mask].mean() > MOST_HIDDEN:
        return picture
    size = len(picture)
    light = cv2.resize(grain, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    ramp = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    surface = ((1 - ramp) * color + ramp * (0.7 * color + 0.3 * second) + 0.03 * light).clip(0, 1) * 255
    return np.rint(cover[..., None] * surface + (1 - cover[..., None]) * picture).astype(np.uint8)


def _cover(kind: str, size: int, x: float, y: float, extent: np.ndarray, angle: float) -> np.ndarray:
    """(size, size) float32 in [0, 1]: how much of each pixel the thing covers."""
    canvas = np.zeros((size, size), np.uint8)
    if kind == "ball":
        cv2.ellipse(canvas, ((x, y), tuple(map(float, extent * 1.5)), angle), 255, -1, cv2.LINE_AA)
    else:
        width, height = float(extent[0]), float(extent[1])
        shape = {
            "post": (0.5 * width, 3.0 * size),
            "table": (3.0 * size, 2 * height),
            "board": (1.6 * width, 1.6 * height),
        }
        tilt = angle * {"post": 0.3, "table": 0.2, "board": 1.0}[kind]
        middle = (x, size - 0.3 * height) if kind == "table" else (x, y)
        corners = cv2.boxPoints((middle, shape[kind], tilt))
        cv2.fillPoly(canvas, [np.rint(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


def expose(rng: RandomState, picture: np.ndarray) -> np.ndarray:
    """Exposure, white balance, contrast, a slight blur and sensor noise: (n, n, 3) uint8 -> the same."""
    gain = np.exp(0.12 * rng.standard_normal() + 0.04 * rng.standard_normal(3))
    contrast, blur, noise = rng.uniform(0.8, 1.15), rng.uniform(0, 0.8), 5.0 * rng.random_sample() ** 2
    grain = rng.standard_normal(picture.shape[:2]).astype(np.float32)
    if blur > 0.35:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    bright = ((picture.astype(np.float32) - 110) * contrast + 110) * gain.astype(np.float32)
    for channel, shift in enumerate((0, 7, 19)):  # one field of noise serves three channels
        bright[..., channel] += noise * np.roll(grain, shift, axis=1)
    return np.rint(bright.clip(0, 255)).astype(np.uint8)


def encode(rng: RandomState, picture: np.ndarray) -> bytes:
    """JPEG bytes of a drawn quality."""
    quality = int(rng.randint(*QUALITY))
    done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()
