"""Convolution and Linear with what follows them in one kernel, their weights laid out once.

On a CPU in float32 they call oneDNN through the operators that torch's own compiler emits; elsewhere they are the plain
operators, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from tore.ops.linear import OPERATORS, can_fuse

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu,
    "relu6": F.relu6,
    "swish": F.silu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
}
ONEDNN_NAMES: dict[str, tuple[str, list[float]]] = {"relu6": ("hardtanh", [0.0, 6.0])}  # others have no numbers
EXACT = "none"  # of the two ways to a GELU, not the one by tanh


def _in_onednn(activation: str) -> tuple[str, list[float]]:
    """oneDNN's name of an activation, and its numbers."""
    return ONEDNN_NAMES.get(activation, (activation, []))


class _Packing(nn.Module):
    """Keeps laid out weights until the module moves to another device or dtype."""

    def __init__(self, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.layouts: dict[Any, Any] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        self.layouts.clear()
        return super()._apply(fn, recurse)


class FusedLinear(_Packing):
    """activation(x W^T + bias), or x W^T + bias + other."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, activation: str = "none", packed: bool = True) -> None:
        """weight (outputs, inputs), bias (outputs,); `packed` False leaves oneDNN's layouts out."""
        super().__init__(packed)
        self.activation = activation
        self.register_buffer("weight", weight.detach().contiguous())
        self.register_buffer("bias", bias.detach())

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """x (..., inputs), other (..., outputs) -> (..., outputs)."""
        if not (self.packed and can_fuse(self.weight)):
            y = F.linear(x, self.weight, self.bias)
            return ACTIVATIONS[self.activation](y if other is None else y + other)
        layout = self.layouts.get("weight")
        if layout is None:
            rows = x.numel() // x.shape[-1]
            layout = self.layouts["weight"] = OPERATORS._reorder_linear_weight(self.weight, rows)
        if other is None:
            return OPERATORS._linear_pointwise(x, layout, self.bias, *_in_onednn(self.activation), EXACT)
        assert self.activation == "none", "oneDNN's Linear adds or activates"
        return OPERATORS._linear_pointwise.binary(x, other, layout, self.bias, "add")


def linear_of(linear: nn.Linear, *, activation: str = "none", packed: bool = True) -> FusedLinear:
    """The kernel of a torch Linear with a bias."""
    return FusedLinear(linear.weight, linear.bias, activation=activation, packed=packed)


class FusedConv2d(_Packing):
    """activation(convolution + bias + other), timm's TensorFlow-like padding included."""

    def __init__(self, conv: nn.Conv2d, *, activation: str = "none", packed: bool = True) -> None:
        super().__init__(packed)
        self.conv = conv
        self.activation = activation
        self.pointwise = conv.kernel_size == (1, 1) and conv.groups == 1

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), other (B, C', H', W') -> (B, C', H', W')."""
        if not (self.packed and can_fuse(self.conv.weight)) or (self.pointwise and x.shape[2] == x.shape[3] == 1):
            return self._plain(x, other)
        layout = self.layouts.get(x.shape[1:])
        if layout is None:
            self.layouts.clear()
            layout = self.layouts[x.shape[1:]] = self._lay_out(x)
        weight, bias, place = layout
        if other is None:
            return OPERATORS._convolution_pointwise(x, weight, bias, *place, *_in_onednn(self.activation), EXACT)
        name, numbers = (None, []) if self.activation == "none" else _in_onednn(self.activation)
        return OPERATORS._convolution_pointwise.binary(x, other, weight, bias, *place, "add", 1.0, name, numbers, EXACT)

    def _plain(self, x: Tensor, other: Tensor | None) -> Tensor:
        conv = self.conv
        if self.pointwise and x.shape[2] == x.shape[3] == 1:  # one pixel, as behind a pooling
            y = F.linear(x[:, :, 0, 0], conv.weight[:, :, 0, 0], conv.bias)[:, :, None, None]
        else:
            y = conv(x)
        return ACTIVATIONS[self.activation](y if other is None else y + other)

    def _lay_out(self, x: Tensor) -> tuple[Tensor, Tensor | None, tuple[Any, ...]]:
        """Weight, bias, (padding, stride, dilation, groups): for inputs of this size."""
        conv, weight = self.conv, self.conv.weight
        assert not isinstance(conv.padding, str)
        padding: list[int] = list(conv.padding)
        if isinstance(conv, Conv2dSame):
            padding, weight = _symmetric(conv, x.shape[2:])
        place = (padding, conv.stride, conv.dilation, conv.groups)
        weight = OPERATORS._reorder_convolution_weight(weight, *place, list(x.shape))
        return weight, conv.bias, place


def _symmetric(conv: nn.Conv2d, size: torch.Size) -> tuple[list[int], Tensor]:
    """Padding, the same on both sides, and the weight that go together for TensorFlow's "same".

    That pads the end by one more than the start where the sum is odd. The kernel gets a zero in front instead.

    Raises ValueError where the kernel is dilated, so that a zero in front would not do.
    """
    padding, grow = [], []
    for n, stride, kernel, dilation in zip(size, conv.stride, conv.kernel_size, conv.dilation, strict=True):
        total = max((-(-n // stride) - 1) * stride + dilation * (kernel - 1) + 1 - n, 0)
        padding.append(total - total // 2)
        grow.append(total % 2)
    if any(grow) and any(d != 1 for d in conv.dilation):
        raise ValueError(
            f"the backbone pads a convolution of dilation {conv.dilation} as TensorFlow does, which an optimized one "
            "cannot; use the plain network (tore infer --no_fast)"
        )
    return padding, F.pad(conv.weight, (grow[1], 0, grow[0], 0))
