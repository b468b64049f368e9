"""Poses in a physiotherapist's words: angles in degrees for each limb, and what hands and feet hold on to.

Angles of a limb hold for the left side and, mirrored, for the right one. The unposed body stands with its arms to the
sides. `angles_pose` turns named angles into the 24 joints' rotations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from tore.synthetic.free_body import Array
from tore.synthetic.joint_limits import mirrored

LIMB_ANGLES = {
    "flex": 5, "abd": 4, "rot": 6, "knee": 6, "ankle": 5, "toes": 3,
    "up": 7, "ahead": 10, "twist": 10, "elbow": 8, "pron": 12, "wrist": 10, "dev": 5, "curl": 10, "shrug": 3,
}  # fmt: skip
BODY_ANGLES = {"bend": 6, "side": 4, "turn": 6, "nod": 8, "tilt": 5, "look": 14, "pitch": 4, "roll": 3}  # and spreads
REST = {"up": 8.0, "ahead": 20.0, "elbow": 15.0, "curl": 18.0, "abd": 3.0, "rot": -5.0, "knee": 4.0}
COMMON = 0.6  # of a limb's spread that both sides share

# Points of the body: joint, and meters from it in T-pose; those of a limb are the left one's.
POINTS: dict[str, tuple[int, tuple[float, float, float]]] = {
    "palm": (22, (-0.02, -0.022, 0.0)), "tips": (22, (0.07, -0.01, 0.0)), "wrist": (20, (0, 0, 0)),
    "elbow": (18, (0, 0, -0.03)), "knee": (4, (0, 0, 0.055)), "shin": (4, (0, -0.25, 0.05)),
    "heel": (7, (0, -0.07, -0.05)), "ball": (10, (0, -0.024, 0.0)), "toe": (10, (0, -0.015, 0.05)),
    "instep": (7, (0, -0.01, 0.07)), "ankle": (7, (0, 0, 0)), "buttock": (0, (0.08, -0.10, -0.10)),
    "thigh": (1, (0, -0.28, 0.09)), "shoulder": (16, (0.0, 0.05, 0.0)), "hip": (0, (0.17, -0.04, 0.02)),
    "head": (15, (0, 0.17, 0.0)), "face": (15, (0, 0.06, 0.11)), "back": (9, (0, 0.0, -0.11)),
    "belly": (3, (0, 0.03, 0.12)), "chest": (9, (0, 0.07, 0.11)), "nape": (15, (0, 0.05, -0.10)),
}  # fmt: skip
PAIRED = {name for name in POINTS if name not in ("head", "face", "back", "belly", "chest", "nape")}


Angles = dict[str, float | tuple[float, float]]  # mean, or mean and spread, in degrees


@dataclass(frozen=True)
class Pin:
    """A point of the body held at a place `at` (3,) in meters from a joint, in its unposed frame; within `spread`."""

    point: str
    joint: int
    at: tuple[float, float, float]
    spread: float = 0.02
    other: bool = False  # the joint is the other side's


@dataclass(frozen=True)
class Limb:
    """Angles of one arm or leg, (mean, spread) or mean, its pins, and its points on the ground, where there is one."""

    angles: Angles = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()
    ground: tuple[str, ...] = ()


@dataclass(frozen=True)
class Posture:
    """Legs (left, right), the trunk's angles, and the points that lie on the ground ("l_heel", or "heel" for both)."""

    left: Limb
    right: Limb
    trunk: Angles = field(default_factory=dict)
    ground: tuple[str, ...] = ()


def drawn(rng: np.random.Generator, given: Angles, shared: dict[str, Array] | None,
          count: int) -> dict[str, Array]:  # fmt: skip
    """`count` degrees for every angle that is given or has a rest value."""
    out = {}
    for name, usual in (LIMB_ANGLES if shared is not None else BODY_ANGLES).items():
        value = given.get(name, REST.get(name, 0.0))
        mean, spread = value if isinstance(value, tuple) else (value, usual)
        noise = rng.standard_normal(count).clip(-2, 2)
        if shared is not None:
            noise = COMMON * shared.setdefault(name, rng.standard_normal(count).clip(-2, 2)) + 0.8 * noise
        out[name] = mean + spread * noise
    return out


def angles_pose(left: dict[str, Array], right: dict[str, Array], body: dict[str, Array]) -> Array:
    """(N, 24, 3) axis-angle from degrees (N,) of the left limbs, the right limbs (as if left) and the body."""
    count = len(body["bend"])
    pose = np.zeros((count, 24, 3))
    other = np.zeros_like(pose)
    _set_limbs(pose, left)
    _set_limbs(other, right)
    rows = [2, 5, 8, 11, 14, 17, 19, 21, 23]
    pose[:, rows] = mirrored(other)[:, rows]
    for joint, share in ((3, 0.4), (6, 0.3), (9, 0.3)):
        pose[:, joint] = _turned(body["bend"] * share, body["turn"] * share, body["side"] * share)
    for joint in (12, 15):
        pose[:, joint] = _turned(0.5 * body["nod"], 0.5 * body["look"], 0.5 * body["tilt"])
    pose[:, 0] = _turned(body["pitch"], np.zeros(count), body["roll"])
    return pose


def _turned(x: Array, y: Array, z: Array) -> Array:
    """Rotation vectors of turns about x, then y, then z, in degrees."""
    return Rotation.from_euler("xyz", np.stack([x, y, z], -1), degrees=True).as_rotvec()


def _product(*turns: tuple[str, Array]) -> Array:
    """Rotation vectors of a product of turns in degrees; the last one acts first."""
    out = Rotation.identity(len(turns[0][1]))
    for axis, angle in turns:
        out = out * Rotation.from_euler(axis, angle[:, None], degrees=True)
    return out.as_rotvec()


def _set_limbs(pose: Array, a: dict[str, Array]) -> None:
    """Sets the left limbs' joints."""
    pose[:, 1] = _product(("x", -a["flex"]), ("z", a["abd"]), ("y", -a["rot"]))
    pose[:, 4] = _product(("x", a["knee"]))
    pose[:, 7] = _product(("x", a["ankle"]))  # positive: toes down
    pose[:, 10] = _product(("x", -a["toes"]))
    raised = a["up"] - 90
    collar = (0.18 * raised).clip(-7, 18) + a["shrug"]
    own = a["twist"] - a["ahead"] * np.cos(np.radians(a["up"]))  # the azimuth turns a hanging arm about itself
    pose[:, 13] = _product(("z", collar))
    pose[:, 16] = _product(("y", -a["ahead"]), ("z", raised - collar), ("x", own))
    pose[:, 18] = _product(("y", -a["elbow"]), ("x", 0.6 * a["pron"]))
    pose[:, 20] = _product(("x", 0.4 * a["pron"]), ("z", -a["wrist"]), ("y", a["dev"]))
    pose[:, 22] = _product(("z", -a["curl"]))
