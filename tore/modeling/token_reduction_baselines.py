"""Other ways to fewer image tokens, for comparison with ITP: average, top-k, ToMe, DPC-KNN, random, none."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.image_token_pruning import TokenReducer, TokenReduction, one_hot, positions_of


class NoReduction(TokenReducer):
    """Every position of the feature map is a token."""

    def __init__(self, *, width: int, tokens: None) -> None:
        """Neither matters; `tokens` None stands for all of them."""
        super().__init__()

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        """features (B, width, h, w) -> tokens (B, h * w, width), row by row."""
        return features.flatten(2).transpose(1, 2), None


class AveragePooling(TokenReducer):
    """M tokens, each the mean of one bin of the feature map."""

    def __init__(self, *, width: int, tokens: int) -> None:
        """`width` does not matter."""
        super().__init__()
        self.tokens = tokens

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, width, h, w) -> tokens (B, M, width), heatmap (B, M, h * w), the same for every image."""
        positions = positions_of(features, self.tokens)
        bins = pooling_bins(int(features.shape[2]), int(features.shape[3]), self.tokens).to(features)
        return bins @ positions, bins.expand(features.shape[0], -1, -1)


def pooling_bins(height: int, width: int, tokens: int) -> Tensor:
    """(tokens, height * width) whose row m holds 1 / size at the positions of bin m, band by band.

    A square number of tokens on a square map gives torch's adaptive pooling.
    """
    least = -(-tokens // width)
    bands = min(height, max(least, round((tokens * height / width) ** 0.5)))
    edges = []
    for band, (top, bottom) in enumerate(_bounds(height, bands)):
        columns = (band + 1) * tokens // bands - band * tokens // bands
        edges += [(top, bottom, left, right) for left, right in _bounds(width, columns)]
    bounds = torch.tensor(edges, device="cpu")[:, :, None, None]
    first_row, end_row, first_column, end_column = bounds.unbind(1)  # (tokens, 1, 1)
    row, column = torch.arange(height, device="cpu")[:, None], torch.arange(width, device="cpu")
    inside_rows = (row >= first_row) & (row < end_row)  # (tokens, h, 1)
    inside = inside_rows & (column >= first_column) & (column < end_column)  # (tokens, h, w)
    shares = inside.flatten(1).float()
    return shares / shares.sum(1, keepdim=True)


def _bounds(length: int, parts: int) -> list[tuple[int, int]]:
    """Start and end of each of `parts` bins over `length` cells; bins overlap where the cells do not divide."""
    return [(part * length // parts, -(-(part + 1) * length // parts)) for part in range(parts)]


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
    density x separation are the centers, cluster 0 the highest; every other point goes to its nearest center.
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
    centers = order[:, :clusters]
    to_centers = distance.gather(1, centers[:, :, None].expand(-1, -1, points.shape[1]))  # (B, M, N)
    own = torch.arange(clusters, device=points.device).expand_as(centers)
    return to_centers.argmin(1).scatter(1, centers, own)


WORD = 0xFFFFFFFF
MULTIPLIER = 0x45D9F3B  # of a common integer hash


class RandomChoice(TokenReducer):
    """M tokens, positions drawn without replacement."""

    def __init__(self, *, width: int, tokens: int) -> None:
        """`width` does not matter."""
        super().__init__()
        self.tokens = tokens

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, width, h, w) -> tokens (B, M, width), one-hot heatmap (B, M, h * w)."""
        positions = positions_of(features, self.tokens)
        batch, count, _ = positions.shape
        if self.training:
            order = torch.rand(batch, count, device=features.device).argsort(1)
        else:
            order = scrambled(count, features.device).expand(batch, -1)
        heatmap = one_hot(order[:, : self.tokens], count).to(features)  # (B, M, N)
        return heatmap @ positions, heatmap


def scrambled(count: int, device: torch.device) -> Tensor:
    """0 ... count - 1 in an order that looks random and is the same everywhere, by an integer hash."""
    number = torch.arange(1, count + 1, device=device)
    for _ in range(2):
        number = ((number ^ (number >> 16)) * MULTIPLIER) & WORD
    return (number ^ (number >> 16)).argsort()


REDUCERS: dict[str, Any] = {
    "itp": TokenReduction,
    "none": NoReduction,
    "average": AveragePooling,
    "topk": TopK,
    "tome": TokenMerging,
    "dpc_knn": DensityPeaks,
    "random": RandomChoice,
}


def create_reducer(name: str, *, width: int, tokens: int | None) -> TokenReducer:
    """The reducer `name` from features of `width` channels to `tokens` tokens, with fresh weights.

    Raises ValueError for a name that does not exist, or a number of tokens without which it cannot be.
    """
    if name not in REDUCERS:
        raise ValueError(f"token reduction {name!r} is not known; use one of {', '.join(REDUCERS)}")
    if (tokens is None) != (name == "none"):
        raise ValueError(f"token reduction {name!r} cannot keep {tokens} tokens: 'none' takes None, others a number")
    return REDUCERS[name](width=width, tokens=tokens)
