"""Average pooling to fewer tokens: no learning, no content.

After the adaptive bins of He et al., Spatial Pyramid Pooling in Deep Convolutional Networks (ECCV 2014). Ours goes to
any number of tokens: the map is cut into bands of rows, and bands can differ by one in how many bins they have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tore.modeling.token_reduction_base import TokenReducer, positions_of


class AveragePooling(TokenReducer):
    """M tokens, each the mean of one bin of the feature map."""

    def __init__(self, *, width: int, tokens: int) -> None:
        """`width` does not matter."""
        super().__init__()
        self.tokens = tokens

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, width, h, w) -> tokens (B, M, width), heatmap (B, M, h * w), the same for every picture."""
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
