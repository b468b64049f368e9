"""The inputs behind the reference values, made from seeds and names with numpy's frozen legacy generator.

The same numbers can be made anywhere, so no large file ships: network weights by the official entry's
name, images, a SMPL- and a MANO-shaped body, joint regressors, mesh levels, targets, photos and labels.
"""

from __future__ import annotations

import itertools
import zlib
from math import prod

import numpy as np
import scipy.sparse as sp
from numpy.random import RandomState

LEVELS = (6890, 1723, 431)
HAND_LEVELS = (778, 195)
BODY_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
HAND_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)


def parameter(key: str, shape) -> np.ndarray:
    """float32 value of the official checkpoint's entry `key`."""
    shape = tuple(shape)
    z = RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    kind = key.split(".")[-1]
    if kind == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif kind == "running_mean":
        z = 0.05 * z
    elif len(shape) < 2:
        z = 1 + 0.1 * z if kind == "weight" else 0.05 * z
    else:
        z = z / np.sqrt(prod(shape[1:]))
    return np.asarray(z, dtype=np.float32)


def images(seed: int = 0, batch: int = 2) -> np.ndarray:
    """(batch, 3, 224, 224) float32, as if normalized."""
    return RandomState(seed).standard_normal((batch, 3, 224, 224)).astype(np.float32)


def _regressor(r: RandomState, rows: int, cols: int, nonzeros: int) -> np.ndarray:
    out = np.zeros((rows, cols))
    for i in range(rows):
        where = r.choice(cols, nonzeros, replace=False)
        share = r.random_sample(nonzeros)
        out[i, where] = share / share.sum()
    return out


def _body(seed: int, n: int, parents: tuple[int, ...], n_faces: int) -> dict:
    r, k = RandomState(seed), len(parents)
    body = {"v_template": r.standard_normal((n, 3)) * np.array([0.25, 0.5, 0.12])}
    body["shapedirs"] = r.standard_normal((n, 3, 10)) * 0.02
    body["posedirs"] = r.standard_normal((n, 3, 9 * (k - 1))) * 0.005
    body["kintree_table"] = np.array([np.maximum(parents, 0), np.arange(k)], dtype=np.int64)
    body["f"] = r.randint(0, n, size=(n_faces, 3)).astype(np.uint32)
    blend = r.random_sample((n, k)) ** 8
    body["weights"] = blend / blend.sum(1, keepdims=True)
    body["J_regressor"] = sp.csc_matrix(_regressor(r, k, n, 30))
    return body


def smpl_model(seed: int = 7) -> dict:
    return _body(seed, LEVELS[0], BODY_PARENTS, 13776)


def mano_model(seed: int = 8) -> dict:
    hand = _body(seed, HAND_LEVELS[0], HAND_PARENTS, 1538)
    r = RandomState(seed + 1000)
    hand["hands_components"] = r.standard_normal((45, 45)) * 0.1
    hand["hands_mean"] = r.standard_normal(45) * 0.1
    return hand


def joint_regressors(seed: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """J_regressor_extra (14, 6890) and J_regressor_h36m_correct (17, 6890)."""
    r = RandomState(seed)
    extra = _regressor(r, 14, LEVELS[0], 1)
    return extra, _regressor(r, 17, LEVELS[0], 6)


def _down(r: RandomState, coarse: int, fine: int) -> sp.csc_matrix:
    kept = np.sort(r.choice(fine, coarse, replace=False))
    return sp.csc_matrix((np.ones(coarse), (np.arange(coarse), kept)), shape=(coarse, fine))


def _up(r: RandomState, fine: int, coarse: int) -> sp.csc_matrix:
    corners = np.stack([r.choice(coarse, 3, replace=False) for _ in range(fine)])
    share = r.random_sample((fine, 3))
    share /= share.sum(1, keepdims=True)
    rows = np.repeat(np.arange(fine), 3)
    return sp.csc_matrix((share.ravel(), (rows, corners.ravel())), shape=(fine, coarse))


def mesh_levels(seed: int = 10) -> dict[str, list]:
    """U = [6890x1723, 1723x431] and D = [1723x6890, 431x1723]."""
    r = RandomState(seed)
    pairs = list(itertools.pairwise(LEVELS))
    down = [_down(r, coarse, fine) for fine, coarse in pairs]
    return {"U": [_up(r, fine, coarse) for fine, coarse in pairs], "D": down}


def hand_mesh_levels(seed: int = 12) -> dict[str, list]:
    r = RandomState(seed)
    fine, coarse = HAND_LEVELS
    down = [_down(r, coarse, fine)]
    return {"U": [_up(r, fine, coarse)], "D": down}


def adjacency(vertices: int = LEVELS[-1], seed: int = 11) -> np.ndarray:
    """(vertices, vertices) 0/1 float32, symmetric, self loops included; hands use seed 13."""
    r = RandomState(seed)
    out, ring = np.eye(vertices, dtype=np.float32), np.arange(vertices)
    out[ring, (ring + 1) % vertices] = 1
    pairs = r.randint(0, vertices, size=(2 * vertices, 2))
    out[pairs[:, 0], pairs[:, 1]] = 1
    return np.maximum(out, out.T)


def annotations(seed: int = 20, batch: int = 4) -> dict[str, np.ndarray]:
    """One training batch's targets."""
    r = RandomState(seed)
    joints_2d = np.concatenate([r.uniform(-1, 1, (batch, 24, 2)), r.randint(0, 2, (batch, 24, 1))], 2)
    joints_3d = np.concatenate([r.standard_normal((batch, 24, 3)) * 0.3, r.randint(0, 2, (batch, 24, 1))], 2)
    has_smpl, has_3d = np.ones(batch, dtype=np.int64), np.ones(batch, dtype=np.int64)
    has_smpl[1::4] = 0
    has_3d[2::4] = 0
    return {
        "joints_2d": joints_2d.astype(np.float32),
        "joints_3d": joints_3d.astype(np.float32),
        "pose": (r.standard_normal((batch, 72)) * 0.3).astype(np.float32),
        "betas": r.standard_normal((batch, 10)).astype(np.float32),
        "has_smpl": has_smpl,
        "has_3d_joints": has_3d,
        "has_2d_joints": np.ones(batch, dtype=np.int64),
    }


def photo(seed: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 smooth color image, channels R, G, B."""
    r = RandomState(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = []
    for _ in range(3):
        a, b, c, d = r.uniform(0.005, 0.05, 4)
        waves.append(np.sin(a * x + b * y) + np.cos(c * x - d * y))
    return ((np.stack(waves, -1) + 2) / 4 * 255).astype(np.uint8)


def label(seed: int, height: int, width: int) -> list[dict]:
    """The JSON value of one label row: a list that holds one person."""
    r = RandomState(seed + 500)
    joints_2d = np.concatenate([r.uniform(0, 1, (24, 2)) * [width, height], r.randint(0, 2, (24, 1))], 1)
    joints_3d = np.concatenate([r.standard_normal((24, 3)) * 0.3, r.randint(0, 2, (24, 1))], 1)
    person = {"center": [width * 0.5 + r.uniform(-20, 20), height * 0.5 + r.uniform(-20, 20)]}
    person |= {"scale": float(r.uniform(0.5, 1.2)), "2d_joints": joints_2d.tolist(), "3d_joints": joints_3d.tolist()}
    person |= {"has_2d_joints": 1, "has_3d_joints": 1, "has_smpl": 1}
    person |= {"pose": (r.standard_normal(72) * 0.3).tolist(), "betas": r.standard_normal(10).tolist()}
    return [person]


# A standing figure as capsules: from (x, y) to (x, y) in shares of its height from its feet's middle, and radius.
CAPSULES = (
    *(((0.0, -0.93), (0.0, -0.93), 0.065), ((-0.06, -0.72), (0.06, -0.72), 0.06), ((0.0, -0.7), (0.0, -0.5), 0.09)),
    *(((-0.11, -0.8), (-0.19, -0.62), 0.03), ((-0.19, -0.62), (-0.22, -0.45), 0.025)),
    *(((0.11, -0.8), (0.24, -0.68), 0.03), ((0.24, -0.68), (0.3, -0.84), 0.025)),
    *(((-0.06, -0.48), (-0.09, -0.25), 0.05), ((-0.09, -0.25), (-0.1, -0.02), 0.04)),
    *(((0.06, -0.48), (0.1, -0.26), 0.05), ((0.1, -0.26), (0.09, -0.02), 0.04)),
)
CAPSULE_COLORS = ((224, 172, 140), (40, 60, 160), (40, 60, 160)) + ((224, 172, 140),) * 4 + ((50, 50, 60),) * 4


def capsule_people(height: int, width: int, people: list[tuple[float, float, float]], seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: figures at (x, y, size) in pixels, the middle between the feet, before noisy gray."""
    image = RandomState(seed).randint(90, 150, size=(height, width, 1)).repeat(3, axis=2).astype(np.uint8)
    points = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    for x, y, size in people:
        for (first, last, radius), color in zip(CAPSULES, CAPSULE_COLORS, strict=True):
            start, end = (np.array(end) * size + (x, y) for end in (first, last))
            along, from_start = end - start, points - start
            share = np.clip(from_start @ along / max(along @ along, 1e-9), 0, 1)
            image[np.linalg.norm(from_start - share[..., None] * along, axis=-1) < radius * size] = color
    return image
