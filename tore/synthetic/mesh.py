"""A mesh, its coarser levels, and the maps between them.

The body is kept as its left half, a disc whose rim lies in the plane x = 0, and mirrored, so every vertex has an
exact mirror partner at every level. The hand is a disc as it is; its rim is the cut at the wrist.
`scripts/free_body/coarsening.py` makes the levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Disc:
    """A surface with one rim: vertices (V, 3), faces (F, 3), `rim` (V,) marks the rim's vertices."""

    vertices: Array
    faces: Index
    rim: NDArray[np.bool_]


@dataclass(frozen=True)
class Level:
    """One coarser level of a disc, as seen from the level above it.

    `kept` (Vc,) rows of the finer level that stay; `corners` and `shares` (Vf, 3) say each finer vertex as a
    mixture of three coarser ones.
    """

    disc: Disc
    kept: Index
    corners: Index
    shares: Array


def rim_mask(faces: Index, count: int) -> NDArray[np.bool_]:
    """(count,) which vertices lie on an edge with one face only."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, uses = np.unique(sides, axis=0, return_counts=True)
    mask = np.zeros(count, dtype=bool)
    mask[edges[uses == 1]] = True
    return mask


def nearest_on_triangles(p: Array, triangles: Array) -> tuple[Array, Array]:
    """Shares (N, 3) and distance (N,) of the point of each triangle (N, 3, 3) that is nearest to p (N, 3)."""
    options = []
    for i, j in ((0, 1), (1, 2), (2, 0)):
        side = triangles[:, j] - triangles[:, i]
        length = np.maximum((side**2).sum(1), 1e-18)
        along = np.clip(((p - triangles[:, i]) * side).sum(1) / length, 0, 1)
        share = np.zeros((len(p), 3))
        share[:, i], share[:, j] = 1 - along, along
        options.append(share)
    e1, e2, d = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0], p - triangles[:, 0]
    a, b, c = (e1 * e1).sum(1), (e1 * e2).sum(1), (e2 * e2).sum(1)
    x, y = (d * e1).sum(1), (d * e2).sum(1)
    area = a * c - b * b
    s, t = (c * x - b * y) / np.maximum(area, 1e-18), (a * y - b * x) / np.maximum(area, 1e-18)
    inside = (s >= 0) & (t >= 0) & (s + t <= 1) & (area > 1e-18)
    options.append(np.where(inside[:, None], np.stack([1 - s - t, s, t], 1), options[0]))
    shares = np.stack(options, 1)  # (N, 4, 3)
    distance = np.linalg.norm(np.einsum("nkc,ncx->nkx", shares, triangles) - p[:, None], axis=2)
    best = distance.argmin(1)
    return shares[np.arange(len(p)), best], distance[np.arange(len(p)), best]


def mirror_partner(rim: NDArray[np.bool_]) -> Index:
    """The partner (V,) of every vertex of the whole of a half with this rim (H,): half first, mirrored rest after."""
    inner = np.flatnonzero(~rim)
    partner = np.arange(len(rim) + len(inner))
    partner[inner] = len(rim) + np.arange(len(inner))
    partner[len(rim) :] = inner
    return partner


def mirror_disc(half: Disc) -> tuple[Array, Index, Index]:
    """The closed whole of a half: vertices (V, 3), faces (F, 3), partner (V,). The rim's x becomes exactly 0."""
    vertices = half.vertices.copy()
    vertices[half.rim, 0] = 0.0
    partner = mirror_partner(half.rim)
    whole = np.concatenate([vertices, vertices[~half.rim] * [-1, 1, 1]])
    return whole, np.concatenate([half.faces, partner[half.faces][:, ::-1]]), partner


def mirror_level(level: Level, fine_rim: NDArray[np.bool_]) -> tuple[sp.csc_matrix, sp.csc_matrix]:
    """Up (Vf, Vc) and down (Vc, Vf) of the whole, from a level of its half."""
    fine, coarse = mirror_partner(fine_rim), mirror_partner(level.disc.rim)
    kept = np.concatenate([level.kept, fine[level.kept[~level.disc.rim]]])
    corners = np.concatenate([level.corners, coarse[level.corners[~fine_rim]]])
    shares = np.concatenate([level.shares, level.shares[~fine_rim]])
    return level_matrices(kept, corners, shares, len(fine), len(coarse))


def level_matrices(
    kept: Index, corners: Index, shares: Array, fine: int, coarse: int
) -> tuple[sp.csc_matrix, sp.csc_matrix]:
    """Up (fine, coarse), as many shares a row as `corners` has, and down (coarse, fine), a choice of vertices."""
    rows = np.repeat(np.arange(fine), corners.shape[1])
    up = sp.csc_matrix((shares.ravel(), (rows, corners.ravel())), shape=(fine, coarse))
    down = sp.csc_matrix((np.ones(coarse), (np.arange(coarse), kept)), shape=(coarse, fine))
    return up, down


def adjacency(faces: Index, count: int) -> sp.csc_matrix:
    """(count, count) 1 where two vertices share an edge, 0 on the diagonal."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.unique(np.concatenate([sides, sides[:, ::-1]]), axis=0)
    return sp.csc_matrix((np.ones(len(both)), both.T), shape=(count, count))
