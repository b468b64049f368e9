"""Image token pruning (ITP): clusters image tokens into fewer; and what every token reducer has in common.

The loss that trains ITP is `itp_loss` in `tore/losses/terms.py`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kept_tokens(keep_ratio: float, image_tokens: int) -> int:
    """M = int(image_tokens * keep_ratio).

    Raises ValueError when the ratio is outside (0, 1] or leaves no token.
    """
    if not 0 < keep_ratio <= 1:
        raise ValueError(
            f"keep_ratio {keep_ratio} is not in (0, 1]; use the share of image tokens to keep, such as 0.8"
        )
    if int(image_tokens * keep_ratio) < 1:
        raise ValueError(
            f"keep_ratio {keep_ratio} keeps no token of {image_tokens}; use {1 / image_tokens:.4f} or more"
        )
    return int(image_tokens * keep_ratio)


class TokenReducer(nn.Module):
    """A feature map's h * w tokens -> M tokens.

    A subclass's forward takes features (B, width, h, w) and returns tokens (B, M, width) and a heatmap (B, M, h * w).
    Row m of the heatmap sums to 1 and says which positions token m attends to; no heatmap means that the tokens are the
    positions, row by row. No image's tokens depend on the rest of the batch.
    """

    listed: ClassVar[bool] = False  # the tokens have the position code of a list; else it follows the heatmap


def positions_of(features: Tensor, tokens: int) -> Tensor:
    """The positions (B, h * w, width) of features (B, width, h, w), row by row.

    Raises ValueError where there are fewer than the `tokens` to keep.
    """
    positions = features.flatten(2).transpose(1, 2)
    if positions.shape[1] < tokens:
        raise ValueError(
            f"{tokens} tokens cannot be chosen from a feature map of {features.shape[2]} x {features.shape[3]}; "
            "use larger images, or create the network with a smaller keep_ratio"
        )
    return positions


def one_hot(index: Tensor, count: int) -> Tensor:
    """index (...) of values in 0..count-1 -> (..., count) bool. Unlike torch's it reads no value, so vmap takes it."""
    return index[..., None] == torch.arange(count, device=index.device)


class TokenReduction(TokenReducer):
    """A feature map's h * w tokens -> M tokens, each a soft cluster of positions."""

    listed = True  # Official: an M x 1 grid's position code, wherever the tokens look

    def __init__(self, *, width: int, tokens: int, hidden: int = 128) -> None:
        super().__init__()
        self.tokens = tokens
        self.conv = nn.Conv2d(width, hidden, kernel_size=3, padding=1)
        self.assign = nn.Linear(hidden, tokens)
        self.norm = nn.LayerNorm((tokens, width))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, width, h, w) -> tokens (B, M, width), heatmap (B, M, h * w) whose rows sum to 1."""
        context = F.gelu(self.conv(features)).flatten(2).transpose(1, 2)  # (B, h*w, hidden)
        heatmap = self.assign(context).transpose(1, 2).softmax(dim=2)  # (B, M, h*w)
        clusters = heatmap @ features.flatten(2).transpose(1, 2)  # (B, M, width)
        return self.norm(clusters), heatmap
