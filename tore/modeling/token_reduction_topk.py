"""The M positions of the highest learned score, the others thrown away.

A learned score per token as in Rao et al., DynamicViT (NeurIPS 2021); its gradient by the straight-through estimator
of Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons (2013), on the relaxed choice without
replacement of Ploetz and Roth, Neural Nearest Neighbors Networks (NeurIPS 2018), without noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tore.modeling.token_reduction_base import TokenReducer, one_hot, positions_of


class TopK(TokenReducer):
    """M tokens, the positions of the highest score, best first."""

    def __init__(self, *, width: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.score = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, width, h, w) -> tokens (B, M, width), one-hot heatmap (B, M, h * w)."""
        positions = positions_of(features, self.tokens)
        heatmap = straight_through_choice(self.score(positions).squeeze(2), self.tokens)
        return heatmap @ positions, heatmap


def straight_through_choice(scores: Tensor, count: int) -> Tensor:
    """One-hot rows (B, count, N) of the highest scores (B, N), best first; of equal ones the first.

    The gradient is that of each row's softmax over the positions that the rows above it have left.
    """
    order = scores.detach().argsort(dim=1, descending=True, stable=True)
    chosen = one_hot(order[:, :count], scores.shape[1]).long()  # (B, count, N)
    taken = (chosen.cumsum(1) - chosen).bool()
    soft = scores[:, None].masked_fill(taken, -torch.inf).softmax(2)
    return chosen.to(scores) + (soft - soft.detach())
