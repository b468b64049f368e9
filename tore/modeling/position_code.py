"""The sine position code of image and joint tokens (DETR's, normalised)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

USUAL_GRID = (7, 7)  # the feature map of a 224 x 224 picture


def sine_position_code(height: int, width: int, channels: int, temperature: float = 10000.0) -> Tensor:
    """Code of a height x width grid, row by row.

    Positions count from 1 and are scaled to 2 pi at the last one. The first half of the channels codes y, the
    second x; within a half, sine on even and cosine on odd channels, interleaved.

    Args:
        height: rows of the grid. A list of N tokens is an N x 1 grid.
        width: columns of the grid.
        channels: length of the code, divisible by 4.
        temperature: base of the geometric series of wave lengths.

    Returns:
        (height * width, channels) float32.
    """
    if channels % 4:
        raise ValueError(f"a sine position code needs channels divisible by 4, not {channels}")
    half = channels // 2
    pair = torch.div(torch.arange(half, device="cpu"), 2, rounding_mode="floor")
    wavelength = temperature ** (2 * pair.to(torch.float32) / half)  # (half,)

    def wave(length: int) -> Tensor:
        position = torch.arange(1, length + 1, dtype=torch.float32, device="cpu")
        angle = (position / (position[-1] + 1e-6) * 2 * math.pi)[:, None] / wavelength  # (length, half)
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    rows = wave(height)[:, None].expand(height, width, half)
    columns = wave(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), dim=2).flatten(0, 1)  # (height * width, channels)


class TokenPositions(nn.Module):
    """The position code of image tokens.

    Tokens that count as a list of M have the code of an M x 1 grid, whatever they look at. All others have a place
    on the feature map: a token's code is the mean of the grid's code under its heatmap.
    """

    code: Tensor

    def __init__(self, *, channels: int, listed: int | None = None) -> None:
        """`listed`: the length M of the list, None for tokens with places."""
        super().__init__()
        self.channels = channels
        self.listed = listed
        rows, columns = (listed, 1) if listed else USUAL_GRID
        self.register_buffer("code", sine_position_code(rows, columns, channels), persistent=False)

    def forward(self, grid: tuple[int, int], heatmap: Tensor | None) -> Tensor:
        """Code of the tokens of a feature map of `grid` (h, w) positions.

        `heatmap` (B, M, h*w), rows summing to 1, says where each token looked; None means that the tokens are the
        positions themselves, row by row. Returns (B, M, channels), or without a batch (M, channels).
        """
        if self.listed:
            return self.code
        code = self.code if grid == USUAL_GRID else sine_position_code(*grid, self.channels).to(self.code)
        return code if heatmap is None else heatmap @ code.to(heatmap.dtype)
