"""Dropout whose masks are cheap to draw on a CPU.

torch draws a CPU's mask one Bernoulli number at a time, up to a third of a small network's training step. Here one
64-bit number decides on two entries by its halves; the probability is met to 2^-32, finer than float32 tells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HALF_RANGE = 2**31  # of a signed 32-bit number
WORD_START = -(2**63)


def drop(x: Tensor, probability: float) -> Tensor:
    """`x` with each entry 0 with `probability`, else divided by 1 - `probability`."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not 0 < probability < 1:
        return F.dropout(x, probability)
    words = torch.empty((x.numel() + 1) // 2, dtype=torch.int64).random_(WORD_START, None)
    halves = words.view(torch.int32)[: x.numel()].view(x.shape)
    kept = (halves >= round(2 * HALF_RANGE * probability) - HALF_RANGE).to(x.dtype)
    return x * kept.mul_(1 / (1 - probability))


class Dropout(nn.Module):
    """`drop` in training, nothing in evaluation."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.p = probability

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return drop(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
