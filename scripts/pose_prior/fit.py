"""Mixtures around groups of poses, and their arrays in the prior's file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.transform import Rotation

from tore.synthetic.free_body import Array
from tore.synthetic.joint_limits import from_quaternion, multiply, to_quaternion

RANK = 8
WIDER = 1.15  # of the spread in the data, so that neighbors meet
# Radians of spread that every joint has at least, and more for single poses.
FLOOR = np.radians([2.5, 3, 3, 1.5, 3, 3, 1.5, 3, 3, 1.5, 3, 3, 3, 1.5, 1.5, 3, 3.5, 3.5, 3.5, 3.5, 5, 5, 4, 4])
LOUDER = 1.8
# What a joint counts when poses are grouped.
IMPORTANCE = np.array([2, 2, 2, 1, 1.3, 1.3, 1, 0.4, 0.4, 1, 0, 0, 0.4, 0.7, 0.7, 0.4, 1.5, 1.5, 1, 1, 0.3, 0.3, 0, 0])


@dataclass(frozen=True)
class Component:
    """One component: its kind and support by name, weight, mean (24, 3), factor (R, 24, 3), noise (24,)."""

    kind: str
    support: str
    weight: float
    mean: Array
    factor: Array
    noise: Array


def mean_pose(poses: Array) -> Array:
    """(24, 3) the mean rotations of poses (N, 24, 3)."""
    quaternions = to_quaternion(poses)
    spread = np.einsum("nka,nkb->kab", quaternions, quaternions)
    return from_quaternion(np.linalg.eigh(spread)[1][:, :, -1])


def away_from(mean: Array, poses: Array) -> Array:
    """Tangent vectors (N, 24, 3) from the mean (24, 3) to poses (N, 24, 3)."""
    return from_quaternion(multiply(to_quaternion(mean) * [1, -1, -1, -1], to_quaternion(poses)))


def component(kind: str, support: str, weight: float, poses: Array) -> Component:
    """A component around poses (N, 24, 3)."""
    mean = mean_pose(poses)
    flat = away_from(mean, poses).reshape(len(poses), -1)
    count = len(poses)
    _, values, vectors = np.linalg.svd(flat, full_matrices=False)
    rank = min(RANK, max(0, count - 1))
    factor = np.zeros((RANK, 72))
    factor[:rank] = WIDER * vectors[:rank] * values[:rank, None] / np.sqrt(max(1, count - 1))
    rest = flat - flat @ vectors[:rank].T @ vectors[:rank]
    left = np.sqrt((rest.reshape(count, 24, 3) ** 2).mean((0, 2)) * count / max(1, count - rank))
    floor = FLOOR * (LOUDER if count < 4 else 1.0)
    return Component(kind, support, weight, mean, factor.reshape(RANK, 24, 3), np.maximum(left, floor))


def clustered(kind: str, support: str, weight: float, poses: Array, count: int) -> list[Component]:
    """Up to `count` components around poses (N, 24, 3) of one kind, by likeness."""
    quaternions = to_quaternion(poses)
    quaternions *= np.where(quaternions[..., :1] < 0, -1, 1) * np.sqrt(IMPORTANCE)[:, None]
    label = kmeans2(quaternions.reshape(len(poses), -1), min(count, len(poses)), minit="++", seed=0)[1]
    out = []
    for number in np.unique(label):
        own = poses[label == number]
        out.append(component(kind, support, weight * len(own) / len(poses), own))
    return out


def packed(components: list[Component], kinds: list[str], supports: tuple[str, ...]) -> dict[str, Array]:
    """The mixture's arrays as `tore.synthetic.pose_prior.Mixture.read` takes them."""
    factor = np.stack([one.factor for one in components])
    step = np.abs(factor).max((2, 3)) / 127
    return {
        "kinds": np.array(kinds),
        "kind": np.array([kinds.index(one.kind) for one in components], np.uint8),
        "support": np.array([supports.index(one.support) for one in components], np.uint8),
        "weight": np.array([one.weight for one in components], np.float32),
        "mean": np.stack([one.mean for one in components]).astype(np.float16),
        "factor": np.round(factor / np.maximum(step, 1e-9)[:, :, None, None]).astype(np.int8),
        "factor_step": step.astype(np.float16),
        "noise": np.stack([one.noise for one in components]).astype(np.float16),
    }


def hinged(poses: Array) -> Array:
    """Poses (N, 24, 3) whose elbows and knees bend about their hinges: the limb above takes the rest as its twist."""
    out = poses.copy()
    for above, joint, axis, hinge in (
        (16, 18, "x", (1, -1.0)), (17, 19, "x", (1, 1.0)), (1, 4, "y", (0, 1.0)), (2, 5, "y", (0, 1.0)),
    ):  # fmt: skip
        bone = "xyz".index(axis)
        whole = to_quaternion(out[:, joint])
        twist = np.zeros_like(whole)
        twist[:, 0], twist[:, 1 + bone] = whole[:, 0], whole[:, 1 + bone]
        twist /= np.linalg.norm(twist, axis=1, keepdims=True)
        swing = from_quaternion(multiply(whole, twist * [1, -1, -1, -1]))
        first, sign = hinge
        cross = np.zeros(3)
        cross[bone] = 1.0
        wanted = np.zeros(3)
        wanted[first] = sign
        other = np.cross(cross, wanted)
        angle = np.arctan2(swing @ other, swing @ wanted)
        angle = np.where(np.linalg.norm(swing, axis=1) > np.radians(12), angle, 0.0)
        roll = Rotation.from_rotvec(angle[:, None] * cross)
        out[:, above] = (Rotation.from_rotvec(out[:, above]) * roll).as_rotvec()
        out[:, joint] = (roll.inv() * Rotation.from_rotvec(out[:, joint])).as_rotvec()
    return out
