"""What makes a synthetic mesh a body model: blend weights, joint regressors and pose directions, all from geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from tore.synthetic.edge_collapse import Array
from tore.synthetic.free_body import subtree

Index = NDArray[np.int64]
DIFFUSION_STEPS = 4
MAX_BONES = 4  # bones that may move one vertex


def cotangent_laplacian(vertices: Array, faces: Index, conductance: Array) -> tuple[sp.csc_matrix, Array]:
    """Stiffness (V, V) with a conductance (V,) per vertex, and the area (V,) each vertex stands for."""
    count = len(vertices)
    corners = vertices[faces]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    rows, cols, values = [], [], []
    for k in range(3):
        i, j, tip = faces[:, (k + 1) % 3], faces[:, (k + 2) % 3], faces[:, k]
        a, b = vertices[i] - vertices[tip], vertices[j] - vertices[tip]
        cotangent = (a * b).sum(1) / np.maximum(2 * area, 1e-12)
        weight = 0.5 * np.maximum(cotangent, 0.05) * 0.5 * (conductance[i] + conductance[j])
        rows += [i, j]
        cols += [j, i]
        values += [weight, weight]
    graph = sp.csc_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), shape=(count, count))
    mass = np.bincount(faces.ravel(), np.repeat(area / 3, 3), minlength=count)
    return (sp.diags(np.asarray(graph.sum(1)).ravel()) - graph).tocsc(), np.asarray(mass)


def blend_weights(vertices: Array, faces: Index, bones: Index, joints: int, width: Array) -> Array:
    """(V, K) weights: one bone (V,) for each vertex, spread over the skin by `width` (V,) meters, few bones kept."""
    stiffness, mass = cotangent_laplacian(vertices, faces, 0.5 * width**2 / DIFFUSION_STEPS)
    solver = splu((sp.diags(mass) + stiffness).tocsc())
    weights = np.eye(joints)[bones]
    for _ in range(DIFFUSION_STEPS):
        weights = solver.solve(mass[:, None] * weights)
    least = np.sort(weights, axis=1)[:, -MAX_BONES]
    weights = np.where((weights >= least[:, None]) & (weights > 0.01), weights, 0.0)
    return weights / weights.sum(1, keepdims=True)


def nearest_joint_width(vertices: Array, joints: Array, widths: Sequence[float]) -> Array:
    """(V,) the blend widths (K,) of the joints, each counting by its nearness."""
    near = 1.0 / (((vertices[:, None] - joints[None]) ** 2).sum(2) + 1e-5) ** 2
    return near @ np.asarray(widths) / near.sum(1)


def pose_directions(
    vertices: Array, joints: Array, weights: Array, parents: Sequence[int], gains: Sequence[float]
) -> Array:
    """(V, 3, 9(K-1)) corrections for the row-major entries of (R_k - I), k = 1...

    A vertex that follows a joint's rotation R by a share s is carried by (1-s)I + sR, which pulls it towards the
    joint by s(1-s)(1-cos) of its distance across the axis: limbs would thin at a bend. The symmetric
    part of R - I is (1-cos) times minus that very projection, so -s(1-s) sym(R - I)(p - joint) puts it back.
    `gains` (K,) says how much of it each joint gives back.
    """
    moved = subtree(weights, parents)
    out = np.zeros((len(vertices), 3, 9 * (len(parents) - 1)))
    for k in range(1, len(parents)):
        bump = (gains[k] * moved[:, k] * (1 - moved[:, k]))[:, None] * (vertices - joints[k])
        for a in range(3):
            for b in range(3):
                feature = 9 * (k - 1) + 3 * a + b
                out[:, a, feature] -= 0.5 * bump[:, b]
                out[:, b, feature] -= 0.5 * bump[:, a]
    return out


def regressor_row(vertices: Array, point: Sequence[float], spread: float) -> Array:
    """(V,) shares, none negative and 1 in all, of the vertices around `point` whose mean is the point exactly.

    A bell of `spread` meters, tilted until its mean is the point. ValueError where the point is not inside the mesh.
    """
    local = (vertices - np.asarray(point)) / spread
    near = (local**2).sum(1)
    bell = np.exp(-0.5 * (near - near.min()))
    use = bell > 1e-4
    local, bell, tilt = local[use], bell[use], np.zeros(3)
    for _ in range(100):
        share = bell * np.exp(np.clip(local @ tilt, -50, 50))
        share /= share.sum()
        mean = share @ local
        if np.abs(mean).max() < 1e-12:
            break
        spread_matrix = (local * share[:, None]).T @ local - np.outer(mean, mean)
        step = np.linalg.solve(spread_matrix + 1e-9 * np.eye(3), mean)
        tilt -= step / max(1.0, float(np.linalg.norm(step)))
    else:
        raise ValueError(f"no mixture of the vertices within {spread} m has its mean at {list(point)}")
    row = np.zeros(len(vertices))
    row[use] = share
    return row


def nearest_vertex(vertices: Array, point: Sequence[float]) -> int:
    """Row of the vertex nearest to a point."""
    return int(((vertices - np.asarray(point)) ** 2).sum(1).argmin())


def vertex_normals(vertices: Array, faces: Index) -> Array:
    """(V, 3) unit normals, faces weighed by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normal, faces[:, k], np.cross(b - a, c - a))
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def ramp(x: Array, start: float, end: float) -> Array:
    """0 up to `start`, 1 from `end` on, smooth between; `start` may be the larger."""
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return t * t * (3 - 2 * t)
