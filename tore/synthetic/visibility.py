"""What a camera sees of somebody: by rays toward points of the skin and toward joints."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tore.synthetic.rendering import World
from tore.synthetic.surfaces import Camera

Array = NDArray[np.float64]
Index = NDArray[np.integer]
Mask = NDArray[np.bool_]

OUTSIDE, HIDDEN, VISIBLE = 0, 1, 2
SKIN_POINTS = 500
GRID = 32  # rays a side that measure how much of an image somebody takes
TOLERANCE = 0.02  # meters


class Seen(NamedTuple):
    """Of somebody's side toward the camera the shares that can be seen: `share` of all of it, `framed` of what lies in
    the image.
    """

    share: float
    framed: float


def visible_share(world: World, mine: Mask, camera: Camera, size: int) -> float:
    """The share of somebody's side toward the camera that is in the image and that nobody and nothing else hides.

    mine: (S,) which of the world's surfaces are the person's.
    """
    return visible_shares(world, mine, camera, size).share


def visible_shares(world: World, mine: Mask, camera: Camera, size: int) -> Seen:
    """As `visible_share`, also among what lies in the image."""
    faces = np.flatnonzero(mine[world.surface_of])
    corners = world.vertices[world.faces[faces[:: max(1, len(faces) // SKIN_POINTS)]]].astype(np.float64)
    points = corners.mean(1)
    way = points - camera.position
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    weight = np.maximum(-np.einsum("pc,pc->p", across, way), 0) / (way**2).sum(1) ** 1.5  # as large as it looks
    if not weight.any():
        return Seen(0.0, 0.0)
    first, distance, surface = _toward(world, camera, points)
    own = (surface >= 0) & mine[surface]
    framed = inside(camera, points, size)
    seen = float(weight @ (framed & (own | (first > distance - TOLERANCE))))
    return Seen(seen / float(weight.sum()), seen / max(float(weight @ framed), 1e-12))


def covered_share(world: World, mine: Mask, camera: Camera, size: int) -> float:
    """The share of the image's pixels that show somebody, by `GRID` x `GRID` rays; mine: as in `visible_share`."""
    x, y = np.meshgrid(*2 * [(np.arange(GRID, dtype=np.float32) + 0.5) * size / GRID])
    directions = camera.directions(np.stack([x.ravel(), y.ravel()], 1).astype(np.float32))
    origins = np.broadcast_to(camera.position.astype(np.float32), directions.shape)
    met = world.first(origins, directions)["primID"]
    return float(mine[world.surface_of[met[met >= 0]]].sum()) / GRID**2


def joint_states(world: World, camera: Camera, joints: Array, depth: Array | float, size: int) -> list[int]:
    """For joints (J, 3) in the world, `depth (J,)` meters below the skin: OUTSIDE the image, HIDDEN or VISIBLE."""
    first, distance, _ = _toward(world, camera, joints)
    seen = np.where(first > distance - depth, VISIBLE, HIDDEN)
    return [int(state) for state in np.where(inside(camera, joints, size), seen, OUTSIDE)]


def inside(camera: Camera, points: Array, size: int) -> Mask:
    """Whether world points (P, 3) lie in the image."""
    places = camera.project(points)
    return np.asarray(((places >= 0) & (places < size)).all(1))


def _toward(world: World, camera: Camera, points: Array) -> tuple[Array, Array, Index]:
    """On the way to points (P, 3): the distance (P,) to what is met first, to the point, and the surface met, or -1."""
    way = points - camera.position
    distance = np.linalg.norm(way, axis=1)
    origins = np.broadcast_to(camera.position.astype(np.float32), way.shape)
    found = world.first(origins, (way / distance[:, None]).astype(np.float32))
    met = found["primID"]
    first = np.where(met >= 0, found["tfar"], np.inf)
    return first, distance, np.where(met >= 0, world.surface_of[met], -1)
