"""Image token pruning (ITP), TORE's second idea: cluster the image tokens into fewer (paper section 3.4).

Each of M clusters spreads one unit of attention over the h x w positions of the feature map and takes the
mean of the features under it. The attention is returned as a heatmap: the token loss pulls it onto the person.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.token_reduction_base import TokenReducer


class TokenReduction(TokenReducer):
    """A feature map's h * w tokens -> M tokens, each a soft cluster of positions."""

    listed = True  # Published: an M x 1 grid's position code, wherever the tokens look

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
