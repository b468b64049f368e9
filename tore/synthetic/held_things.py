"""Things that a hand holds: a ball, a stick, a can, a bottle, a phone or a box that touches the palm.

A thing is placed where the hand leaves space for it, nearest to the palm, and shrunk where the fingers leave less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tore.synthetic.hand_pose_prior import HeldObject
from tore.synthetic.surfaces import Surface

Array = NDArray[np.floating]
Index = NDArray[np.int64]

WRIST, FIRST_KNUCKLE, MIDDLE_KNUCKLE, LAST_KNUCKLE = 0, 5, 9, 17  # of 21 joints: wrist, thumb .. little finger
PALM = 0.1  # meters from wrist to middle knuckle of the hand that sizes are given for
FROM_WRIST = 0.75  # of the way from the wrist to the knuckles: what a thing lies on
OUT = np.arange(0.012, 0.085, 0.003)  # meters from the palm's middle outward that a thing's middle may have
AHEAD = np.array([0.0, 0.01, 0.02, 0.03, -0.01])  # and toward the fingers, what is preferred first
# From the palm's middle, inside of the hand, to the nearest side of a round or a flat thing, at most.
REACH, FLAT_REACH = 0.022, 0.034
SKIN_GAP = 0.001
SPOKES, BOWS = 18, 9
# Kind -> share, half length in meters (least, most), radius or half thickness.
KINDS: dict[str, tuple[float, tuple[float, float], tuple[float, float]]] = {
    "ball": (0.25, (0.0, 0.0), (0.016, 0.038)),
    "stick": (0.2, (0.07, 0.16), (0.005, 0.014)),
    "can": (0.2, (0.05, 0.075), (0.024, 0.036)),
    "bottle": (0.1, (0.09, 0.12), (0.022, 0.036)),
    "phone": (0.15, (0.065, 0.08), (0.0035, 0.005)),
    "box": (0.1, (0.03, 0.06), (0.01, 0.03)),
}
SMALLEST = 0.35  # of the drawn radius: what is thinner is not held
LEAST_KEPT = 0.75  # of the radius of what a grip is for
ROUND = ("ball", "stick", "can", "bottle")


@dataclass(frozen=True)
class Palm:
    """A hand's frame: unit vectors (3,) toward the fingers, toward the little finger and out of the palm; its middle
    (3,) and its size over PALM.
    """

    ahead: Array
    across: Array
    out: Array
    middle: Array
    size: float


def palm_of(joints: Array) -> Palm:
    """The palm of a right hand with these 21 joints (21, 3): wrist, then four of thumb to little finger."""
    ahead = joints[MIDDLE_KNUCKLE] - joints[WRIST]
    length = float(np.linalg.norm(ahead))
    ahead = ahead / length
    across = joints[LAST_KNUCKLE] - joints[FIRST_KNUCKLE]
    across = across - ahead * (across @ ahead)
    across /= np.linalg.norm(across)
    knuckles = joints[FIRST_KNUCKLE : LAST_KNUCKLE + 1 : 4].mean(0)
    middle = joints[WRIST] + FROM_WRIST * (knuckles - joints[WRIST])
    return Palm(ahead, across, np.cross(ahead, across), middle, length / PALM)


def held_thing(rng: Generator, mesh: Array, joints: Array, texture: NDArray[np.uint8]) -> Surface | None:
    """Something in a right hand with the vertices (V, 3) and 21 joints (21, 3) in meters, or None where nothing fits.

    No vertex of the hand lies inside of it, and it touches the hand.
    """
    palm = palm_of(joints)
    for kind in rng.choice(list(KINDS), len(KINDS), replace=False, p=[share for share, _, _ in KINDS.values()]):
        found = _thing(rng, str(kind), palm, mesh, texture)
        if found is not None:
            return found
    return None


def gripped_thing(held: HeldObject, mesh: Array, texture: NDArray[np.uint8]) -> Surface:
    """What a grip of the hand prior is for, as a surface; `held` is in the frame of the hand's vertices (V, 3).

    A round thing is thinned where the hand's own shape leaves less space than the mean hand.
    """
    half = held.size / 2
    if held.shape == "slab":
        return _slab(held.shape, held.center, held.frame.T, half, texture)
    axis = held.frame[:, 2 if held.shape == "coin" else 0]
    length, radius = (half[2], half[0]) if held.shape == "coin" else (half[0], half[1])
    if held.shape != "coin":
        apart = mesh - held.center
        along = apart @ axis
        if held.shape == "cylinder":
            apart = apart[np.abs(along) < length] - along[np.abs(along) < length, None] * axis
        free = float(np.linalg.norm(apart, axis=1).min(initial=np.inf)) - SKIN_GAP
        radius = float(np.clip(free, LEAST_KEPT * radius, radius))
    kind = "ball" if held.shape == "ball" else "can"
    return _turned_body(kind, held.center, axis, float(length), float(radius), texture)


def _thing(rng: Generator, kind: str, palm: Palm, mesh: Array, texture: NDArray[np.uint8]) -> Surface | None:
    """A thing of one kind where it fits."""
    _, lengths, radii = KINDS[kind]
    half, radius = (float(rng.uniform(*limits)) * palm.size for limits in (lengths, radii))
    axes = _axes(rng, palm, lengthwise=kind == "phone" or (kind == "stick" and rng.random() < 0.3))
    wide = 0.55 * half if kind == "phone" else float(rng.uniform(0.6, 1.0)) * half
    place, free = _most_space(palm, mesh, axes, _limits(kind, half, wide), radius + SKIN_GAP, flat=kind not in ROUND)
    radius = min(radius, free - SKIN_GAP)
    if radius < SMALLEST * np.mean(radii) * palm.size:
        return None
    if kind in ROUND:
        return _turned_body(kind, place, axes[0], half, radius, texture)
    return _slab(kind, place, axes, np.array([half, wide, radius]), texture)


def _axes(rng: Generator, palm: Palm, *, lengthwise: bool) -> Array:
    """(3, 3) rows: a thing's long side, its wide side and the way out of the palm, a little askew."""
    angle = (0.0 if lengthwise else np.pi / 2) + 0.3 * rng.standard_normal()
    long = np.cos(angle) * palm.ahead + np.sin(angle) * palm.across
    wide = np.cross(palm.out, long)
    return np.stack([long, wide, palm.out])


def _limits(kind: str, half: float, wide: float) -> Array:
    """(3,) half sizes within which a hand's vertices come near a thing; infinite for those that it is round in."""
    return {
        "ball": np.array([np.inf, np.inf, np.inf]),
        "phone": np.array([half, wide, np.inf]),
        "box": np.array([half, wide, np.inf]),
    }.get(kind, np.array([half, np.inf, np.inf]))


def _most_space(
    palm: Palm, mesh: Array, axes: Array, limits: Array, wanted: float, *, flat: bool
) -> tuple[Array, float]:
    """Where (3,) a thing's middle lies, and the radius that is free there.

    It is the radius wanted nearest to the palm, else the most that is free. What lies beyond fingers is not held.
    """
    near = OUT[OUT * palm.size < wanted + (FLAT_REACH if flat else REACH) * palm.size]
    ahead, out = (axis.ravel() * palm.size for axis in np.meshgrid(AHEAD, near))
    places = palm.middle + ahead[:, None] * palm.ahead + out[:, None] * palm.out
    apart = (mesh - places[:, None]) @ axes.T  # (places, V, 3)
    beside = np.abs(apart) < limits + SKIN_GAP
    counted = np.array([limits[0] == np.inf, limits[1] == np.inf, True])
    away = np.sqrt((apart[..., counted] ** 2).sum(-1))
    free = np.where(beside.all(-1), away, np.inf).min(1)
    fitting = np.flatnonzero(free >= wanted)
    best = fitting[0] if len(fitting) else int(free.argmax())
    return places[best], float(min(free[best], wanted))


def _turned_body(
    kind: str, place: Array, axis: Array, half: float, radius: float, texture: NDArray[np.uint8]
) -> Surface:
    """A body of revolution around an axis (3,)."""
    if kind == "ball":
        turn = np.linspace(0, np.pi, BOWS + 2)
        profile = np.stack([-radius * np.cos(turn), radius * np.sin(turn)], 1)
    elif kind == "bottle":
        profile = np.array([(-1, 0), (-1, 1), (-1, 1), (0.3, 1), (0.6, 0.4), (1, 0.4), (1, 0.4), (1, 0)]) * [
            half,
            radius,
        ]
    else:
        profile = np.array([(-1, 0), (-1, 1), (-1, 1), (1, 1), (1, 1), (1, 0)]) * [half, radius]  # sharp rims
    side = np.cross(axis, [0.3, 0.5, 0.8])
    side /= np.linalg.norm(side)
    turn = np.linspace(0, 2 * np.pi, SPOKES + 1)
    ring = np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * np.cross(axis, side)
    vertices = place + profile[:, :1, None] * axis + profile[:, 1:, None] * ring
    share = np.linspace(0, 1, len(profile))
    places = np.stack(np.broadcast_arrays(turn / (2 * np.pi), share[:, None]), -1)
    here = (np.arange(len(profile) - 1)[:, None] * (SPOKES + 1) + np.arange(SPOKES)).ravel()
    over = here + SPOKES + 1
    faces = np.concatenate([np.stack([here, here + 1, over], 1), np.stack([here + 1, over + 1, over], 1)])
    return Surface(kind, vertices.reshape(-1, 3), faces, places.reshape(-1, 2), faces, texture, gloss=0.2)


def _slab(kind: str, place: Array, axes: Array, half: Array, texture: NDArray[np.uint8]) -> Surface:
    """A box with half sizes (3,) along three axes (3, 3); each side has corners of its own, so that edges are sharp."""
    corners: list[Array] = []
    faces: list[Array] = []
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corner = np.zeros((4, 3))
            corner[:, axis] = sign
            corner[:, (axis + 1) % 3], corner[:, (axis + 2) % 3] = square[:, 0], sign * square[:, 1]
            faces += [np.array([0, 1, 2]) + 4 * len(corners), np.array([0, 2, 3]) + 4 * len(corners)]
            corners.append(corner)
    vertices = place + (np.concatenate(corners) * half) @ axes
    places = np.tile((square + 1) / 2, (6, 1))
    table = np.array(faces, np.int64)
    return Surface(kind, vertices, table, places, table, texture, gloss=0.3)
