"""The arrays of the two files: whole numbers where they do, and only what matters."""

from __future__ import annotations

import numpy as np
from free_body.correctives import in_common
from free_body.source import Array

from tore.synthetic.free_body import BODY_PARENTS, subtree
from tore.synthetic.mesh import Level

BONES = 6  # joints that may move one vertex
FOLLOW_LEAST = 3e-4  # meters: points that the mesh carries so well have no shape directions of their own
BLOCK_LEAST = 4e-4  # meters of correction below which a vertex's numbers for one joint are left out


def packed_level(level: Level) -> dict[str, Array]:
    """A coarser level: which vertices stay, its faces and rim, and the mixtures that bring the others back."""
    return {
        "kept": level.kept.astype(np.uint16),
        "corners": level.corners.astype(np.uint16),
        "shares": level.shares.astype(np.float32),
        "faces": level.disc.faces.astype(np.uint16),
        "rim": level.disc.rim,
    }


def packed_weights(weights: Array) -> dict[str, Array]:
    """Blend weights (H, 24) as each vertex's strongest joints."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :BONES]
    return {
        "weight_joints": order.astype(np.uint8),
        "weights": np.round(np.take_along_axis(weights, order, 1) * 65535).astype(np.uint16),
    }


def packed_directions(directions: Array, weights: Array, count: int) -> dict[str, Array]:
    """Of directions (V, 3, 207): what whole limbs share, and the rest of the half's vertices where it matters."""
    common = in_common(directions, weights)
    rest = directions.reshape(len(directions), 3, 23, 9).transpose(0, 2, 1, 3)
    rest = rest - subtree(weights, BODY_PARENTS)[:, 1:, None, None] * common
    vertex, joint = np.nonzero(np.abs(rest[:count]).max((2, 3)) > BLOCK_LEAST)
    return {
        "common_directions": common.astype(np.float32),
        "direction_vertex": vertex.astype(np.uint16),
        "direction_joint": joint.astype(np.uint8),
        "directions": rest[vertex, joint].reshape(-1, 27).astype(np.float16),
    }


def packed_shapes(follow: Array) -> dict[str, Array]:
    """Directions (P, 3, 10) of the points that need any, in steps of which the largest takes 127."""
    rows = np.flatnonzero(np.abs(follow).max((1, 2)) > FOLLOW_LEAST)
    step = np.abs(follow).max() / 127
    return {
        "attachment_row": rows.astype(np.uint16),
        "attachment_step": np.array(step),
        "attachment_shapes": np.round(follow[rows] / step).astype(np.int8),
    }


def packed_rows(rows: dict[str, Array]) -> dict[str, Array]:
    """Regressors (K, V) as the vertices and shares of each row."""
    out: dict[str, Array] = {}
    for name, matrix in rows.items():
        row, vertex = np.nonzero(matrix > 1e-5)
        out[f"{name}_row"], out[f"{name}_vertex"] = row.astype(np.uint8), vertex.astype(np.uint16)
        out[f"{name}_share"] = matrix[row, vertex].astype(np.float32)
    return out
