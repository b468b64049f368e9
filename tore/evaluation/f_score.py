"""F-scores of surfaces as point sets (Knapitsch et al. 2017), as FreiHAND measures them.

A predicted vertex is right when a true one lies closer than a threshold, and a true one is found when a predicted one
does; the F-score is the harmonic mean of the two shares.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 16  # samples whose distances are held at once, 10 MB for 16 hands of 778 x 778 in float64
EXACT = "donot_use_mm_for_euclid_dist"  # matrix products lose half of the digits of short distances


def nearest_distances(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """From each of points (B, N, 3) to the nearest of others (B, M, 3), and back: (B, N) and (B, M)."""
    there, back = [], []
    for some, target in zip(points.split(CHUNK), others.split(CHUNK), strict=True):
        apart = torch.cdist(some, target, compute_mode=EXACT)  # (b, N, M)
        there.append(apart.amin(2))
        back.append(apart.amin(1))
    return torch.cat(there), torch.cat(back)


def f_scores(predicted: Tensor, target: Tensor, thresholds: Sequence[float]) -> Tensor:
    """F-scores (B, T) in [0, 1] of points (B, N, 3) against (B, M, 3) at T thresholds in their unit.

    Closer means strictly closer; without any point in reach the score is 0.
    """
    to_target, to_predicted = nearest_distances(predicted, target)
    limits = torch.as_tensor(thresholds, dtype=predicted.dtype, device=predicted.device)
    right = (to_target[:, :, None] < limits).to(predicted.dtype).mean(1)  # (B, T)
    found = (to_predicted[:, :, None] < limits).to(predicted.dtype).mean(1)
    return 2 * right * found / (right + found).clamp_min(torch.finfo(predicted.dtype).tiny)
