"""Fits MakeHuman's pieces to the free body of any shape, and poses them with it.

A piece hangs on base points of MakeHuman's body, and these hang on faces of the free body's mesh (`Attachments`). Both
together make every vertex of a piece a mean of mesh vertices, from which it takes its blend weights and its share of
the pose directions. After posing it is pushed out of the skin that lies nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tore.synthetic.assets import Piece
from tore.synthetic.clothes_files import ClothesMesh, Hold, parts_of
from tore.synthetic.free_body import Attachments, Texture, attachments, build_free, texture
from tore.synthetic.mesh import nearest_on_triangles
from tore.synthetic.surfaces import Surface, vertex_normals

Array = NDArray[np.floating]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

SKIN_POINTS = 13380  # the first base points are the body's skin, the others hold clothes, eyes and teeth
CLOSE = (0.002, 0.006)  # meters that cloth keeps from the skin where it lies close in the rest pose: least, most
LAYER, THICKEST = 0.005, 0.03  # of cloth over cloth; cloth that lies farther from the skin is not felt by the next
WAIST = (-0.35, 0.1)  # heights on the mean person: what begins above the second is a top, what ends below it a bottom
ANKLE, SHOE_TOP = -0.95, -0.9  # heights on the mean person
SMOOTHINGS = 12
SEAM = 0.02  # of a half of a suit: no skin is hidden so near to the cut


@dataclass(frozen=True)
class FreeMesh:
    """What dressing needs of the free body, read once."""

    template: NDArray[np.float64]  # (6890, 3) meters
    faces: Index  # (13776, 3)
    weights: NDArray[np.float32]  # (6890, 24)
    held: Attachments
    places: Texture
    base: NDArray[np.float64]  # (19158, 3) the base points of the mean person


@lru_cache(maxsize=1)
def free_mesh() -> FreeMesh:
    """The free body's arrays."""
    model = build_free("body").model
    template, held = model["v_template"], attachments()
    return FreeMesh(
        template,
        model["f"].astype(np.int64),
        model["weights"].astype(np.float32),
        held,
        texture("body"),
        held.points(template, np.zeros(model["shapedirs"].shape[2])),
    )


@dataclass(frozen=True)
class Binding:
    """How a piece's N vertices follow the mesh, whatever its shape."""

    rows: sp.csr_matrix  # (N, 6890) shares of mesh vertices
    weights: NDArray[np.float32]  # (N, 24) blend weights
    corners: Index  # (N, 3) the nearest skin face's vertices
    shares: NDArray[np.float32]  # (N, 3) and the shares of the nearest point on it
    hidden: Mask  # (13776,) skin faces under the piece


@lru_cache(maxsize=256)
def binding(piece: Piece) -> Binding:
    """How a piece follows the free body; computed on first use."""
    body, hold = free_mesh(), piece.hold
    count = len(hold.points)
    shares = (hold.shares[:, :, None] * body.held.shares[hold.points]).reshape(count, 9)
    corners = body.held.corners[hold.points].reshape(count, 9)
    places = (np.repeat(np.arange(count), 9), corners.ravel())
    rows = sp.csr_matrix((shares.ravel(), places), (count, len(body.weights)))
    weights = np.maximum(rows @ body.weights.astype(np.float64), 0)
    weights /= weights.sum(1, keepdims=True)
    if piece.kind == "skirt":  # between the legs it belongs to both
        weights = _smoothed(weights, piece.mesh.faces)
    near, near_shares = nearest_skin(hold.place(body.base))
    return Binding(
        rows.astype(np.float32), weights.astype(np.float32), near, near_shares.astype(np.float32), hidden_faces(hold)
    )


def _smoothed(weights: Array, faces: Index) -> Array:
    """Blend weights (N, 24) averaged over neighbors, SMOOTHINGS times."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    graph = sp.coo_matrix((np.ones(len(edges)), edges.T), (len(weights),) * 2)
    near = ((graph + graph.T) > 0).astype(np.float64) + sp.identity(len(weights))
    near = sp.diags(1 / np.asarray(near.sum(1)).ravel()) @ near
    for _ in range(SMOOTHINGS):
        weights = near @ weights
    return weights


def nearest_skin(points: NDArray[np.float64], tried: int = 12) -> tuple[Index, Array]:
    """The faces' corners (N, 3) and shares (N, 3) of the mean skin's points that are nearest to points (N, 3)."""
    body = free_mesh()
    triangles = body.template[body.faces]
    found = cKDTree(triangles.mean(1)).query(points, k=tried)[1]
    shares, distance = nearest_on_triangles(np.repeat(points, tried, 0), triangles[found.ravel()])
    best = distance.reshape(-1, tried).argmin(1)
    rows = np.arange(len(points))
    return body.faces[found[rows, best]], shares.reshape(-1, tried, 3)[rows, best]


def hidden_faces(hold: Hold) -> Mask:
    """(13776,) faces of the mesh whose corners have only hidden base points as their nearest three."""
    body = free_mesh()
    gone = np.zeros(SKIN_POINTS, bool)
    gone[hold.deleted[hold.deleted < SKIN_POINTS]] = True
    near = cKDTree(body.base[:SKIN_POINTS]).query(body.template, k=3)[1]
    return np.asarray(gone[near].all(1)[body.faces].all(1))


@dataclass(frozen=True)
class PosedSkin:
    """The skin that clothes are pushed out of: vertices (6890, 3) and their normals."""

    vertices: Array
    normals: Array

    @classmethod
    def of(cls, vertices: Array) -> PosedSkin:
        """The skin with these vertices."""
        return cls(vertices, vertex_normals(vertices, free_mesh().faces))

    def height(self, points: Array, bound: Binding) -> tuple[Array, Array]:
        """How far points (N, 3) lie outside of the skin, (N,), and the directions (N, 3) that lead out."""
        shares = bound.shares[:, :, None]
        normals = (self.normals[bound.corners] * shares).sum(1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        foot = (self.vertices[bound.corners] * shares).sum(1)
        return ((points - foot) * normals).sum(1), normals


@dataclass(frozen=True)
class Garment:
    """A piece on an unposed body: a surface, and how it follows the body's pose."""

    surface: Surface
    bound: Binding
    gap: Array  # (N,) meters that it keeps from the skin

    def posed(self, transforms: Array, offsets: Array, skin: PosedSkin) -> Surface:
        """The piece on the posed body.

        `transforms (24, 4, 4)` take unposed points to posed ones; `offsets (6890, 3)` are what the pose directions add
        to the unposed mesh; `skin` is the posed mesh.
        """
        rest = self.surface.vertices + self.bound.rows @ offsets
        moved = pushed_out(blended(rest, self.bound.weights, transforms), self.bound, self.gap, skin)
        return with_vertices(self.surface, moved)


def blended(points: Array, weights: Array, transforms: Array) -> Array:
    """Linear blend skinning of points (N, 3) with weights (N, K) by transforms (K, 4, 4)."""
    each = (weights @ transforms[:, :3].reshape(len(transforms), 12).astype(weights.dtype)).reshape(-1, 3, 4)
    return np.einsum("nij,nj->ni", each[:, :, :3], points) + each[:, :, 3]


def pushed_out(points: Array, bound: Binding, gap: Array, skin: PosedSkin) -> Array:
    """Points (N, 3), those nearer to the skin than their gap (N,) moved out along its normals."""
    height, normals = skin.height(points, bound)
    return points + normals * np.maximum(gap - height, 0)[:, None]


def with_vertices(surface: Surface, vertices: Array) -> Surface:
    """The same surface elsewhere."""
    return Surface(
        surface.name,
        np.ascontiguousarray(vertices, np.float32),
        surface.faces,
        surface.places,
        surface.face_places,
        surface.texture,
        surface.cut_out,
        surface.gloss,
    )


def fit(
    piece: Piece,
    base: Array,
    skin: PosedSkin,
    color: NDArray[np.uint8],
    *,
    cut_out: bool = False,
    gloss: float = 0.0,
    below: Array | None = None,
) -> Garment:
    """A piece on an unposed body with the base points (19158, 3) and the mesh `skin`; `color` is its RGBA texture.

    `below (6890,)`: meters of cloth over each vertex of the skin, which the piece goes over and is added to.
    """
    bound = binding(piece)
    placed = piece.hold.place(base)
    height = skin.height(placed, bound)[0]
    gap = np.clip(height, *CLOSE)
    if below is not None:
        under = below[bound.corners].max(1)
        gap = np.where(under > 0, np.maximum(gap, under + LAYER), gap)
        felt = np.maximum(height, gap)
        close = felt < THICKEST
        np.maximum.at(below, bound.corners[close], felt[close, None])
    vertices = np.ascontiguousarray(pushed_out(placed, bound, gap, skin), np.float32)
    mesh = piece.mesh
    surface = Surface(piece.name, vertices, mesh.faces, mesh.places, mesh.face_places, color, cut_out, gloss)
    return Garment(surface, bound, gap.astype(np.float32))


@lru_cache(maxsize=1)
def _own_binding() -> Binding:
    """The binding of a layer whose vertices are the mesh's own."""
    body = free_mesh()
    count = len(body.template)
    corners = np.tile(np.arange(count)[:, None], (1, 3))
    shares = np.full((count, 3), 1 / 3, np.float32)
    rows = sp.identity(count, np.float32, format="csr")
    return Binding(rows, body.weights, corners, shares, np.zeros(len(body.faces), bool))


def fit_shell(color: NDArray[np.uint8], depth: Array, faces: Index, skin: PosedSkin) -> Garment:
    """A layer `depth (6890,)` meters over the faces (F,) of an unposed skin; alpha of `color` says where it is."""
    body = free_mesh()
    vertices = np.asarray(skin.vertices + skin.normals * depth[:, None], np.float32)
    surface = Surface(
        "clothes", vertices, body.faces[faces], body.places.places, body.places.faces[faces], color, cut_out=True
    )
    return Garment(surface, _own_binding(), np.asarray(depth, np.float32))


@lru_cache(maxsize=256)
def halves(piece: Piece) -> tuple[Piece, Piece] | None:
    """A suit's top and its bottom as pieces of their own, or None where it is in one piece."""
    part, height = parts_of(piece.mesh), piece.hold.place(free_mesh().base)[:, 1]
    tops = np.zeros(len(height), bool)
    for number in range(part.max() + 1):
        mine = part == number
        low, high = height[mine].min(), height[mine].max()
        if low < WAIST[0] and high > WAIST[1]:
            return None
        tops[mine] = high > WAIST[1]
    if tops.all() or not tops.any():
        return None
    return _half(piece, tops, height, "top"), _half(piece, ~tops, height, "bottom")


def _half(piece: Piece, mine: Mask, height: Array, word: str) -> Piece:
    low, high = height[mine].min() + SEAM, height[mine].max() - SEAM
    deleted = piece.hold.deleted
    heights = free_mesh().base[deleted, 1]
    return _some_of(piece, mine, word, deleted[heights > low if word == "top" else heights < high])


def _some_of(piece: Piece, mine: Mask, word: str, deleted: Index) -> Piece:
    """The connected parts of a piece whose vertices are marked (N,)."""
    hold, mesh = piece.hold, piece.mesh
    kept = mine[mesh.faces[:, 0]]
    number = np.cumsum(mine) - 1
    return replace(
        piece,
        name=f"{piece.name} {word}",
        kind=word,
        hold=replace(
            hold, points=hold.points[mine], shares=hold.shares[mine], offsets=hold.offsets[mine], deleted=deleted
        ),
        mesh=ClothesMesh(int(mine.sum()), number[mesh.faces[kept]], mesh.places, mesh.face_places[kept]),
    )


@lru_cache(maxsize=256)
def reaches_ankles(piece: Piece) -> bool:
    """Whether a piece covers the ankles, as long trousers do."""
    return bool(piece.hold.place(free_mesh().base)[:, 1].min() < ANKLE)


@lru_cache(maxsize=64)
def without_socks(piece: Piece) -> Piece:
    """Shoes without the parts that reach higher than shoes, which would show through trousers."""
    part, height = parts_of(piece.mesh), piece.hold.place(free_mesh().base)[:, 1]
    tops = np.array([height[part == number].max() for number in range(part.max() + 1)])
    shoes = (tops < SHOE_TOP)[part]
    return piece if shoes.all() or not shoes.any() else _some_of(piece, shoes, "shoes", piece.hold.deleted)
