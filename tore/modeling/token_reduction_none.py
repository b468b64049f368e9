"""No reduction of the image tokens: what the published baselines do."""

from __future__ import annotations

from torch import Tensor

from tore.modeling.token_reduction_base import TokenReducer


class NoReduction(TokenReducer):
    """Every position of the feature map is a token."""

    def __init__(self, *, width: int, tokens: None) -> None:
        """Neither matters; `tokens` None stands for all of them."""
        super().__init__()

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        """features (B, width, h, w) -> tokens (B, h * w, width), row by row."""
        return features.flatten(2).transpose(1, 2), None
