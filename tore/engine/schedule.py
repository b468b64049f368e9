"""The published schedule: a tenth of the learning rate after half of the epochs."""

from __future__ import annotations

from torch.optim import Optimizer

DECAY = 0.1
STAGES = 2


def iterations_per_epoch(samples: int, global_batch: int) -> int:
    """floor(samples / samples per step over all processes), at least one step's worth of samples needed."""
    if samples < global_batch:
        raise ValueError(
            f"the training set has {samples} samples but one step takes {global_batch} over all processes; "
            "lower --per_gpu_train_batch_size or --accumulate, or use fewer processes"
        )
    return samples // global_batch


def learning_rate(base: float, iteration: int, per_epoch: int, epochs: int) -> float:
    """The rate of step `iteration`, counted from 1: base * 0.1^(epoch // (epochs / 2)).

    Published: the epoch is iteration // per_epoch, so the last step of each epoch counts to the next one and the
    very last step runs at a hundredth.
    """
    epoch = iteration // per_epoch
    return base * DECAY ** (epoch // (epochs / STAGES))


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Gives every parameter group the rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
