"""A forearm for a hand that ends at the wrist: a tube grown from the rim of the hand's mesh, bare or sleeved."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState

from tore.datasets.synthesis.paint import draw_cloth

# metres behind the rim; they come in pairs, so that a sleeve has a sharp end wherever it starts
STATIONS = np.array([0.015, 0.018, 0.045, 0.048, 0.09, 0.093, 0.15, 0.153, 0.25, 0.45])
GROWTH = np.interp(STATIONS, [0, 0.05, 0.1, 0.2, 0.3, 0.45], [1.0, 1.08, 1.2, 1.36, 1.44, 1.5])  # of the rim's outline
SLEEVED = 0.5
CUFF = 1.14  # a sleeve is wider than the arm


def rim_of(faces: np.ndarray) -> np.ndarray:
    """The vertices (R,) along the one open rim, in the direction in which its faces run; empty for a closed mesh."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in there if (b, a) not in there}
    if not following:
        return np.zeros(0, np.int64)
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    return np.array(loop)


def add_forearm(
    rng: RandomState, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, rim: np.ndarray, knuckles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and colours with a forearm behind the rim (R,), away from the knuckles (N, 3)."""
    bend, sleeved, start = 0.18 * rng.standard_normal(3), rng.random_sample() < SLEEVED, 2 * int(rng.randint(0, 4)) + 1
    cloth = draw_cloth(rng)
    edge = vertices[rim]
    middle = edge.mean(0)
    straight = middle - knuckles.mean(0)
    straight /= np.linalg.norm(straight)
    away = straight + bend
    away /= np.linalg.norm(away)
    cuffed = sleeved & (np.arange(len(STATIONS)) >= start)
    widths = np.where(cuffed, GROWTH * CUFF, GROWTH)
    # the axis leaves the wrist straight and then follows the bend
    turned = (STATIONS / 0.1).clip(0, 1)[:, None]
    axis = STATIONS[:, None] * ((1 - turned) * straight + turned * away)
    rings = middle + axis[:, None] + widths[:, None, None] * (edge - middle)  # (S, R, 3)
    count, first, rows = len(rim), len(vertices), len(STATIONS)
    index = np.concatenate([rim[None], first + np.arange(rows * count).reshape(rows, count)])
    here, there = index[:-1], index[1:]
    after_here, after_there = np.roll(here, -1, 1), np.roll(there, -1, 1)
    sides = np.stack([np.stack([after_here, here, there], -1), np.stack([after_here, there, after_there], -1)])
    skin = colors[rim].mean(0)
    paint = np.where(cuffed[:, None], cloth, skin)
    return (
        np.concatenate([vertices, rings.reshape(-1, 3)]),
        np.concatenate([faces, sides.reshape(-1, 3)]),
        np.concatenate([colors, np.repeat(paint, count, axis=0)]),
    )
