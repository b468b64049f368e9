"""The random draws of training, and what they do to colors, points, joints and poses.

The draws follow the official order and distributions, from the generator that is given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import RandomState

from tore.body.joints import J24_FLIP, SMPL_FLIP
from tore.image_format import OFFICIAL_FORMAT, ImageFormat
from tore_runtime.crop import Crop, rotation_2d
from tore_runtime.cutting import map_points

COLOR_NOISE = 0.4
ROTATION_OFF_SHARE = 0.6
FLIP_SHARE = 0.5
OCCLUDER_SIDES = (0.1, 0.45)  # of the crop's side


@dataclass(frozen=True)
class Ranges:
    """How far the draws of one kind of body go; degrees for the rotation, shares of 1 for the rest."""

    flip: bool
    rotation_std: float
    scale_std: float
    mask_share: float
    shift: float = 0.0  # the crop's center moves by up to this share of its side along x and y
    occlusion: float = 0.0  # share of the images in which a rectangle of one color covers a part


@dataclass(frozen=True)
class Draw:
    """One sample's augmentation; the defaults change nothing."""

    flip: bool = False
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factors of R, G, B
    rotation: float = 0.0  # degrees
    scale: float = 1.0  # factor of the label's scale
    shift: tuple[float, float] = (0.0, 0.0)  # of the crop's center along the image's x and y, shares of its side
    occluder: tuple[float, ...] | None = None  # left, top, right, bottom, shares of a side; R, G, B


def draw_augmentation(rng: RandomState, ranges: Ranges) -> Draw:
    """The draws made before the image is read."""
    flip = ranges.flip and rng.uniform() <= FLIP_SHARE  # Official: hands draw no number here
    color = rng.uniform(1 - COLOR_NOISE, 1 + COLOR_NOISE, 3)
    limit = 2 * ranges.rotation_std
    rotation = float(np.clip(rng.randn() * ranges.rotation_std, -limit, limit))
    scale = float(np.clip(rng.randn() * ranges.scale_std + 1, 1 - ranges.scale_std, 1 + ranges.scale_std))
    if rng.uniform() <= ROTATION_OFF_SHARE:
        rotation = 0.0
    return Draw(bool(flip), (float(color[0]), float(color[1]), float(color[2])), rotation, scale)


def draw_more(rng: RandomState, draw: Draw, ranges: Ranges) -> Draw:
    """What is not official, drawn behind everything else, so that the other draws are as without it."""
    if ranges.shift:
        x, y = rng.uniform(-ranges.shift, ranges.shift, 2)
        draw = replace(draw, shift=(float(x), float(y)))
    if ranges.occlusion and rng.uniform() <= ranges.occlusion:
        sides, shade = rng.uniform(*OCCLUDER_SIDES, 2), rng.uniform(0, 255, 3)
        corner = rng.uniform(-sides / 2, 1 - sides / 2)
        draw = replace(draw, occluder=tuple(map(float, (*corner, *(corner + sides), *shade))))
    return draw


def covered(crop: np.ndarray, occluder: tuple[float, ...]) -> np.ndarray:
    """A crop (n, n, 3) RGB, or its copy with the occluder of a draw on it."""
    crop, bounds = crop.copy(), np.rint(np.multiply(occluder[:4], len(crop))).astype(int).clip(0, len(crop))
    left, top, right, bottom = bounds
    crop[top:bottom, left:right] = occluder[4:]
    return crop


def draw_mask(rng: RandomState, count: int, share: float) -> np.ndarray:
    """(count, 1) float32, 1 kept and 0 masked; up to `share` of the entries are masked."""
    masked = int(rng.random_sample() * share * count)
    mask = np.ones((count, 1), dtype=np.float32)
    mask[rng.choice(count, masked, replace=False)] = 0
    return mask


def finish_image(crop: np.ndarray, draw: Draw, image_format: ImageFormat = OFFICIAL_FORMAT) -> np.ndarray:
    """A crop (n, n, 3) RGB in 0..255 becomes (3, n, n) float32: flipped, colored, normalized for the network.

    float64, or whole numbers in uint8, of which each of the 256 is worked out once.
    """
    if draw.flip:
        crop = crop[:, ::-1]
    if draw.occluder is not None:
        crop = covered(crop, draw.occluder)
    if crop.dtype == np.uint8:
        shades = np.repeat(np.arange(256.0)[None, :, None], 3, axis=2)
        table = finish_image(shades, Draw(color=draw.color), image_format).transpose(1, 2, 0)  # (1, 256, 3)
        return np.ascontiguousarray(cv2.LUT(crop, np.ascontiguousarray(table)).transpose(2, 0, 1))
    return image_format.normalized(crop, draw.color)


def augment_joints_2d(joints: np.ndarray, crop: Crop, draw: Draw, size: int) -> np.ndarray:
    """(J, 3) source pixels and confidence become (J, 3) float32 in [-1, 1] of the crop of the same draw."""
    joints = joints.copy()
    joints[:, :2] = 2.0 * map_points(crop.matrix(size), joints[:, :2] + 1) / size - 1.0
    return _flip_joints(joints, draw).astype(np.float32)


def augment_joints_3d(joints: np.ndarray, draw: Draw) -> np.ndarray:
    """(J, 4) meters and confidence, root-relative, turned in the image plane and flipped; float32."""
    joints = joints.copy()
    if draw.rotation != 0:
        joints[:, :2] = joints[:, :2] @ rotation_2d(-draw.rotation).T
    return _flip_joints(joints, draw).astype(np.float32)


def augment_pose(pose: np.ndarray, draw: Draw) -> np.ndarray:
    """(3 K,) axis-angle radians: the root turned about the viewing axis, left and right exchanged; float32."""
    pose = pose.copy()
    turn = np.eye(3)
    turn[:2, :2] = rotation_2d(-draw.rotation)
    # Official: the root goes through its matrix even where nothing turns, so its angle ends up within pi
    pose[:3] = cv2.Rodrigues(turn @ cv2.Rodrigues(pose[:3])[0])[0][:, 0]
    if draw.flip:
        pose = pose.reshape(-1, 3)[list(SMPL_FLIP)]  # (24, 3)
        pose[:, 1:] *= -1
        pose = pose.reshape(-1)
    return pose.astype(np.float32)


def _flip_joints(joints: np.ndarray, draw: Draw) -> np.ndarray:
    if not draw.flip:
        return joints
    joints = joints[list(J24_FLIP)]
    joints[:, 0] *= -1
    return joints
