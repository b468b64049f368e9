"""Optimizers, gradient clipping and learning rate schedules, official and our own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from tore.engine.state import MovingAverage

BETAS = (0.9, 0.999)
FUSED_DEVICES = ("cpu", "cuda")
CLIPS = ("value", "norm", "none")


@dataclass(frozen=True)
class OptimizerRecipe:
    """How one official network is optimized."""

    kind: str  # "adamw" | "adam"
    weight_decay: float
    clip: str  # one of CLIPS
    clip_limit: float = 0.0


FASTMETRO_OPTIMIZER = OptimizerRecipe("adamw", weight_decay=1e-4, clip="value", clip_limit=0.3)
METRO_OPTIMIZER = OptimizerRecipe("adam", weight_decay=0.0, clip="none")
OPTIMIZERS = {"fastmetro": FASTMETRO_OPTIMIZER, "metro": METRO_OPTIMIZER}
# What the baselines' own official recipes do.
BASELINE_OPTIMIZERS = {"fastmetro": replace(FASTMETRO_OPTIMIZER, clip="norm"), "metro": METRO_OPTIMIZER}


def build_optimizer(parameters: Iterable[nn.Parameter], recipe: OptimizerRecipe, lr: float) -> Optimizer:
    """The recipe's optimizer; its decay acts on every parameter, biases and norms included, as in the official code."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if recipe.kind not in ("adamw", "adam"):
        raise ValueError(f"optimizer {recipe.kind!r} is not known; use adamw or adam")
    kind = AdamW if recipe.kind == "adamw" else Adam
    fused = all(parameter.device.type in FUSED_DEVICES for parameter in trained)
    return kind(trained, lr=lr, betas=BETAS, weight_decay=recipe.weight_decay, fused=fused)


class SizedSteps:
    """Makes an optimizer's steps of some parameters proportional to their size.

    Where batch norms are folded into convolutions, weights of channels differ by factors of thousands, and one rate for
    all is too fast for some and too slow for others. The size is the root of the mean square of a channel's weights, at
    most `LARGEST` times the median channel's; of biases `BIAS` times that of all of them.
    """

    LARGEST, BIAS = 4.0, 0.3

    def __init__(self, optimizer: Optimizer, parameters: Iterable[nn.Parameter], factor: float) -> None:
        """factor: times the optimizer's own rate, it is the step in shares of the size."""
        self.parameters, self.factor = list(parameters), factor
        self.before: list[Tensor] = []
        optimizer.register_step_pre_hook(self._keep)
        optimizer.register_step_post_hook(self._scale)

    @torch.no_grad()
    def _keep(self, *_: object) -> None:
        self.before = [parameter.clone() for parameter in self.parameters]

    @torch.no_grad()
    def _scale(self, *_: object) -> None:
        for parameter, before in zip(self.parameters, self.before, strict=True):
            parameter.copy_(before + self.factor * self.size(before) * (parameter - before))
        self.before = []

    def size(self, values: Tensor) -> Tensor:
        """Of weights (C, ...), broadcast over each channel, or of biases (C,)."""
        if values.dim() == 1:
            return self.BIAS * values.square().mean().sqrt()
        sizes = values.flatten(1).square().mean(1).sqrt()  # (C,)
        return sizes.clamp(max=self.LARGEST * sizes.median()).reshape(-1, *[1] * (values.dim() - 1))


def gradients_of(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients that exist."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The Euclidean norm of all gradients together, a scalar tensor; 0 without gradients."""
    gradients = gradients_of(parameters)
    if not gradients:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def clip_gradients(parameters: Iterable[nn.Parameter], recipe: OptimizerRecipe) -> None:
    """Clips in place: each entry to +-limit, or the whole to a norm of at most the limit."""
    parameters = list(parameters)
    if recipe.clip == "value":
        nn.utils.clip_grad_value_(parameters, recipe.clip_limit)
    elif recipe.clip == "norm":
        nn.utils.clip_grad_norm_(parameters, recipe.clip_limit)


DECAY = 0.1
STAGES = 2
SCHEDULES = ("official", "cosine")


@dataclass(frozen=True)
class Schedule:
    """The rate of every step. `warm_up`: share of all steps over which it rises from zero, 0 for none."""

    kind: str = "official"  # one of SCHEDULES
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
    """The official rate of step `iteration`, counted from 1: base * 0.1^(epoch // (epochs / 2)).

    Official: the epoch is iteration // per_epoch, so the last step of each epoch counts to the next one and the
    very last step runs at a hundredth.
    """
    epoch = iteration // per_epoch
    return base * DECAY ** (epoch // (epochs / STAGES))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Gives every parameter group the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@dataclass(frozen=True)
class Optimization:
    """How a network is optimized, and for how long.

    apart: submodules whose gradients are clipped by themselves, so that the others train as without them.
    on_nan: "stop" | "skip", when a loss is not finite.
    """

    optimizer: Optimizer
    recipe: OptimizerRecipe
    lr: float
    epochs: int
    schedule: Schedule = Schedule()
    accumulate: int = 1  # micro-batches of a step
    average: MovingAverage | None = None
    apart: tuple[nn.Module, ...] = ()
    channels_last: bool = False
    freeze_batch_norm: bool = False
    on_nan: str = "stop"
