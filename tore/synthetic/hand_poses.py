"""How hands are held: curls and spreads of the fingers from a table of gestures, within joint limits.

Works on any right hand of the licensed model's skeleton and frame: fingers along -x, palm to -y, thumb to +z at rest.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import RandomState

from tore.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # joints 1..15, three of each from the palm outward
PALM = np.array([0.0, -1.0, 0.0])
THUMB_TARGET = np.array([-0.15, -0.55, -0.80])  # where the thumb bends to
JOINT_SHARE = np.array([0.75, 1.0, 0.65])  # of a finger's curl
THUMB_SHARE = np.array([0.45, 0.5, 0.7])

# share of the images; curl in degrees of index, middle, pinky, ring, thumb
GESTURES: dict[str, tuple[float, tuple[float, ...]]] = {
    "flat": (0.14, (4, 4, 4, 4, 2)),
    "relaxed": (0.24, (28, 32, 40, 36, 18)),
    "fist": (0.10, (82, 84, 84, 84, 48)),
    "point": (0.08, (6, 76, 80, 78, 40)),
    "two": (0.07, (6, 6, 80, 78, 44)),
    "grasp": (0.15, (48, 50, 52, 52, 34)),
    "pinch": (0.09, (50, 22, 14, 18, 40)),
    "thumb_up": (0.05, (78, 80, 80, 80, -8)),
    "any": (0.08, (38, 38, 38, 38, 20)),
}
COMMON_SPREAD, OWN_SPREAD = 10.0, 7.0  # degrees
ANY_SPREAD = 26.0
CURL_LIMITS = (-8.0, 92.0)
FAN = np.array([0.9, 0.1, -1.0, -0.45, 0.6])  # how the fingers part when the hand spreads


def draw_hand_poses(rngs: list[RandomState], rest: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(B, 48) poses with the root at rest, counted from the mean hand as in FreiHAND's labels.

    rest: (16, 3) joints of the mean hand at rest. mean: (45,) the pose that the model adds.
    """
    curl, fan, wave = (np.stack(column) for column in zip(*(_draw_curls(rng) for rng in rngs), strict=True))
    axes = bend_axes(rest)  # (15, 3)
    share = np.where((np.arange(5) == FINGERS.index("thumb"))[:, None], THUMB_SHARE, JOINT_SHARE)  # (5, 3)
    angles = np.deg2rad(curl[:, :, None] * share + wave).reshape(len(rngs), 15, 1)
    bend = axis_angle_to_matrix(torch.from_numpy(angles * axes)).numpy()
    apart = np.zeros((len(rngs), 15, 3))
    apart[:, ::3, 1] = np.deg2rad(fan)
    matrices = axis_angle_to_matrix(torch.from_numpy(apart)).numpy() @ bend
    fingers = matrix_to_axis_angle(torch.from_numpy(matrices)).numpy().reshape(len(rngs), 45)
    return np.concatenate([np.zeros((len(rngs), 3)), fingers - mean], axis=1)


def _draw_curls(rng: RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Degrees: curl (5,), fan (5,), small waves of every joint (5, 3)."""
    shares = np.array([share for share, _ in GESTURES.values()])
    kind = list(GESTURES)[int(rng.choice(len(GESTURES), p=shares / shares.sum()))]
    own = ANY_SPREAD if kind == "any" else OWN_SPREAD
    curl = np.array(GESTURES[kind][1]) + COMMON_SPREAD * rng.standard_normal() + own * rng.standard_normal(5)
    curl = curl.clip(*CURL_LIMITS)
    openness = 1 - (curl / 100).clip(0, 1)  # closed fingers cannot part
    fan = openness * (FAN * rng.uniform(-3, 14) + 2.0 * rng.standard_normal(5))
    return curl, fan, 4.0 * rng.standard_normal((5, 3))


def bend_axes(rest: np.ndarray) -> np.ndarray:
    """(15, 3) unit axes about which a positive turn closes each joint, from the rest joints (16, 3)."""
    axes = np.zeros((5, 3, 3))
    for finger, name in enumerate(FINGERS):
        joints = rest[1 + 3 * finger : 4 + 3 * finger]
        bones = np.stack([joints[1] - joints[0], joints[2] - joints[1], joints[2] - joints[1]])
        axes[finger] = np.cross(bones, THUMB_TARGET if name == "thumb" else PALM)
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    return axes.reshape(15, 3)


def random_rotation(rng: RandomState) -> np.ndarray:
    """(3, 3) uniform over all rotations: a normal quaternion, made unit."""
    quaternion = rng.standard_normal(4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
