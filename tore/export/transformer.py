"""`tore.modeling.transformer` with joined projections and everything known beforehand computed beforehand.

The position code enters as products: (x + code) W = x W + code W, and code W is known as soon as the code is. So is the
first decoder layer up to its cross-attention where the queries are learned tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tore.export.attention import SelfAttention
from tore.export.kernels import FusedLinear, linear_of
from tore.export.parts import Parts
from tore.modeling.transformer import (
    DecoderLayer,
    EncoderDecoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    attend,
)

MANY_QUERIES = 8  # times the keys, from which on torch's fused attention is not the quickest on a CPU
KEPT_PLACEMENTS = 8  # sizes of feature maps whose position code's products are kept


class Placement(NamedTuple):
    """What a position code adds to the projections of image tokens.

    encoder: for each layer ([B,] 1 + N, 2 C) to queries and keys of [camera; image], 0 for the camera.
    memory: ([B,] N, layers, C) to the keys of the decoder's cross-attentions.
    """

    encoder: list[Tensor]
    memory: Tensor


class FastFeedForward(nn.Module):
    """x + the feed-forward network of its norm."""

    def __init__(self, norm: nn.LayerNorm, feed_forward: FeedForward, packed: bool) -> None:
        super().__init__()
        self.norm = norm
        self.hidden = linear_of(feed_forward.linear1, activation="relu", packed=packed)
        self.output = linear_of(feed_forward.linear2, packed=packed)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        return self.output(self.hidden(self.norm(x)), x)


class FastEncoderLayer(nn.Module):
    """One product for queries, keys and values."""

    def __init__(self, layer: EncoderLayer, packed: bool) -> None:
        super().__init__()
        attention = layer.self_attn
        self.heads = attention.heads
        self.norm = layer.norm1
        self.projection = FusedLinear(attention.in_proj_weight, attention.in_proj_bias, packed=packed)
        self.output = linear_of(attention.out_proj, packed=packed)
        self.feed_forward = FastFeedForward(layer.norm2, layer.feed_forward, packed)

    def place(self, code: Tensor) -> Tensor:
        """Code (..., N, C) -> what it adds to queries and keys of [camera; image], (..., 1 + N, 2 C)."""
        products = code @ self.projection.weight[: 2 * code.shape[-1]].T
        return torch.cat((torch.zeros_like(products[..., :1, :]), products), dim=-2)

    def forward(self, tokens: Tensor, placed: Tensor) -> Tensor:
        """tokens (B, 1 + N, C), placed ([B,] 1 + N, 2 C) -> (B, 1 + N, C)."""
        projected = self.projection(self.norm(tokens))  # (B, 1 + N, 3 C)
        projected[:, :, : placed.shape[-1]] += placed
        mixed = attend(*projected.chunk(3, dim=2), heads=self.heads)
        return self.feed_forward(self.output(mixed, tokens))


class FastDecoderLayer(nn.Module):
    """Keys and values of the memory come from outside, for all layers at once."""

    def __init__(self, layer: DecoderLayer, self_attention: SelfAttention, packed: bool) -> None:
        super().__init__()
        attention = layer.self_attn
        self.heads = layer.cross_attn.heads
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        self.projection = FusedLinear(attention.in_proj_weight, attention.in_proj_bias, packed=packed)
        self.self_attention = self_attention
        self.self_output = linear_of(attention.out_proj, packed=packed)
        weight, bias = _thirds(layer.cross_attn)[0]
        self.query = FusedLinear(weight, bias, packed=packed)
        self.cross_output = linear_of(layer.cross_attn.out_proj, packed=packed)
        self.feed_forward = FastFeedForward(layer.norm3, layer.feed_forward, packed)

    def ask(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, C) -> after self-attention, and as queries of the cross-attention, (B, Q, C) each."""
        mixed = self.self_attention(self.projection(self.norm1(queries)))
        queries = self.self_output(mixed, queries)
        return queries, self.query(self.norm2(queries))

    def answer(self, queries: Tensor, asked: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The two that `ask` gives, keys and values of the memory (B, N, C) -> (B, Q, C)."""
        fused = key.device.type != "cpu" or asked.shape[1] < MANY_QUERIES * key.shape[1]
        mixed = attend(asked, key, value, heads=self.heads, fused=fused)
        return self.feed_forward(self.cross_output(mixed, queries))


class FastEncoderDecoder(nn.Module):
    """The same as `EncoderDecoder` in evaluation mode."""

    encoder: Any  # FastEncoderLayers
    decoder: Any  # FastDecoderLayers
    start: Tensor
    asked: Tensor | None

    def __init__(
        self, plain: EncoderDecoder, parts: Parts, *, learned: Tensor | None = None, allowed: Tensor | None = None
    ) -> None:
        """`learned` (Q, C): the query tokens where they are the same for every image; allowed (Q, Q) as there."""
        super().__init__()
        packed = parts.packed_weights
        layers: Any = plain.decoder
        self.encoder = nn.ModuleList(FastEncoderLayer(layer, packed) for layer in cast(Any, plain.encoder))
        attention: MultiHeadAttention = layers[0].self_attn
        shared = SelfAttention(allowed, attention.heads, parts, attention.in_proj_weight)
        self.decoder = nn.ModuleList(FastDecoderLayer(layer, shared, packed) for layer in layers)
        self.encoder_norm, self.decoder_norm = plain.encoder_norm, plain.decoder_norm
        thirds = [_thirds(layer.cross_attn)[third] for third in (1, 2) for layer in layers]
        weights, biases = zip(*thirds, strict=True)
        self.memory_projection = FusedLinear(torch.cat(weights), torch.cat(biases), packed=packed)
        start, asked = learned, None
        if learned is not None and parts.constants:
            start, asked = self.decoder[0].ask(learned[None])
        self.register_buffer("start", start, persistent=False)  # ([1,] Q, C)
        self.register_buffer("asked", asked, persistent=False)
        self.keeps = parts.constants
        self.kept: dict[Hashable, Placement] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        self.kept.clear()
        return super()._apply(fn, recurse)

    def place(self, code: Callable[[], Tensor], key: Hashable | None) -> Placement:
        """The products of a position code (N, C) or (B, N, C), kept under `key` unless that is None."""
        if key is None or not self.keeps:
            return self._products(code())
        if key not in self.kept:
            if len(self.kept) >= KEPT_PLACEMENTS:
                self.kept.clear()
            self.kept[key] = self._products(code())
        return self.kept[key]

    def _products(self, code: Tensor) -> Placement:
        layers = len(self.decoder)
        keys = self.memory_projection.weight[: layers * code.shape[-1]]
        memory = (code @ keys.T).unflatten(-1, (layers, -1))
        return Placement([layer.place(code) for layer in self.encoder], memory)

    def forward(self, tokens: Tensor, placement: Placement, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[camera; image] tokens (B, 1 + N, C), queries (B, Q, C) unless learned.

        Returns the encoded tokens (B, 1 + N, C), camera first, and the decoded queries (B, Q, C).
        """
        for encode, placed in zip(self.encoder, placement.encoder, strict=True):
            tokens = encode(tokens, placed)
        tokens = self.encoder_norm(tokens)
        layers = len(self.decoder)
        memory = self.memory_projection(tokens[:, 1:]).unflatten(2, (2 * layers, -1))  # (B, N, 2 layers, C)
        memory[:, :, :layers] += placement.memory
        keys, values = memory[:, :, :layers].unbind(2), memory[:, :, layers:].unbind(2)
        for index, decode in enumerate(self.decoder):
            if queries is None:
                queries, asked = self._first(tokens.shape[0])
            else:
                queries, asked = decode.ask(queries)
            queries = decode.answer(queries, asked, keys[index], values[index])
        return tokens, self.decoder_norm(queries)

    def _first(self, batch: int) -> tuple[Tensor, Tensor]:
        """The first layer's `ask` of the learned tokens, for a whole batch."""
        if self.asked is None:
            return self.decoder[0].ask(self.start.expand(batch, -1, -1).contiguous())
        return self.start.expand(batch, -1, -1).contiguous(), self.asked.expand(batch, -1, -1)


def _thirds(attention: MultiHeadAttention) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of queries, of keys and of values."""
    return list(zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True))
