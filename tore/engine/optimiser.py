"""The published optimisers and what they do to gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

BETAS = (0.9, 0.999)
FUSED_DEVICES = ("cpu", "cuda")
CLIPS = ("value", "norm", "none")


@dataclass(frozen=True)
class OptimiserRecipe:
    """How one published network is optimised."""

    kind: str  # "adamw" | "adam"
    weight_decay: float
    clip: str  # one of CLIPS
    clip_limit: float = 0.0


FASTMETRO_OPTIMISER = OptimiserRecipe("adamw", weight_decay=1e-4, clip="value", clip_limit=0.3)
METRO_OPTIMISER = OptimiserRecipe("adam", weight_decay=0.0, clip="none")
OPTIMISERS = {"fastmetro": FASTMETRO_OPTIMISER, "metro": METRO_OPTIMISER}
# What the baselines' own published recipes do.
BASELINE_OPTIMISERS = {"fastmetro": replace(FASTMETRO_OPTIMISER, clip="norm"), "metro": METRO_OPTIMISER}


def build_optimiser(parameters: Iterable[nn.Parameter], recipe: OptimiserRecipe, lr: float) -> Optimizer:
    """The recipe's optimiser; its decay acts on every parameter, biases and norms included, as published."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if recipe.kind not in ("adamw", "adam"):
        raise ValueError(f"optimiser {recipe.kind!r} is not known; use adamw or adam")
    kind = AdamW if recipe.kind == "adamw" else Adam
    fused = all(parameter.device.type in FUSED_DEVICES for parameter in trained)
    return kind(trained, lr=lr, betas=BETAS, weight_decay=recipe.weight_decay, fused=fused)


def gradients_of(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients that exist."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The Euclidean norm of all gradients together, a scalar tensor; 0 without gradients."""
    gradients = gradients_of(parameters)
    if not gradients:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def clip_gradients(parameters: Iterable[nn.Parameter], recipe: OptimiserRecipe) -> None:
    """Clips in place: each entry to +-limit, or the whole to a norm of at most the limit."""
    parameters = list(parameters)
    if recipe.clip == "value":
        nn.utils.clip_grad_value_(parameters, recipe.clip_limit)
    elif recipe.clip == "norm":
        nn.utils.clip_grad_norm_(parameters, recipe.clip_limit)
