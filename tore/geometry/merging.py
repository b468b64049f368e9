"""Several predictions of the same points as one."""

from __future__ import annotations

import torch

from tore.geometry.procrustes import align_similarity


def merge_predictions(reference: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The mean (B, N, 3) of `reference` (B, N, 3) and of `others` (B, W, N, 3) aligned to it.

    The similarity that brings each one closest takes out the turn of a turned picture, and the size and depth that a
    wider or narrower crop suggests.
    """
    aligned = align_similarity(others.flatten(0, 1), reference.repeat_interleave(others.shape[1], 0))
    return torch.cat([reference[:, None], aligned.unflatten(0, others.shape[:2])], 1).mean(1)
