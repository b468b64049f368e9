"""What a network predicted in a mirrored or rotated crop, along the axes of the image."""

from __future__ import annotations

import numpy as np
import torch

from tore.geometry.crop import rotation_2d
from tore.modeling.heads import MeshPrediction


def mirrored_back(prediction: MeshPrediction, which: list[bool], columns: int) -> MeshPrediction:
    """Predictions from mirrored images as those of the images, for the samples that `which` says.

    columns: of the feature map that heatmaps cover. Keypoints stay those of the mirrored images.
    """
    if not any(which):
        return prediction
    mirrored = torch.tensor(which, device=prediction.camera.device)
    sign = 1 - 2 * mirrored.to(prediction.camera.dtype)
    axes = torch.stack([sign, torch.ones_like(sign), torch.ones_like(sign)], 1)  # (B, 3)
    changed = {
        "camera": prediction.camera * axes.roll(1, 1),  # scale, tx, ty
        "joints": prediction.joints * axes[:, None],
        "vertices_coarse": prediction.vertices_coarse * axes[:, None],
        "vertices": prediction.vertices * axes[:, None],
    }
    if prediction.heatmap is not None:
        turned = prediction.heatmap.unflatten(2, (-1, columns)).flip(3).flatten(2)  # (B, M, h*w)
        changed["heatmap"] = torch.where(mirrored[:, None, None], turned, prediction.heatmap)
    return prediction._replace(**changed)


def rotated_back(prediction: MeshPrediction, rotations: list[float]) -> MeshPrediction:
    """Predictions from crops of these rotations in degrees, along the axes of the images: rotated about z.

    Heatmaps and keypoints stay those of the crops. What a crop without rotation gave stays bit for bit.
    """
    if not any(rotations):
        return prediction
    device, turns = prediction.camera.device, torch.from_numpy(np.stack([rotation_2d(angle) for angle in rotations]))
    turns = turns.to(device, torch.float32)  # (B, 2, 2)

    def rotated(vectors: torch.Tensor) -> torch.Tensor:
        """(B, N, 2 or more), by sums of products, which no setting of the device rounds."""
        vectors = vectors.float()
        xy = [(turns[:, None, row] * vectors[..., :2]).sum(-1) for row in (0, 1)]  # (B, N) each
        return torch.cat([torch.stack(xy, -1), vectors[..., 2:]], -1)

    camera = prediction.camera.float()
    changed = {
        "camera": torch.cat([camera[:, :1], rotated(camera[:, None, 1:])[:, 0]], 1),
        "joints": rotated(prediction.joints),
        "vertices_coarse": rotated(prediction.vertices_coarse),
        "vertices": rotated(prediction.vertices),
    }
    if prediction.vertices_mid is not None:
        changed["vertices_mid"] = rotated(prediction.vertices_mid)
    if prediction.rotations is not None:
        root = rotated(prediction.rotations[:, 0].mT).mT  # its columns are vectors
        changed["rotations"] = torch.cat([root[:, None], prediction.rotations[:, 1:].float()], 1)
    return prediction._replace(**changed)
