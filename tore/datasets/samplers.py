"""Which process reads which sample: shuffled batches that can be resumed, and evaluation shares without repeats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import MT19937, RandomState, SeedSequence
from torch.utils.data import Sampler


class TrainSampler(Sampler[list[int]]):
    """One rank's batches of an epoch, as a batch sampler.

    An epoch is a permutation by (seed, epoch) cut into global batches of `batch_size * world_size`; each rank takes
    its part of every global batch, and the incomplete last one is left out. So the same samples meet in a step for any
    number of ranks that gives the same global batch. `start` is the iteration of the epoch that comes next.
    """

    def __init__(self, size: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"batch size {batch_size}, rank {rank} of {world_size}: no such share of the samples")
        self.size, self.batch_size, self.seed, self.rank, self.world_size = size, batch_size, seed, rank, world_size
        self.epoch, self.start = 0, 0
        self.iterations = size // (batch_size * world_size)
        if self.iterations == 0:
            raise ValueError(f"{size} samples do not fill one batch of {batch_size} on each of {world_size} processes")

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Chooses the permutation, and the iteration of the epoch to begin with."""
        if not 0 <= start <= self.iterations:
            raise ValueError(f"iteration {start} does not lie in an epoch of {self.iterations} iterations")
        self.epoch, self.start = epoch, start

    def state_dict(self, iteration: int) -> dict[str, int]:
        """What is needed to go on after `iteration` iterations of this epoch."""
        return {
            "epoch": self.epoch,
            "start": iteration,
            "seed": self.seed,
            "size": self.size,
            "global_batch": self.batch_size * self.world_size,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Takes up where `state_dict` was made. ValueError where the order of samples would be another one."""
        own = self.state_dict(0)
        for name in ("seed", "size", "global_batch"):
            if state[name] != own[name]:
                raise ValueError(
                    f"the run to resume had {name} {state[name]}, this one has {own[name]}: make them equal"
                )
        self.set_epoch(state["epoch"], state["start"])

    def __len__(self) -> int:
        """Iterations left in this epoch."""
        return self.iterations - self.start

    def __iter__(self) -> Iterator[list[int]]:
        order = RandomState(MT19937(SeedSequence([self.seed, self.epoch]))).permutation(self.size)
        shares = order[: self.iterations * self.batch_size * self.world_size]
        shares = shares.reshape(self.iterations, self.world_size, self.batch_size)
        for batch in shares[self.start :, self.rank]:
            yield batch.tolist()


class EvalSampler(Sampler[int]):
    """One rank's samples in evaluation, ascending: over all ranks each index comes exactly once, with no padding."""

    def __init__(self, size: int, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}: no such share of the samples")
        self._share = np.array_split(np.arange(size), world_size)[rank]

    def __len__(self) -> int:
        return len(self._share)

    def __iter__(self) -> Iterator[int]:
        return iter(self._share.tolist())
