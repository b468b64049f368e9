"""Dropout whose masks are cheap to draw and to apply on a CPU.

torch draws a CPU's mask one Bernoulli number at a time, up to a third of a small network's training step. Here a
generator that torch's own seeds gives 64 bits at a time, which decide on two entries; the probability is met to 2^-30,
finer than float32 tells. Read as a float, an entry's 30 bits keep their order, so that the comparison and the choice
between the entry and 0 are one vectorised operation, a threshold's backward pass.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.kernel_choice import takes_own_kernels

BITS = 30  # of an entry: no sign, and no exponent that means "not a number"
BOTH_HALVES = (2**BITS - 1) * (2**32 + 1)
SEEDS = 2**63 - 1


def drop(x: Tensor, probability: float) -> Tensor:
    """`x` with each entry 0 with `probability`, else divided by 1 - `probability`."""
    if not takes_own_kernels(x) or not 0 < probability < 1:
        return F.dropout(x, probability)
    return _Drop.apply(x, probability)


class _Drop(torch.autograd.Function):
    """Keeps its draw, in as many bytes as the tensor has, for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, probability: float) -> Tensor:
        draw = random_halves(x.numel()).view(x.shape)
        ctx.save_for_backward(draw)
        ctx.probability = probability
        return _choose(x, draw, probability)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (draw,) = ctx.saved_tensors
        return _choose(gradients[0], draw, ctx.probability), None


def random_halves(count: int) -> Tensor:
    """(count,) float32, not negative, whose bits are uniform in 0..2^30; seeded by torch's generator."""
    seed = int(torch.empty((), dtype=torch.int64, device="cpu").random_(SEEDS))
    words = torch.from_numpy(np.random.SFC64(seed).random_raw((count + 1) // 2).view(np.int64))
    return words.bitwise_and_(BOTH_HALVES).view(torch.float32)[:count]


def _choose(x: Tensor, draw: Tensor, probability: float) -> Tensor:
    """x / (1 - probability) where the draw is above the bits that stand for the probability, 0 elsewhere."""
    dropped = max(round(probability * 2**BITS) - 1, 0)
    highest = float(np.array(dropped, np.int32).view(np.float32))
    assert math.isfinite(highest)
    return torch.ops.aten.threshold_backward(x, draw, highest).mul_(1 / (1 - probability))


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
