"""Do people and things run through each other? People as balls, things as convex solids; meters, in the world."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tore.synthetic.body_contact import BodyBalls
from tore.synthetic.posing import PosedMesh
from tore.synthetic.surfaces import Surface

Array = NDArray[np.float64]
Index = NDArray[np.integer]

CLOTH = 0.012  # meters that clothes add to the balls of a body


@dataclass(frozen=True)
class Balls:
    """Somebody as balls: `center (B, 3)`, `radius (B,)`, and `owner (B,)` the SMPL joint that each follows."""

    center: Array
    radius: Array
    owner: Index

    def moved(self, by: Array) -> Balls:
        """The same balls elsewhere."""
        return replace(self, center=self.center + by)


def posed_balls(body: BodyBalls, mesh: PosedMesh) -> Balls:
    """The balls of a person in the frame of the posed mesh."""
    turns = mesh.transforms[body.owner].astype(np.float64)
    rest = body.joints[body.owner] + body.center
    return Balls(np.einsum("bij,bj->bi", turns[:, :3, :3], rest) + turns[:, :3, 3], body.radius, body.owner)


def people_gap(first: Balls, second: Balls) -> float:
    """Meters between two people's nearest balls, clothes counted; negative where they run through each other."""
    between = (first.center**2).sum(1)[:, None] + (second.center**2).sum(1) - 2 * first.center @ second.center.T
    reach = first.radius[:, None] + second.radius
    return float((np.sqrt(np.maximum(between, 0)) - reach).min()) - 2 * CLOTH


def solid_gaps(balls: Balls, solid: Surface) -> Array:
    """(B,) meters between each ball and a convex solid, negative where it is inside; beside an edge too small."""
    corners = np.asarray(solid.vertices, np.float64)[solid.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    there = length > 1e-12
    normals, corners = normals[there] / length[there, None], corners[there, 0]
    height = np.einsum("fc,fc->f", normals, corners)
    outward = np.where(normals @ solid.vertices.mean(0) <= height, 1.0, -1.0)
    return np.asarray(((balls.center @ normals.T - height) * outward).max(1) - balls.radius)


def solids_gap(balls: Balls, solids: Iterable[Surface]) -> float:
    """Meters between somebody and the nearest of convex solids, clothes counted; inf without any.

    Surfaces with holes, such as leaves, may touch people and do not count.
    """
    if not len(balls.center):
        return np.inf
    gaps = [float(solid_gaps(balls, solid).min()) for solid in solids if not solid.cut_out]
    return min(gaps, default=np.inf) - CLOTH


def corner_balls(solids: Sequence[Surface]) -> Balls:
    """The corners and the middles of solids as balls of no size: whether solids run through each other, roughly."""
    points = [np.concatenate([s.vertices, s.vertices.mean(0)[None]]).astype(np.float64) for s in solids]
    center = np.concatenate(points) if points else np.zeros((0, 3))
    return Balls(center, np.zeros(len(center)), np.zeros(len(center), np.int64))
