"""How unlike the prior's poses a pose is: a smooth number, and residuals for refinements that keep a body natural."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from manopth.rotations import axis_angle_to_matrix
from tore.body.gauss_newton import Posed
from tore.body.joints import SMPL_FLIP
from tore.geometry.rotations import matrix_to_axis_angle

if TYPE_CHECKING:
    from tore.synthetic.pose_prior import Mixture

WIDER = 2.0  # of the spread that poses are drawn with: between components the energy stays low
TINY = 1e-12
FLIPPED = [joint - 1 for joint in SMPL_FLIP[1:]]  # of the 23 joints behind the root
SIGNS = (1.0, -1.0, -1.0)  # of a rotation vector's mirror image


class PoseEnergy(torch.nn.Module):
    """The negative logarithm of a mixture's density over 23 joints, up to a constant; buffers only."""

    mean: torch.Tensor
    rotation: torch.Tensor
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
        self.register_buffer("rotation", axis_angle_to_matrix(torch.tensor(mixture.mean[:, 1:])).float())
        self.register_buffer("precision", torch.tensor(noise**-2).float())
        self.register_buffer("taken", torch.tensor(half.transpose(0, 2, 1) @ weighed).float())
        offset = np.log(np.maximum(mixture.weight, TINY)) - 0.5 * size
        self.register_buffer("offset", torch.tensor(offset - offset.max()).float())

    def forward(self, pose: torch.Tensor) -> torch.Tensor:
        """(B,) energies of poses (B, 24, 3) in axis-angle, in `pose`'s precision; the root does not count."""
        both = [torch.logsumexp(scores, dim=1) for scores in self._both(pose)]
        return -torch.logaddexp(both[0], both[1])

    def nearest(self, rotations: torch.Tensor) -> PoseTerm:
        """The likeliest component of each pose (B, 24, 3, 3), mirrored where the pose's mirror image is likelier."""
        scores = torch.cat(self._both(matrix_to_axis_angle(rotations)), 1)  # (B, 2 K)
        best, count = scores.argmax(1), len(self.mean)
        row, mirrored = best % count, (best >= count)[:, None, None]
        taken = self.taken[row]
        precision = torch.diag_embed(self.precision[row]) - taken.mT @ taken  # (B, 69, 69)
        sign = precision.new_tensor(SIGNS)
        order = (3 * torch.tensor(FLIPPED)[:, None] + torch.arange(3)).flatten()
        swapped = precision[:, order][:, :, order] * sign.repeat(23)[:, None] * sign.repeat(23)
        precision = torch.where(mirrored, swapped, precision)
        turned = self.rotation[row]  # (B, 23, 3, 3)
        flip = -sign  # a rotation's mirror image: reflected on both sides
        turned = torch.where(mirrored[..., None], turned[:, FLIPPED] * flip[:, None] * flip, turned)
        return PoseTerm(turned.to(rotations), torch.linalg.cholesky(precision.double()).to(rotations))

    def _both(self, pose: torch.Tensor) -> list[torch.Tensor]:
        """The scores of the components for the poses (B, 24, 3) and for their mirror images."""
        return [self._scores(one) for one in (pose, pose[:, list(SMPL_FLIP)] * pose.new_tensor(SIGNS))]

    def _scores(self, pose: torch.Tensor) -> torch.Tensor:
        """(B, K) logarithms of the components' parts of the density."""
        mean, precision, taken, offset = (
            getattr(self, name).to(pose) for name in ("mean", "precision", "taken", "offset")
        )
        away = _away(mean[None], _quaternion(pose[:, None, 1:]))  # (B, K, 69)
        square = (away**2 * precision).sum(2) - (torch.einsum("krd,bkd->bkr", taken, away) ** 2).sum(2)
        return offset - 0.5 * square


@dataclass(frozen=True)
class PoseTerm:
    """One normal distribution of each pose, as residuals of `tore.body.gauss_newton`: half their squares' sum is the
    component's part of the energy, up to a constant. The root does not count.
    """

    mean: torch.Tensor  # (B, 23, 3, 3)
    root: torch.Tensor  # (B, 69, 69) a lower triangle L: the precision is L L^T
    share: float = 1.0  # multiplies the squares

    def weighted(self, share: float) -> PoseTerm:
        """The same with another weight of the squares."""
        return PoseTerm(self.mean, self.root, share)

    def _parts(self, posed: Posed) -> tuple[torch.Tensor, torch.Tensor]:
        """Imaginary parts (B, 23, 3) and real part (B, 23, 1) of the quaternions from the means on."""
        away = matrix_to_axis_angle(self.mean.mT @ posed.state.rotations[:, 1:])
        half = 0.5 * away.norm(dim=-1, keepdim=True)
        return 0.5 * torch.sinc(half / torch.pi) * away, half.cos()

    def residual(self, posed: Posed) -> torch.Tensor:
        """(B, 69)."""
        away = 2 * self._parts(posed)[0].flatten(1)
        return self.share**0.5 * (away[:, None] @ self.root).squeeze(1)

    def jacobian(self, posed: Posed) -> torch.Tensor:
        """(B, P, 69)."""
        imaginary, real = self._parts(posed)
        x, y, z = imaginary.unbind(-1)
        zero = torch.zeros_like(x)
        cross = torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], -1).unflatten(-1, (3, 3))  # transposed
        own = posed.above[:, 1:] @ self.mean @ (real[..., None] * torch.eye(3).to(real) - cross)  # (B, 23, 3, 3)
        found = own.new_zeros(len(own), posed.state.unknowns, own.shape[1] * 3)
        for joint in range(own.shape[1]):
            place = slice(3 * joint, 3 * joint + 3)
            found[:, 3 * joint + 3 : 3 * joint + 6, place] = own[:, joint]
        return self.share**0.5 * (found @ self.root)


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
