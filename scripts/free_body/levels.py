"""Up-sampling that keeps the curvature: a finer vertex as a mixture of a few coarser ones, fitted to many meshes.

The nearest point of a coarse triangle lies inside every round limb; weights that may leave the triangle do not.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from free_body.source import Array, Index

from tore.synthetic.mesh import Level

CORNERS = 6  # coarser vertices that one finer vertex takes
STIFFNESS = 3e-5  # square meters a mesh, of the deviation from the nearest point of the coarse triangle


def fitted(level: Level, meshes: Array, rim: Array) -> Level:
    """The level with `corners` and `shares` (Vf, 6), from meshes (N, Vf, 3) of the finer level; `rim` (Vf,) its rim.

    Shares of a vertex are 1 in all; a vertex that is kept is itself; one of the rim takes the rim's alone.
    """
    coarse = meshes[:, level.kept]
    near = _neighbors(level.disc.faces, len(level.kept))
    corners = np.zeros((meshes.shape[1], CORNERS), dtype=np.int64)
    shares = np.zeros((meshes.shape[1], CORNERS))
    place = {int(fine): row for row, fine in enumerate(level.kept)}
    for vertex in range(meshes.shape[1]):
        if vertex in place:
            corners[vertex], shares[vertex, 0] = place[vertex], 1.0
            continue
        start = np.zeros(len(level.kept))
        np.add.at(start, level.corners[vertex], level.shares[vertex])
        tried = np.unique(near[level.corners[vertex]].indices)
        if rim[vertex]:
            tried = tried[level.disc.rim[tried]]
        weights = _solve(coarse[:, tried], meshes[:, vertex], start[tried])
        best = np.sort(np.argsort(-np.abs(weights), kind="stable")[:CORNERS])
        tried = tried[best]
        weights = _solve(coarse[:, tried], meshes[:, vertex], start[tried])
        corners[vertex, : len(tried)], shares[vertex, : len(tried)] = tried, weights
    return Level(level.disc, level.kept, corners, shares)


def _solve(given: Array, wanted: Array, start: Array) -> Array:
    """(K,) weights, 1 in all, near `start`, that make `wanted` (N, 3) of `given` (N, K, 3)."""
    matrix = (given - wanted[:, None]).transpose(0, 2, 1).reshape(-1, given.shape[1])
    gram = matrix.T @ matrix / len(wanted) + STIFFNESS * np.eye(len(start))
    system = np.block([[gram, np.ones((len(start), 1))], [np.ones((1, len(start))), np.zeros((1, 1))]])
    return np.linalg.solve(system, np.concatenate([STIFFNESS * start, [1.0]]))[:-1]


def _neighbors(faces: Index, count: int) -> sp.csr_matrix:
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ring = sp.csr_matrix((np.ones(len(sides)), sides.T), shape=(count, count))
    return (ring + ring.T + sp.eye(count)).tocsr()
