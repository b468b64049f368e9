"""What a network predicted in a mirrored or rotated crop, along the axes of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tore_runtime.crop import rotation_2d


class Prediction(NamedTuple):
    """What a network says of B crops; lengths in meters, in the axes of the camera frame."""

    camera: np.ndarray  # (B, 3) weak perspective of the crop: scale, tx, ty
    joints: np.ndarray  # (B, J, 3)
    vertices: np.ndarray  # (B, V, 3)
    heatmap: np.ndarray | None = None  # (B, M, h * w) attention map of each kept image token
    rotations: np.ndarray | None = None  # (B, 24, 3, 3) of SMPL's joints relative to their parents


def mirrored_back(prediction: Prediction, which: Sequence[bool], columns: int) -> Prediction:
    """Predictions from mirrored images as those of the images, for the samples that `which` says.

    columns: of the feature map that heatmaps cover. Rotations stay: people are not mirrored.
    """
    if not any(which):
        return prediction
    mirrored = np.array(which)
    sign = np.where(mirrored, -1, 1).astype(prediction.camera.dtype)
    axes = np.stack([sign, np.ones_like(sign), np.ones_like(sign)], 1)  # (B, 3)
    heatmap = prediction.heatmap
    if heatmap is not None:
        turned = heatmap.reshape(*heatmap.shape[:2], -1, columns)[..., ::-1].reshape(heatmap.shape)
        heatmap = np.where(mirrored[:, None, None], turned, heatmap)
    return prediction._replace(
        camera=prediction.camera * np.roll(axes, 1, 1),  # scale, tx, ty
        joints=prediction.joints * axes[:, None],
        vertices=prediction.vertices * axes[:, None],
        heatmap=heatmap,
    )


def rotated_back(prediction: Prediction, rotations: Sequence[float]) -> Prediction:
    """Predictions from crops of these rotations in degrees, along the axes of the images: rotated about z.

    Heatmaps stay those of the crops. What a crop without rotation gave stays bit for bit.
    """
    if not any(rotations):
        return prediction
    turns = np.stack([rotation_2d(angle) for angle in rotations]).astype(np.float32)  # (B, 2, 2)

    def rotated(vectors: np.ndarray) -> np.ndarray:
        """(B, N, 2 or more)."""
        xy = [(turns[:, None, row] * vectors[..., :2]).sum(-1) for row in (0, 1)]  # (B, N) each
        return np.concatenate([np.stack(xy, -1), vectors[..., 2:]], -1)

    camera, root = prediction.camera, prediction.rotations
    if root is not None:
        columns = rotated(root[:, 0].swapaxes(1, 2)).swapaxes(1, 2)  # its columns are vectors
        root = np.concatenate([columns[:, None], root[:, 1:]], 1)
    return prediction._replace(
        camera=np.concatenate([camera[:, :1], rotated(camera[:, None, 1:])[:, 0]], 1),
        joints=rotated(prediction.joints),
        vertices=rotated(prediction.vertices),
        rotations=root,
    )
