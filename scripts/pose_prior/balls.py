"""Balls inside the free body's parts, and its contact points: what `tore.synthetic.body_contact` reads."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull

from tore.synthetic.free_body import Array, Index

# balls of each joint's part; left and right alike
COUNTS = {
    0: 9, 1: 9, 3: 7, 4: 8, 6: 6, 7: 5, 9: 9, 10: 3, 12: 3, 13: 3, 15: 5, 16: 7, 18: 7, 20: 5, 22: 6,
}  # fmt: skip
ANCHORS = 12
TOUCHES = 26  # contact points of a part, at most
CLOSE = 0.008  # meters from a ball's surface at which a vertex counts as on it


def inner_balls(vertices: Array, normals: Array, chosen: Index, largest: float = 0.16) -> tuple[Array, Array]:
    """Centers and radii of the largest balls inside the mesh that touch it at the vertices `chosen`."""
    centers, radii = [], []
    for row in chosen:
        away = vertices - vertices[row]
        depth = -(away @ normals[row])
        square = (away**2).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            radius = np.where(depth > 1e-4, square / (2 * depth), np.inf)
        radius[row] = np.inf
        size = min(float(radius.min()), largest)
        centers.append(vertices[row] - size * normals[row])
        radii.append(size)
    return np.array(centers), np.array(radii)


def fitted_balls(vertices: Array, normals: Array, weights: Array, joints: Array) -> dict[str, Array]:
    """The arrays of balls and contact points, mirrored from the left side to the right."""
    part = weights.argmax(1)
    owner, center, radius, anchors, shares, beyond = [], [], [], [], [], []
    for joint, count in COUNTS.items():
        rows = np.flatnonzero(part == joint)
        candidates, sizes = inner_balls(vertices, normals, rows[:: max(1, len(rows) // 250)])
        apart = np.abs(np.linalg.norm(vertices[rows][None] - candidates[:, None], axis=2) - sizes[:, None])
        covers = apart < CLOSE
        open_rows = np.ones(len(rows), bool)
        for _ in range(count):
            best = (covers & open_rows).sum(1).argmax()
            if not (covers[best] & open_rows).any():
                break
            open_rows &= ~covers[best]
            near = np.abs(np.linalg.norm(vertices - candidates[best], axis=1) - sizes[best]).argsort()[:60]
            near = near[spread_out(vertices[near], ANCHORS)]
            owner.append(joint)
            center.append(candidates[best])
            radius.append(sizes[best])
            anchors.append(near)
            shares.append(affine_shares(vertices[near], candidates[best]))
            beyond.append(np.linalg.norm(vertices[near] - candidates[best], axis=1).mean() / sizes[best])
    return {
        "ball_owner": np.array(owner, np.uint8),
        "ball_center": np.array(center) - joints[owner],
        "ball_radius": np.array(radius),
        "ball_anchors": np.array(anchors, np.uint16),
        "ball_shares": np.array(shares),
        "ball_beyond": np.array(beyond),
    }


def spread_out(points: Array, count: int) -> Index:
    """Rows of `count` points that lie far from each other."""
    rows = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(rows) < count:
        rows.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[rows[-1]], axis=1))
    return np.array(rows)


def affine_shares(points: Array, goal: Array) -> Array:
    """Shares (A,) of points (A, 3), 1 in all, as even as can be, whose mean is nearest to `goal`."""
    even = np.full(len(points), 1 / len(points))
    system = np.concatenate([points.T, 1e1 * np.ones((1, len(points)))])
    wanted = np.concatenate([goal - points.T @ even, [0.0]])
    return even + system.T @ np.linalg.solve(system @ system.T + 1e-6 * np.eye(4), wanted)


def mirrored_balls(balls: dict[str, Array], partner: Index, flip: Index) -> dict[str, Array]:
    """With the right side's balls, mirror images of the left side's."""
    side = flip[balls["ball_owner"]] != balls["ball_owner"]
    other = {name: array[side].copy() for name, array in balls.items()}
    other["ball_owner"] = flip[other["ball_owner"]].astype(np.uint8)
    other["ball_center"] = other["ball_center"] * [-1, 1, 1]
    other["ball_anchors"] = partner[other["ball_anchors"]].astype(np.uint16)
    return {name: np.concatenate([balls[name], other[name]]) for name in balls}


def contact_points(vertices: Array, weights: Array, joints: Array) -> dict[str, Array]:
    """Outermost points of every part."""
    part, chosen = weights.argmax(1), []
    for joint in range(len(joints)):
        rows = np.flatnonzero(part == joint)
        hull = rows[ConvexHull(vertices[rows]).vertices]
        chosen.append(hull[spread_out(vertices[hull], min(TOUCHES, len(hull)))])
    rows = np.concatenate(chosen)
    owner = part[rows]
    return {
        "touch_vertex": rows.astype(np.uint16),
        "touch_owner": owner.astype(np.uint8),
        "touch": vertices[rows] - joints[owner],
    }
