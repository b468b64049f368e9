"""What a camera sees of somebody: by rays toward points of the skin and toward joints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tore.synthetic.rendering import Camera, World

Array = NDArray[np.float64]
Index = NDArray[np.integer]
Mask = NDArray[np.bool_]

OUTSIDE, HIDDEN, VISIBLE = 0, 1, 2
SKIN_POINTS = 500
TOLERANCE = 0.02  # meters


def visible_share(world: World, mine: Mask, camera: Camera, size: int) -> float:
    """The share of somebody's side toward the camera that is in the image and that nobody and nothing else hides.

    mine: (S,) which of the world's surfaces are the person's.
    """
    faces = np.flatnonzero(mine[world.surface_of])
    corners = world.vertices[world.faces[faces[:: max(1, len(faces) // SKIN_POINTS)]]].astype(np.float64)
    points = corners.mean(1)
    way = points - camera.position
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    weight = np.maximum(-np.einsum("pc,pc->p", across, way), 0) / (way**2).sum(1) ** 1.5  # as large as it looks
    if not weight.any():
        return 0.0
    first, distance, surface = _toward(world, camera, points)
    own = (surface >= 0) & mine[surface]
    seen = inside(camera, points, size) & (own | (first > distance - TOLERANCE))
    return float((weight * seen).sum() / weight.sum())


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
