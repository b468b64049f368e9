"""Self-attention of the optimized graph, after one product for queries, keys and values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tore.modeling.transformer import attend
from tore.ops.neighbor_attention import NeighborBlocks

SPARSE_BELOW = 0.1  # where a query may attend to more of the tokens than this, all of them are scored


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
