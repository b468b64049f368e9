"""Draws a camera: field of view, height, tilt and roll, and how much of somebody it has in view."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tore.geometry.camera import PinholeCamera
from tore.synthetic.surfaces import Camera
from tore.synthetic.visibility import inside

Array = NDArray[np.float64]

FIELD_OF_VIEW = (25.0, 75.0)  # degrees
CROPPED = 0.35  # share of the images cut out of a larger one, whose middle lies elsewhere
FACED = 0.6  # share of the cameras in front of the person, more or less
FACED_SPREAD = 50.0  # degrees
LEVEL, LEVEL_SPREAD = 5.0, 10.0  # degrees that a camera looks down
HIGH, LOW = (20.0, 60.0), (-30.0, -8.0)
HIGH_SHARE, LOW_SHARE = 0.08, 0.06
ROLL, TILTED = 3.0, 0.07  # degrees; share of the cameras that are held aslant
TILTED_SPREAD = 22.0
NEAREST = 0.12  # meters between the camera and anything of the person
GROUND_CLEARANCE = 0.12  # meters of the camera above the ground
LEAST_LIMBS = 4  # joints of the limbs in the image, so that there is something to learn from
TRIES = 12

# Joints of SMPL's skeleton whose skin is in view, the share of the images, and the box's longer side over the image's.
UPPER = (3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
VIEWS: dict[str, tuple[float, tuple[int, ...], tuple[float, float]]] = {
    "whole": (0.58, tuple(range(24)), (0.5, 0.93)),
    "to the knees": (0.13, (0, 1, 2, *UPPER), (0.75, 1.0)),
    "to the hips": (0.13, UPPER, (0.75, 1.0)),
    "bust": (0.07, (9, 12, 13, 14, 15, 16, 17), (0.6, 0.95)),
    "legs": (0.03, (0, 1, 2, 4, 5, 7, 8, 10, 11), (0.8, 1.05)),
    "aside": (0.06, tuple(range(24)), (0.8, 1.1)),
}


def draw_view(rng: Generator) -> str:
    """A name of VIEWS."""
    shares = np.array([share for share, _, _ in VIEWS.values()])
    return list(VIEWS)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def look_from(yaw: float, down: float, roll: float) -> Array:
    """(3, 3) from world to camera axes of a camera at `yaw` radians around the vertical from +z, which looks back at
    the origin, `down` radians below the horizon, rolled by `roll`.
    """
    ahead = -np.array([np.cos(down) * np.sin(yaw), np.sin(down), np.cos(down) * np.cos(yaw)])
    right = np.cross(ahead, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    below = np.cross(ahead, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * below, c * below - s * right, ahead])


def draw_camera(
    rng: Generator,
    points: Array,
    parts: NDArray[np.integer],
    view: str,
    facing: float,
    size: int,
    ground: float | None,
    limbs: Array | None = None,
) -> Camera:
    """A camera that has the part of the person that `view` names in the image of `size` pixels, and of the `limbs
    (J, 3)`, where they are given, at least `LEAST_LIMBS`.

    points: (N, 3) of the person's skin, meters; parts: (N,) the joint that each follows; facing: radians about the
    vertical from +z to where the person looks; ground: height of the plane that the camera stays above.
    """
    _, joints, fill = VIEWS[view]
    shown = points[np.isin(parts, joints)]
    for _ in range(TRIES):
        camera = _drawn(rng, shown, fill, facing, size, stray=0.3 if view == "aside" else 0.08)
        nearest = camera.to_camera(points)[:, 2].min()
        framed = limbs is None or inside(camera, limbs, size).sum() >= LEAST_LIMBS
        if framed and nearest > NEAREST and (ground is None or camera.position[1] > ground + GROUND_CLEARANCE):
            return camera
    return _level(points, facing, size)


def _drawn(rng: Generator, shown: Array, fill: tuple[float, float], facing: float, size: int, stray: float) -> Camera:
    field = np.radians(rng.uniform(*FIELD_OF_VIEW))
    lens_side = float(size)
    principal = np.full(2, size / 2)
    if rng.random() < CROPPED:  # the field of view is the larger image's
        lens_side = size * rng.uniform(1.1, 2.0)
        principal = principal + rng.uniform(-0.5, 0.5, 2) * (lens_side - size)
    focal = lens_side / 2 / np.tan(field / 2)
    yaw = facing + (
        np.radians(FACED_SPREAD) * rng.standard_normal() if rng.random() < FACED else rng.uniform(-np.pi, np.pi)
    )
    chance = rng.random()
    down = LEVEL + LEVEL_SPREAD * rng.standard_normal()
    if chance < HIGH_SHARE:
        down = rng.uniform(*HIGH)
    elif chance < HIGH_SHARE + LOW_SHARE:
        down = rng.uniform(*LOW)
    roll = np.radians((TILTED_SPREAD if rng.random() < TILTED else ROLL) * rng.standard_normal())
    rotation = look_from(yaw, np.radians(down), roll)
    share = rng.uniform(*fill)
    spread = stray * size * rng.standard_normal(2).clip(-2, 2)
    slack = max(size * (1 - share) / 2, 0)
    middle = size / 2 + (spread if stray > 0.2 or share > 0.93 else spread.clip(-slack, slack))
    lens = PinholeCamera(float(focal), (float(principal[0]), float(principal[1])))
    return placed(lens, rotation, shown, share * size, middle)


def placed(lens: PinholeCamera, rotation: Array, points: Array, side: float, middle: Array) -> Camera:
    """The camera of this lens and these axes for which the box around points (N, 3) has a longer side of `side` pixels
    and its middle at `middle (2,)`.
    """
    points = points[:: max(1, len(points) // 400)]
    center = (points.min(0) + points.max(0)) / 2
    own = (points - center) @ rotation.T
    extent = np.ptp(own[:, :2], axis=0).max()
    shift = np.array([0.0, 0.0, lens.focal_length * extent / side])
    for _ in range(5):  # perspective: correct place and distance by what the camera sees
        depth = max(shift[2], 0.2 - own[:, 2].min())
        shift[2] = depth
        seen = lens.project(own + shift)
        low, high = seen.min(0), seen.max(0)
        shift[2] = depth * (1 + 0.9 * ((high - low).max() / side - 1))
        shift[2] = max(shift[2], 0.2 - own[:, 2].min())
        seen = lens.project(own + shift)
        off = middle - (seen.min(0) + seen.max(0)) / 2
        shift[:2] += off / lens.focal_length * (own[:, 2] + shift[2]).mean()
    return Camera(lens, rotation, center - shift @ rotation)


def _level(points: Array, facing: float, size: int) -> Camera:
    """The camera that always works: level with the person, in front, the whole person in view."""
    lens = PinholeCamera(float(size), (size / 2, size / 2))
    return placed(lens, look_from(facing, np.radians(3.0), 0.0), points, 0.7 * size, np.full(2, size / 2))
