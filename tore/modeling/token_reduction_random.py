"""M positions at random: the control of every comparison of token reducers.

No published source; drops tokens as PatchDropout does (Liu et al., WACV 2023). In training every picture has a draw of
its own; in evaluation all pictures have one and the same, so that results can be repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tore.modeling.token_reduction_base import TokenReducer, one_hot, positions_of

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
