"""What lets modules of tensors live in other people's code: constants that are no buffers, and full precision.

Nothing averages a constant, saves it or sends it between processes. `AveragedModel(use_buffers=True)` averages every
buffer: truth values cannot be averaged, and the arithmetic of an exponential average changes whole numbers, so that an
index would point elsewhere. Inside autocast, half precision would round a vertex to a millimeter, and a mixture of the
two types is refused by torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

Function = TypeVar("Function", bound=Callable[..., Any])
Self = TypeVar("Self", bound="WithConstants")
HALF = (torch.float16, torch.bfloat16)


class WithConstants(nn.Module):
    """A module whose constants are attributes that follow `.to()` and copies as buffers do.

    Where a constant meets an input, `beside` brings it to that input's device: DataParallel moves buffers alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.constants: dict[str, bool] = {}  # name -> whether the state dictionary holds it

    def keep_constant(self, name: str, tensor: torch.Tensor | None, persistent: bool = False) -> None:
        """Makes `tensor` the attribute `name`; a `persistent` one is saved and loaded as a buffer is."""
        self.constants = {**self.constants, name: persistent}
        setattr(self, name, tensor)

    def _apply(self: Self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # what `.to()` and the like do
        for name in self.constants:
            if (tensor := getattr(self, name)) is not None:
                setattr(self, name, fn(tensor))
        return self

    def _saved_constants(self, prefix: str) -> dict[str, torch.Tensor]:
        """The persistent constants by their names in a state dictionary."""
        return {prefix + name: getattr(self, name) for name, persistent in self.constants.items() if persistent}

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination.update(self._saved_constants(prefix))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        _, strict, missing, unexpected, errors = rest
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for key, tensor in self._saved_constants(prefix).items():
            given = state_dict.get(key)
            if given is None:
                missing.extend([key] if strict else [])
            elif given.shape != tensor.shape:
                errors.append(f"size mismatch for {key}: {tuple(given.shape)} is not {tuple(tensor.shape)}")
            else:
                tensor.copy_(given)
            unexpected[:] = [name for name in unexpected if name != key]


def beside(constant: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The constant on the device of `like`; itself where it is there already."""
    return constant if constant.device == like.device else constant.to(like.device)


def full_precision(function: Function) -> Function:
    """Wraps a function or method of tensors: under torch.autocast it runs without, half precision lifted to float32.

    Outside autocast nothing changes, and float64 stays float64 in either case.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        device = next((x.device.type for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)), "cpu")
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*(_lifted(x) for x in args), **{name: _lifted(x) for name, x in kwargs.items()})

    return run  # type: ignore[return-value]


def _lifted(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in HALF else value
