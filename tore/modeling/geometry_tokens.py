"""What the main Transformer is asked for: joints alone, or joints and coarse vertices (paper section 3.2).

With geometry token reduction (GTR) its queries are the J joints and the shape regressor grows the mesh. Without, the
Vc coarse vertices are queries too, behind the joints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GeometryTokens(nn.Module):
    """The learned query tokens of FastMETRO's main Transformer and who may look at whom among them."""

    allowed: Tensor | None

    def __init__(self, *, joints: int, width: int, adjacency: Tensor | None) -> None:
        """`adjacency` (Vc, Vc) of the coarse mesh, not zero between neighbours; None asks for joints alone."""
        super().__init__()
        self.joints = nn.Parameter(torch.randn(joints, width))
        self.vertices = None if adjacency is None else nn.Parameter(torch.randn(len(adjacency), width))
        self.register_buffer("allowed", None if adjacency is None else query_mask(joints, adjacency), persistent=False)

    def forward(self, batch: int) -> Tensor:
        """(batch, Q, width), joints first."""
        tokens = self.joints if self.vertices is None else torch.cat((self.joints, self.vertices))
        return tokens.expand(batch, -1, -1)


def query_mask(joints: int, adjacency: Tensor) -> Tensor:
    """(J + Vc, J + Vc) bool, True where a row may look at a column.

    Joints see every query; a vertex sees every joint, itself and its mesh neighbours.
    """
    allowed = torch.ones(joints + len(adjacency), joints + len(adjacency), dtype=torch.bool, device=adjacency.device)
    allowed[joints:, joints:] = adjacency != 0
    return allowed
