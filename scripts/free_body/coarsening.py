"""Coarser levels of a mesh: exact counts of its own vertices, and the mixtures that bring the others back."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from free_body.edge_collapse import EdgeCollapse
from free_body.source import Array, Index
from numpy.typing import NDArray

from tore.synthetic.mesh import Disc, Level, nearest_on_triangles, rim_mask


def coarsen(disc: Disc, wanted: Array, counts: tuple[int, int]) -> Level:
    """The disc thinned to a subset of its own vertices: exactly `counts` = (vertices, rim vertices)."""
    collapse = EdgeCollapse(disc.vertices, disc.faces, wanted)
    collapse.run(*counts)
    vertices, faces, owner = collapse.arrays()
    kept = np.full(len(vertices), -1)
    same = (vertices[owner] == disc.vertices).all(1)
    kept[owner[same]] = np.flatnonzero(same)
    coarse = Disc(vertices, flip_edges(vertices, faces), rim_mask(faces, len(vertices)))
    corners, shares = mixtures(disc, coarse, owner)
    return Level(coarse, kept, corners, shares)


def edge_table(faces: Index) -> tuple[Index, Index, Index]:
    """Edges shared by two faces: vertices (E, 2), the faces (E, 2), and the vertex opposite in each face (E, 2)."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
    owner = np.tile(np.arange(len(faces)), 3)
    low_high = np.sort(sides, axis=1)
    order = np.lexsort((low_high[:, 1], low_high[:, 0]))
    pair = np.flatnonzero((low_high[order[1:]] == low_high[order[:-1]]).all(1))
    first, second = order[pair], order[pair + 1]
    return sides[first], np.stack([owner[first], owner[second]], 1), np.stack([opposite[first], opposite[second]], 1)


def _cosine(a: Array, b: Array) -> Array:
    return (a * b).sum(-1) / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1), 1e-12)


def face_normals(vertices: Array, faces: Index) -> Array:
    """(F, 3) cross products of the faces' edges: twice the area long."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def flip_edges(vertices: Array, faces: Index, rounds: int = 4) -> Index:
    """Turns edges whose two opposite angles add up to more than half a turn, where the surface stays unfolded."""
    faces = faces.copy()
    for _ in range(rounds):
        edges, owners, tips = edge_table(faces)
        neighbours = {tuple(edge) for edge in np.sort(edges, axis=1).tolist()}
        ends, peaks = vertices[edges], vertices[tips]
        corner = [_cosine(ends[:, 0] - peaks[:, k], ends[:, 1] - peaks[:, k]) for k in (0, 1)]
        angle = np.arccos(np.clip(corner, -1, 1)).sum(0)
        (u, v), (p, q) = edges.T, tips.T
        new = np.stack([np.stack([p, u, q], 1), np.stack([q, v, p], 1)], 1)  # (E, 2, 3)
        normal = face_normals(vertices, faces)
        old = normal[owners].sum(1)
        upright = np.min([_cosine(face_normals(vertices, new[:, k]), old) for k in (0, 1)], axis=0)
        flat = _cosine(normal[owners[:, 0]], normal[owners[:, 1]])
        turn = np.flatnonzero((angle > np.pi + 1e-3) & (upright > 0.5) & (flat > 0.5))
        touched = np.zeros(len(faces), dtype=bool)
        for k in turn[np.argsort(-angle[turn], kind="stable")].tolist():
            tip = (int(min(p[k], q[k])), int(max(p[k], q[k])))
            if touched[owners[k]].any() or tip in neighbours:
                continue
            touched[owners[k]] = True
            neighbours.add(tip)
            faces[owners[k]] = new[k]
        if not touched.any():
            break
    return faces


def rim_neighbors(faces: Index, rim: NDArray[np.bool_]) -> Index:
    """(B, 3) each rim vertex with the two beside it on the rim."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, first, uses = np.unique(np.sort(sides, axis=1), axis=0, return_index=True, return_counts=True)
    single = sides[first[uses == 1]]
    follows = dict(single.tolist())
    precedes = {b: a for a, b in follows.items()}
    return np.array([[v, precedes[v], follows[v]] for v in np.flatnonzero(rim).tolist()])


def mixtures(fine: Disc, coarse: Disc, owner: Index, rings: int = 2) -> tuple[Index, Array]:
    """For each fine vertex the nearest point of the coarse faces around its owner, as corners and shares (Vf, 3).

    Rim vertices use the rim's edges alone, so the rim of a half body stays in its plane.
    """
    count = len(coarse.vertices)
    sides = np.concatenate([coarse.faces[:, [0, 1]], coarse.faces[:, [1, 2]], coarse.faces[:, [2, 0]]])
    near = sp.csr_matrix((np.ones(len(sides)), sides.T), shape=(count, count)) + sp.eye(count)
    near = (near + near.T).astype(bool)
    reach = near
    for _ in range(rings - 1):
        reach = reach @ near
    ring = rim_neighbors(coarse.faces, coarse.rim)[:, [0, 2, 2]]
    corners = np.zeros((len(fine.vertices), 3), dtype=np.int64)
    shares = np.zeros((len(fine.vertices), 3))
    for marked, pieces in ((~fine.rim, coarse.faces), (fine.rim, ring)):
        rows = np.flatnonzero(marked)
        touch = sp.csr_matrix(
            (np.ones(3 * len(pieces)), (pieces.ravel(), np.repeat(np.arange(len(pieces)), 3))),
            shape=(count, len(pieces)),
        )
        which, piece = (reach[owner[rows]] @ touch).nonzero()
        share, distance = nearest_on_triangles(fine.vertices[rows[which]], coarse.vertices[pieces[piece]])
        order = np.lexsort((piece, np.round(distance, 9), which))
        best = order[np.unique(which[order], return_index=True)[1]]
        corners[rows], shares[rows] = pieces[piece[best]], share[best]
    return corners, shares
