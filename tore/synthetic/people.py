"""Who stands before the camera, and where: shape, pose, facing, and the camera that takes the image.

A person's label pose is in the camera frame (x right, y down, z away), so that an upright person who faces the
camera has a root of half a turn about x, as in the official data sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import RandomState

from tore.body import MANO, SMPL, load_body
from tore.datasets.convert.freihand import SCALE as HAND_SCALE
from tore.datasets.convert.freihand import SIDE as HAND_SIDE
from tore.geometry.camera import PinholeCamera
from tore.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from tore.synthetic.hand_poses import draw_hand_poses, random_rotation
from tore.synthetic.poses import draw_poses
from tore_runtime.cutting import box_around

BATCH = 16  # images made in a row by one process
SPLITS = {"train": 0, "val": 1}  # of a set: the number that joins the seed
SHAPE_LIMIT = 2.2  # standard deviations
FACING_CAMERA = 0.55  # share of the people who face the camera more or less; the others any way
FACING_SPREAD = 45.0  # degrees, of those
CAMERA_PITCH, CAMERA_ROLL = (8.0, 11.0), 5.0  # degrees down: mean and spread; spread
LYING = 0.03
FOREARM_TOWARDS_CAMERA = -0.35  # least z of a forearm's direction
FILL = {"body": (0.55, 0.86), "hand": (0.42, 0.72)}  # longer side of the box over the image's side
SHIFT = {"body": 0.06, "hand": 0.035}  # of the side: how far the box's middle strays from the image's
CUT_OFF = 0.08  # share of the people that may stray over the image's edge
FOCAL_RANGE = {"body": (1.1, 3.0), "hand": (1.6, 4.0)}  # of the side


@dataclass(frozen=True)
class Figure:
    """What the painter and the poser need to know of a body model, as numpy arrays."""

    kind: str
    model: SMPL | MANO
    faces: np.ndarray  # (F, 3)
    rest: np.ndarray  # (V, 3) mean body at rest
    joints: np.ndarray  # (K, 3) its skeleton joints
    parents: np.ndarray  # (K,)
    part: np.ndarray  # (V,) the joint that each vertex follows most
    mean_pose: np.ndarray  # (45,) what a hand's model adds to its pose; zeros (0,) for a body


class People(NamedTuple):
    """A batch before the camera: B people, one for each image."""

    pose: np.ndarray  # (B, 72 | 48) float32, root in the camera frame
    betas: np.ndarray  # (B, 10) float32
    vertices: np.ndarray  # (B, V, 3) meters, camera axes, origin of the body model
    skeleton: np.ndarray  # (B, K, 3) the same
    joints: np.ndarray  # (B, 24 | 21, 3) label joints, the same
    up: np.ndarray  # (B, 3) away from the ground


class Shot(NamedTuple):
    """The camera of one image, and the translation that puts the person before it."""

    camera: PinholeCamera
    translation: np.ndarray  # (3,) meters


class Sample(NamedTuple):
    """One row of the data set."""

    jpeg: bytes
    label: dict
    mask: np.ndarray  # (n, n) bool: the person's pixels (a hand's with its forearm), before anything hides them


def load_figure(kind: str, body_dir: str | Path | None = None) -> Figure:
    """The body model of `body_dir` ("body" or "hand"), ready for posing. Errors as `load_body`."""
    model = load_body(kind, body_dir)
    skinned = model.skinned
    flat = torch.zeros(1, 3 * skinned.num_joints, dtype=torch.float32, device="cpu")
    mean_pose = np.zeros(0)
    if isinstance(model, MANO):
        mean_pose = model.layer.th_hands_mean.double().numpy().reshape(-1)
        flat[0, 3:] = -model.layer.th_hands_mean[0]
    with torch.no_grad():
        rest, joints = model.skin(flat, torch.zeros_like(flat[:, :10]))
    return Figure(
        kind=kind,
        model=model,
        faces=model.faces.numpy(),
        rest=rest[0].double().numpy(),
        joints=joints[0].double().numpy(),
        parents=skinned.parents.numpy(),
        part=skinned.weights.argmax(0).numpy(),
        mean_pose=mean_pose,
    )


def draw_people(figure: Figure, rngs: list[RandomState]) -> People:
    """One person for each generator: drawn apart, posed together."""
    betas = np.stack([rng.standard_normal(10).clip(-SHAPE_LIMIT, SHAPE_LIMIT) for rng in rngs])
    if figure.kind == "body":
        pose = draw_poses(rngs, figure.joints, figure.parents)
        roots, ups = zip(*(_body_root(rng) for rng in rngs), strict=True)
    else:
        pose = draw_hand_poses(rngs, figure.joints, figure.mean_pose)
        roots, ups = zip(*((_hand_root(rng), np.array([0.0, -1, 0])) for rng in rngs), strict=True)
    pose[:, :3] = matrix_to_axis_angle(torch.from_numpy(np.stack(roots))).numpy()
    with torch.no_grad():
        pose_t, betas_t = torch.from_numpy(pose).float(), torch.from_numpy(betas).float()
        vertices, skeleton = figure.model.skin(pose_t, betas_t)
        model = figure.model
        joints = model.joints24(vertices) if isinstance(model, SMPL) else model.regress_joints(vertices)
    return People(
        pose=pose_t.numpy(),
        betas=betas_t.numpy(),
        vertices=vertices.double().numpy(),
        skeleton=skeleton.double().numpy(),
        joints=joints.double().numpy(),
        up=np.stack(ups),
    )


def _turn(degrees: float, axis: tuple[float, float, float]) -> np.ndarray:
    return axis_angle_to_matrix(torch.from_numpy(np.asarray(axis, np.float64) * float(np.deg2rad(degrees)))).numpy()


def _body_root(rng: RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Root rotation (3, 3) in the camera frame, and the direction away from the ground (3,)."""
    pitch = CAMERA_PITCH[0] + CAMERA_PITCH[1] * rng.standard_normal()
    roll = CAMERA_ROLL * rng.standard_normal()
    faces, spread, anywhere = rng.random_sample() < FACING_CAMERA, rng.standard_normal(), rng.uniform(-180, 180)
    facing = FACING_SPREAD * spread if faces else anywhere
    sway = 4.0 * rng.standard_normal(2)
    lies, side = rng.random_sample() < LYING, rng.choice([-90, 90])
    camera = _turn(roll, (0, 0, 1)) @ _turn(pitch, (1, 0, 0))
    own = _turn(sway[0], (1, 0, 0)) @ _turn(sway[1], (0, 0, 1))
    if lies:
        own = _turn(float(side), (1, 0, 0)) @ own
    root = camera @ _turn(180, (1, 0, 0)) @ _turn(facing, (0, 1, 0)) @ own
    return root, camera @ np.array([0.0, -1.0, 0.0])


def _hand_root(rng: RandomState) -> np.ndarray:
    """Any rotation (3, 3) of the hand but those whose forearm, which rests along +x, would reach for the camera."""
    root = random_rotation(rng)
    return root if root[2, 0] > FOREARM_TOWARDS_CAMERA else _turn(180, (0, 1, 0)) @ root


def draw_shot(rng: RandomState, kind: str, vertices: np.ndarray, size: int) -> Shot:
    """A camera, and the place where the person's box has the drawn size and middle in an image of `size` pixels."""
    focal = size * float(np.exp(rng.uniform(*np.log(FOCAL_RANGE[kind]))))
    fill = size * float(rng.uniform(*FILL[kind]))
    stray = SHIFT[kind] * size * rng.standard_normal(2).clip(-2, 2)
    slack = (size - fill) / 2
    shift = 1.5 * stray if rng.random_sample() < CUT_OFF else stray.clip(-slack, slack)
    camera = PinholeCamera(focal, (size / 2, size / 2))
    wanted = size / 2 + shift
    vertices = vertices[::3]  # enough to know the size by
    low, high = vertices.min(0), vertices.max(0)
    translation = -(low + high) / 2
    translation[2] = focal * (high - low)[:2].max() / fill - low[2]
    for _ in range(4):  # perspective: correct place and distance by what the camera sees
        points = camera.project(vertices + translation)
        box_low, box_high = points.min(0), points.max(0)
        distance = (vertices[:, 2] + translation[2]).mean()
        translation[2] += distance * ((box_high - box_low).max() / fill - 1)
        translation[2] = max(translation[2], 0.3 * (high - low).max() - low[2])
        points = camera.project(vertices + translation)
        middle = (points.min(0) + points.max(0)) / 2
        translation[:2] += (wanted - middle) / focal * (vertices[:, 2] + translation[2]).mean()
    return Shot(camera, translation)


def label_of(figure: Figure, people: People, index: int, shot: Shot, size: int) -> dict:
    """The JSON value of person `index`: every field of the official data format, and `camera`.

    2D joints are those of 3D joints plus the camera's translation, in continuous pixels, confidence 0 outside the
    image. 3D joints have the axes of the camera and the origin of the body model.
    """
    joints = people.joints[index]
    points = shot.camera.project(joints + shot.translation)
    inside = ((points >= 0) & (points < size)).all(1, keepdims=True)
    outline = shot.camera.project(people.vertices[index] + shot.translation)
    center, scale = box_around(outline)
    if figure.kind == "hand":  # as FreiHAND's labels
        center, scale = np.array([size / 2, size / 2]), HAND_SCALE * size / HAND_SIDE
    x, y = shot.camera.principal_point
    ones = np.ones((len(joints), 1))
    return {
        "center": _numbers(center, 3),
        "scale": round(scale, 6),
        "2d_joints": _numbers(np.hstack([points, inside]), 3),
        "3d_joints": _numbers(np.hstack([joints, ones]), 6),
        "has_2d_joints": 1,
        "has_3d_joints": 1,
        "has_smpl": 1,
        "pose": _numbers(people.pose[index], 7),
        "betas": _numbers(people.betas[index], 7),
        "camera": {
            "focal_length": round(shot.camera.focal_length, 6),
            "principal_point": [x, y],
            "translation": _numbers(shot.translation, 7),
        },
    }


def _numbers(values: np.ndarray, digits: int) -> list:
    return np.asarray(values, np.float64).round(digits).tolist()
