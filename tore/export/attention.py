"""Self-attention of the optimized model, after one product for queries, keys and values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tore.export.parts import Parts
from tore.modeling.transformer import attend
from tore.ops.neighbor_attention import NeighborBlocks

SPARSE_BELOW = 0.1  # where a query may attend to more of the tokens than this, all of them are scored


def _to_add(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to scores: 0 where a query may look, else -inf."""
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, -torch.inf)


class SelfAttention(nn.Module):
    """Self-attention over tokens of which each attends to all, or to those that a mask allows.

    Where few are allowed, as among mesh neighbors, their keys and values can be gathered for each query or each block
    of queries instead of scoring all and masking nearly all.
    """

    mask: Tensor | None
    neighbours: Tensor | None
    blocks: NeighborBlocks | None

    def __init__(self, allowed: Tensor | None, heads: int, parts: Parts, like: Tensor) -> None:
        """`allowed` (Q, Q) bool or None; `like` has the device and dtype of the network."""
        super().__init__()
        self.heads = heads
        self.blocks = mask = neighbours = None
        if allowed is not None:
            most = int(allowed.sum(1).max())
            way = parts.neighbor_attention if most < SPARSE_BELOW * len(allowed) else "dense"
            if way == "auto":
                way = "blocks" if like.device.type == "cpu" else "dense"
            if way == "blocks":
                self.blocks = NeighborBlocks(allowed).to(like.device)
                self.blocks.mask = _to_add(self.blocks.mask, like.dtype)  # (blocks, 1, s, w)
            elif way == "gathered":
                neighbours = allowed.int().topk(most, dim=1).indices  # (Q, K)
                allowed = allowed.gather(1, neighbours)[:, :, None]  # (Q, K, 1)
            mask = _to_add(allowed, like.dtype) if self.blocks is None else None
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("neighbours", neighbours, persistent=False)

    def forward(self, projected: Tensor) -> Tensor:
        """(B, Q, 3 C) queries, keys and values -> (B, Q, C)."""
        query, key, value = projected.chunk(3, dim=2)
        if self.neighbours is not None:
            return self._gathered(query, projected[:, :, query.shape[2] :], self.neighbours)
        if self.blocks is not None:
            return attend(query, key, value, heads=self.heads, allowed=self.blocks, fused=False)
        return attend(query, key, value, heads=self.heads, allowed=self.mask)

    def _gathered(self, query: Tensor, pairs: Tensor, neighbours: Tensor) -> Tensor:
        """query (B, Q, C), keys and values (B, Q, 2 C), neighbors (Q, K): a product for each query and neighbor."""
        query = query.unflatten(2, (1, self.heads, -1))  # (B, Q, 1, heads, C/heads)
        gathered = pairs.index_select(1, neighbours.flatten()).unflatten(1, neighbours.shape)
        key, value = gathered.unflatten(3, (2, self.heads, -1)).unbind(3)  # (B, Q, K, heads, C/heads)
        scores = (query * key).sum(4) * query.shape[4] ** -0.5 + self.mask  # (B, Q, K, heads)
        return (scores.softmax(2)[..., None] * value).sum(2).flatten(2)
