"""A backbone with a small joint-heatmap head, to teach the backbone where joints are before the network trains.

Not published: the published backbones start from ImageNet. From scratch the Transformers learn nothing until the
feature map says something, and this head says it what to learn at a fraction of their cost.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.backbones import STRIDE, Backbone

SPREAD = 3  # what each cell says of a joint beside its weight: x, y, z


class WarmUpPrediction(NamedTuple):
    """Joints as the head sees them."""

    heatmap: Tensor  # (B, J, h*w) logits over the feature map's cells
    joints_2d: Tensor  # (B, J, 2) in [-1, 1] of the crop
    joints_3d: Tensor  # (B, J, 3) metres, relative to the root


class WarmUpNetwork(nn.Module):
    """picture (B, 3, H, W) -> `WarmUpPrediction` of all labelled joints.

    Each cell of the feature map weighs every joint and says where in space it would be; the joint is the mean of what
    the cells say, and its place in the picture the mean of their places.
    """

    def __init__(self, *, backbone: Backbone, joints: int, size: int) -> None:
        """`size`: side in pixels that square pictures are brought to first, a multiple of the stride."""
        if size < STRIDE or size % STRIDE:
            raise ValueError(f"--size {size} is not a multiple of the backbone's stride {STRIDE}; use 128 or 224")
        super().__init__()
        self.backbone = backbone
        self.joints = joints
        self.size = size
        self.head = nn.Conv2d(backbone.channels, joints * (1 + SPREAD), kernel_size=1)

    def forward(self, images: Tensor) -> WarmUpPrediction:
        """images (B, 3, H, W), ImageNet-normalised."""
        if images.shape[-1] != self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        said = self.head(self.backbone(images))  # (B, J * 4, h, w)
        grid = (said.shape[2], said.shape[3])
        said = said.flatten(2).unflatten(1, (self.joints, 1 + SPREAD))  # (B, J, 4, h*w)
        heatmap = said[:, :, 0]
        weight = heatmap.softmax(-1)  # (B, J, h*w)
        joints_2d = weight @ cell_centres(grid).to(weight)  # (B, J, 2)
        joints_3d = torch.einsum("bjn,bjcn->bjc", weight, said[:, :, 1:])
        return WarmUpPrediction(heatmap, joints_2d, joints_3d)


def cell_centres(grid: tuple[int, int]) -> Tensor:
    """Middles (h*w, 2) of a feature map's cells as x, y in [-1, 1] of the crop, row by row."""
    rows, columns = ((torch.arange(count) + 0.5) / count * 2 - 1 for count in grid)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), dim=-1).flatten(0, 1)
