"""Alignment of point sets: Procrustes by a similarity, the mean of aligned predictions, 3D joints onto 2D ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from manopth.rotations import nearest_orthogonal
from manopth.tensors import full_precision

FIT_JOINTS = 6  # labeled joints that a fit needs at least


@full_precision
def align_similarity(source: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """`source` (B, N, 3) moved, turned without reflection and scaled to lie closest to `target` (B, N, 3).

    Least squares over the N points of each sample, any unit; with `weights` (B, N) weighted by them, so that points of
    weight 0 are moved along and decide nothing. Works in float64 and returns the dtype of `source`.
    A source whose points all coincide is moved to the centroid of its target.
    """
    points, goal = source.double(), target.double()
    if weights is None:
        middle, goal_middle = points.mean(-2, keepdim=True), goal.mean(-2, keepdim=True)
    else:
        weights = weights.to(points)[..., None]  # (B,N,1)
        total = weights.sum(-2, keepdim=True).clamp_min(torch.finfo(points.dtype).tiny)
        middle, goal_middle = ((weights * each).sum(-2, keepdim=True) / total for each in (points, goal))
    points, goal = points - middle, goal - goal_middle
    weighted = points if weights is None else weights * points
    covariance = goal.mT @ weighted  # (B,3,3)
    rotation = nearest_orthogonal(covariance, reflections=False)
    spread = (weighted * points).sum((-2, -1)) if weights is not None else points.square().sum((-2, -1))
    scale = (rotation * covariance).sum((-2, -1)) / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    aligned = scale[..., None, None] * (points @ rotation.mT) + goal_middle
    return aligned.to(source.dtype)


def merge_predictions(reference: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The mean (B, N, 3) of `reference` (B, N, 3) and of `others` (B, W, N, 3) aligned to it.

    The similarity that brings each one closest takes out the turn of a turned image, and the size and depth that a
    wider or narrower crop suggests.
    """
    aligned = align_similarity(others.flatten(0, 1), reference.repeat_interleave(others.shape[1], 0))
    return torch.cat([reference[:, None], aligned.unflatten(0, others.shape[:2])], 1).mean(1)


class WeakFit(NamedTuple):
    """Best scale and shift of 3D joints onto 2D ones: point = scale * xy + shift."""

    scale: float
    shift: np.ndarray  # (2,)
    residual: float  # root mean square distance


def fit_weak_perspective(joints_3d: np.ndarray, joints_2d: np.ndarray) -> WeakFit | None:
    """Least squares over joints (J, 4) and (J, 3) whose confidences, the last columns, are above 0; None if too few."""
    used = (joints_3d[:, -1] > 0) & (joints_2d[:, -1] > 0)
    points, goal = joints_3d[used, :2], joints_2d[used, :2]
    if used.sum() < FIT_JOINTS:
        return None
    middle, goal_middle = points.mean(0), goal.mean(0)
    spread = np.square(points - middle).sum()
    scale = float(((points - middle) * (goal - goal_middle)).sum() / max(spread, 1e-12))
    shift = goal_middle - scale * middle
    residual = np.sqrt(np.square(scale * points + shift - goal).sum(1).mean())
    return WeakFit(scale, shift, float(residual))
