"""Multi-head attention: the one product behind every Transformer here, and the packed module of FastMETRO."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.dropout import drop
from tore.modeling.kernel_choice import is_transformed
from tore.modeling.linear import Linear, linear
from tore.modeling.neighbour_blocks import NeighbourBlocks

Allowed = Tensor | NeighbourBlocks | None
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
        allowed: (Q, N) bool, True where a query may look at a key, the same mask as blocks, or what to add to the
            scores, 0 or -inf; None allows all.
        dropout: probability of dropping an attention weight; pass 0 outside training.
        fused: by torch's fused kernel, where there is no dropout. torch.func goes score by score: the fused kernel has
            no forward-mode and no second derivatives (autograd says so where they are asked for).

    Returns:
        (B, Q, C).
    """
    if isinstance(allowed, NeighbourBlocks):
        parts = allowed.cut(query, key, value)
        return allowed.join(attend(*parts, heads=heads, allowed=allowed.mask, dropout=dropout, fused=fused))
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
