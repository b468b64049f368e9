"""The terms of the image side's warm-up: joints as heatmaps, in the crop, and in space. Not published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tore.losses.keypoints import absolute_distance, joints_2d_loss
from tore.losses.reduction import labelled_mean

WEIGHTS = {"heatmap": 0.1, "joints_2d": 1.0, "joints_3d": 4.0}
LEAST = 1e-8  # of a heatmap's weights, below which no logarithm goes


def heatmap_targets(joints_2d: Tensor, grid: tuple[int, int]) -> Tensor:
    """Where joints (B, J, 2) in [-1, 1] lie on a feature map: (B, J, h*w), shared out over the four nearest cells.

    The shares of a joint sum to 1; one beyond the outermost cells' middles counts to the outermost cells.
    """
    height, width = grid
    size = joints_2d.new_tensor((width, height))
    place = ((joints_2d + 1) / 2 * size - 0.5).clamp(min=0).minimum(size - 1)  # (B, J, 2)
    columns, rows = (
        (1 - (place[..., axis, None] - torch.arange(count).to(place)).abs()).clamp(min=0)
        for axis, count in ((0, width), (1, height))
    )
    return (rows[..., :, None] * columns[..., None, :]).flatten(2)  # (B, J, h*w)


def warm_up_terms(
    prediction: Any, batch: Mapping[str, Tensor], joint_of: Tensor, grid: tuple[int, int]
) -> dict[str, Tensor]:
    """The unweighted terms by name, means over tokens; confidence-weighted, 3D over the samples with 3D joints.

    prediction: `heatmap (B, M, h*w)`, `joints_2d (B, M, 2)`, `joints_3d (B, M, 3)`; batch: the data set's
    `joints_2d (B, J, 3)`, `joints_3d (B, J, 4)`, `has_3d_joints (B,)`; joint_of (M,): which joint a token is.
    A joint outside of the crop has no heatmap.
    """
    seen, space = batch["joints_2d"][:, joint_of], batch["joints_3d"][:, joint_of]
    inside = seen[..., 2] * (seen[..., :2].abs() < 1).all(-1)
    aims = heatmap_targets(seen[..., :2], grid)
    cross_entropy = -(aims * prediction.heatmap.clamp(min=LEAST).log()).sum(-1)  # (B, M)
    error = space[..., 3:] * absolute_distance(prediction.joints_3d, space[..., :3])
    return {
        "heatmap": (inside * cross_entropy).mean(),
        "joints_2d": joints_2d_loss(prediction.joints_2d, seen, distance=absolute_distance),
        "joints_3d": labelled_mean(error, batch["has_3d_joints"], None),
    }
