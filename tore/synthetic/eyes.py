"""Eyeballs: the mesh's eyes are closed, so two painted balls stand in front of them, where MakeHuman's eyes lie."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tore.synthetic.surfaces import Surface

Array = NDArray[np.floating]
Index = NDArray[np.int64]

LEFT_EYE, RIGHT_EYE = slice(14598, 14670), slice(14670, 14742)  # base points of MakeHuman's eyes
RINGS, SPOKES = 8, 18
SIDE = 96  # pixels of the texture
IRIS, PUPIL, RIM = 0.33, 0.13, 0.04  # of a quarter turn from the eye's middle
# sRGB of the iris, and how common it is
IRISES = (((92, 58, 32), 6), ((62, 38, 22), 6), ((120, 92, 52), 2), ((96, 122, 142), 2), ((96, 118, 86), 1))


@lru_cache(maxsize=1)
def _half_ball() -> tuple[Array, Index, Array]:
    """Unit directions (N, 3) of the front of a ball that looks along z, faces (F, 3), texture coordinates (N, 2)."""
    turn = np.linspace(0, 2 * np.pi, SPOKES, endpoint=False)
    away = np.linspace(0, 1, RINGS + 1)[1:, None] * np.pi / 2
    ring = np.stack([np.sin(away) * np.cos(turn), np.sin(away) * np.sin(turn), np.cos(away) + 0 * turn], -1)
    directions = np.concatenate([[[0.0, 0.0, 1.0]], ring.reshape(-1, 3)])
    share = np.concatenate([[0.0], np.repeat(away[:, 0] / (np.pi / 2), SPOKES)])
    flat = np.concatenate([[0.0], np.tile(turn, RINGS)])
    places = 0.5 + 0.5 * share[:, None] * np.stack([np.cos(flat), np.sin(flat)], 1)
    k, after = np.arange(SPOKES), (np.arange(SPOKES) + 1) % SPOKES
    faces = [np.stack([0 * k, 1 + k, 1 + after], 1)]
    for row in range(RINGS - 1):
        inner, outer = 1 + row * SPOKES, 1 + (row + 1) * SPOKES
        faces.append(np.stack([inner + k, outer + k, outer + after], 1))
        faces.append(np.stack([inner + k, outer + after, inner + after], 1))
    return directions, np.concatenate(faces), places


def eye_texture(rng: np.random.Generator, light: float) -> NDArray[np.uint8]:
    """A painted eye (SIDE, SIDE, 4) that is seen from the front; `light` in [0, 1]: paler irises become more likely."""
    shares = np.array([share * (1 if dark < 2 else max(light - 0.4, 0) * 3) for dark, (_, share) in enumerate(IRISES)])
    color = np.array(IRISES[rng.choice(len(IRISES), p=shares / shares.sum())][0]) * rng.uniform(0.85, 1.2)
    x, y = np.meshgrid(*[(np.arange(SIDE) + 0.5) / SIDE * 2 - 1] * 2)
    away, turn = np.hypot(x, y), np.arctan2(y, x)
    white = np.array([222, 214, 208]) * rng.uniform(0.9, 1.03) - 55 * np.clip(away - 0.5, 0, 1)[..., None]
    fibers = 1 + 0.18 * np.sin(turn * 23 + 3 * np.sin(turn * 7)) - 0.5 * np.clip((away - IRIS + RIM) / RIM, 0, 1)
    out = np.where((away < IRIS)[..., None], color * fibers[..., None], white)
    out[away < PUPIL] = 12
    texture = np.full((SIDE, SIDE, 4), 255, np.uint8)
    texture[..., :3] = np.clip(out, 0, 255)
    return texture


def eyes_on(base: Array, texture: NDArray[np.uint8]) -> Surface:
    """Both eyes on an unposed body with the base points (19158, 3)."""
    directions, faces, places = _half_ball()
    balls = []
    for rows in (LEFT_EYE, RIGHT_EYE):
        points = base[rows]
        system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
        found = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]  # the ball through the points
        balls.append(found[:3] + directions * np.sqrt(found[3] + found[:3] @ found[:3]))
    both = np.concatenate([faces, faces + len(directions)])
    return Surface("eyes", np.concatenate(balls), both, np.tile(places, (2, 1)), both, texture, gloss=0.5)
