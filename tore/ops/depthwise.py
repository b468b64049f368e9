"""Depthwise convolutions with a 5 x 5 kernel, whose weights' gradient oneDNN has no quick kernel for.

oneDNN's depthwise kernel for it takes up to three columns; for more it computes with blocks of 16 x 16 channels, of
which the diagonal is kept. Here the gradient of five columns is that of three and of two, the image shifted: the
same sums. Everything else is torch's own convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.ops.linear import takes_own_kernels

COLUMNS = 3  # that the quick kernel takes


def quicken_depthwise(network: nn.Module, more: Mapping[type, type] = MappingProxyType({})) -> None:
    """Makes every depthwise convolution of `network` whose kernel is wide one of this file; parameters stay theirs.

    more: further classes of convolutions, and what they become.
    """
    quick = {nn.Conv2d: WideDepthwise, **more}
    for module in network.modules():
        if type(module) in quick and _is_wide(module):
            module.__class__ = quick[type(module)]


def _is_wide(conv: Any) -> bool:
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    simple = conv.padding_mode == "zeros" and not isinstance(conv.padding, str) and conv.dilation == (1, 1)
    return depthwise and simple and conv.kernel_size[1] > COLUMNS


class WideDepthwise(nn.Conv2d):
    """torch's convolution with the quicker gradient."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W')."""
        assert not isinstance(self.padding, str)
        return depthwise(input, self.weight, self.bias, self.stride, self.padding)


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """x (B, C, H, W), weight (C, 1, kh, kw), bias (C,) -> (B, C, H', W')."""
    trained = torch.is_grad_enabled() and weight.requires_grad and bias is None
    if trained and takes_own_kernels(x) and not torch.is_autocast_enabled("cpu"):
        return _Depthwise.apply(x, weight, stride, padding)
    return F.conv2d(x, weight, bias, stride, padding, 1, weight.shape[0])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.place = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.place
        inner = None
        if ctx.needs_input_grad[0]:
            inner = _backward(gradients[0], x, weight, stride, padding, (True, False))[0]
        last = weight.shape[3]
        columns = [(first, min(COLUMNS, last - first)) for first in range(0, last, COLUMNS)]
        parts = [_columns(gradients[0], x, weight, stride, padding, *column) for column in columns]
        return inner, torch.cat(parts, dim=3), None, None


def _columns(gradient: Tensor, x: Tensor, weight: Tensor, stride: Any, padding: Any, first: int, count: int) -> Tensor:
    """The gradient of `count` of the kernel's columns from `first` on, (C, 1, kh, count)."""
    before = padding[1] - first
    reach = stride[1] * (gradient.shape[3] - 1) + count  # columns that these meet
    shifted = F.pad(x, (before, reach - before - x.shape[3]))
    part = weight[:, :, :, first : first + count]
    return _backward(gradient, shifted, part, stride, (padding[0], 0), (False, True))[1]


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, stride: Any, padding: Any, wanted: Any) -> Any:
    place = (None, stride, padding, (1, 1), False, (0, 0), weight.shape[0])
    return torch.ops.aten.convolution_backward(gradient, x, weight, *place, [*wanted, False])
