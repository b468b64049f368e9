"""How people hold themselves: draws body poses of many kinds, and says how unlike them a pose is.

A mixture of some hundred small normal distributions around poses of everyday life and of sports, each in the tangent
space of its mean rotations. A draw is mirrored by chance, brought within the joints' limits, freed of limbs that run
through each other, and set on the ground. `scripts/build_pose_prior.py` makes the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from tore.synthetic.body_contact import BodyBalls, ground_height, joint_frames
from tore.synthetic.free_body import DATA, Array
from tore.synthetic.joint_limits import (
    from_quaternion,
    mirrored,
    multiply,
    to_quaternion,
    within_limits,
)
from tore.synthetic.pose_energy import PoseEnergy, PoseTerm

FILE = DATA / "pose_prior.npz"
SUPPORTS = ("ground", "seat", "saddle", "hands", "nothing")
FLAT_FEET = {"standing": 25.0, "bending": 25.0, "sitting": 25.0, "crouching": 25.0, "throwing": 20.0, "gliding": 20.0}
FLAT_FOOT = 10.0  # degrees of a sole that are leveled, of other kinds
TILTS = {"lying": 30.0, "floor sitting": 25.0, "kneeling": 20.0, "crouching": 15.0, "upside down": 12.0}
TILT = 8.0  # degrees by which a body is set on the ground, of other kinds
NEAR_GROUND = 0.04  # meters
SEAT_REACH = 0.15  # meters below the hips that a seat touches
FARTHEST = 2.2  # standard deviations


@dataclass(frozen=True)
class DrawnPose:
    """A pose (24, 3) in axis-angle, facing +z as far as its kind faces anywhere, y up.

    `kind` is one of `PosePrior.kinds`. `support` says what bears the body: the "ground", a "seat" (feet on the
    ground or near it), a "saddle", the "hands" (a bar, a wall), or "nothing" (in the air).
    """

    pose: Array
    kind: str
    support: str

    @property
    def grounded(self) -> bool:
        """Whether the body's lowest point belongs on the ground."""
        return self.support in ("ground", "seat")


@dataclass(frozen=True)
class Mixture:
    """K components over 24 joints: `weight (K,)`, `mean (K, 24, 3)` axis-angle, `factor (K, R, 24, 3)` and
    `noise (K, 24)` radians, and the numbers of `kind (K,)` and `support (K,)`.
    """

    weight: Array
    mean: Array
    factor: Array
    noise: Array
    kind: NDArray[np.int64]
    support: NDArray[np.int64]

    @classmethod
    def read(cls, held: Mapping[str, NDArray[Any]]) -> Mixture:
        """From the arrays of the prior's file."""
        steps = held["factor_step"].astype(np.float64)[:, :, None, None]
        return cls(
            weight=held["weight"].astype(np.float64) / held["weight"].astype(np.float64).sum(),
            mean=held["mean"].astype(np.float64),
            factor=held["factor"] * steps,
            noise=held["noise"].astype(np.float64),
            kind=held["kind"].astype(np.int64),
            support=held["support"].astype(np.int64),
        )

    def drawn(self, row: int, rng: np.random.Generator) -> Array:
        """A pose (24, 3) of one component."""
        numbers = rng.standard_normal(self.factor.shape[1] + 72).clip(-FARTHEST, FARTHEST)
        away = np.einsum("r,rkc->kc", numbers[:-72], self.factor[row])
        away += self.noise[row][:, None] * numbers[-72:].reshape(24, 3)
        return from_quaternion(multiply(to_quaternion(self.mean[row]), to_quaternion(away)))


class PosePrior:
    """The prior of the package; `load` reads it.

    `kinds` are all kinds, `shares` how often each is drawn, `body` the balls of the mean person.
    """

    def __init__(self, mixture: Mixture, kinds: tuple[str, ...], body: BodyBalls) -> None:
        self.mixture, self.kinds, self.body = mixture, kinds, body
        shares = np.bincount(mixture.kind, mixture.weight, minlength=len(kinds))
        self.shares = dict(zip(kinds, shares.tolist(), strict=True))

    @cached_property
    def _energy(self) -> PoseEnergy:
        return PoseEnergy(self.mixture)

    @classmethod
    def load(cls, path: Path = FILE) -> PosePrior:
        """Reads the prior. Raises FileNotFoundError where the package's own file is missing."""
        held = read_prior(path)
        return cls(Mixture.read(held), tuple(str(kind) for kind in held["kinds"]), BodyBalls.read(held))

    def draw(self, rng: np.random.Generator, kind: str | None = None, body: BodyBalls | None = None) -> DrawnPose:
        """One pose, of a `kind` where one is given, free of collisions for the person `body` (the mean one).

        Raises ValueError for an unknown kind.
        """
        weight = self.mixture.weight
        if kind is not None:
            if kind not in self.kinds:
                raise ValueError(f"kind {kind!r} of a pose is not known; use one of {', '.join(self.kinds)}")
            weight = np.where(self.mixture.kind == self.kinds.index(kind), weight, 0.0)
        row = int(np.searchsorted(np.cumsum(weight), rng.random() * weight.sum(), side="right"))
        pose = self.mixture.drawn(row, rng)
        if rng.random() < 0.5:
            pose = mirrored(pose)
        found, support = self.kinds[self.mixture.kind[row]], SUPPORTS[self.mixture.support[row]]
        person = body or self.body
        pose = within_limits(person.free(within_limits(pose)))
        if support in ("ground", "seat"):
            tilt = 0.0 if support == "seat" else TILTS.get(found, TILT)
            pose = stood(pose, person, FLAT_FEET.get(found, FLAT_FOOT), tilt)
        return DrawnPose(pose, found, support)

    def seat_height(self, vertices: Array) -> float:
        """Height of the seat over the ground for the posed free body (6890, 3): the lowest point around its hips."""
        hips = np.isin(self.body.touch_owner, (0, 1, 2)) & (self.body.touch[:, 1] > -SEAT_REACH)
        rows = self.body.touch_vertex[hips]
        return float(vertices[rows, 1].min()) - ground_height(vertices)

    def energy(self, pose: torch.Tensor) -> torch.Tensor:
        """How unlike the prior's poses (B, 24, 3) in axis-angle are: (B,), smooth, lower for likelier ones.

        The negative logarithm of the mixture's density up to a constant. The root does not count, and a pose and its
        mirror image have the same energy.
        """
        return self._energy(pose)

    def nearest(self, rotations: torch.Tensor) -> PoseTerm:
        """The likeliest component of each pose (B, 24, 3, 3), as residuals that pull toward it."""
        return self._energy.nearest(rotations)


def read_prior(path: Path = FILE) -> dict[str, NDArray[Any]]:
    """The arrays of the prior's file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it comes with the package; install the package again")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def stood(pose: Array, person: BodyBalls, flat: float, tilt: float) -> Array:
    """The pose (24, 3) set on the ground: soles level that are by up to `flat` degrees off, the body tilted by up to
    `tilt` degrees until it rests on what lies under its center of mass.
    """
    turned, _ = joint_frames(pose, person.joints)
    height = person.touching(pose)[:, 1]
    out = pose.copy()
    for ankle, toes in ((7, 10), (8, 11)):
        up = turned[ankle, :, 1]
        lowest = height[np.isin(person.touch_owner, (ankle, toes))].min() - height.min()
        if up[1] > np.cos(np.radians(flat)) and lowest < NEAR_GROUND:
            level = _arc(up, np.array([0.0, 1.0, 0.0]))
            knee = ankle - 3
            local = turned[knee].T @ level @ turned[ankle]
            out[ankle] = Rotation.from_matrix(local).as_rotvec()
            out[toes] = out[toes] * 0.3
    out = within_limits(out)
    for _ in range(2 if tilt else 0):
        points = person.touching(out)
        turn = _tilt(points, person.center_of_mass(out), tilt)
        out[0] = (Rotation.from_matrix(turn) * Rotation.from_rotvec(out[0])).as_rotvec()
    return out


def _tilt(points: Array, center: Array, most: float) -> Array:
    """(3, 3) the rotation that lays flat the face of the points' hull that is under the center of mass."""
    planes = ConvexHull(points).equations  # outward normals and offsets: n p + d <= 0 inside
    down = planes[:, 1] < -1e-6
    depth = (planes[down, :3] @ center + planes[down, 3]) / planes[down, 1]
    normal = planes[down, :3][depth.argmin()]
    if normal[1] > -np.cos(np.radians(most)):
        return np.eye(3)
    return _arc(normal, np.array([0.0, -1.0, 0.0]))


def _arc(start: Array, end: Array) -> Array:
    """(3, 3) the shortest rotation between unit vectors that are not opposite."""
    axis = np.cross(start, end)
    size = np.linalg.norm(axis)
    if size < 1e-9:
        return np.eye(3)
    return Rotation.from_rotvec(axis / size * np.arctan2(size, start @ end)).as_matrix()
