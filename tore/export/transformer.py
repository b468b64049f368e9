"""`tore.modeling.transformer` with joined projections, and everything known beforehand computed beforehand.

The position code enters as products: (x + code) W = x W + code W, and code W is known as soon as the code is. So is the
first decoder layer up to its cross-attention where the queries are learned tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tore.modeling.transformer import (
    DecoderLayer,
    EncoderDecoder,
    EncoderLayer,
    MultiHeadAttention,
    attend,
)
from tore.ops.neighbor_attention import NeighborBlocks

SPARSE_BELOW = 0.1  # where a query may attend to more of the tokens than this, all of them are scored
MANY_QUERIES = 8  # times the keys, from which on torch's fused attention is not the quickest on a CPU
KEPT_PLACEMENTS = 8  # sizes of feature maps whose position code's products are kept


def linear_of(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A torch Linear with copies of `weight` (outputs, inputs) and `bias` (outputs,)."""
    with torch.device(weight.device):
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    linear.load_state_dict({"weight": weight, "bias": bias})
    return linear


def _to_add(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to scores: 0 where a query may look, else -inf."""
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, -torch.inf)


class SelfAttention(nn.Module):
    """Self-attention over tokens of which each attends to all, or to those that a mask allows.

    Where few are allowed, as among mesh neighbors, a CPU gathers their keys and values for each block of queries
    instead of scoring all and masking nearly all.
    """

    mask: Tensor | None
    blocks: NeighborBlocks | None

    def __init__(self, allowed: Tensor | None, heads: int, like: Tensor) -> None:
        """`allowed` (Q, Q) bool or None; `like` has the device and dtype of the network."""
        super().__init__()
        self.heads = heads
        self.blocks = mask = None
        if allowed is not None:
            sparse = int(allowed.sum(1).max()) < SPARSE_BELOW * len(allowed)
            if sparse and like.device.type == "cpu":
                self.blocks = NeighborBlocks(allowed)
                self.blocks.mask = _to_add(self.blocks.mask, like.dtype)  # (blocks, 1, s, w)
            else:
                mask = _to_add(allowed, like.dtype)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, projected: Tensor) -> Tensor:
        """(B, Q, 3 C) queries, keys and values -> (B, Q, C)."""
        allowed = self.mask if self.blocks is None else self.blocks
        return attend(*projected.chunk(3, dim=2), heads=self.heads, allowed=allowed, fused=self.blocks is None)


class Placement(NamedTuple):
    """What a position code adds to the projections of image tokens.

    encoder: for each layer ([B,] 1 + N, 2 C) to queries and keys of [camera; image], 0 for the camera.
    memory: ([B,] N, layers, C) to the keys of the decoder's cross-attentions.
    """

    encoder: list[Tensor]
    memory: Tensor


class FastEncoderLayer(nn.Module):
    """One product for queries, keys and values."""

    def __init__(self, layer: EncoderLayer) -> None:
        super().__init__()
        attention = layer.self_attn
        self.heads = attention.heads
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        self.projection = linear_of(attention.in_proj_weight, attention.in_proj_bias)
        self.output, self.feed_forward = attention.out_proj, layer.feed_forward

    def place(self, code: Tensor) -> Tensor:
        """Code (..., N, C) -> what it adds to queries and keys of [camera; image], (..., 1 + N, 2 C)."""
        products = code @ self.projection.weight[: 2 * code.shape[-1]].T
        return torch.cat((torch.zeros_like(products[..., :1, :]), products), dim=-2)

    def forward(self, tokens: Tensor, placed: Tensor) -> Tensor:
        """tokens (B, 1 + N, C), placed ([B,] 1 + N, 2 C) -> (B, 1 + N, C)."""
        width = tokens.shape[2]
        placed_pairs, value = self.projection(self.norm1(tokens)).split((2 * width, width), dim=2)
        query, key = (placed_pairs + placed).chunk(2, dim=2)  # (B, 1 + N, C) each
        tokens = tokens + self.output(attend(query, key, value, heads=self.heads))
        return tokens + self.feed_forward(self.norm2(tokens))


class FastDecoderLayer(nn.Module):
    """Keys and values of the memory come from outside, for all layers at once."""

    def __init__(self, layer: DecoderLayer, self_attention: SelfAttention) -> None:
        super().__init__()
        attention = layer.self_attn
        self.heads = layer.cross_attn.heads
        self.norm1, self.norm2, self.norm3 = layer.norm1, layer.norm2, layer.norm3
        self.projection = linear_of(attention.in_proj_weight, attention.in_proj_bias)
        self.self_attention, self.self_output = self_attention, attention.out_proj
        self.query = linear_of(*_thirds(layer.cross_attn)[0])
        self.cross_output, self.feed_forward = layer.cross_attn.out_proj, layer.feed_forward

    def ask(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, C) -> after self-attention, and as queries of the cross-attention, (B, Q, C) each."""
        queries = queries + self.self_output(self.self_attention(self.projection(self.norm1(queries))))
        return queries, self.query(self.norm2(queries))

    def answer(self, queries: Tensor, asked: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The two that `ask` gives, keys and values of the memory (B, N, C) -> (B, Q, C)."""
        fused = key.device.type != "cpu" or asked.shape[1] < MANY_QUERIES * key.shape[1]
        mixed = attend(asked, key, value, heads=self.heads, fused=fused)
        queries = queries + self.cross_output(mixed)
        return queries + self.feed_forward(self.norm3(queries))


class FastEncoderDecoder(nn.Module):
    """The same as `EncoderDecoder` in evaluation mode."""

    encoder: Any  # FastEncoderLayers
    decoder: Any  # FastDecoderLayers
    start: Any
    asked: Any

    def __init__(self, plain: EncoderDecoder, *, learned: Tensor | None = None, allowed: Tensor | None = None) -> None:
        """`learned` (Q, C): the query tokens where they are the same for every image; allowed (Q, Q) as there."""
        super().__init__()
        layers: Any = plain.decoder
        self.encoder = nn.ModuleList(FastEncoderLayer(layer) for layer in cast(Any, plain.encoder))
        attention: MultiHeadAttention = layers[0].self_attn
        shared = SelfAttention(allowed, attention.heads, attention.in_proj_weight)
        self.decoder = nn.ModuleList(FastDecoderLayer(layer, shared) for layer in layers)
        self.encoder_norm, self.decoder_norm = plain.encoder_norm, plain.decoder_norm
        thirds = [_thirds(layer.cross_attn)[third] for third in (1, 2) for layer in layers]
        weights, biases = zip(*thirds, strict=True)
        self.memory_projection = linear_of(torch.cat(weights), torch.cat(biases))
        start = (None, None) if learned is None else self.decoder[0].ask(learned[None])
        self.register_buffer("start", start[0], persistent=False)  # (1, Q, C): the learned queries after self-attention
        self.register_buffer("asked", start[1], persistent=False)  # (1, Q, C): what they ask of the memory
        self.kept: dict[Hashable, Placement] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        self.kept.clear()
        return super()._apply(fn, recurse)

    def place(self, code: Callable[[], Tensor], key: Hashable | None) -> Placement:
        """The products of a position code (N, C) or (B, N, C), kept under `key` unless that is None."""
        if key is None:
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
        keys, values = (memory[:, :, :layers] + placement.memory).unbind(2), memory[:, :, layers:].unbind(2)
        for index, decode in enumerate(self.decoder):
            if queries is None:
                queries, asked = (constant.expand(tokens.shape[0], -1, -1) for constant in (self.start, self.asked))
            else:
                queries, asked = decode.ask(queries)
            queries = decode.answer(queries, asked, keys[index], values[index])
        return tokens, self.decoder_norm(queries)


def _thirds(attention: MultiHeadAttention) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of queries, of keys and of values."""
    return list(zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True))
