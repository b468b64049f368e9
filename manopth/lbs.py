"""Linear blend skinning of SMPL-format bodies and hands, the whole batch at once.

A vertex is the template moved by shape (`betas`) and by pose correctives (every non-root rotation minus the identity),
then carried by the weighted mean of its joints' rigid motions (Loper et al. 2015; Romero et al. 2017). Everything over
vertices is a matrix product; the motions are composed level by level down the kinematic tree.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from .tensors import WithConstants, full_precision


def tree_levels(parents: list[int]) -> list[list[int]]:
    """The joints of a kinematic tree by their distance from the root, joint 0; `parents[0]` is not read."""
    depth = [0] * len(parents)
    for joint in range(1, len(parents)):
        depth[joint] = depth[parents[joint]] + 1
    return [[joint for joint, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]


class SkinnedModel(WithConstants):
    """The arrays of a body model as constants, coordinates before vertices, ready for `linear_blend_skinning`.

    `arrays` are those of `manopth.files.load_body_arrays`: V vertices, K joints, of the shape directions the first
    S = `num_betas`. Numbers are rounded to float32, as in the official code; after `.double()` the arithmetic is in
    float64.

    - `basis (1 + S + 9*(K-1), 3, V)`: template, shape directions, pose directions
    - `joint_regressor (V, K)`, `weights (K, V)`, `parents (K,)`
    """

    basis: torch.Tensor
    joint_regressor: torch.Tensor
    weights: torch.Tensor
    parents: torch.Tensor
    by_level: torch.Tensor
    by_joint: torch.Tensor
    parent_in_level: torch.Tensor

    def __init__(self, arrays: Mapping[str, np.ndarray], num_betas: int = 10) -> None:
        super().__init__()
        shape_directions = arrays["shapedirs"][..., :num_betas]
        self.num_betas = shape_directions.shape[-1]
        directions = [arrays["v_template"][..., None], shape_directions, arrays["posedirs"]]
        basis = np.concatenate(directions, -1).transpose(2, 1, 0)
        parents = [0, *arrays["kintree_table"][0, 1:].tolist()]
        levels = tree_levels(parents)
        above = [levels[0], *levels[:-1]]
        self.level_sizes = [len(level) for level in levels]
        by_level = [joint for level in levels for joint in level]
        slots = [up.index(parents[joint]) for up, level in zip(above, levels, strict=True) for joint in level]
        constants = {
            "basis": torch.from_numpy(np.ascontiguousarray(basis, np.float32)),
            "joint_regressor": torch.from_numpy(np.ascontiguousarray(arrays["J_regressor"].T, np.float32)),
            "weights": torch.from_numpy(np.ascontiguousarray(arrays["weights"].T, np.float32)),
            "parents": torch.tensor(parents, device="cpu"),
            "by_level": torch.tensor(by_level, device="cpu"),  # joints sorted by level
            "by_joint": torch.tensor(by_level, device="cpu").argsort(),  # where each joint stands in that order
            "parent_in_level": torch.tensor(slots, device="cpu"),  # where its parent stands in the level above
        }
        for name, tensor in constants.items():
            self.keep_constant(name, tensor)

    @property
    def num_joints(self) -> int:
        """K."""
        return len(self.parents)


def compose_tree(local: torch.Tensor, model: SkinnedModel) -> torch.Tensor:
    """World motions (B, K, 4, 4) of every joint from its motion (B, K, 4, 4) relative to its parent."""
    local_levels = local[:, model.by_level].split(model.level_sizes, 1)
    slots = model.parent_in_level.split(model.level_sizes)
    world = [local_levels[0]]
    for motion, slot in zip(local_levels[1:], slots[1:], strict=True):
        world.append(world[-1][:, slot] @ motion)
    return torch.cat(world, 1)[:, model.by_joint]


@full_precision
def rest_joints(betas: torch.Tensor, model: SkinnedModel) -> torch.Tensor:
    """Skeleton joints (B, K, 3) of the unposed, shaped body, from betas (B, S)."""
    shape = model.basis[: 1 + model.num_betas] @ model.joint_regressor  # (1+S,3,K)
    return (shape[0] + torch.tensordot(betas, shape[1:], 1)).mT


@full_precision
def linear_blend_skinning(
    rotations: torch.Tensor, betas: torch.Tensor, model: SkinnedModel
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices (B, V, 3) and skeleton joints (B, K, 3), in the model file's unit (meters) and frame.

    `rotations (B, K, 3, 3)` are relative to each joint's parent, the root's relative to the frame; `betas (B, S)`.
    """
    batch, joints = rotations.shape[:2]
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    correctives = (rotations[:, 1:] - identity).flatten(1)  # (B,9*(K-1))
    coefficients = torch.cat([torch.ones_like(betas[:, :1]), betas, correctives], 1)
    unposed = (coefficients @ model.basis.flatten(1)).unflatten(1, (3, -1))  # (B,3,V)

    rest = rest_joints(betas, model)  # (B,K,3)
    offset = torch.cat([rest[:, :1], rest[:, 1:] - rest[:, model.parents[1:]]], 1)
    last_row = torch.eye(4, dtype=rotations.dtype, device=rotations.device)[3].expand(batch, joints, 1, 4)
    local = torch.cat([torch.cat([rotations, offset[..., None]], -1), last_row], -2)
    world = compose_tree(local, model)
    turn, posed_joints = world[..., :3, :3], world[..., :3, 3]
    # The motion from the rest pose: the rest joint goes to the posed one.
    shift = posed_joints - (turn @ rest[..., None]).squeeze(-1)
    motion = torch.cat([turn, shift[..., None]], -1).permute(0, 2, 3, 1)  # (B,3,4,K)
    blended = (motion.reshape(-1, joints) @ model.weights).unflatten(0, (batch, 3, 4))  # (B,3,4,V)
    vertices = blended[:, :, 3]  # (B,3,V)
    for axis in range(3):
        vertices = torch.addcmul(vertices, blended[:, :, axis], unposed[:, axis, None])
    return vertices.mT.contiguous(), posed_joints
