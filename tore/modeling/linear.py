"""Linears whose products run in oneDNN where that is the quicker library: on a CPU in float32, in training.

torch hands them to MKL, which on processors that are not Intel's keeps some sevenths of the arithmetic back. The
gradient of a weight stays with MKL, the quicker one on an older AMD and the slower one on a newer (docs/SPEED.md).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.kernel_choice import takes_own_kernels

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
