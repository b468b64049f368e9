"""How METRO's tokens come by their image features: a learned mixture of positions each, or all of them the mean."""

from __future__ import annotations

from torch import Tensor, nn


class MixedPositions(nn.Conv1d):
    """Every token's features are a learned mixture of the feature map's positions."""

    def __init__(self, positions: int, tokens: int) -> None:
        super().__init__(positions, tokens, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w), h * w = positions -> (B, Q, C). Raises ValueError for another number of positions."""
        positions = features.shape[2] * features.shape[3]
        if positions != self.in_channels:
            raise ValueError(
                f"METRO mixes {self.in_channels} image tokens but these pictures give {positions}; "
                f"use 224 x 224 pictures, or create it with image_tokens={positions}"
            )
        return super().forward(features.flatten(2).transpose(1, 2))


class RepeatedMean(nn.Module):
    """Every token's features are the mean over the feature map, whatever its size."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, Q, C)."""
        return features.mean((2, 3))[:, None].expand(-1, self.tokens, -1)
