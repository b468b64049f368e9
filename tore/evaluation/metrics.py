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


def centred(points: Tensor, centre: Sequence[int]) -> Tensor:
    """Points (B, N, 3) minus the mean of those whose indices `centre` lists."""
    return points - points[:, list(centre)].mean(1, keepdim=True)


def distances(predicted: Tensor, target: Tensor) -> Tensor:
    """Euclidean distances (B, N) between points (B, N, 3)."""
    return torch.linalg.vector_norm(predicted - target, dim=-1)


def joint_errors(predicted: Tensor, target: Tensor, centre: Sequence[int]) -> Tensor:
    """Distances (B, J) of joints (B, J, 3), each set centred on its own `centre` joints: MPJPE before its mean."""
    return distances(centred(predicted, centre), centred(target, centre))


def aligned_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Distances (B, N) after the similarity that brings each sample closest to its target: PA errors."""
    return distances(align_similarity(predicted, target), target)


def within_thresholds(errors: Tensor, limit: float = PCK_THRESHOLD, steps: int = PCK_STEPS) -> Tensor:
    """(B, steps) share of each sample's errors (B, N), metres, that are at most 0, 5, ... 150 mm, or up to `limit`."""
    thresholds = torch.linspace(0, limit, steps, dtype=errors.dtype, device=errors.device)
    return (errors[:, :, None] <= thresholds).to(errors.dtype).mean(1)
