"""How unlike the prior's poses a pose is: a smooth number for refinements that keep a body natural."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tore.body.joints import SMPL_FLIP

if TYPE_CHECKING:
    from tore.synthetic.pose_prior import Mixture

WIDER = 2.0  # of the spread that poses are drawn with: between components the energy stays low
TINY = 1e-12


class PoseEnergy(torch.nn.Module):
    """The negative logarithm of a mixture's density over 23 joints, up to a constant; buffers only."""

    mean: torch.Tensor
    precision: torch.Tensor
    taken: torch.Tensor
    offset: torch.Tensor

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        noise = np.repeat(WIDER * mixture.noise[:, 1:], 3, axis=1)  # (K, 69)
        factor = WIDER * mixture.factor[:, :, 1:].reshape(len(noise), -1, noise.shape[1])
        weighed = factor / noise[:, None] ** 2
        inner = np.eye(factor.shape[1]) + weighed @ factor.transpose(0, 2, 1)  # (K, R, R)
        half = np.linalg.cholesky(np.linalg.inv(inner))
        size = 2 * np.log(noise).sum(1) + np.linalg.slogdet(inner)[1]
        self.register_buffer("mean", _quaternion(torch.tensor(mixture.mean[:, 1:])).float())
        self.register_buffer("precision", torch.tensor(noise**-2).float())
        self.register_buffer("taken", torch.tensor(half.transpose(0, 2, 1) @ weighed).float())
        offset = np.log(np.maximum(mixture.weight, TINY)) - 0.5 * size
        self.register_buffer("offset", torch.tensor(offset - offset.max()).float())

    def forward(self, pose: torch.Tensor) -> torch.Tensor:
        """(B,) energies of poses (B, 24, 3) in axis-angle, in `pose`'s precision; the root does not count."""
        flipped = pose[:, list(SMPL_FLIP)] * pose.new_tensor([1.0, -1.0, -1.0])
        both = [self._density(one) for one in (pose, flipped)]
        return -torch.logaddexp(both[0], both[1])

    def _density(self, pose: torch.Tensor) -> torch.Tensor:
        """(B,) logarithms of the density."""
        mean, precision, taken, offset = (
            getattr(self, name).to(pose) for name in ("mean", "precision", "taken", "offset")
        )
        away = _away(mean[None], _quaternion(pose[:, None, 1:]))  # (B, K, 69)
        square = (away**2 * precision).sum(2) - (torch.einsum("krd,bkd->bkr", taken, away) ** 2).sum(2)
        return torch.logsumexp(offset - 0.5 * square, dim=1)


def _quaternion(pose: torch.Tensor) -> torch.Tensor:
    """Unit quaternions (..., 4) of axis-angle (..., 3), smooth everywhere."""
    angle = (pose.square().sum(-1, keepdim=True) + TINY).sqrt()
    return torch.cat([(0.5 * angle).cos(), (0.5 * angle).sin() / angle * pose], -1)


def _away(mean: torch.Tensor, quaternion: torch.Tensor) -> torch.Tensor:
    """(..., 3 K) twice the imaginary parts of the rotations from `mean` (..., K, 4) on, which are near their angles."""
    real = (mean * quaternion).sum(-1, keepdim=True)
    back, imaginary = torch.broadcast_tensors(-mean[..., 1:], quaternion[..., 1:])
    across = torch.linalg.cross(back, imaginary)
    imaginary = mean[..., :1] * imaginary + quaternion[..., :1] * back + across
    return (2 * torch.where(real < 0, -imaginary, imaginary)).flatten(-2)
