"""Similarity alignment (Procrustes) of point sets, and the mean of aligned predictions."""

from __future__ import annotations

import torch

from manopth.precision import full_precision
from manopth.rotations import nearest_orthogonal


@full_precision
def align_similarity(source: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """`source` (B, N, 3) moved, turned without reflection and scaled to lie closest to `target` (B, N, 3).

    Least squares over the N points of each sample, any unit; with `weights` (B, N) weighted by them, so that points of
    weight 0 are moved along and decide nothing. Works in float64 and returns the dtype of `source`.
    A source whose points all coincide lands on the middle of its target.
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

    The similarity that brings each one closest takes out the turn of a turned picture, and the size and depth that a
    wider or narrower crop suggests.
    """
    aligned = align_similarity(others.flatten(0, 1), reference.repeat_interleave(others.shape[1], 0))
    return torch.cat([reference[:, None], aligned.unflatten(0, others.shape[:2])], 1).mean(1)
