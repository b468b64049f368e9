"""Times of several functions in turns, so that all of them see the same machine, and the memory of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LEAST_ROUNDS = 2


def alternate(
    functions: Mapping[str, Callable[[], object]],
    *,
    warm_up: int,
    repeats: int,
    seconds: float,
    synchronise: Callable[[], object],
    tell: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each function's `repeats` calls, after `warm_up` untimed ones.

    Every round calls each function once, the next round beginning one further on. Where the timed rounds take more
    than `seconds` together the rest is left out, but two are timed at least. `synchronise` waits for the device; `tell`
    is called after every call.
    """
    names = list(functions)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + repeats):
        if number >= warm_up + LEAST_ROUNDS and sum(map(sum, taken.values())) > seconds:
            break
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            synchronise()
            start = time.perf_counter()
            functions[name]()
            synchronise()
            if number >= warm_up:
                taken[name].append(time.perf_counter() - start)
            tell()
    return taken


def median_and_p90(seconds: list[float]) -> tuple[float, float]:
    """Both in milliseconds."""
    middle, late = np.quantile(seconds, (0.5, 0.9))
    return 1000 * float(middle), 1000 * float(late)


def synchroniser(device: torch.device) -> Callable[[], object]:
    """A function that waits until the device has done what it was given."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make inside it, for as long as each of them lives."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._sizes: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation and notes what it made."""
        result = function(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if _is_plain(tensor)}
        self._sizes = {reference: size for reference, size in self._sizes.items() if not reference.expired()}
        for tensor in filter(_is_plain, tree_leaves(result)):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                self._sizes[StorageWeakRef(storage)] = storage.nbytes()
        self.peak = max(self.peak, sum(self._sizes.values()))
        return result


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided


def peak_memory(model: nn.Module, images: Tensor, device: torch.device) -> int:
    """Most bytes that weights, pictures and one forward pass take at once.

    On CUDA by its allocator; elsewhere the tensors that are alive together, without what libraries take inside an
    operation.
    """
    own = (*model.parameters(), *model.buffers(), images)
    held = sum(tensor.numel() * tensor.element_size() for tensor in own)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        model(images)
        return held + torch.cuda.max_memory_allocated(device) - before
    with LiveTensors() as live:
        model(images)
    return held + live.peak
