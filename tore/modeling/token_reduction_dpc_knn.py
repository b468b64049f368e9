"""Clusters around density peaks, one token each, weighted by a learned importance.

The token clustering of Zeng et al., Not All Tokens Are Equal: Human-centric Visual Analysis via Token Clustering
Transformer (CVPR 2022), which takes the density of Du, Ding and Jia, Study on density peaks clustering based on
k-nearest neighbors (2016). There equal densities are told apart by noise, here by order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tore.modeling.token_reduction_base import TokenReducer, one_hot, positions_of


class DensityPeaks(TokenReducer):
    """M tokens, each the importance-weighted mean of a cluster of positions."""

    def __init__(self, *, width: int, tokens: int, neighbours: int = 5) -> None:
        super().__init__()
        self.tokens = tokens
        self.neighbours = neighbours
        self.importance = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, width, h, w) -> tokens (B, M, width), heatmap (B, M, h * w)."""
        positions = positions_of(features, self.tokens)
        owner = cluster_by_density(positions.detach(), self.tokens, self.neighbours)  # (B, N)
        member = one_hot(owner, self.tokens).mT  # (B, M, N)
        logits = self.importance(positions).mT  # (B, 1, N)
        heatmap = logits.masked_fill(~member, -torch.inf).softmax(2)
        return heatmap @ positions, heatmap


def cluster_by_density(points: Tensor, clusters: int, neighbours: int) -> Tensor:
    """The cluster (B, N) of each of N points (B, N, C).

    A point's density is exp(-mean squared distance to its nearest points, itself among them), its separation the
    distance to the nearest denser point, the largest distance of all where there is none. The points of the highest
    density x separation are the centres, cluster 0 the highest; every other point goes to its nearest centre.
    """
    points = points if points.dtype == torch.float64 else points.float()  # half precision has no cdist on a CPU
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") / points.shape[2] ** 0.5
    nearest = distance.topk(min(neighbours, points.shape[1]), dim=2, largest=False).values
    density = (-nearest.square().mean(2)).exp()  # (B, N)
    index = torch.arange(points.shape[1], device=points.device)
    equal_but_first = (density[:, None] == density[:, :, None]) & (index < index[:, None])
    denser = (density[:, None] > density[:, :, None]) | equal_but_first  # (B, N, N): the column than the row
    largest = distance.amax((1, 2), keepdim=True)
    separation = torch.where(denser, distance, largest).amin(2)
    order = (density * separation).argsort(dim=1, descending=True, stable=True)
    centres = order[:, :clusters]
    to_centres = distance.gather(1, centres[:, :, None].expand(-1, -1, points.shape[1]))  # (B, M, N)
    own = torch.arange(clusters, device=points.device).expand_as(centres)
    return to_centres.argmin(1).scatter(1, centres, own)
