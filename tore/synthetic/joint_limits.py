"""How far each joint of a body turns: a swing of its bone, and a twist about the bone.

A joint's rotation is its twist about the bone's unposed direction, followed by the swing, whose axis lies across it.
`swing_twist` gives both as one vector a joint: the twist angle on the bone's axis, the swing's rotation vector on the
two others. Limits are degrees, generous enough for gymnasts; those of the right side mirror the left ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tore.body.joints import SMPL_FLIP

Array = NDArray[np.float64]
MIRRORED = np.array([1.0, -1.0, -1.0])  # the x-mirror image of a rotation vector

X, Y = 0, 1
# joint on the left or in the middle: axis of its bone, limits about x, y and z.
# Hips: x bends backwards, z spreads. Shoulders: y swings back, z raises. Elbows: -y bends. Hands: -z closes.
LEFT_LIMITS: dict[int, tuple[int, tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    1: (Y, (-140, 50), (-60, 100), (-40, 90)),  # hip
    4: (Y, (-4, 155), (-25, 25), (-10, 10)),  # knee
    7: (Y, (-45, 65), (-40, 40), (-30, 30)),  # ankle
    10: (Y, (-70, 45), (-12, 12), (-10, 10)),  # toes
    3: (Y, (-25, 45), (-25, 25), (-25, 25)),  # spine, three joints
    6: (Y, (-25, 40), (-25, 25), (-22, 22)),
    9: (Y, (-25, 35), (-25, 25), (-20, 20)),
    12: (Y, (-40, 45), (-50, 50), (-35, 35)),  # neck
    15: (Y, (-35, 35), (-40, 40), (-25, 25)),  # head
    13: (X, (-20, 20), (-30, 25), (-15, 40)),  # collar
    16: (X, (-130, 105), (-140, 65), (-100, 105)),  # shoulder
    18: (X, (-95, 95), (-158, 4), (-12, 12)),  # elbow
    20: (X, (-65, 65), (-40, 40), (-85, 80)),  # wrist
    22: (X, (-15, 15), (-20, 20), (-75, 25)),  # hand
}


def _tables() -> tuple[NDArray[np.int64], Array]:
    axes, limits = np.zeros(24, np.int64), np.full((24, 3, 2), [-np.pi, np.pi])
    for joint, (axis, *ranges) in LEFT_LIMITS.items():
        other = SMPL_FLIP[joint]
        axes[[joint, other]] = axis
        limits[joint] = np.radians(ranges)
        if other != joint:
            limits[other] = np.sort(limits[joint] * MIRRORED[:, None], axis=1)
    return axes, limits


BONE_AXES, LIMITS = _tables()  # (24,), and (24, 3, 2) radians; the root has none
_BONE = np.eye(3)[BONE_AXES].astype(bool)  # (24, 3)


def to_quaternion(pose: Array) -> Array:
    """Unit quaternions (..., 4), real part first, of axis-angle vectors (..., 3)."""
    angle = np.linalg.norm(pose, axis=-1, keepdims=True)
    return np.concatenate([np.cos(0.5 * angle), 0.5 * np.sinc(angle / (2 * np.pi)) * pose], -1)


def from_quaternion(quaternion: Array) -> Array:
    """Axis-angle vectors (..., 3), no longer than pi, of unit quaternions (..., 4)."""
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    size = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(size, quaternion[..., :1])
    return quaternion[..., 1:] * np.where(size > 1e-9, angle / np.maximum(size, 1e-9), 2.0)


def multiply(a: Array, b: Array) -> Array:
    """Products (..., 4) of quaternions: `b` acts first."""
    real = a[..., :1] * b[..., :1] - (a[..., 1:] * b[..., 1:]).sum(-1, keepdims=True)
    imaginary = a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + np.cross(a[..., 1:], b[..., 1:])
    return np.concatenate([real, imaginary], -1)


def swing_twist(pose: Array) -> Array:
    """(..., 24, 3) radians: each joint's twist on its bone's axis, its swing on the two others."""
    whole = to_quaternion(pose)
    twist = np.where(_BONE, whole[..., 1:], 0.0)
    about = np.concatenate([whole[..., :1], twist], -1)
    size = np.linalg.norm(about, axis=-1, keepdims=True)
    about = np.where(size > 1e-9, about / np.maximum(size, 1e-9), [1.0, 0, 0, 0])
    swing = multiply(whole, about * [1, -1, -1, -1])
    return from_quaternion(about) + from_quaternion(swing)


def from_swing_twist(parts: Array) -> Array:
    """The pose (..., 24, 3) in axis-angle whose `swing_twist` is `parts`."""
    twist = to_quaternion(np.where(_BONE, parts, 0.0))
    swing = to_quaternion(np.where(_BONE, 0.0, parts))
    return from_quaternion(multiply(swing, twist))


def beyond_limits(pose: Array) -> Array:
    """(...,) radians by which a joint of the poses (..., 24, 3) exceeds its limits at most, 0 inside."""
    parts = swing_twist(pose)[..., 1:, :]
    over = np.maximum(LIMITS[1:, :, 0] - parts, parts - LIMITS[1:, :, 1])
    return np.maximum(over.max((-2, -1)), 0.0)


def within_limits(pose: Array) -> Array:
    """Poses (..., 24, 3) with every joint turned back to its limits where it exceeds them; the root stays."""
    out = from_swing_twist(swing_twist(pose).clip(LIMITS[..., 0], LIMITS[..., 1]))
    out[..., 0, :] = pose[..., 0, :]
    return out


def mirrored(pose: Array) -> Array:
    """The x-mirror image of poses (..., 24, 3)."""
    return pose[..., list(SMPL_FLIP), :] * MIRRORED
