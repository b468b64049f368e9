"""Noise that is alike at neighboring vertices: how alike it is, and what makes it independent again.

A smooth error looks much like another pose or shape, so that the body closest to noisy vertices is not the likeliest
one. The noise is taken as an autoregressive field: that of a vertex is a share of the mean of its neighbors', plus
numbers that are independent. Once or twice over, this covers noise from white to very smooth. What is left of a
residual without its neighbors' share is then independent, and least squares give the likeliest body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from tore.body.body_model import BodyModel
from tore.body.gauss_newton import Posed

# Share of the neighbors' mean, and times over; the first is white noise.
LEVELS = ((0.0, 1), (0.5, 1), (0.8, 1), (0.7, 2), (0.8, 2))
CLEARLY = 0.1  # of the logarithm of a sum of squares, by which a smoother level has to explain residuals better
VERY_SMOOTH = 3  # level from which such a body lies clearly nearer to the true one than the closest
MARKED, MARKED_SHARE = 0.00025, 0.25  # meters, and of the told noise: smaller residuals may be the fit's own
CLOSEST = 6  # used vertices that count as neighbors, where the mesh is not used whole


class Block(Protocol):
    """Points with three numbers each; see `tore.body.gauss_newton.ResidualBlock`."""

    def residual(self, posed: Posed) -> Tensor:
        """(B, 3 N)."""

    def jacobian(self, posed: Posed) -> Tensor:
        """(B, P, 3 N)."""


class SmoothNoise:
    """What the noise of every `stride`-th vertex of a mesh can be like."""

    def __init__(self, faces: np.ndarray, vertices: int, stride: int) -> None:
        links = _links(faces, vertices, stride)  # (N, N) 0 and 1, symmetric
        count = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
        root = sp.diags(count**-0.5)
        rates = np.linalg.eigvalsh((root @ links @ root).toarray())  # also those of the means of neighbors
        kept = np.array([(1 - share * rates) ** times for share, times in LEVELS])  # (L, N)
        # A sum of squares is the likelihood's if its determinant is 1; noise of unit size if its inverse's mean is.
        self.likely = torch.from_numpy(np.exp(-np.log(kept).mean(1))).float()  # (L,)
        self.unit = torch.from_numpy((kept**-2.0).mean(1) ** 0.5).float()  # (L,)
        means = (sp.diags(1 / count) @ links).tocoo()
        where = torch.from_numpy(np.stack([means.row, means.col]).astype(np.int64))
        shares = torch.from_numpy(means.data).float()
        self.means = torch.sparse_coo_tensor(where, shares, means.shape, check_invariants=True).coalesce()

    def level(self, residual: Tensor) -> Tensor:
        """(B,) The least smooth of `LEVELS` that explains residuals (B, 3, N) about as well as the best does."""
        batch, count = len(residual), len(LEVELS)
        every = torch.arange(count, device=residual.device).repeat_interleave(batch)  # (L B,)
        kept = self.independent(residual.repeat(count, 1, 1), every, self.likely)
        squares = kept.square().flatten(1).sum(1).unflatten(0, (count, batch)).mT  # (B, L)
        off = squares.clamp_min(torch.finfo(squares.dtype).tiny).log()
        return (off < off.amin(1, keepdim=True) + CLEARLY).int().argmax(1)

    def independent(self, values: Tensor, level: Tensor, scale: Tensor) -> Tensor:
        """Values (B, ..., N) without what their neighbors share, for levels (B,), times the level's `scale` (L,)."""
        shape, columns = values.shape[:-1], values.flatten(0, -2).mT.contiguous()  # (N, B ...)
        factors = torch.tensor([(1.0, *_coefficients(given)) for given in LEVELS]) * scale[:, None]
        each = (
            factors.to(values)[level].reshape(-1, *[1] * (len(shape) - 1), 3).expand(*shape, 3).flatten(0, -2)
        )  # (B ..., 3)
        means = self.means.to(values.device)
        around = means @ columns
        out = torch.addcmul(columns * each[:, 0], around, each[:, 1])
        if bool(each[:, 2].any()):
            out.addcmul_(means @ around, each[:, 2])
        return out.mT.unflatten(0, shape).contiguous()


@dataclass(frozen=True)
class IndependentBlock:
    """A block's residuals without what neighbors share, of noise whose levels (B,) are those of `SmoothNoise`."""

    block: Block
    noise: SmoothNoise
    level: Tensor

    def residual(self, posed: Posed) -> Tensor:
        """(B, 3 N)."""
        return self._kept(self.block.residual(posed))

    def jacobian(self, posed: Posed) -> Tensor:
        """(B, P, 3 N)."""
        return self._kept(self.block.jacobian(posed))

    def _kept(self, values: Tensor) -> Tensor:
        apart = values.unflatten(-1, (3, -1))
        return self.noise.independent(apart, self.level, self.noise.unit).flatten(-2)


_MADE: WeakKeyDictionary[BodyModel, dict[int, SmoothNoise]] = WeakKeyDictionary()


def smooth_noise(body: BodyModel, stride: int) -> SmoothNoise:
    """That of every `stride`-th vertex of a body model; made once."""
    made = _MADE.setdefault(body, {})
    if stride not in made:
        made[stride] = SmoothNoise(body.faces.cpu().numpy(), body.skinned.weights.shape[1], stride)
    return made[stride]


def noise_level(body: BodyModel, stride: int, residual: Tensor, *, told: float, sure: bool) -> Tensor:
    """The level (B,) to take the noise at by residuals (B, 3, N) of every `stride`-th vertex, 0 for independent noise.

    told: meters, what the noise is said to be. sure: whether neighbors are said to share it; if not, a level counts
    only where residuals are marked and very smooth.
    """
    size = residual.square().sum(1).mean(1).sqrt()  # (B,)
    seen = torch.ones_like(size, dtype=torch.bool) if sure else size > max(MARKED, MARKED_SHARE * told)
    level = torch.zeros_like(size, dtype=torch.long)
    if bool(seen.any()):
        found = smooth_noise(body, stride).level(residual[seen])
        level[seen] = found if sure else torch.where(found >= VERY_SMOOTH, found, 0)
    return level


def _coefficients(level: tuple[float, int]) -> tuple[float, float]:
    """What one mean of neighbors and a mean of means are multiplied by."""
    share, times = level
    return -share * times, share**2 * (times - 1)


def _links(faces: np.ndarray, vertices: int, stride: int) -> sp.csr_matrix:
    """Which used vertices are neighbors (N, N): on the whole mesh, or those that a short random walk mostly reaches."""
    corners = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = sp.coo_matrix((np.ones(len(corners)), corners.T), (vertices, vertices))
    near = (edges + edges.T).astype(bool).astype(np.float64).tocsr()
    if stride == 1:
        return near
    walk = near + sp.eye(vertices)
    step = (sp.diags(1 / np.asarray(walk.sum(1)).ravel()) @ walk).tocsr()
    reached = step
    for _ in range(round(stride**0.5)):
        reached = reached @ step
    reached = reached[::stride][:, ::stride].tolil()
    reached.setdiag(0)
    dense = reached.toarray()
    least = np.sort(dense, 1)[:, -CLOSEST, None]
    chosen = (dense >= least) & (dense > 0)
    return sp.csr_matrix((chosen | chosen.T).astype(np.float64))
