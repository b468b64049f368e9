"""Linear layers and dropout that train faster on a CPU than torch's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Whether torch.func (vjp, jvp, vmap, hessian) or forward-mode differentiation is at work."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def takes_own_kernels(x: Tensor) -> bool:
    """Whether `x` is float32 on a CPU and nothing looks into the operations."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return False
    return not (torch.jit.is_tracing() or is_transformed())


OPERATORS: Any = torch.ops.mkldnn
PLAIN: tuple[str, list[float], str] = ("none", [], "")  # what follows the product


def can_fuse(weight: Tensor) -> bool:
    """Whether oneDNN's fused operators take this weight."""
    placed = weight.device.type == "cpu" and weight.dtype == torch.float32
    return placed and torch.backends.mkldnn.is_available() and hasattr(OPERATORS, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor, training: bool) -> Tensor:
    """x (..., inputs), weight (outputs, inputs), bias (outputs,) -> (..., outputs)."""
    trained = training and torch.is_grad_enabled() and weight.requires_grad
    if trained and takes_own_kernels(x) and can_fuse(weight) and not torch.is_autocast_enabled("cpu"):
        return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    """Saves what torch's own does. A gradient that is itself differentiated takes torch's product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return OPERATORS._linear_pointwise(x, weight, bias, *PLAIN)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]
        rows, inner = gradient.reshape(-1, weight.shape[0]), None
        if ctx.needs_input_grad[0]:
            plain = torch.is_grad_enabled() or not takes_own_kernels(gradient)
            inner = gradient @ weight if plain else OPERATORS._linear_pointwise(gradient, weight.t(), None, *PLAIN)
        return inner, rows.t() @ x.reshape(-1, weight.shape[1]), rows.sum(0)


class Linear(nn.Linear):
    """torch's, by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return linear(input, self.weight, self.bias, self.training)


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
