"""How people hold themselves: body poses from a table of habits, within joint limits, limbs kept out of each other.

Angles are named as a physiotherapist would, in degrees, for the left side; the right side is the mirror image. The
rest pose is a T in the body's own frame: x to its left, y up, z ahead. A habit gives each angle a mean and a spread;
legs and arms choose their habits apart, so that both natural company and rare mixtures occur.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.random import RandomState

from tore.body.joints import SMPL_NAMES
from tore.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from tore.synthetic.collisions import joint_positions, overlap

CANDIDATES = 8  # poses drawn for one person; the first that does not run through itself is taken
ALLOWED_OVERLAP = 0.02  # meters by which two limbs' cores may meet

LEG_ANGLES = ("hip_flexion", "hip_abduction", "hip_rotation", "knee_flexion", "ankle_flexion")
LEG_LIMITS = np.array([(-30, 120), (-15, 50), (-35, 35), (0, 140), (-35, 25)])
ARM_ANGLES = ("elevation", "azimuth", "twist", "elbow_flexion", "forearm_twist")
ARM_LIMITS = np.array([(6, 170), (-50, 115), (-80, 80), (2, 140), (-60, 60)])
TRUNK_ANGLES = ("flexion", "side", "twist", "neck_flexion", "neck_side", "neck_twist")
TRUNK_LIMITS = np.array([(-20, 75), (-25, 25), (-40, 40), (-30, 35), (-25, 25), (-60, 60)])
TRUNK_SPREAD = np.array([7, 6, 10, 12, 7, 22])


class LegHabit(NamedTuple):
    """Means and spreads of both legs' angles (the sides change places at random), and how far the trunk leans."""

    share: float
    front: tuple[float, ...]
    back: tuple[float, ...]
    spread: tuple[float, ...]
    lean: float


class ArmHabit(NamedTuple):
    """Mean and spread of one arm's angles."""

    share: float
    mean: tuple[float, ...]
    spread: tuple[float, ...]


LEG_HABITS = {
    "stand": LegHabit(0.28, (3, 5, -4, 6, 0), (1, 6, -4, 4, 0), (5, 4, 8, 5, 5), 2),
    "walk": LegHabit(0.24, (24, 3, -3, 14, 4), (-14, 3, -3, 26, -12), (9, 3, 6, 12, 8), 4),
    "run": LegHabit(0.10, (62, 4, 0, 82, 4), (-14, 3, 0, 48, -16), (16, 4, 6, 24, 8), 14),
    "stride": LegHabit(0.08, (58, 8, -4, 64, 8), (-16, 8, -4, 22, -8), (14, 6, 8, 16, 8), 8),
    "wide": LegHabit(0.08, (10, 22, -10, 14, 0), (8, 24, -10, 14, 0), (10, 8, 8, 14, 8), 6),
    "sit": LegHabit(0.10, (84, 10, -6, 82, 0), (84, 10, -6, 78, 0), (10, 7, 8, 16, 8), 10),
    "squat": LegHabit(0.06, (88, 18, -8, 104, 14), (84, 18, -8, 100, 14), (18, 8, 8, 20, 8), 28),
    "one_leg": LegHabit(0.06, (60, 10, -8, 70, -5), (2, 4, -3, 8, 2), (28, 12, 12, 30, 10), 3),
}
ARM_HABITS = {
    "hang": ArmHabit(0.28, (13, 15, 0, 18, 0), (6, 25, 18, 14, 20)),
    "bent": ArmHabit(0.16, (22, 25, 15, 78, 0), (10, 30, 25, 24, 25)),
    "ahead": ArmHabit(0.14, (72, 72, -30, 38, 0), (20, 22, 28, 30, 25)),
    "aside": ArmHabit(0.12, (78, 12, -5, 30, 0), (20, 22, 28, 28, 25)),
    "up": ArmHabit(0.12, (138, 35, 0, 34, 0), (20, 28, 25, 28, 25)),
    "on_hip": ArmHabit(0.06, (38, -12, 62, 98, 20), (6, 8, 8, 10, 15)),
    "free": ArmHabit(0.12, (70, 30, 0, 60, 0), (40, 40, 35, 38, 30)),
}
COUNTER_SWING = ("walk", "run", "stride")  # legs with which hanging arms swing, each against its leg
BENT_OVER = 0.07  # share of standing people who bend down

X, Y, Z = np.eye(3)
LIMBS = ("Hip", "Knee", "Ankle", "Collar", "Shoulder", "Elbow", "Wrist", "Hand")
LEFT, RIGHT = ({limb.lower(): SMPL_NAMES.index(f"{side}_{limb}") for limb in LIMBS} for side in "LR")


def draw_angles(rng: RandomState, count: int = CANDIDATES) -> np.ndarray:
    """(count, 26) degrees of independent poses: left leg, right leg, left arm, right arm, trunk."""
    legs, lean, kinds = _draw_legs(rng, count)
    arms = _draw_arms(rng, count, legs, kinds)
    trunk = rng.standard_normal((count, 6)) * TRUNK_SPREAD
    trunk[:, 0] += lean
    trunk[:, 5] += 0.4 * trunk[:, 2]  # the head looks where the trunk turns
    bent = (rng.random_sample(count) < BENT_OVER) & np.isin(kinds, ("stand", "wide"))
    depth = rng.uniform(30, 62, count)
    trunk[bent, 0] += depth[bent]
    legs[bent, :, 0] += 0.5 * depth[bent, None]
    arms[bent, :, 0] = np.maximum(arms[bent, :, 0], 0.9 * depth[bent, None])
    arms[bent, :, 1] = np.maximum(arms[bent, :, 1], 60)
    parts = [
        legs.clip(*LEG_LIMITS.T).reshape(count, -1),
        arms.clip(*ARM_LIMITS.T).reshape(count, -1),
        trunk.clip(*TRUNK_LIMITS.T),
    ]
    return np.concatenate(parts, axis=1)


def _draw_legs(rng: RandomState, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles (count, 2, 5), lean (count,), names of the habits (count,)."""
    kinds = _choose(rng, LEG_HABITS, count)
    means = np.array([[LEG_HABITS[kind].front, LEG_HABITS[kind].back] for kind in kinds], float)
    spread = np.array([LEG_HABITS[kind].spread for kind in kinds], float)[:, None]
    common, own = rng.standard_normal((count, 1, 5)), rng.standard_normal((count, 2, 5))
    angles = means + spread * (0.6 * common + 0.8 * own)
    swapped = rng.random_sample(count) < 0.5
    angles[swapped] = angles[swapped, ::-1]
    return angles, np.array([LEG_HABITS[kind].lean for kind in kinds], float), kinds


def _draw_arms(rng: RandomState, count: int, legs: np.ndarray, leg_kinds: np.ndarray) -> np.ndarray:
    """Angles (count, 2, 5); two in three people do the same with both arms."""
    kinds = np.stack([_choose(rng, ARM_HABITS, count) for _ in range(2)], axis=1)
    alike = rng.random_sample(count) < 0.65
    kinds[alike, 1] = kinds[alike, 0]
    means = np.array([[ARM_HABITS[kind].mean for kind in pair] for pair in kinds], float)
    spread = np.array([[ARM_HABITS[kind].spread for kind in pair] for pair in kinds], float)
    common, own = rng.standard_normal((count, 1, 5)), rng.standard_normal((count, 2, 5))
    angles = means + spread * (0.6 * common + 0.8 * own)
    # an arm that hangs or is bent swings ahead while the other leg is ahead
    swing = np.isin(kinds, ("hang", "bent")) & np.isin(leg_kinds, COUNTER_SWING)[:, None]
    ahead = (legs[:, ::-1, 0] - legs[:, :, 0]) * rng.uniform(0.3, 0.9, (count, 1))
    angles[..., 0] = np.where(swing, np.hypot(angles[..., 0], ahead), angles[..., 0])
    angles[..., 1] = np.where(swing, np.rad2deg(np.arctan2(ahead, 14.0)).clip(-50, 80), angles[..., 1])
    return angles


def _choose(rng: RandomState, habits: dict, count: int) -> np.ndarray:
    shares = np.array([habit.share for habit in habits.values()])
    return rng.choice(np.array(list(habits)), count, p=shares / shares.sum())


def pose_from_angles(angles: np.ndarray) -> np.ndarray:
    """(..., 26) degrees -> (..., 72) axis-angle of the 24 joints with the root at rest."""
    lead = angles.shape[:-1]
    radians = np.deg2rad(angles)
    legs, arms, trunk = radians[..., :10], radians[..., 10:20], radians[..., 20:]
    matrices = np.broadcast_to(np.eye(3), (*lead, 24, 3, 3)).copy()
    for arm, (names, mirror) in enumerate(((LEFT, 1.0), (RIGHT, -1.0))):
        _bend_leg(matrices, names, legs[..., 5 * arm : 5 * arm + 5], mirror)
        _bend_arm(matrices, names, arms[..., 5 * arm : 5 * arm + 5], mirror)
    for joint, share in ((3, 0.4), (6, 0.3), (9, 0.3)):
        flexion, side, twist = np.moveaxis(share * trunk[..., :3], -1, 0)
        matrices[..., joint, :, :] = _turns(flexion, X, side, Z, twist, Y)
    for joint in (12, 15):
        flexion, side, twist = np.moveaxis(0.5 * trunk[..., 3:], -1, 0)
        matrices[..., joint, :, :] = _turns(flexion, X, side, Z, twist, Y)
    return matrix_to_axis_angle(torch.from_numpy(matrices)).numpy().reshape(*lead, 72)


def _bend_leg(matrices: np.ndarray, names: dict[str, int], angles: np.ndarray, mirror: float) -> None:
    flexion, abduction, rotation, knee, ankle = np.moveaxis(angles, -1, 0)
    matrices[..., names["hip"], :, :] = _turns(mirror * abduction, Z, -flexion, X, -mirror * rotation, Y)
    matrices[..., names["knee"], :, :] = _turns(knee, X)
    matrices[..., names["ankle"], :, :] = _turns(-ankle, X)


def _bend_arm(matrices: np.ndarray, names: dict[str, int], angles: np.ndarray, mirror: float) -> None:
    elevation, azimuth, twist, elbow, forearm = np.moveaxis(angles, -1, 0)
    raised = elevation - np.pi / 2
    collar = (0.18 * raised).clip(-0.12, 0.3)  # the shoulder blade takes its part
    # the azimuth turns a hanging or upright arm about itself: take that back
    own = twist - azimuth * np.cos(elevation)
    matrices[..., names["collar"], :, :] = _turns(mirror * collar, Z)
    matrices[..., names["shoulder"], :, :] = _turns(-mirror * azimuth, Y, mirror * (raised - collar), Z, own, X)
    matrices[..., names["elbow"], :, :] = _turns(-mirror * elbow, Y)
    matrices[..., names["wrist"], :, :] = _turns(forearm, X, mirror * 0.3 * twist, Z)


def _turns(*turns: np.ndarray) -> np.ndarray:
    """Product of turns, given as angle, axis, angle, axis ...: (..., 3, 3); the last one acts first."""
    product = None
    for angle, axis in zip(turns[::2], turns[1::2], strict=True):
        matrix = axis_angle_to_matrix(torch.from_numpy(np.asarray(angle)[..., None] * axis)).numpy()
        product = matrix if product is None else product @ matrix
    assert product is not None
    return product


def draw_poses(rngs: list[RandomState], rest: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """(B, 72) one pose for each generator, the root at rest: the first of its candidates that is free of itself.

    rest: (24, 3) joints of the mean body at rest. Where every candidate collides, the mildest is taken.
    """
    poses = pose_from_angles(np.stack([draw_angles(rng) for rng in rngs]))  # (B, C, 72)
    excess = (overlap(joint_positions(poses, rest, parents)) - ALLOWED_OVERLAP).clip(0)
    return poses[np.arange(len(rngs)), excess.argmin(1)]
