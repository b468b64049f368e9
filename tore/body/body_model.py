"""What a body and a hand have in common: a skinned mesh with levels, joints regressed from it, training targets."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from manopth.lbs import SkinnedModel, linear_blend_skinning
from manopth.precision import full_precision
from manopth.rotations import axis_angle_to_matrix
from tore.body.mesh_levels import MeshLevels


class BodyTargets(NamedTuple):
    """What a network should predict, in metres, root-centred.

    joints: (B, J, 3), None where the labels carry them (bodies). vertices: every mesh level, coarse to full.
    """

    joints: torch.Tensor | None
    vertices: tuple[torch.Tensor, ...]


class BodyModel(nn.Module):
    """A skinned mesh of V vertices and K skeleton joints, in metres, in the model file's frame.

    `kind` is "body" or "hand", `num_joints` J the joints that networks predict (14 or 21), `faces` (F, 3). Buffers
    follow `.to()`; nothing enters the state dict.
    """

    kind: str
    num_joints: int
    faces: torch.Tensor
    output_rows: torch.Tensor
    root_row: torch.Tensor

    def __init__(
        self,
        skinned: SkinnedModel,
        faces: np.ndarray,  # (F,3)
        levels: MeshLevels,
        output_rows: np.ndarray,  # (J,V) regressor of the predicted joints
        root_row: np.ndarray,  # (1,V) regressor of the root
        path: Path,
    ) -> None:
        super().__init__()
        vertices = skinned.weights.shape[1]
        if vertices != levels.sizes[-1]:
            raise ValueError(f"{path} has {vertices} vertices, not the {levels.sizes[-1]} of the mesh levels")
        self.skinned, self.levels = skinned, levels
        self.register_buffer("faces", torch.from_numpy(faces), persistent=False)
        self.keep("output_rows", output_rows)
        self.keep("root_row", root_row)

    def keep(self, name: str, array: np.ndarray) -> None:
        """Registers `array`, rounded to float32, as a buffer outside the state dict."""
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float32)), persistent=False)

    @full_precision
    def rotations(self, pose: torch.Tensor) -> torch.Tensor:
        """Rotation matrices (B, K, 3, 3) of a pose (B, 3 K) in axis-angle; matrices are taken as they are."""
        joints = self.skinned.num_joints
        if pose.shape[1:] == (joints, 3, 3):
            return pose
        if pose.shape[1:] != (3 * joints,):
            raise ValueError(f"pose has shape {tuple(pose.shape)}, not (B, {3 * joints}) or (B, {joints}, 3, 3)")
        return axis_angle_to_matrix(pose.unflatten(1, (joints, 3)))

    @full_precision
    def skin(self, pose: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, V, 3) and posed skeleton joints (B, K, 3) of pose (B, 3 K) and betas (B, 10)."""
        return linear_blend_skinning(self.rotations(pose), betas, self.skinned)

    def forward(self, pose: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        """Vertices (B, V, 3)."""
        return self.skin(pose, betas)[0]

    @full_precision
    def regress_joints(self, vertices: torch.Tensor) -> torch.Tensor:
        """The predicted joints (B, J, 3) from a full mesh (B, V, 3)."""
        return self.output_rows @ vertices

    @full_precision
    def root(self, vertices: torch.Tensor) -> torch.Tensor:
        """The root (B, 1, 3) from a full mesh (B, V, 3): pelvis of the H36M joints, or wrist."""
        return self.root_row @ vertices

    @full_precision
    def centred_levels(self, vertices: torch.Tensor, root: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Every level of a full mesh (B, V, 3), coarse to full, minus `root` (B, 1, 3)."""
        levels = (*reversed(self.levels.downsample(vertices)), vertices)
        return tuple(level - root for level in levels)

    def targets(self, pose: torch.Tensor, betas: torch.Tensor) -> BodyTargets:
        """The mesh levels of pose and betas minus the root regressed from the mesh; joints come with the labels."""
        vertices = self(pose, betas)
        return BodyTargets(joints=None, vertices=self.centred_levels(vertices, self.root(vertices)))
