"""Loaders of training and evaluation sets: their samplers, workers and batches."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import MT19937, RandomState, SeedSequence
from torch.utils.data import DataLoader, Dataset, Sampler

from tore.datasets.mesh_dataset import MeshDataset
from tore_runtime.entry import STOP_SIGNALS


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


def use_one_opencv_thread() -> None:
    """Ends OpenCV's thread pool in this process: the workers are the parallelism.

    Called before workers are forked, because a forked copy of a pool has no threads and waits for them for ever.
    """
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)


def start_worker(worker: int) -> None:
    """Keeps OpenCV to one thread in a worker that was not forked, and so did not inherit the setting.

    Signals that ask a run to stop reach the whole process group; they are the main process's to answer, which still
    needs its workers to finish the step. A worker ends when the loader does or its parent is gone.
    """
    use_one_opencv_thread()
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def end_workers() -> None:
    """Ends the workers of loaders that are still open when this process exits.

    Python asks its daemonic children with SIGTERM and then waits for them; these workers would never hear it.
    """
    for child in active_children():
        if child.daemon:
            child.kill()


class ReadByThreads(Dataset):
    """A data set whose batches several threads read, for a loader without processes (its pool is not to be forked)."""

    def __init__(self, dataset: MeshDataset, threads: int) -> None:
        self.dataset, self.pool = dataset, ThreadPoolExecutor(threads, "loading")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The samples of a batch, in order; what torch's loader asks for where a data set has it."""
        return list(self.pool.map(self.dataset.__getitem__, indices))


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def network_fills_cores(device: torch.device, workers: int) -> bool:
    """Whether `workers` loading processes would take the cores that the network computes on.

    Its threads share each operation out evenly, so all of them wait for the one whose core is taken. Of the processes
    that torchrun starts on a machine (LOCAL_WORLD_SIZE) each is taken to have as many threads and workers.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return device.type == "cpu" and workers > 0 and processes * (torch.get_num_threads() + workers) > cores()


def train_loader(
    dataset: MeshDataset,
    batch_size: int,
    workers: int = 4,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> tuple[DataLoader, TrainSampler]:
    """Batches of `batch_size` for this rank, shuffled by the data set's seed; and their sampler.

    Before each epoch call `set_epoch` of both the sampler and the data set (see `begin_epoch`).
    """
    if workers > 0:
        use_one_opencv_thread()
    sampler = TrainSampler(len(dataset), batch_size, dataset.seed, rank, world_size)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=start_worker,
        persistent_workers=workers > 0,
    )
    return loader, sampler


def begin_epoch(dataset: MeshDataset, sampler: TrainSampler, epoch: int, start: int = 0) -> None:
    """Makes the next pass over a training loader the given epoch, from iteration `start` on."""
    dataset.set_epoch(epoch)
    sampler.set_epoch(epoch, start)


def iterations_per_epoch(samples: int, global_batch: int) -> int:
    """floor(samples / samples per step over all processes), at least one step's worth of samples needed."""
    if samples < global_batch:
        raise ValueError(
            f"the training set has {samples} samples but one step takes {global_batch} over all processes; "
            "lower --per_gpu_train_batch_size or --accumulate, or use fewer processes"
        )
    return samples // global_batch


class LoaderBatches:
    """A training set's loader as the trainer wants it: the micro-batches of an epoch from an iteration on."""

    def __init__(
        self,
        dataset: MeshDataset,
        *,
        batch_size: int,
        accumulate: int = 1,
        workers: int = 4,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        if min(batch_size, accumulate) < 1:
            raise ValueError("--per_gpu_train_batch_size and --accumulate must be at least 1")
        self.dataset, self.accumulate = dataset, accumulate
        self.global_batch = batch_size * accumulate * world_size
        self.per_epoch = iterations_per_epoch(len(dataset), self.global_batch)
        self.loader, self.sampler = train_loader(dataset, batch_size, workers, rank, world_size, pin_memory)

    def epoch(self, epoch: int, start: int) -> Iterator[dict[str, Any]]:
        """See `tore.engine.trainer.TrainingBatches`."""
        begin_epoch(self.dataset, self.sampler, epoch, start * self.accumulate)
        yield from self.loader


def eval_loader(
    dataset: MeshDataset,
    batch_size: int,
    workers: int = 4,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    threads: bool = False,
) -> DataLoader:
    """This rank's share of all samples in order; the last batch may be smaller.

    `threads`: the workers are threads, no more than the cores, that read a batch on request, in place of
    processes that read ahead (see `network_fills_cores`).
    """
    if workers > 0:
        use_one_opencv_thread()
    source: Dataset = dataset
    if threads and workers > 0:
        source, workers = ReadByThreads(dataset, min(workers, cores())), 0
    return DataLoader(
        source,
        batch_size=batch_size,
        sampler=EvalSampler(len(dataset), rank, world_size),
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=start_worker,
    )
