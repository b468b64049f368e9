"""Slow, plain transcriptions of the body models' definitions, joint by joint: the oracles of the fast ones."""

from __future__ import annotations

import numpy as np
import torch


def rotation_of(axis_angle: torch.Tensor) -> torch.Tensor:
    """(B,3) -> (B,3,3) by Rodrigues' formula with the official angle and axis."""
    angle = (axis_angle + 1e-8).norm(dim=1, keepdim=True)
    q = torch.cat([torch.cos(angle / 2), torch.sin(angle / 2) * axis_angle / angle], 1)
    w, x, y, z = (q / q.norm(dim=1, keepdim=True)).T
    cross = torch.stack([w * 0, -z, y, z, w * 0, -x, -y, x, w * 0], 1).reshape(-1, 3, 3)
    return torch.eye(3, dtype=q.dtype) + 2 * w[:, None, None] * cross + 2 * cross @ cross


def skin(rotations: torch.Tensor, betas: torch.Tensor, arrays: dict[str, np.ndarray]) -> tuple:
    """Vertices and joints by a loop over joints with 4x4 matrices and dense (B,V,4,4) blending."""
    dtype, batch = rotations.dtype, len(rotations)
    # Rounded to float32 first, as the official layers hold their arrays.
    held = {
        name: torch.from_numpy(np.asarray(arrays[name], np.float32)).to(dtype)
        for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
    }
    parents = arrays["kintree_table"][0]
    shaped = held["v_template"] + torch.matmul(held["shapedirs"][..., :10], betas.T).permute(2, 0, 1)
    rest = torch.matmul(held["J_regressor"], shaped)
    pose_map = torch.cat(
        [(rotations[:, j] - torch.eye(3, dtype=dtype)).reshape(batch, 9) for j in range(1, len(parents))], 1
    )
    posed = shaped + torch.matmul(held["posedirs"], pose_map.T).permute(2, 0, 1)

    def motion(turn: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=dtype).expand(batch, 1, 4)
        return torch.cat([torch.cat([turn, shift[:, :, None]], 2), bottom], 1)

    world = [motion(rotations[:, 0], rest[:, 0])]
    for joint in range(1, len(parents)):
        parent = int(parents[joint])
        world.append(torch.matmul(world[parent], motion(rotations[:, joint], rest[:, joint] - rest[:, parent])))
    relative = []
    for joint, whole in enumerate(world):
        start = torch.cat([rest[:, joint], torch.zeros(batch, 1, dtype=dtype)], 1)
        moved = torch.matmul(whole, start[:, :, None])
        relative.append(whole - torch.cat([torch.zeros(batch, 4, 3, dtype=dtype), moved], 2))
    blend = torch.tensordot(torch.stack(relative, 3), held["weights"], ([3], [1]))  # (B,4,4,V)
    homogeneous = torch.cat([posed.transpose(1, 2), torch.ones(batch, 1, posed.shape[1], dtype=dtype)], 1)
    vertices = (blend * homogeneous[:, None]).sum(2).transpose(1, 2)[:, :, :3]
    return vertices, torch.stack(world, 1)[:, :, :3, 3]


def mano_layer(pose: torch.Tensor, betas: torch.Tensor, arrays: dict[str, np.ndarray], mean: np.ndarray) -> tuple:
    """Right hand, 48 axis-angle numbers counted from `mean`: vertices and 21 joints in millimetres."""
    full = torch.cat([pose[:, :3], pose[:, 3:] + torch.from_numpy(np.asarray(mean, np.float32)).to(pose.dtype)], 1)
    rotations = torch.stack([rotation_of(full[:, 3 * j : 3 * j + 3]) for j in range(16)], 1)
    vertices, joints = skin(rotations, betas, arrays)
    tips = vertices[:, [745, 317, 444, 556, 673]]
    order = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    return vertices * 1000, torch.cat([joints, tips], 1)[:, order] * 1000
