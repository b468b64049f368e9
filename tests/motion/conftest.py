"""Motions of the synthetic figures and of bodies in the licensed files' form, and what a body model says of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from manopth.files import load_body_arrays
from tests.body import naive
from tore.body import BodyModel, load_body
from tore.body.files import model_path
from tore.body.joints import SKELETON_NAMES
from tore.motion import Motion

FRAMES, RATE = 9, 29.97


@dataclass
class Case:
    """A motion and its body model, read plainly."""

    motion: Motion
    body: BodyModel
    arrays: dict[str, np.ndarray]

    def rotations(self) -> np.ndarray:
        """(T, K, 3, 3) of a right hand or a body, by axis-angle vectors alone."""
        pose = self.motion.pose.reshape(len(self.motion.pose), -1, 3).copy()
        if self.motion.kind == "hand":
            pose[:, 1:] += self.arrays["hands_mean"].reshape(15, 3)
        return Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(*pose.shape[:2], 3, 3)

    def said(self, correctives: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (T, V, 3) and joints (T, K, 3) by the oracle, translation added."""
        arrays = self.arrays if correctives else self.arrays | {"posedirs": 0 * self.arrays["posedirs"]}
        betas = torch.from_numpy(np.median(self.motion.betas, 0)).expand(len(self.motion.betas), -1)
        vertices, joints = naive.skin(torch.from_numpy(self.rotations()), betas, arrays)
        return vertices.numpy() + self.motion.translation[:, None], joints.numpy() + self.motion.translation[:, None]


def motion_of(kind: str, seed: int = 0) -> Motion:
    """Smooth rotations through three poses, which turn some joints by more than a right angle, and a moving place."""
    rng = np.random.default_rng(seed)
    joints = len(SKELETON_NAMES[kind])
    keys = rng.normal(0, 0.5, (3, joints, 3))
    keys[:, 0] += [[0, 0, 0], [0, 2.0, 0], [1.0, 3.5, 0]]  # the root turns beyond half a turn
    wanted = np.linspace(0, 2, FRAMES)
    pose = [Slerp(range(3), Rotation.from_rotvec(keys[:, joint]))(wanted).as_rotvec() for joint in range(joints)]
    betas = np.tile(rng.normal(0, 1, 10), (FRAMES, 1))
    place = np.array([0.3, 1.2, -2.0]) + rng.normal(0, 0.05, (FRAMES, 3)).cumsum(0)
    return Motion("walk", kind, np.concatenate(pose, 1), betas, place, RATE)


@pytest.fixture(params=["synthetic body", "synthetic hand", "official body", "official hand"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each body model in turn."""
    made, kind = request.param.split()
    return case_of(kind, request.getfixturevalue("synthetic_body_dir" if made == "synthetic" else "rule_body_dir"))


@functools.cache
def case_of(kind: str, folder: Path) -> Case:
    """A motion of the folder's model of a kind."""
    return Case(motion_of(kind), load_body(kind, folder), load_body_arrays(model_path(kind, folder)))
