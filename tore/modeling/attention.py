"""Multi-head attention: the one product behind every Transformer here, and the packed module of FastMETRO."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.dropout import drop
from tore.modeling.neighbour_blocks import NeighbourBlocks

Allowed = Tensor | NeighbourBlocks | None


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, heads: int, allowed: Allowed = None, dropout: float = 0.0
) -> Tensor:
    """softmax(Q K^T / sqrt(C / heads)) V for every head, heads concatenated.

    Args:
        query: (B, Q, C) projected queries; B may be several axes.
        key: (B, N, C) projected keys.
        value: (B, N, C) projected values.
        heads: number of heads; divides C.
        allowed: (Q, N) bool, True where a query may look at a key, or the same mask as blocks; None allows all.
        dropout: probability of dropping an attention weight; pass 0 outside training.

    Returns:
        (B, Q, C).
    """
    if isinstance(allowed, NeighbourBlocks):
        parts = allowed.cut(query, key, value)
        return allowed.join(attend(*parts, heads=heads, allowed=allowed.mask, dropout=dropout))
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in (query, key, value))  # (B, heads, *, C/heads)
    if dropout == 0:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    else:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT  # (B, heads, Q, N)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, float("-inf"))
        mixed = drop(scores.softmax(-1), dropout) @ v
    return mixed.transpose(-3, -2).flatten(-2)  # (B, Q, C)


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
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Allowed = None) -> Tensor:
        """query (B, Q, C), key and value (B, N, C), allowed (Q, N) as in `attend` -> (B, Q, C)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        projected = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
        dropout = self.dropout if self.training else 0.0
        return self.out_proj(attend(*projected, heads=self.heads, allowed=allowed, dropout=dropout))
