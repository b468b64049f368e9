"""Errors per sample: distances, Procrustes-aligned distances, and the share of joints within thresholds.

Everything is in the unit of its inputs (metres here); printing multiplies by 1000.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tore.geometry.procrustes import align_similarity

PCK_THRESHOLD = 0.150  # metres; the curve behind the area under it runs from 0 to here
PCK_STEPS = 31  # 0, 5, ... 150 mm
ALIGNED_JOINTS = 3  # labelled joints that an alignment needs at least: two fit exactly, whatever is predicted


def centred(points: Tensor, centre: Sequence[int]) -> Tensor:
    """Points (B, N, 3) minus the mean of those whose indices `centre` lists."""
    return points - points[:, list(centre)].mean(1, keepdim=True)


def distances(predicted: Tensor, target: Tensor) -> Tensor:
    """Euclidean distances (B, N) between points (B, N, 3)."""
    return torch.linalg.vector_norm(predicted - target, dim=-1)


def joint_errors(predicted: Tensor, target: Tensor, centre: Sequence[int]) -> Tensor:
    """Distances (B, J) of joints (B, J, 3), each set centred on its own `centre` joints: MPJPE before its mean."""
    return distances(centred(predicted, centre), centred(target, centre))


def joint_weights(mask: Tensor) -> Tensor:
    """(B, J) float64: J / (number of labelled joints) where `mask` (B, J) is set, else 0.

    The mean over J of weighted values is that over the labelled joints; where all are labelled the weights are 1.
    """
    return mask.double() * (mask.shape[1] / mask.sum(1, keepdim=True).clamp_min(1).double())


def aligned_errors(predicted: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Distances (B, N) after the similarity that brings each sample closest to its target: PA errors.

    `mask` (B, N) bool: only the points that are set decide the alignment; what the others' distances are means nothing.
    """
    errors = distances(align_similarity(predicted, target), target)
    if mask is not None and not mask.all():
        partly = ~mask.all(1)
        some, goal = predicted[partly], target[partly]
        errors[partly] = distances(align_similarity(some, goal, mask[partly]), goal)
    return errors


def within_thresholds(
    errors: Tensor, limit: float = PCK_THRESHOLD, steps: int = PCK_STEPS, weights: Tensor | None = None
) -> Tensor:
    """(B, steps) share of each sample's errors (B, N), metres, that are at most 0, 5, ... 150 mm, or up to `limit`.

    `weights` (B, N): see `joint_weights`.
    """
    thresholds = torch.linspace(0, limit, steps, dtype=errors.dtype, device=errors.device)
    near = (errors[:, :, None] <= thresholds).to(errors.dtype)
    return (near if weights is None else near * weights[:, :, None]).mean(1)
