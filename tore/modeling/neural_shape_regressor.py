"""The neural shape regressor (NSR): a mesh grown from joint features, and its up-sampling to the full mesh."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn

from manopth.tensors import WithConstants
from tore.body.mesh_levels import MeshLevels
from tore.modeling.transformer import EncoderDecoder, sine_position_code
from tore.ops.neighbor_attention import NeighborBlocks


class LearnedMap(nn.Linear):
    """One Linear over the vertex axis."""

    def forward(self, vertices: Tensor) -> Tensor:
        """(B, C, 3) -> (B, R, 3)."""
        return super().forward(vertices.transpose(1, 2)).transpose(1, 2)


class Upsampling(nn.Module):
    """One step from each mesh level to the next finer one."""

    def __init__(self, levels: MeshLevels, *, learned: int) -> None:
        """The first `learned` steps are learned, the others the fixed sparse maps of `levels`, copied."""
        super().__init__()
        self.sizes = levels.sizes
        if not 0 <= learned <= len(levels.up):
            raise ValueError(f"{learned} learned up-sampling steps, but these mesh levels take {len(levels.up)} steps")
        maps = [LearnedMap(coarse, fine) for coarse, fine in itertools.pairwise(levels.sizes)][:learned]
        self.steps = nn.ModuleList([*maps, *copy.deepcopy(levels.up)[learned:]])

    def forward(self, coarse: Tensor) -> tuple[Tensor, ...]:
        """(B, Vc, 3) -> the finer levels, coarse to full: body (B, 1723, 3), (B, 6890, 3); hand (B, 778, 3)."""
        levels = [coarse]
        for step in self.steps:
            levels.append(step(levels[-1]))
        return tuple(levels[1:])


class ShapeRegressor(WithConstants):
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
        """`adjacency` (Vc, Vc): two coarse vertices are neighbors where it is not zero; self loops included."""
        super().__init__()
        self.vertex_tokens = nn.Parameter(torch.randn(adjacency.shape[0], width))
        self.transformer = EncoderDecoder(width=width, heads=heads, hidden=hidden, layers=layers, dropout=dropout)
        self.vertex_head = nn.Linear(width, 3)
        self.keep_constant("neighbours", adjacency != 0)
        self.blocks = NeighborBlocks(self.neighbours)
        self.keep_constant("position_code", sine_position_code(num_joints, 1, width))

    def forward(self, joints: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """joints (B, J, width), camera (B, 1, width) -> coarse vertices (B, Vc, 3), camera feature (B, 1, width)."""
        queries = self.vertex_tokens.expand(joints.shape[0], -1, -1)
        allowed = self.blocks if self.training else self.neighbours  # the same attention, the blocks faster in training
        camera, _, vertices = self.transformer(joints, camera, queries, self.position_code, allowed)
        return self.vertex_head(vertices), camera
