"""The Transformer's parts: position code, attention, encoder-decoder (paper section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manopth.tensors import WithConstants, beside
from tore.ops.linear import Dropout, Linear, drop, is_transformed, linear
from tore.ops.neighbor_attention import NeighborBlocks

USUAL_GRID = (7, 7)  # the feature map of a 224 x 224 image


def sine_position_code(height: int, width: int, channels: int, temperature: float = 10000.0) -> Tensor:
    """Code of a height x width grid, row by row.

    Positions count from 1 and are scaled to 2 pi at the last one. The first half of the channels codes y, the
    second x; within a half, sine on even and cosine on odd channels, interleaved.

    Args:
        height: rows of the grid. A list of N tokens is an N x 1 grid.
        width: columns of the grid.
        channels: length of the code, divisible by 4.
        temperature: base of the geometric series of wave lengths.

    Returns:
        (height * width, channels) float32.
    """
    if channels % 4:
        raise ValueError(f"a sine position code needs channels divisible by 4, not {channels}")
    half = channels // 2
    pair = torch.div(torch.arange(half, device="cpu"), 2, rounding_mode="floor")
    wavelength = temperature ** (2 * pair.to(torch.float32) / half)  # (half,)

    def wave(length: int) -> Tensor:
        position = torch.arange(1, length + 1, dtype=torch.float32, device="cpu")
        angle = (position / (position[-1] + 1e-6) * 2 * math.pi)[:, None] / wavelength  # (length, half)
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    rows = wave(height)[:, None].expand(height, width, half)
    columns = wave(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), dim=2).flatten(0, 1)  # (height * width, channels)


class TokenPositions(WithConstants):
    """The position code of image tokens.

    Tokens that count as a list of M have the code of an M x 1 grid, whatever they look at. All others have a place
    on the feature map: a token's code is the mean of the grid's code under its heatmap.
    """

    code: Tensor

    def __init__(self, *, channels: int, listed: int | None = None, grid: tuple[int, int] = USUAL_GRID) -> None:
        """`listed`: the length M of the list, None for tokens with places, usually those of a feature map `grid`."""
        super().__init__()
        self.channels = channels
        self.listed = listed
        self.grid = grid
        rows, columns = (listed, 1) if listed else grid
        self.keep_constant("code", sine_position_code(rows, columns, channels))

    def forward(self, grid: tuple[int, int], heatmap: Tensor | None) -> Tensor:
        """Code of the tokens of a feature map of `grid` (h, w) positions.

        `heatmap` (B, M, h*w), rows summing to 1, is the attention map of each token; None means that the tokens are the
        positions themselves, row by row. Returns (B, M, channels), or without a batch (M, channels).
        """
        if self.listed:
            return self.code
        code = self.code if grid == self.grid else sine_position_code(*grid, self.channels).to(self.code)
        return code if heatmap is None else heatmap @ beside(code, heatmap).to(heatmap.dtype)


Allowed = Tensor | NeighborBlocks | None
FEW_KEYS = 64  # below, a softmax along the keys is quicker where the queries lie innermost


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    allowed: Allowed = None,
    dropout: float = 0.0,
    fused: bool = True,
) -> Tensor:
    """softmax(Q K^T / sqrt(C / heads)) V for every head, heads concatenated.

    Args:
        query: (B, Q, C) projected queries; B may be several axes.
        key: (B, N, C) projected keys.
        value: (B, N, C) projected values.
        heads: number of heads; divides C.
        allowed: (Q, N) bool, True where a query may attend to a key, the same mask as blocks, or what to add to the
            scores, 0 or -inf; None allows all.
        dropout: probability of dropping an attention weight; pass 0 outside training.
        fused: by torch's fused kernel, where there is no dropout. torch.func goes score by score: the fused kernel has
            no forward-mode and no second derivatives (autograd raises an error for them).

    Returns:
        (B, Q, C).
    """
    if isinstance(allowed, NeighborBlocks):
        parts = allowed.cut(query, key, value)
        mask = beside(allowed.mask, query)
        return allowed.join(attend(*parts, heads=heads, allowed=mask, dropout=dropout, fused=fused))
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in (query, key, value))  # (B, heads, *, C/heads)
    if fused and dropout == 0 and not is_transformed():
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    else:
        mixed = _attend_in_steps(q, k, v, allowed, dropout)
    return mixed.transpose(-3, -2).flatten(-2)  # (B, Q, C)


def _attend_in_steps(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, dropout: float) -> Tensor:
    """The same of split heads, q (..., heads, Q, c), k and v (..., heads, N, c), score by score."""
    q = q * q.shape[-1] ** -0.5
    few = k.shape[-2] < FEW_KEYS
    scores = k @ q.mT if few else q @ k.mT  # (..., heads, N, Q) or (..., heads, Q, N)
    if allowed is not None:
        allowed = allowed.mT.contiguous() if few else allowed
        if allowed.dtype == torch.bool:
            allowed = torch.zeros_like(allowed, dtype=q.dtype).masked_fill_(~allowed, float("-inf"))
        scores = scores + allowed
    weights = scores.softmax(-2 if few else -1)
    if dropout:
        weights = drop(weights, dropout)
    return (weights.mT if few else weights) @ v


class MultiHeadAttention(nn.Module):
    """Attention whose query, key and value projections are one packed matrix, as in torch's own layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"attention width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Allowed = None) -> Tensor:
        """query (B, Q, C), key and value (B, N, C), allowed (Q, N) as in `attend` -> (B, Q, C)."""
        projected = self._project(query, key, value)
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(attend(*projected, heads=self.heads, allowed=allowed, dropout=dropout))

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> Sequence[Tensor]:
        """One product for arguments next to each other that are the same."""
        weight, bias, training = self.in_proj_weight, self.in_proj_bias, self.training
        if query is not key:
            thirds = zip((query, key, value), weight.chunk(3), bias.chunk(3), strict=True)
            return [linear(x, w, b, training) for x, w, b in thirds]
        if key is value:
            return linear(query, weight, bias, training).chunk(3, dim=-1)
        two = 2 * weight.shape[1]
        both = linear(query, weight[:two], bias[:two], training).chunk(2, dim=-1)
        return *both, linear(value, weight[two:], bias[two:], training)


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, Linear."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = Linear(width, hidden)
        self.linear2 = Linear(hidden, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        return self.linear2(self.dropout(self.linear1(x).relu()))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each behind a LayerNorm and around a residual."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor, code: Tensor) -> Tensor:
        """tokens (B, N, width), code (N, width) or (B, N, width) -> (B, N, width)."""
        normed = self.norm1(tokens)
        placed = normed + code
        tokens = tokens + self.dropout(self.self_attn(placed, placed, normed))
        return tokens + self.dropout(self.feed_forward(self.norm2(tokens)))


class DecoderLayer(nn.Module):
    """Self-attention of the queries, cross-attention to the memory, feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads, dropout)
        self.cross_attn = MultiHeadAttention(width, heads, dropout)
        self.feed_forward = FeedForward(width, hidden, dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, placed_memory: Tensor, allowed: Allowed) -> Tensor:
        """queries (B, Q, width); memory with and without position code (B, N, width); allowed (Q, Q)."""
        normed = self.norm1(queries)
        queries = queries + self.dropout(self.self_attn(normed, normed, normed, allowed))
        queries = queries + self.dropout(self.cross_attn(self.norm2(queries), placed_memory, memory))
        return queries + self.dropout(self.feed_forward(self.norm3(queries)))


class EncoderDecoder(nn.Module):
    """`layers` encoder layers, `layers` decoder layers, a final LayerNorm on both sides (paper section 3.3)."""

    def __init__(self, *, width: int, heads: int, hidden: int, layers: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.width = width
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width)
        for matrix in (parameter for parameter in self.parameters() if parameter.dim() > 1):
            nn.init.xavier_uniform_(matrix)

    def forward(
        self, image: Tensor, camera: Tensor, queries: Tensor, code: Tensor, allowed: Allowed = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encodes the image tokens with the camera token and decodes the queries.

        Args:
            image: (B, N, width) image tokens.
            camera: (B, 1, width) camera token.
            queries: (B, Q, width) learned query tokens.
            code: (N, width) position code of the image tokens, or (B, N, width) where images differ in it.
            allowed: (Q, Q) bool, which query may attend to which, or the same as blocks; None allows all.

        Returns:
            camera feature (B, 1, width), encoded image tokens (B, N, width), decoded queries (B, Q, width).
        """
        code = beside(code, image)
        if isinstance(allowed, Tensor):
            allowed = beside(allowed, image)
        tokens = torch.cat((camera, image), dim=1)  # (B, 1 + N, width)
        placement = torch.cat((torch.zeros_like(code[..., :1, :]), code), dim=-2)  # none for the camera token
        for encode in self.encoder:
            tokens = encode(tokens, placement)
        camera, memory = self.encoder_norm(tokens).split((1, image.shape[1]), dim=1)
        placed_memory = memory + code
        for decode in self.decoder:
            queries = decode(queries, memory, placed_memory, allowed)
        return camera, memory, self.decoder_norm(queries)
