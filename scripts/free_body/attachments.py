"""Texture coordinates of the mesh, and Anny's points (body and helpers, what clothes hold on to) relative to it."""

from __future__ import annotations

import numpy as np
import trimesh
from free_body.source import TRAINED, Array, Index, Source
from scipy.spatial import cKDTree

from tore.synthetic.free_body import Attachments, face_frames
from tore.synthetic.mesh import nearest_on_triangles

NEAR = 24  # faces that are tried for each point
TEXTURE_REACH = 0.05  # of the texture's side: so far may a corner lie from the center of Anny's nearest face


def nearest_faces(points: Array, vertices: Array, faces: Index) -> Index:
    """(N,) the face of a mesh that is nearest to each point (N, 3)."""
    corners = vertices[faces]
    _, tried = cKDTree(corners.mean(1)).query(points, k=min(NEAR, len(faces)))
    repeated = np.repeat(points, tried.shape[1], axis=0)
    _, distance = nearest_on_triangles(repeated, corners[tried.reshape(-1)])
    return tried[np.arange(len(points)), distance.reshape(tried.shape).argmin(1)]


def relative(points: Array, vertices: Array, faces: Index) -> tuple[Index, Attachments]:
    """The face (N,) nearest to each point (N, 3) of a mesh, and the points held to those faces."""
    chosen = nearest_faces(points, vertices, faces)
    corners = vertices[faces[chosen]]
    shares, _ = nearest_on_triangles(points, corners)
    frame, size = face_frames(corners)
    away = points - np.einsum("nk,nkc->nc", shares, corners)
    offset = np.einsum("nji,nj->ni", frame, away) / size[:, None]
    return chosen, Attachments(faces[chosen], shares, offset, np.zeros((len(points), 3, 0)))


def followed(held: Attachments, points: Index, people: Array, numbers: Array) -> Array:
    """(P, 3, 10) what Anny's points do with the shape numbers (N, 10) of people (N, P, 3) beyond what the mesh does.

    `points (V,)` are the mesh's vertices among Anny's.
    """
    nothing = np.zeros(0)
    lack = np.stack([person - held.points(person[points].astype(np.float64), nothing) for person in people[:TRAINED]])
    solved = np.linalg.lstsq(numbers[:TRAINED], lack.reshape(TRAINED, -1), rcond=None)[0]
    return solved.reshape(numbers.shape[1], *lack.shape[1:]).transpose(1, 2, 0)


def texture(source: Source, points: Index, vertices: Array, faces: Index, place: Array) -> tuple[Array, Index]:
    """Texture coordinates (T, 2) and for each face (F, 3) the rows of its corners; `place (P, 3)` Anny's points.

    A face lies in the texture where Anny's nearest skin face does: of the rows of a point that lies on a seam, a
    corner takes the nearest, and one that has none nearby gets one by carrying on Anny's face.
    """
    skin = np.flatnonzero(source.cavity == 0)
    near = skin[nearest_faces(vertices[faces].mean(1), place, source.faces[skin])]
    rows_of: list[set[int]] = [set() for _ in place]
    for corners, rows in zip(source.faces.tolist(), source.face_uv.tolist(), strict=True):
        for point, row in zip(corners, rows, strict=True):
            rows_of[point].add(row)
    added: list[Array] = []
    out = np.zeros_like(faces)
    for face, corners in enumerate(faces):
        middle = source.uv[source.face_uv[near[face]]].mean(0)
        for k, vertex in enumerate(corners):
            rows = sorted(rows_of[points[vertex]])
            apart = np.linalg.norm(source.uv[rows] - middle, axis=1)
            if apart.min() < TEXTURE_REACH:
                out[face, k] = rows[int(apart.argmin())]
            else:
                out[face, k] = len(source.uv) + len(added)
                added.append(_carried_on(source, place, near[face], vertices[vertex]))
    every = np.concatenate([source.uv, np.array(added).reshape(-1, 2)])
    used, flat = np.unique(out, return_inverse=True)
    return np.clip(every[used], 0.0, 1.0), flat.reshape(-1, 3)


def _carried_on(source: Source, place: Array, face: int, point: Array) -> Array:
    corners = place[source.faces[face]]
    shares = trimesh.triangles.points_to_barycentric(corners[None], point[None])[0]
    return np.clip(shares, -1.0, 2.0) @ source.uv[source.face_uv[face]]
