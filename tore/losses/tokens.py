"""The image token pruning loss (paper section 3.3): kept tokens must look where the body is.

Every cluster's weights over the h x w feature cells are stretched to [0, 1]; what lies on a cell that no
vertex of the true mesh falls into is the loss. The true mesh is seen with the *predicted* camera.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STRETCH_EPSILON = 1e-12


def coverage_mask(projected: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which cells of `grid` (h, w) hold a point of `projected` (B, V, 2: x, y in [-1, 1]): (B, h, w) of 0 and 1.

    Points outside the picture hit no cell.
    """
    height, width = grid
    cell = (projected + 1) / 2 * projected.new_tensor((width, height))  # (B, V, 2), x then y
    inside = ((cell >= 0) & (cell < cell.new_tensor((width, height)))).all(-1)  # (B, V)
    column, row = torch.where(inside[..., None], cell, torch.zeros_like(cell)).long().unbind(-1)
    index = torch.where(inside, row * width + column, height * width)  # the last place gathers the outsiders
    hit = projected.new_zeros(len(projected), height * width + 1).scatter_(1, index, 1.0)
    return hit[:, :-1].unflatten(1, (height, width))


def stretch_clusters(heatmap: Tensor) -> Tensor:
    """Each cluster's weights (B, M, cells) moved to [0, 1]; the gradient flows through minimum and maximum too."""
    low, high = heatmap.amin(-1, keepdim=True), heatmap.amax(-1, keepdim=True)
    return (heatmap - low) / (high - low + STRETCH_EPSILON)


def itp_loss(heatmap: Tensor, projected: Tensor, has_mesh: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sum over labelled samples, clusters and cells of stretched weight x (1 - coverage).

    heatmap (B, M, h*w), projected (B, V, 2) the true full mesh in the crop, has_mesh (B,), grid (h, w).
    Published: a plain sum, so it grows with the samples of one process.
    """
    with torch.no_grad():
        outside = 1 - coverage_mask(projected.detach().to(heatmap), grid).flatten(1)  # (B, h*w)
        outside = outside * (has_mesh != 0)[:, None]
    return torch.einsum("bmc,bc->", stretch_clusters(heatmap), outside)


def itp_weight(maximum: float, progress: float) -> float:
    """Weight of the loss after `progress` epochs (iteration / iterations per epoch): a slow start around epoch 3."""
    return maximum / (1 + math.exp(3 - progress))
