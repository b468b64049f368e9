"""How hands are held: gestures, counting fingers, and grips that say which object fits.

For the right hand of the free model's skeleton and frame: fingers along -x, palm to -y, thumb to +z at rest; meters.
Numbers are degrees of single joints within limits; a draw whose fingers run through each other is drawn again. The
statistics come with the body's prior in one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tore.synthetic.free_body import HAND_PARENTS, Array
from tore.synthetic.pose_prior import FILE, read_prior

FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # joints 1..15, three each from the palm outward
FINGER_ANGLES = ("knuckle", "joint", "fan")
THUMB_ANGLES = ("across", "out", "down", "knuckle", "joint")
ANGLES = tuple(f"{finger} {angle}" for finger in FINGERS[:4] for angle in FINGER_ANGLES) + tuple(
    f"thumb {angle}" for angle in THUMB_ANGLES
)
FINGER_LIMITS = ((-20, 92), (-6, 112), (-22, 22))
THUMB_LIMITS = ((-20, 50), (-22, 32), (-15, 52), (-20, 60), (-25, 80))
LIMITS = np.array(FINGER_LIMITS * 4 + THUMB_LIMITS, np.float64)  # (17, 2) degrees
LAST_JOINT, LAST_MOST = 0.62, 45.0  # of a finger's middle joint's bend, that its last joint does, and most degrees
HELD = ("nothing", "coin", "pen", "cylinder", "ball", "slab")
COMMON = 0.6  # of the spread that all fingers share
CANDIDATES, ALLOWED = 4, 0.004  # draws, and meters that two fingers may press into each other
CLOSING = tuple(range(12, 17))  # angles of the thumb
CLOSING_STEPS, KEEPING, MOST_STEP = 8, 2e-4, 12.0  # meters a degree, and degrees
FACING = 0.006
OPENING, OPENING_STEPS = 5.0, 9  # degrees
FARTHEST = 2.2  # standard deviations
LARGEST, SMALLEST = 0.06, 0.004  # meters, radii of what is held


@dataclass(frozen=True)
class HeldObject:
    """What a hand can hold: a "coin", "pen", "cylinder", "ball" or "slab" in the hand's frame.

    `center (3,)`, `frame (3, 3)` whose columns are the object's axes (a cylinder and a pen lie along the first, a coin
    and a slab are thin along the third), `size (3,)` meters along them.
    """

    shape: str
    center: Array
    frame: Array
    size: Array


@dataclass(frozen=True)
class DrawnHand:
    """A right hand: `fingers (15, 3)` axis-angle from the resting hand, its gesture, and what fits into it.

    A model that adds its mean pose takes `fingers.ravel() - hands_mean`.
    """

    fingers: Array
    kind: str
    held: HeldObject | None


class HandPosePrior:
    """The hands of the package's prior; `kinds` are its gestures, `shares` how often each is drawn."""

    def __init__(self, held: Mapping[str, NDArray[Any]]) -> None:
        self.kinds = tuple(str(name) for name in held["gestures"])
        share = held["gesture_share"].astype(np.float64)
        self.shares = dict(zip(self.kinds, (share / share.sum()).tolist(), strict=True))
        self._mean, self._spread = held["gesture_mean"].astype(np.float64), held["gesture_spread"].astype(np.float64)
        self._held = held["gesture_held"].astype(np.int64)
        self._thickness = held["gesture_thickness"].astype(np.float64)  # (G, 2) meters, 0 where nothing is closed on
        self._joints, self._tips = held["hand_joints"].astype(np.float64), held["hand_tips"].astype(np.float64)
        self._axes, self._radii = held["hand_axes"].astype(np.float64), held["hand_radii"].astype(np.float64)

    @classmethod
    def load(cls, path: Path = FILE) -> HandPosePrior:
        """Reads the prior. Raises FileNotFoundError where the package's own file is missing."""
        return cls(read_prior(path))

    def draw(self, rng: np.random.Generator, kind: str | None = None) -> DrawnHand:
        """One hand, of a `kind` where one is given. Raises ValueError for an unknown kind."""
        if kind is not None and kind not in self.kinds:
            raise ValueError(f"kind {kind!r} of a hand is not known; use one of {'; '.join(self.kinds)}")
        share = np.array(list(self.shares.values()))
        row = self.kinds.index(kind) if kind is not None else int(rng.choice(len(share), p=share))
        shape, thickness = HELD[self._held[row]], float(rng.uniform(*self._thickness[row]))
        best, least = np.zeros((15, 3)), np.inf
        for _ in range(CANDIDATES):
            angles = self._off_the_palm(self._drawn(row, rng))
            fingers = self.pose(self._closed(angles, thickness, shape) if thickness else angles)
            meets = self.overlap(fingers)
            if meets < least:
                best, least = fingers, meets
            if least < ALLOWED:
                break
        return DrawnHand(best, self.kinds[row], None if shape == "nothing" else self.object_in(best, shape))

    def _drawn(self, row: int, rng: np.random.Generator) -> Array:
        """(17,) degrees within the limits."""
        common = np.tile(rng.standard_normal(3), 4).clip(-FARTHEST, FARTHEST)
        own = rng.standard_normal(len(ANGLES)).clip(-FARTHEST, FARTHEST)
        own[:12] = COMMON * common + 0.8 * own[:12]
        return (self._mean[row] + self._spread[row] * own).clip(*LIMITS.T)

    def _off_the_palm(self, angles: Array) -> Array:
        """(17,) degrees with the fingers opened whose ends would go into the palm."""
        angles = angles.copy()
        for _ in range(OPENING_STEPS):
            depth = self._depths(self.pose(angles))
            into = PAIRS[(depth > ALLOWED) & (PAIRS[:, 1] >= 15), 0] // 3
            if not len(into):
                break
            for finger in np.unique(into):
                angles[3 * finger + 1 if finger < 4 else -1] -= OPENING
        return angles.clip(*LIMITS.T)

    def _closed(self, angles: Array, thickness: float, shape: str) -> Array:
        """(17,) degrees near `angles` whose thumb's pad lies opposite to the fingers', `thickness` meters from it."""
        moving = [*CLOSING, *(0, 1, 3, 4, 6, 7, 9, 10)] if shape == "slab" else [*CLOSING, 0, 1, 2]
        start, angles = angles, angles.copy()
        for _ in range(CLOSING_STEPS):
            apart = self._gap(angles, thickness, shape)
            steps = np.zeros((len(apart), len(moving)))
            for column, row in enumerate(moving):
                nudged = angles.copy()
                nudged[row] += 1.0
                steps[:, column] = self._gap(nudged, thickness, shape) - apart
            system = np.concatenate([steps, KEEPING * np.eye(len(moving))])
            wanted = np.concatenate([-apart, KEEPING * (start - angles)[moving]])
            angles[moving] += np.linalg.lstsq(system, wanted, rcond=None)[0].clip(-MOST_STEP, MOST_STEP)
            angles = angles.clip(*LIMITS.T)
        return angles

    def _gap(self, angles: Array, thickness: float, shape: str) -> Array:
        """(6,) meters from where the fingers' pad should be, seen from the thumb's, to where it is; and how far the two
        do not face each other, `FACING` meters for a right angle.
        """
        turned, ends = self.placed(self.pose(angles))
        pads, inward = self._pads(turned, ends)
        count = {"slab": 4, "pen": 2}.get(shape, 1)
        opposite, facing = pads[:count, 2].mean(0), inward[:count, 2].mean(0)
        return np.concatenate(
            [opposite - (pads[4, 2] + thickness * inward[4, 2]), 0.7 * FACING * (facing + inward[4, 2])]
        )

    def _pads(self, turned: Array, ends: Array) -> tuple[Array, Array]:
        """Points (5, 3, 3) on the inner side of every bone, and the directions (5, 3, 3) in which they face."""
        bones = np.diff(ends, axis=1)
        axes = np.einsum("kij,kj->ki", turned[1:], self._axes).reshape(5, 3, 3)
        inward = np.cross(axes, bones)
        inward /= np.linalg.norm(inward, axis=2, keepdims=True)
        return ends[:, :3] + 0.55 * bones + self._radii[..., None] * inward, inward

    def pose(self, angles: Array) -> Array:
        """(15, 3) axis-angle of degrees (17,) in the order of `ANGLES`."""
        fingers, thumb = angles[:12].reshape(4, 3), angles[12:]
        bend = np.stack([fingers[:, 0], fingers[:, 1], (LAST_JOINT * fingers[:, 1]).clip(-3, LAST_MOST)], 1)
        curl = np.radians(bend).reshape(12, 1) * self._axes[:12]
        fan = np.zeros((12, 3))
        fan[::3, 1] = np.radians(fingers[:, 2])
        out = np.zeros((15, 3))
        out[:12] = (Rotation.from_rotvec(fan) * Rotation.from_rotvec(curl)).as_rotvec()
        out[12] = Rotation.from_euler("xyz", np.array([thumb[0], thumb[1], thumb[2]]), degrees=True).as_rotvec()
        out[13:] = np.radians(thumb[3:])[:, None] * self._axes[13:]
        return out

    def placed(self, fingers: Array) -> tuple[Array, Array]:
        """World rotations (16, 3, 3) and places (5, 4, 3) of the fingers' joints and tips."""
        local = Rotation.from_rotvec(np.concatenate([np.zeros((1, 3)), fingers])).as_matrix()
        turned, places = local.copy(), self._joints.copy()
        ends = np.zeros((5, 4, 3))
        for joint in range(1, 16):
            above = HAND_PARENTS[joint]
            turned[joint] = turned[above] @ local[joint]
            places[joint] = places[above] + turned[above] @ (self._joints[joint] - self._joints[above])
        ends[:, :3] = places[1:].reshape(5, 3, 3)
        last = [3, 6, 9, 12, 15]
        ends[:, 3] = places[last] + np.einsum("fij,fj->fi", turned[last], self._tips - self._joints[last])
        return turned, ends

    def overlap(self, fingers: Array) -> float:
        """Meters by which two fingers, or the thumb and the palm, run into each other at most; 0 where none do."""
        return float(np.maximum(self._depths(fingers), 0.0).max())

    def _depths(self, fingers: Array) -> Array:
        """(P,) meters by which the parts of `PAIRS` meet, negative where they are apart."""
        _, ends = self.placed(fingers)
        start, along = ends[:, :3].reshape(15, 3), np.diff(ends, axis=1).reshape(15, 3)
        palm = self._joints[[0, 0, 0, 0]], self._joints[[1, 4, 7, 10]] - self._joints[0]
        start, along = np.concatenate([start, palm[0]]), np.concatenate([along, palm[1]])
        radius = np.concatenate([self._radii.ravel(), np.full(4, PALM_RADIUS)])
        one, two = PAIRS.T
        return radius[one] + radius[two] - SOFT - segment_distance(start[one], along[one], start[two], along[two])

    def object_in(self, fingers: Array, shape: str) -> HeldObject:
        """The object of a shape that fits between the fingers (15, 3)."""
        turned, ends = self.placed(fingers)
        pads, _ = self._pads(turned, ends)
        if shape in ("cylinder", "ball"):
            return self._round(pads, shape)
        thumb, index = pads[4, 2], pads[:2, 2].mean(0) if shape == "pen" else pads[0, 2]
        if shape == "slab":
            index = pads[:4, 2].mean(0)
        across, gap = _unit(index - thumb), float(np.linalg.norm(index - thumb))
        along = ends[0, 0] - ends[2, 0] if shape != "pen" else self._joints[1] - index  # a pen leans on the knuckle
        along = _unit(along - along @ across * across)
        frame = np.stack([along, np.cross(across, along), across], 1)
        thick = float(np.clip(gap, SMALLEST, 2 * LARGEST))
        size = {"coin": (0.022, 0.022, thick), "pen": (0.14, thick, thick), "slab": (0.14, 0.07, thick)}[shape]
        return HeldObject(shape, 0.5 * (index + thumb), frame, np.array(size))

    def _round(self, pads: Array, shape: str) -> HeldObject:
        """A cylinder along the knuckles or a ball that touches the fingers' inner sides best."""
        along = _unit(self._joints[1] - self._joints[7])
        frame = np.stack([along, *_across(along)], 1)
        palm = self._joints[[1, 4, 10]] * 0.88 + self._joints[0] * 0.12 - [0.0, PALM_THICKNESS, 0.0]
        points = np.concatenate([pads[:2].reshape(-1, 3), pads[3], palm])
        flat = points @ frame[:, 1:] if shape == "cylinder" else points
        system = np.concatenate([2 * flat, np.ones((len(flat), 1))], 1)
        found = np.linalg.lstsq(system, (flat**2).sum(1), rcond=None)[0]
        radius = float(np.sqrt(max(found[-1] + found[:-1] @ found[:-1], SMALLEST**2)).clip(SMALLEST, LARGEST))
        if shape == "ball":
            return HeldObject(shape, found[:-1], np.eye(3), np.full(3, 2 * radius))
        center = frame[:, 1:] @ found[:-1] + along * (points @ along).mean()
        return HeldObject(shape, center, frame, np.array([0.16, 2 * radius, 2 * radius]))


SOFT = 0.002  # meters that skin gives
PALM_THICKNESS, PALM_RADIUS = 0.014, 0.010


def _pairs() -> NDArray[np.int64]:
    """Parts that must not meet: fingers' bones (0 to 14), and the palm's four (15 to 18) with the fingers' ends."""
    fingers = [(a, b) for a in range(15) for b in range(a + 1, 15) if a // 3 != b // 3]
    apart = [(a, b) for a, b in fingers if b >= 12 or not (a % 3 == 0 and b % 3 == 0)]
    return np.array([*apart, *((a, b) for a in (2, 5, 8, 11, 14) for b in range(15, 19))])


PAIRS = _pairs()


def _unit(vector: Array) -> Array:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _across(along: Array) -> tuple[Array, Array]:
    """Two unit vectors across a unit vector and each other."""
    first = _unit(np.cross(along, [0.0, 1.0, 0.0]))
    return first, np.cross(along, first)


def segment_distance(start: np.ndarray, along: np.ndarray, other: np.ndarray, other_along: np.ndarray) -> np.ndarray:
    """Distance (...,) of the segments start + s along and other + t other_along, s and t in [0, 1]; all (..., 3)."""
    between = start - other
    a, e = (along**2).sum(-1) + 1e-12, (other_along**2).sum(-1) + 1e-12
    b, c, f = (along * other_along).sum(-1), (along * between).sum(-1), (other_along * between).sum(-1)
    s = ((b * f - c * e) / np.maximum(a * e - b * b, 1e-12)).clip(0, 1)
    t = ((b * s + f) / e).clip(0, 1)
    s = ((b * t - c) / a).clip(0, 1)
    return np.linalg.norm(between + s[..., None] * along - t[..., None] * other_along, axis=-1)
