"""Rows that give joints and keypoints as shares of the mesh's vertices."""

from __future__ import annotations

import numpy as np
from free_body.source import Array, Index
from scipy.optimize import nnls

CANDIDATES = 260
SUM_WEIGHT = 100.0


def regressor_row(meshes: Array, points: Array, partner: Index, middle: bool, weight: Array) -> Array:
    """(V,) shares, none negative and 1 in all, whose mixture of the meshes (N, V, 3) is nearest to the points (N, 3).

    `middle`: the point lies in the mirror plane of every unposed mesh, and each vertex counts as much as its mirror
    image in `partner (V,)`. `weight (N, 1, 1)` says how much each mesh counts.
    """
    distance = np.linalg.norm(meshes - points[:, None], axis=2).mean(0)
    if middle:
        distance = np.minimum(distance, distance[partner])
    near = np.argsort(distance, kind="stable")[:CANDIDATES]
    if middle:
        near = near[near <= partner[near]]
        columns = 0.5 * (meshes[:, near] + meshes[:, partner[near]])
    else:
        columns = meshes[:, near]
    matrix = (weight * (columns - points[:, None])).transpose(0, 2, 1).reshape(-1, len(near))
    matrix = np.concatenate([matrix, np.full((1, len(near)), SUM_WEIGHT)])
    wanted = np.zeros(len(matrix))
    wanted[-1] = SUM_WEIGHT
    shares = nnls(matrix, wanted, maxiter=50 * len(near))[0]
    shares /= shares.sum()
    row = np.zeros(meshes.shape[1])
    if middle:
        np.add.at(row, near, 0.5 * shares)
        np.add.at(row, partner[near], 0.5 * shares)
    else:
        row[near] = shares
    return row


def single_vertex(meshes: Array, points: Array) -> Array:
    """(V,) the one vertex that stays nearest to the points (N, 3) over the meshes (N, V, 3)."""
    row = np.zeros(meshes.shape[1])
    row[np.linalg.norm(meshes - points[:, None], axis=2).mean(0).argmin()] = 1.0
    return row


def errors(rows: Array, meshes: Array, points: Array) -> Array:
    """(N, K) meters between the rows' points of the meshes and the points (N, K, 3)."""
    return np.linalg.norm(np.einsum("kv,nvc->nkc", rows, meshes) - points, axis=2)
