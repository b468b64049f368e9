"""The mean over the samples of a batch that carry a label."""

from __future__ import annotations

import torch
from torch import Tensor


def labelled_mean(values: Tensor, has: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean of `values` (B, ...) over the samples whose flag `has` (B,) is not 0 and over all other axes.

    `count` is the number of labelled samples to divide by; by default those of this batch. With several processes
    it is the mean count per process, so that averaged gradients are those of the whole batch. A batch without a
    labelled sample contributes 0, and what unlabelled samples hold never matters, not even NaN.
    """
    labelled = has != 0
    per_sample = values.flatten(1).mean(1)  # (B,)
    total = torch.where(labelled, per_sample, torch.zeros_like(per_sample)).sum()
    count = labelled.sum() if count is None else count
    return total / count.to(total).clamp_min(torch.finfo(total.dtype).tiny)
