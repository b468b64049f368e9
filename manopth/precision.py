"""Skinning in full precision inside the autocast of somebody else's training loop.

Half precision would round a vertex to a millimeter, and a mixture of the two types is refused by torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])
HALF = (torch.float16, torch.bfloat16)


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
