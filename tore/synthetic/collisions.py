"""Does a pose run through itself? Limbs as capsules between the joints of the skeleton."""

from __future__ import annotations

import numpy as np
import torch

from tore.geometry.rotations import axis_angle_to_matrix
from tore.synthetic.hand_pose_prior import segment_distance

# capsules: joint, joint, how far beyond the second joint the limb extends (share of the bone), radius in meters
CAPSULES = {
    "pelvis": (1, 2, 0.0, 0.105),
    "belly": (3, 6, 0.0, 0.12),
    "chest": (6, 9, 0.5, 0.12),
    "head": (12, 15, 1.0, 0.09),
    "left_thigh": (1, 4, 0.0, 0.065),
    "right_thigh": (2, 5, 0.0, 0.065),
    "left_shin": (4, 7, 0.0, 0.048),
    "right_shin": (5, 8, 0.0, 0.048),
    "left_foot": (7, 10, 0.5, 0.035),
    "right_foot": (8, 11, 0.5, 0.035),
    "left_arm": (16, 18, 0.0, 0.045),
    "right_arm": (17, 19, 0.0, 0.045),
    "left_forearm": (18, 20, 0.0, 0.038),
    "right_forearm": (19, 21, 0.0, 0.038),
    "left_hand": (20, 22, 1.0, 0.03),
    "right_hand": (21, 23, 1.0, 0.03),
}
SIDES = ("left", "right")
TRUNK = ("pelvis", "belly", "chest", "head")
LEGS = ("left_thigh", "right_thigh", "left_shin", "right_shin", "left_foot", "right_foot")


def _pairs() -> list[tuple[str, str]]:
    """Limbs that must not meet: those with no joint in common."""
    pairs = [(f"{side}_{part}", other) for side in SIDES for part in ("forearm", "hand") for other in TRUNK + LEGS]
    pairs += [(f"left_{a}", f"right_{b}") for a in ("forearm", "hand") for b in ("arm", "forearm", "hand")]
    pairs += [("left_arm", "right_forearm"), ("left_arm", "right_hand")]
    pairs += [(f"left_{a}", f"right_{b}") for a in ("shin", "foot") for b in ("thigh", "shin", "foot")]
    pairs += [("left_thigh", "right_shin"), ("left_thigh", "right_foot")]
    return pairs + [(f"{side}_shin", part) for side in SIDES for part in ("pelvis", "belly", "chest")]


NAMES = list(CAPSULES)
PAIRS = np.array([(NAMES.index(a), NAMES.index(b)) for a, b in _pairs()])


def overlap(joints: np.ndarray) -> np.ndarray:
    """(..., 24, 3) skeleton joints -> (...,) meters by which the worst pair of limbs runs into each other."""
    first, second, beyond, radius = (np.array(column) for column in zip(*CAPSULES.values(), strict=True))
    start = joints[..., first, :]
    along = (joints[..., second, :] - start) * (1 + beyond)[:, None]
    one, two = PAIRS.T
    gap = segment_distance(start[..., one, :], along[..., one, :], start[..., two, :], along[..., two, :])
    return (radius[one] + radius[two] - gap).max(-1)


def joint_positions(pose: np.ndarray, rest: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Skeleton joints (..., K, 3) of poses (..., 3K) on rest joints (K, 3), the root where it is at rest."""
    local = axis_angle_to_matrix(torch.from_numpy(pose.reshape(*pose.shape[:-1], -1, 3))).numpy()
    turned, placed = [local[..., 0, :, :]], [np.broadcast_to(rest[0], (*pose.shape[:-1], 3))]
    for joint in range(1, len(rest)):
        above = parents[joint]
        placed.append(placed[above] + turned[above] @ (rest[joint] - rest[above]))
        turned.append(turned[above] @ local[..., joint, :, :])
    return np.stack(placed, axis=-2)
