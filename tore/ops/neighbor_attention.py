"""Attention among mesh neighbors without the pairs that the mesh forbids.

A vertex attends to some 7 of 431, so a dense product computes 60 forbidden scores for each that counts. Here the
vertices lie in blocks of mesh patches: a block's queries meet the keys that any of them may attend to, and no others.
It is the same attention; what is left out has weight 0.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from manopth.tensors import WithConstants, beside

BLOCK_SIZE = 16  # queries; of 8, 12, 16, 24 and 32 the fastest in training (docs/dev/speed.md)


class NeighborBlocks(WithConstants):
    """A (Q, N) mask as blocks of s queries with up to w keys; `attend` takes it in the mask's place.

    `mask` (blocks, 1, s, w) is True where a block's query may attend to a block's key; the optimized model
    keeps there what `attend` adds to the scores.
    """

    queries: Tensor
    keys: Tensor
    place: Tensor
    mask: Tensor

    def __init__(self, allowed: Tensor, size: int = BLOCK_SIZE) -> None:
        """`allowed` (Q, N) bool, True where a query may attend to a key; every query attends to at least one."""
        super().__init__()
        visible = allowed.cpu().numpy()
        blocks = patches(visible, size)
        seen = [np.flatnonzero(visible[block].any(0)) for block in blocks]
        keys = np.zeros((len(blocks), max(map(len, seen))), np.int64)  # (blocks, w), filled up with key 0
        queries = np.zeros((len(blocks), size), np.int64)  # (blocks, s), filled up with query 0
        mask = np.zeros((len(blocks), size, keys.shape[1]), bool)
        mask[:, :, 0] = True  # for the fillers, whose results nobody reads
        for number, (block, columns) in enumerate(zip(blocks, seen, strict=True)):
            queries[number, : len(block)], keys[number, : len(columns)] = block, columns
            mask[number, : len(block), : len(columns)] = visible[np.ix_(block, columns)]
        place = np.empty(len(visible), np.int64)
        place[np.concatenate(blocks)] = [size * n + at for n, block in enumerate(blocks) for at in range(len(block))]
        for name, array in (("queries", queries), ("keys", keys), ("place", place), ("mask", mask[:, None])):
            self.keep_constant(name, torch.from_numpy(array))

    def cut(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """query (B, Q, C), key and value (B, N, C) -> (B, blocks, s, C), (B, blocks, w, C) twice."""
        queries, keys = beside(self.queries, query), beside(self.keys, key)
        query = query.index_select(1, queries.flatten()).unflatten(1, queries.shape)
        key, value = (x.index_select(1, keys.flatten()).unflatten(1, keys.shape) for x in (key, value))
        return query, key, value

    def join(self, mixed: Tensor) -> Tensor:
        """(B, blocks, s, C) -> (B, Q, C), the queries in their own order."""
        return mixed.flatten(1, 2).index_select(1, beside(self.place, mixed))


def patches(visible: np.ndarray, size: int) -> list[np.ndarray]:
    """Splits the rows of `visible` (Q, N) bool into patches of `size` rows that share many columns.

    A patch grows by the row that brings the fewest new columns; ties go to the row that the fewest rows left would
    share columns with, so that no stragglers remain.
    """
    touching = (visible.astype(np.float32) @ visible.T.astype(np.float32)) > 0  # (Q, Q)
    relatives = touching.sum(1)  # how many rows left share a column with a row
    taken = np.zeros(len(visible), bool)
    found: list[np.ndarray] = []
    while not taken.all():
        patch: list[int] = []
        new = visible.sum(1)  # columns of a row that the patch has not got
        columns = np.zeros(visible.shape[1], bool)
        while len(patch) < size and not taken.all():
            price = np.where(taken, np.inf, new * (1.0 + len(visible)) + relatives)
            row = int(price.argmin() if patch else np.where(taken, np.inf, relatives).argmin())
            fresh = visible[row] & ~columns
            new = new - visible[:, fresh].sum(1)
            columns |= fresh
            relatives = relatives - touching[:, row]
            taken[row] = True
            patch.append(row)
        found.append(np.array(patch))
    return found
