"""The smaller parts of both networks, optimized: shape regressor and up-sampling."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from tore.export.transformer import FastEncoderDecoder, linear_of
from tore.modeling.neural_shape_regressor import LearnedMap, ShapeRegressor, Upsampling


class FastShapeRegressor(nn.Module):
    """NSR: its vertex tokens are learned, so their first self-attention and queries are known."""

    position_code: Tensor

    def __init__(self, plain: ShapeRegressor) -> None:
        super().__init__()
        self.transformer = FastEncoderDecoder(plain.transformer, learned=plain.vertex_tokens, allowed=plain.neighbours)
        self.vertex_head = plain.vertex_head
        self.register_buffer("position_code", plain.position_code, persistent=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[camera; joints] (B, 1 + J, C) -> coarse vertices (B, Vc, 3), camera feature (B, C)."""
        placement = self.transformer.place(lambda: self.position_code, "joints")
        tokens, vertices = self.transformer(tokens, placement)
        return self.vertex_head(vertices), tokens[:, 0]


class JoinedUpsampling(nn.Module):
    """Two learned maps as the first and their product, both from the coarse mesh: a quarter of the weights."""

    def __init__(self, plain: Upsampling) -> None:
        super().__init__()
        first, second = cast(Any, plain.steps)
        weight = second.weight @ first.weight  # (fine, coarse)
        bias = second.weight @ first.bias + second.bias
        self.sizes = (len(first.weight), len(weight))
        self.map = linear_of(torch.cat((first.weight, weight)), torch.cat((first.bias, bias)))

    def forward(self, coarse: Tensor) -> tuple[Tensor, ...]:
        """(B, Vc, 3) -> the finer levels, coarse to full."""
        return tuple(level.transpose(1, 2) for level in self.map(coarse.transpose(1, 2)).split(self.sizes, dim=2))


def fast_upsampling(plain: Upsampling) -> nn.Module:
    """The up-sampling, joined where it is two learned maps."""
    learned = len(plain.steps) == 2 and all(isinstance(step, LearnedMap) for step in plain.steps)
    return JoinedUpsampling(plain) if learned else plain
