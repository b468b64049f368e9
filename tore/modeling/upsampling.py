"""From the coarse mesh to the finer ones: learned steps, fixed steps, or first the one and then the other.

FastMETRO + TORE up-samples by the mesh's own sparse maps, METRO by learned ones.
"""

from __future__ import annotations

import copy
import itertools

from torch import Tensor, nn

from tore.body.mesh_levels import MeshLevels


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
