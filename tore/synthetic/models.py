"""Puts the synthetic body and hand together: mesh, levels, rig, and the arrays of a body model file."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tore.body.joints import H36M_NAMES, SMPL_FLIP
from tore.paths import CAPSULE_FILES, CAPSULES, made_folder_of
from tore.synthetic import body_figure, hand_figure
from tore.synthetic.body_files import SyntheticModel, made_folder, write_files
from tore.synthetic.edge_collapse import Array
from tore.synthetic.mesh import Disc, Level, adjacency, coarsen, level_matrices, mesh_disc, mirror_disc, mirror_level
from tore.synthetic.rig import (
    blend_weights,
    nearest_joint_width,
    nearest_vertex,
    pose_directions,
    regressor_row,
    vertex_normals,
)

Index = NDArray[np.int64]
BODY_COUNTS = ((6890, 132), (1723, 65), (431, 31))  # vertices of the whole, of them in the mirror plane
BODY_BOX = ((0.0, -1.19, -0.17), (0.90, 0.58, 0.17))
BODY_STEP = 0.006
HAND_COUNTS = ((778, 16), (195, 8))  # vertices, of them on the rim at the wrist
HAND_BOX = ((-0.025, -0.06, -0.09), (0.22, 0.06, 0.13))
HAND_STEP = 0.003
HAND_ORIGIN = (0.095, 0.0, 0.0)  # where the right hand's wrist lies
JOINT_SPREAD = {"body": 0.045, "hand": 0.012}
DIGITS = 9  # of a meter: rounding makes the numbers the same however sums are ordered


def write_capsules(kind: str, folder: str | Path) -> None:
    """Makes the "body" or "hand" of capsules and writes its files into `folder`, in place of files of those names.

    Raises ValueError for another kind, ImportError with the command to run where scikit-image is missing, OutputError
    where the folder cannot be written.
    """
    figure = build(kind)
    write_files(CAPSULE_FILES[kind], figure, Path(folder))


def capsule_body_dir() -> Path:
    """The folder that holds both capsule figures, made on first use in the cache folder and then reused.

    Raises OutputError where the cache folder cannot be written.
    """
    return made_folder(made_folder_of(CAPSULES), CAPSULE_FILES, build)


def build(kind: str) -> SyntheticModel:
    """The synthetic "body" or "hand". Takes some ten seconds on one core."""
    if kind not in ("body", "hand"):
        raise ValueError(f"synthetic kind {kind!r} is not known; use 'body' or 'hand'")
    return _build_body() if kind == "body" else _build_hand()


def _build_body() -> SyntheticModel:
    half_counts = [((whole + rim) // 2, rim) for whole, rim in BODY_COUNTS]
    half = mesh_disc(body_figure.solid(), BODY_BOX, BODY_STEP, body_figure.wanted_edge, half_counts[0], cut_axis=0)
    half = Disc(np.round(half.vertices, DIGITS), half.faces, half.rim)
    levels: list[Level] = []
    for counts in half_counts[1:]:
        fine = levels[-1].disc if levels else half
        levels.append(coarsen(fine, np.sqrt(body_figure.wanted_edge(fine.vertices)), counts))
    vertices, faces, partner = mirror_disc(half)
    rims = [half.rim, *(level.disc.rim for level in levels)]
    maps = [mirror_level(level, rim) for level, rim in zip(levels, rims[:-1], strict=True)]
    meshes = [(vertices, faces), *(mirror_disc(level.disc)[:2] for level in levels)]

    joints, swap = body_figure.joints(), np.array(SMPL_FLIP)
    width = nearest_joint_width(vertices, joints, body_figure.BLEND_WIDTHS)
    weights = blend_weights(vertices, faces, body_figure.bones(vertices), len(joints), width)
    weights = 0.5 * (weights + weights[partner][:, swap])
    shapes = body_figure.shape_directions(vertices, vertex_normals(vertices, faces))
    shapes = 0.5 * (shapes + shapes[partner] * np.array([-1, 1, 1])[:, None])
    rows = np.stack([regressor_row(vertices, joint, JOINT_SPREAD["body"]) for joint in joints])
    rows = _even(rows, partner, swap)
    model = _model(vertices, faces, joints, weights, shapes, rows, body_figure)
    extra, h36m = _body_regressors(vertices, partner, rows)
    return SyntheticModel(model, _levels(meshes, maps), extra, h36m)


def _even(rows: Array, partner: Index, swap: Index) -> Array:
    return 0.5 * (rows + rows[swap][:, partner])


def _body_regressors(vertices: Array, partner: Index, joint_rows: Array) -> tuple[Array, Array]:
    """The extra rows (14, V), and the 17 rows of Human3.6M's joints (17, V), which agree where they name one joint."""
    points = body_figure.train_points()
    names = list(points)
    rows = np.zeros((len(names), len(vertices)))
    for row, (point, spread) in zip(rows, points.values(), strict=True):
        if spread:
            row[:] = regressor_row(vertices, point, spread)
        else:
            mirrored = point[0] < 0
            place = nearest_vertex(vertices, (abs(point[0]), *point[1:]))
            row[partner[place] if mirrored else place] = 1.0
    swap = np.array(
        [names.index({"R": "L", "L": "R"}[n[0]] + n[1:]) if n[1] == "_" else i for i, n in enumerate(names)]
    )
    extra = _even(rows, partner, swap)
    by_name = dict(zip(names, extra, strict=True)) | {"Torso": extra[names.index("Spine")]}
    by_name |= {name: joint_rows[j] for name, j in body_figure.H36M_LIMBS.items()}
    return extra, np.stack([by_name[name] for name in H36M_NAMES])


def _build_hand() -> SyntheticModel:
    disc = mesh_disc(hand_figure.solid(), HAND_BOX, HAND_STEP, hand_figure.wanted_edge, HAND_COUNTS[0], cut_axis=0)
    disc = _with_tips(Disc(np.round(disc.vertices, DIGITS), disc.faces, disc.rim))
    level = coarsen(disc, hand_figure.wanted_edge(disc.vertices), HAND_COUNTS[1])
    maps = level_matrices(level.kept, level.corners, level.shares, len(disc.vertices), len(level.disc.vertices))
    meshes = [_right(disc), _right(level.disc)]

    joints = hand_figure.joints()
    width = nearest_joint_width(disc.vertices, joints, hand_figure.BLEND_WIDTHS)
    weights = blend_weights(disc.vertices, disc.faces, hand_figure.bones(disc.vertices), len(joints), width)
    shapes = hand_figure.shape_directions(disc.vertices, vertex_normals(disc.vertices, disc.faces), weights)
    shapes = shapes * np.array([-1, 1, 1])[:, None]
    vertices, faces = meshes[0]
    joints = np.round(joints * [-1, 1, 1] + HAND_ORIGIN, DIGITS)
    rows = np.stack([regressor_row(vertices, joint, JOINT_SPREAD["hand"]) for joint in joints])
    model = _model(vertices, faces, joints, weights, shapes, rows, hand_figure)
    model |= {"hands_mean": hand_figure.mean_pose(), "hands_components": hand_figure.pose_components()}
    return SyntheticModel(model, _levels(meshes, [maps]))


def _right(disc: Disc) -> tuple[Array, Index]:
    return disc.vertices * [-1, 1, 1] + HAND_ORIGIN, disc.faces[:, ::-1]


def _with_tips(disc: Disc) -> Disc:
    """The same disc, numbered so that the fingertips have the official model's vertex numbers."""
    order = np.arange(len(disc.vertices))
    taken: list[int] = []
    for name, tip in zip(hand_figure.FINGERS, hand_figure.tips(), strict=True):
        distance = ((disc.vertices - tip) ** 2).sum(1)
        for number in hand_figure.TIP_VERTICES[name]:
            best = next(int(v) for v in np.argsort(distance, kind="stable") if int(v) not in taken)
            taken.append(best)
            here = int(np.flatnonzero(order == best)[0])
            order[[number, here]] = order[[here, number]]
    new = np.empty_like(order)
    new[order] = np.arange(len(order))
    return Disc(disc.vertices[order], new[disc.faces], disc.rim[order])


def _model(
    vertices: Array, faces: Index, joints: Array, weights: Array, shapes: Array, rows: Array, who: ModuleType
) -> dict[str, Any]:
    """The arrays of a body model file under their official names."""
    return {
        "v_template": vertices,
        "f": faces.astype(np.uint32),
        "shapedirs": np.round(shapes, DIGITS),
        "posedirs": np.round(pose_directions(vertices, joints, weights, who.PARENTS, who.POSE_GAINS), DIGITS),
        "weights": weights,
        "kintree_table": np.array([who.PARENTS, range(len(joints))], dtype=np.int64).astype(np.uint32),
        "J_regressor": sp.csc_matrix(rows),
    }


def _levels(meshes: list[tuple[Array, Index]], maps: list[tuple[sp.csc_matrix, sp.csc_matrix]]) -> dict[str, list[Any]]:
    return {
        "U": [up for up, _ in maps],
        "D": [down for _, down in maps],
        "A": [adjacency(faces, len(vertices)) for vertices, faces in meshes],
        "F": [faces.astype(np.uint32) for _, faces in meshes],
    }
