"""A mesh at several resolutions and the fixed sparse maps between them.

Each map is applied to a whole batch in one gather and one weighted sum, which works in any dtype, on any device, with
gradients, and in compiled graphs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import nn

from manopth.tensors import WithConstants, beside, full_precision


class SparseMap(WithConstants):
    """A fixed (R, C) sparse matrix applied to the vertices of a batch.

    Row r is kept as the columns `index[r]` and values `weight[r]` of its entries, (R, K) each, K the most entries of
    any row; shorter rows repeat a column of theirs with weight 0. Values are rounded to float32, as in the official
    code.
    """

    index: torch.Tensor
    weight: torch.Tensor

    def __init__(self, matrix: Any) -> None:
        super().__init__()
        rows = scipy.sparse.csr_matrix(matrix)
        rows.sum_duplicates()
        self.shape: tuple[int, int] = rows.shape
        counts = np.diff(rows.indptr)
        most = max(1, int(counts.max(initial=0)))
        slot = np.minimum(np.arange(most), np.maximum(counts, 1)[:, None] - 1)  # (R,K)
        entry = np.minimum(rows.indptr[:-1, None] + slot, max(rows.nnz - 1, 0))
        real = np.arange(most) < counts[:, None]
        index = rows.indices[entry] if rows.nnz else np.zeros_like(entry)
        weight = np.where(real, rows.data[entry], 0.0) if rows.nnz else np.zeros(entry.shape)
        self.keep_constant("index", torch.from_numpy(index.astype(np.int64)))
        self.keep_constant("weight", torch.from_numpy(weight.astype(np.float32)))

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of one mesh's dense product, as the official figures count it."""
        return self.shape[0] * self.shape[1] * 3

    @full_precision
    def forward(self, vertices: torch.Tensor) -> torch.Tensor:
        """(B, C, 3) -> (B, R, 3)."""
        index, weight = beside(self.index, vertices), beside(self.weight, vertices)
        gathered = vertices.index_select(1, index.flatten()).unflatten(1, index.shape)  # (B,R,K,3)
        return (gathered * weight[..., None]).sum(2)


class MeshLevels(nn.Module):
    """The levels of one mesh: `up` and `down` are scipy matrices from the full mesh on, as in the official files.

    `up[i]` is (vertices of level i, of level i + 1) and `down[i]` the reverse, level 0 the full mesh. The modules
    `self.up` go coarse to full, `self.down` full to coarse. Raises ValueError where the sizes do not form a chain.
    """

    def __init__(self, up: Sequence[Any], down: Sequence[Any]) -> None:
        super().__init__()
        shapes_up, shapes_down = [tuple(m.shape) for m in up], [tuple(m.shape) for m in down]
        chained = all(coarse[0] == fine[1] for fine, coarse in itertools.pairwise(shapes_up))
        if not up or not chained or shapes_down != [shape[::-1] for shape in shapes_up]:
            raise ValueError(f"mesh levels do not fit together: up-sampling {shapes_up}, down-sampling {shapes_down}")
        self.up = nn.ModuleList(SparseMap(matrix) for matrix in reversed(up))
        self.down = nn.ModuleList(SparseMap(matrix) for matrix in down)
        self.sizes: tuple[int, ...] = (*(columns for _, columns in reversed(shapes_up)), shapes_up[0][0])

    def upsample(self, coarse: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The finer levels of (B, Vc, 3), coarse to full: body (B, 1723, 3), (B, 6890, 3); hand (B, 778, 3)."""
        levels = [coarse]
        for step in self.up:
            levels.append(step(levels[-1]))
        return tuple(levels[1:])

    def downsample(self, full: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The coarser levels of (B, V, 3), fine to coarse: body (B, 1723, 3), (B, 431, 3); hand (B, 195, 3)."""
        levels = [full]
        for step in self.down:
            levels.append(step(levels[-1]))
        return tuple(levels[1:])
