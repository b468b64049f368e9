"""An exponential moving average of a network's weights and running statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """average := decay * average + (1 - decay) * model after every step; the decay starts low and rises.

    Step n uses min(decay, (1 + n) / (10 + n)), so that the random start is forgotten quickly. Whole-number entries
    are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"--ema {decay} is no decay; use a number between 0 and 1, such as 0.999")
        self.decay = decay
        self.steps = 0
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards the model's present state."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        state = model.state_dict()
        names = [name for name, value in self.average.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in names], [state[n] for n in names], share)
        for name in self.average.keys() - set(names):
            self.average[name].copy_(state[name])

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model carries the average; afterwards its own state again."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, object]:
        """What `load_state_dict` needs."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Goes on from a saved average."""
        average, steps = state["average"], state["steps"]
        assert isinstance(average, dict) and isinstance(steps, int)
        self.steps = steps
        for name, value in self.average.items():
            saved = average[name]
            assert isinstance(saved, Tensor)
            value.copy_(saved)
