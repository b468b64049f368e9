"""Learning rates: the published schedule, and cosine decay with a warm-up, which short runs from scratch need."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer

DECAY = 0.1
STAGES = 2
SCHEDULES = ("published", "cosine")


def iterations_per_epoch(samples: int, global_batch: int) -> int:
    """floor(samples / samples per step over all processes), at least one step's worth of samples needed."""
    if samples < global_batch:
        raise ValueError(
            f"the training set has {samples} samples but one step takes {global_batch} over all processes; "
            "lower --per_gpu_train_batch_size or --accumulate, or use fewer processes"
        )
    return samples // global_batch


@dataclass(frozen=True)
class Schedule:
    """The rate of every step. `warm_up`: share of all steps over which it rises from zero, 0 for none."""

    kind: str = "published"  # one of SCHEDULES
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        """ValueError for a schedule that does not exist."""
        if self.kind not in SCHEDULES:
            raise ValueError(f"schedule {self.kind!r} is not known; use {' or '.join(SCHEDULES)}")
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"--warm_up_share {self.warm_up} is no share of the steps; use 0 or more and less than 1")

    def rate(self, base: float, iteration: int, per_epoch: int, epochs: int) -> float:
        """The rate of step `iteration`, counted from 1, of per_epoch * epochs."""
        steps = per_epoch * epochs
        rising = self.warm_up * steps
        rate = learning_rate(base, iteration, per_epoch, epochs)
        if self.kind == "cosine":
            rate = base * (1 + math.cos(math.pi * max(iteration - rising, 0) / (steps - rising))) / 2
        return rate * min(1.0, iteration / rising) if rising else rate


def learning_rate(base: float, iteration: int, per_epoch: int, epochs: int) -> float:
    """The published rate of step `iteration`, counted from 1: base * 0.1^(epoch // (epochs / 2)).

    Published: the epoch is iteration // per_epoch, so the last step of each epoch counts to the next one and the
    very last step runs at a hundredth.
    """
    epoch = iteration // per_epoch
    return base * DECAY ** (epoch // (epochs / STAGES))


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Gives every parameter group the rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
