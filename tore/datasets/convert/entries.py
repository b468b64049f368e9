"""What every source of annotations gives, one entry per person, and the body models that pose them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from tore.body import SMPL
from tore.body.files import model_path
from tore.datasets.convert.reading import chunks
from tore.paths import MADE_BODIES, find_body_files
from tore_runtime.cutting import box_around

SIZES = {"body": (24, 72), "hand": (21, 48)}  # joints, pose numbers
BETAS = 10
NOT_FINITE = "the label holds a number that is not finite"


class Entry(NamedTuple):
    """One row of a source: the image's path below the root, and its label or the reason why it has none."""

    key: str
    label: dict[str, Any] | None
    left_out: str = ""


class Source(Protocol):
    """A source's rows in an order that depends on its files alone, so that a conversion can be taken up anywhere.

    `description` is JSON and tells one source from another: file names and sizes, options that change rows.
    """

    description: dict[str, Any]

    def __len__(self) -> int:
        """Entries in all, those without a label included."""

    def entries(self, start: int) -> Iterator[Entry]:
        """The entries from number `start` on; their numbers do not depend on `start`, down to the last bit."""


@dataclass(frozen=True)
class Person:
    """One person's label; what is None is not known, which writes zeros and `has_*` = 0.

    center (2,) and scale (box side / 200) in pixels, joints_2d (J,3) pixels and confidence, joints_3d (J,4) meters and
    confidence, pose (72 | 48) radians, betas (10,). J is 24 for `kind` "body", 21 for "hand".
    """

    center: np.ndarray
    scale: float
    joints_2d: np.ndarray | None
    joints_3d: np.ndarray | None
    pose: np.ndarray | None
    betas: np.ndarray | None
    gender: str | None = None  # "male" | "female" | "neutral"
    kind: str = "body"

    def label(self) -> dict[str, Any]:
        """The fields of a label row, in the official order."""
        joints, pose_size = SIZES[self.kind]
        has_smpl = self.pose is not None and self.betas is not None
        fields = {
            "center": _numbers(self.center, (2,)),
            "scale": float(self.scale),
            "2d_joints": _numbers(self.joints_2d, (joints, 3)),
            "3d_joints": _numbers(self.joints_3d, (joints, 4)),
            "has_2d_joints": int(self.joints_2d is not None),
            "has_3d_joints": int(self.joints_3d is not None),
            "has_smpl": int(has_smpl),
            "pose": _numbers(self.pose if has_smpl else None, (pose_size,)),
            "betas": _numbers(self.betas if has_smpl else None, (BETAS,)),
        }
        return fields | ({"gender": self.gender[0]} if self.gender else {})


def _numbers(values: np.ndarray | None, shape: tuple[int, ...]) -> list:
    array = np.zeros(shape) if values is None else np.asarray(values, dtype=np.float64)
    assert array.shape == shape, (array.shape, shape)
    return array.tolist()


def project_pinhole(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixels and confidence (..., N, 3) of points (..., N, 3) in meters of the camera frame.

    `intrinsics` (..., 3, 3). A point that is not in front of the camera has no image: zeros, confidence 0.
    """
    rays = points @ np.swapaxes(intrinsics, -1, -2)  # (..., N, 3)
    visible = rays[..., 2:] > 0
    depth = np.where(visible, rays[..., 2:], 1.0)
    return np.concatenate([np.where(visible, rays[..., :2] / depth, 0.0), visible], -1)


def with_confidence(points: np.ndarray, confidence: float = 1.0) -> np.ndarray:
    """(..., N, 4): one confidence behind every point (..., N, 3)."""
    return np.concatenate([points, np.full((*points.shape[:-1], 1), confidence)], -1)


CHUNK = 64  # people through the body model at once; fixed, so that a resumed run computes the same bits
BEHIND = "the person is behind the camera"


class BodyModels:
    """The SMPL models of the genders that a source needs, in float64, each loaded once.

    `description` names the model files, so that an interrupted conversion is not taken up with others. Raises
    ValueError for the folder of another body model, whose joints would be others.
    """

    def __init__(self, genders: set[str], body_dir: str | Path | None = None) -> None:
        name = find_body_files("body", body_dir)[1].name
        if name in MADE_BODIES:
            raise ValueError(
                f"the source's poses and shapes are SMPL's, and the body model in use is {name!r}: name the folder of "
                "SMPL's files with --body_dir (docs/DATA.md)"
            )
        self._models = {gender: SMPL(body_dir, gender).double() for gender in sorted(genders)}
        self.description = {gender: model_path("body", body_dir, gender).name for gender in self._models}

    def rest_pelvis(self, gender: str, betas: np.ndarray) -> np.ndarray:
        """Root joint (3,) in meters of the skeleton of betas (10,), about which the root pose turns the body."""
        with torch.no_grad():
            _, skeleton = self._models[gender].skin(torch.from_numpy(np.zeros((1, 72))), torch.from_numpy(betas[None]))
        return skeleton[0, 0].numpy()

    def joints24(self, gender: str, poses: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """The 24 train joints (N,24,3) in meters, without translation, of poses (N,72) and betas (N,10)."""
        joints = np.empty((len(poses), 24, 3))
        with torch.no_grad():
            for part in chunks(len(poses), CHUNK):
                vertices, _ = self._models[gender].skin(torch.from_numpy(poses[part]), torch.from_numpy(betas[part]))
                joints[part] = self._models[gender].joints24(vertices).numpy()
        return joints


def entry(
    key: str,
    joints: np.ndarray,  # (24,3) meters, without translation
    translation: np.ndarray,  # (3,) meters, camera frame
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
    center, scale = boxed or box_around(joints_2d[visible, :2])
    return Entry(key, Person(center, scale, joints_2d, with_confidence(joints), pose, betas, gender).label())
