"""Token merging: alike tokens become their mean, without learning.

Bipartite soft matching of Bolya et al., Token Merging: Your ViT But Faster (ICLR 2023). There each layer of a ViT
merges some tokens by the likeness of their attention keys; here one room merges the image features by their own
likeness, in rounds until M are left. A token weighs as much as the positions it holds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tore.modeling.token_reduction_base import TokenReducer, positions_of


class TokenMerging(TokenReducer):
    """M tokens, each the mean of the positions merged into it."""

    def __init__(self, *, width: int, tokens: int) -> None:
        """`width` does not matter."""
        super().__init__()
        self.tokens = tokens

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, width, h, w) -> tokens (B, M, width), heatmap (B, M, h * w)."""
        positions = positions_of(features, self.tokens)  # (B, N, width)
        members = torch.eye(positions.shape[1], dtype=features.dtype, device=features.device)
        members = members.expand(features.shape[0], -1, -1)  # (B, n, N): 1 where a token holds a position
        while (surplus := members.shape[1] - self.tokens) > 0:
            tokens = _means(members) @ positions.detach()
            members = merge_alike(tokens, members, min(surplus, members.shape[1] // 2))
        heatmap = _means(members)
        return heatmap @ positions, heatmap


def _means(members: Tensor) -> Tensor:
    return members / members.sum(2, keepdim=True)


def merge_alike(tokens: Tensor, members: Tensor, count: int) -> Tensor:
    """Merges the `count` of the even tokens that are most like an odd one into that one; returns the new members.

    tokens (B, n, C), members (B, n, N) -> (B, n - count, N): even tokens that stay, in their order, then odd ones.
    Several even tokens can go into the same odd one. Likeness is the cosine.
    """
    direction = F.normalize(tokens, dim=2)
    likeness, partner = (direction[:, ::2] @ direction[:, 1::2].mT).max(2)  # (B, evens)
    order = likeness.argsort(dim=1, descending=True, stable=True)
    going, staying = order[:, :count], order[:, count:].sort(dim=1).values
    even, odd = members[:, ::2], members[:, 1::2]
    target = partner.gather(1, going)[:, :, None].expand(-1, -1, members.shape[2])
    odd = odd.scatter_add(1, target, even.gather(1, going[:, :, None].expand_as(target)))
    staying = staying[:, :, None].expand(-1, -1, members.shape[2])
    return torch.cat((even.gather(1, staying), odd), dim=1)
