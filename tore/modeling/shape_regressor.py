"""The neural shape regressor (NSR), TORE's first idea: the mesh grows from the joints (paper section 3.2).

The main Transformer sees joint tokens only; this small one queries their features with one learned token per
coarse vertex. A vertex token looks at itself and its mesh neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tore.modeling.encoder_decoder import EncoderDecoder
from tore.modeling.neighbour_blocks import NeighbourBlocks
from tore.modeling.position_code import sine_position_code


class ShapeRegressor(nn.Module):
    """Joint features and a camera feature -> coarse vertices."""

    position_code: Tensor
    neighbours: Tensor

    def __init__(
        self,
        *,
        adjacency: Tensor,
        num_joints: int,
        width: int = 128,
        heads: int = 8,
        hidden: int = 512,
        layers: int = 3,
        dropout: float = 0.1,
    ) -> None:
        """`adjacency` (Vc, Vc): two coarse vertices are neighbours where it is not zero; self loops included."""
        super().__init__()
        self.vertex_tokens = nn.Parameter(torch.randn(adjacency.shape[0], width))
        self.transformer = EncoderDecoder(width=width, heads=heads, hidden=hidden, layers=layers, dropout=dropout)
        self.vertex_head = nn.Linear(width, 3)
        self.register_buffer("neighbours", adjacency != 0, persistent=False)
        self.blocks = NeighbourBlocks(self.neighbours)
        self.register_buffer("position_code", sine_position_code(num_joints, 1, width), persistent=False)

    def forward(self, joints: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """joints (B, J, width), camera (B, 1, width) -> coarse vertices (B, Vc, 3), camera feature (B, 1, width)."""
        queries = self.vertex_tokens.expand(joints.shape[0], -1, -1)
        allowed = self.blocks if self.training else self.neighbours  # the same attention, the blocks faster in training
        camera, _, vertices = self.transformer(joints, camera, queries, self.position_code, allowed)
        return self.vertex_head(vertices), camera
