"""Rotations for the tests of meshes that follow joints."""

from __future__ import annotations

import math

import torch


def rotation(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    return turn * torch.det(turn)


def rotation_about(axis: torch.Tensor, angle: float) -> torch.Tensor:
    """Rodrigues' formula, element by element."""
    x, y, z = (axis / axis.norm()).tolist()
    sine, cosine = math.sin(angle), math.cos(angle)
    rows = [
        [cosine + x * x * (1 - cosine), x * y * (1 - cosine) - z * sine, x * z * (1 - cosine) + y * sine],
        [y * x * (1 - cosine) + z * sine, cosine + y * y * (1 - cosine), y * z * (1 - cosine) - x * sine],
        [z * x * (1 - cosine) - y * sine, z * y * (1 - cosine) + x * sine, cosine + z * z * (1 - cosine)],
    ]
    return torch.tensor(rows)
