"""The smaller parts of both networks, optimized: token pruning, shape regressor, up-sampling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tore.body.mesh_levels import SparseMap
from tore.export.kernels import FusedConv2d, FusedLinear, linear_of
from tore.export.parts import Parts
from tore.export.transformer import FastEncoderDecoder
from tore.modeling.image_token_pruning import TokenReduction
from tore.modeling.neural_shape_regressor import LearnedMap, ShapeRegressor, Upsampling


class FastTokenReduction(nn.Module):
    """ITP with its convolution and GELU in one kernel."""

    def __init__(self, plain: TokenReduction, packed: bool) -> None:
        super().__init__()
        self.conv = FusedConv2d(plain.conv, activation="gelu", packed=packed)
        self.assign, self.norm = linear_of(plain.assign, packed=packed), plain.norm

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, C, h, w) -> tokens (B, M, C), heatmap (B, M, h*w)."""
        context = self.conv(features).flatten(2).transpose(1, 2)  # (B, h*w, hidden)
        heatmap = self.assign(context).transpose(1, 2).softmax(dim=2)  # (B, M, h*w)
        return self.norm(heatmap @ features.flatten(2).transpose(1, 2)), heatmap


class FastShapeRegressor(nn.Module):
    """NSR: its vertex tokens are learned, so their first self-attention and queries are known."""

    position_code: Tensor

    def __init__(self, plain: ShapeRegressor, parts: Parts) -> None:
        super().__init__()
        self.transformer = FastEncoderDecoder(
            plain.transformer, parts, learned=plain.vertex_tokens, allowed=plain.neighbours
        )
        self.vertex_head = plain.vertex_head
        self.register_buffer("position_code", plain.position_code, persistent=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[camera; joints] (B, 1 + J, C) -> coarse vertices (B, Vc, 3), camera feature (B, C)."""
        placement = self.transformer.place(lambda: self.position_code, "joints")
        tokens, vertices = self.transformer(tokens, placement)
        return self.vertex_head(vertices), tokens[:, 0]


class FastUpsampling(nn.Module):
    """Fixed maps as they are; two learned ones as the first and their product, both from the coarse mesh."""

    def __init__(self, plain: Upsampling, parts: Parts) -> None:
        super().__init__()
        steps: list[Any] = list(plain.steps)
        learned = all(isinstance(step, LearnedMap) for step in steps)
        self.joined = parts.joined_upsampling and learned and len(steps) == 2
        if self.joined:
            first, second = steps
            weight = second.weight @ first.weight  # (fine, coarse)
            bias = second.weight @ first.bias + second.bias
            self.sizes = (len(first.weight), len(weight))
            weights, biases = torch.cat((first.weight, weight)), torch.cat((first.bias, bias))
            self.map = FusedLinear(weights, biases, packed=parts.packed_weights)
        else:
            self.steps = nn.ModuleList(_step(step, parts.packed_weights) for step in steps)

    def forward(self, coarse: Tensor) -> tuple[Tensor, ...]:
        """(B, Vc, 3) -> the finer levels, coarse to full."""
        if self.joined:
            return tuple(level.transpose(1, 2) for level in self.map(coarse.transpose(1, 2)).split(self.sizes, dim=2))
        levels = [coarse]
        for step in self.steps:
            levels.append(step(levels[-1]))
        return tuple(levels[1:])


class _FastMap(nn.Module):
    def __init__(self, plain: LearnedMap, packed: bool) -> None:
        super().__init__()
        self.map = linear_of(plain, packed=packed)

    def forward(self, vertices: Tensor) -> Tensor:
        """(B, C, 3) -> (B, R, 3)."""
        return self.map(vertices.transpose(1, 2)).transpose(1, 2)


def _step(step: LearnedMap | SparseMap, packed: bool) -> nn.Module:
    return _FastMap(step, packed) if isinstance(step, LearnedMap) else step
