"""Who is before the camera, and the label that says so.

A label's pose is in the camera frame (x right, y down, z away), so that an upright person who faces the camera has a
root of half a turn about x, as in the official data sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tore.body import MANO, SMPL, load_body
from tore.datasets.convert.freihand import SCALE as HAND_SCALE
from tore.datasets.convert.freihand import SIDE as HAND_SIDE
from tore.geometry.camera import PinholeCamera
from tore_runtime.cutting import box_around

BATCH = 16  # images made in a row by one process
SPLITS = {"train": 0, "val": 1}  # of a set: the number that joins the seed


@dataclass(frozen=True)
class Figure:
    """What images need to know of a body model, as numpy arrays."""

    kind: str
    model: SMPL | MANO
    faces: np.ndarray  # (F, 3)
    part: np.ndarray  # (V,) the joint that each vertex follows most
    mean_pose: np.ndarray  # (45,) what a hand's model adds to its pose; zeros (0,) for a body


class Subject(NamedTuple):
    """The labeled person or hand, and the camera; meshes and joints have its axes and the body model's origin."""

    pose: np.ndarray  # (72 | 48,) float32, root in the camera frame
    betas: np.ndarray  # (10,) float32
    vertices: np.ndarray  # (V, 3) meters
    joints: np.ndarray  # (24 | 21, 3) label joints
    camera: PinholeCamera
    translation: np.ndarray  # (3,) meters that put the mesh before the camera


class Sample(NamedTuple):
    """One row of the data set."""

    jpeg: bytes
    label: dict
    mask: np.ndarray  # (n, n) bool: the person's pixels (a hand's with its forearm), before anything hides them


def load_figure(kind: str, body_dir: str | Path | None = None) -> Figure:
    """The body model of `body_dir` ("body" or "hand"), ready for posing. Errors as `load_body`."""
    model = load_body(kind, body_dir)
    mean_pose = model.layer.th_hands_mean.double().numpy().reshape(-1) if isinstance(model, MANO) else np.zeros(0)
    return Figure(kind, model, model.faces.numpy(), model.skinned.weights.argmax(0).numpy(), mean_pose)


def label_of(kind: str, subject: Subject, size: int) -> dict:
    """The JSON value of the subject: every field of the official data format, and `camera`.

    2D joints are those of 3D joints plus the camera's translation, in continuous pixels, confidence 0 outside the
    image. 3D joints have the axes of the camera and the origin of the body model.
    """
    camera, translation, joints = subject.camera, subject.translation, subject.joints
    points = camera.project(joints + translation)
    inside = ((points >= 0) & (points < size)).all(1, keepdims=True)
    center, scale = box_around(camera.project(subject.vertices + translation))
    if kind == "hand":  # as FreiHAND's labels
        center, scale = np.array([size / 2, size / 2]), HAND_SCALE * size / HAND_SIDE
    x, y = camera.principal_point
    ones = np.ones((len(joints), 1))
    return {
        "center": _numbers(center, 3),
        "scale": round(scale, 6),
        "2d_joints": _numbers(np.hstack([points, inside]), 3),
        "3d_joints": _numbers(np.hstack([joints, ones]), 6),
        "has_2d_joints": 1,
        "has_3d_joints": 1,
        "has_smpl": 1,
        "pose": _numbers(subject.pose, 7),
        "betas": _numbers(subject.betas, 7),
        "camera": {
            "focal_length": round(camera.focal_length, 6),
            "principal_point": [x, y],
            "translation": _numbers(translation, 7),
        },
    }


def _numbers(values: np.ndarray, digits: int) -> list:
    return np.asarray(values, np.float64).round(digits).tolist()
