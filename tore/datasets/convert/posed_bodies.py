"""3DPW labels from SMPL parameters in the camera frame: what both of its source formats share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tore.body import SMPL
from tore.body.files import model_path
from tore.datasets.convert.entries import NOT_FINITE, Entry, Person, box, project_pinhole, with_confidence
from tore.datasets.convert.reading import chunks

CHUNK = 64  # people through the body model at once; fixed, so that a resumed run computes the same bits
BEHIND = "the person is behind the camera"


class BodyModels:
    """The SMPL models of the genders that a source needs, in float64, each loaded once.

    `description` names the model files, so that an interrupted conversion is not taken up with others.
    """

    def __init__(self, genders: set[str], data_dir: str | Path | None = None) -> None:
        self._models = {gender: SMPL(data_dir, gender).double() for gender in sorted(genders)}
        self.description = {gender: model_path("body", data_dir, gender).name for gender in self._models}

    def rest_pelvis(self, gender: str, betas: np.ndarray) -> np.ndarray:
        """Root joint (3,) in metres of the skeleton of betas (10,), about which the root pose turns the body."""
        with torch.no_grad():
            _, skeleton = self._models[gender].skin(torch.from_numpy(np.zeros((1, 72))), torch.from_numpy(betas[None]))
        return skeleton[0, 0].numpy()

    def joints24(self, gender: str, poses: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """The 24 train joints (N,24,3) in metres, without translation, of poses (N,72) and betas (N,10)."""
        joints = np.empty((len(poses), 24, 3))
        with torch.no_grad():
            for part in chunks(len(poses), CHUNK):
                vertices, _ = self._models[gender].skin(torch.from_numpy(poses[part]), torch.from_numpy(betas[part]))
                joints[part] = self._models[gender].joints24(vertices).numpy()
        return joints


def entry(
    key: str,
    joints: np.ndarray,  # (24,3) metres, without translation
    translation: np.ndarray,  # (3,) metres, camera frame
    intrinsics: np.ndarray,  # (3,3)
    pose: np.ndarray,
    betas: np.ndarray,
    gender: str | None,
    boxed: tuple[np.ndarray, float] | None = None,
) -> Entry:
    """A row with everything known: joints, their pinhole projection, SMPL; the box of the projected joints by default.

    A joint behind the camera gets 2D confidence 0; a person wholly behind it, or without finite numbers, is left out.
    """
    if not np.isfinite(joints + translation).all():
        return Entry(key, None, NOT_FINITE)
    joints_2d = project_pinhole(joints + translation, intrinsics)
    visible = joints_2d[:, 2] > 0
    if not visible.any():
        return Entry(key, None, BEHIND)
    center, scale = boxed or box(joints_2d[visible, :2])
    return Entry(key, Person(center, scale, joints_2d, with_confidence(joints), pose, betas, gender).label())
