"""From a solid to meshes of exact counts: the full mesh, its coarser levels, and the maps between them.

The body is meshed as its left half, a disc whose rim lies in the plane x = 0, and mirrored, so every vertex has an
exact mirror partner at every level. The hand is a disc as it is; its rim is the cut at the wrist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tore.synthetic.edge_collapse import Array, EdgeCollapse
from tore.synthetic.solids import Field, project, skin, weld

Index = NDArray[np.int64]
RELAX_ROUNDS = 12


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


def mesh_disc(
    field: Field,
    box: tuple[Sequence[float], Sequence[float]],
    step: float,
    wanted: Callable[[Array], Array],
    counts: tuple[int, int],
    cut_axis: int,
) -> Disc:
    """The skin of `field` inside `box` with exactly `counts` = (vertices, rim vertices), relaxed to even triangles.

    The skin must be a disc whose rim lies in one side of the box, a plane of constant coordinate `cut_axis`.
    """
    vertices, faces = weld(*skin(field, *box, step), pinch=step * 1e-3)
    collapse = EdgeCollapse(vertices, faces, wanted(vertices), move=True)
    collapse.run(*counts)
    vertices, faces, _ = collapse.arrays()
    rim = rim_mask(faces, len(vertices))
    for _ in range(RELAX_ROUNDS):
        faces = flip_edges(vertices, faces)
        vertices = project(field, even_out(vertices, faces, rim, wanted(vertices)), rim, cut_axis)
    return Disc(vertices, flip_edges(vertices, faces), rim)


def coarsen(disc: Disc, wanted: Array, counts: tuple[int, int]) -> Level:
    """The disc thinned to a subset of its own vertices: exactly `counts` = (vertices, rim vertices)."""
    collapse = EdgeCollapse(disc.vertices, disc.faces, wanted, move=False)
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


def even_out(vertices: Array, faces: Index, rim: NDArray[np.bool_], wanted: Array) -> Array:
    """Moves each vertex to the centroid of its faces, weighed by area over wanted area; the rim along itself."""
    area = np.linalg.norm(face_normals(vertices, faces), axis=1) / wanted[faces].mean(1) ** 2
    middle = vertices[faces].mean(1)
    total, weight = np.zeros_like(vertices), np.zeros(len(vertices))
    for k in range(3):
        np.add.at(total, faces[:, k], middle * area[:, None])
        np.add.at(weight, faces[:, k], area)
    moved = total / weight[:, None]
    ring = rim_neighbors(faces, rim)
    before, after = vertices[ring[:, 1]], vertices[ring[:, 2]]
    moved[ring[:, 0]] = 0.5 * vertices[ring[:, 0]] + 0.25 * (before + after)
    return moved


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
