"""The operations that torch really runs: their time, arithmetic and memory traffic, and the least each could take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

KINDS = {
    "convolutions": ("convolution",),
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise", "linear", "_addmm_activation"),
    "fused attention": ("_scaled_dot_product",),
    "batch norms": ("batch_norm",),
    "LayerNorms": ("layer_norm",),
    "softmax": ("softmax",),
    "random numbers": ("random_", "bernoulli", "dropout", "uniform_"),
    "moving data": ("copy_", "clone", "cat", "index", "fill", "pad", "gather", "scatter", "repeat", "zero", "stack"),
    "reductions": ("sum", "mean", "norm", "amax", "all"),
    "optimizer": ("_fused_", "_foreach_"),
}  # a kind has the operators whose names hold one of these; the first that fits

MEGABYTES = (0.0625, 0.25, 1, 4, 16, 64, 256)  # that the measured sums of arrays touch
SHAPES_SHOWN = 4  # of an operator's arguments
ALLOCATIONS = ("aten::empty", "aten::empty_strided", "aten::detach")


@dataclass
class Work:
    """What calls of one operator on arguments of one shape add up to."""

    calls: int = 0
    seconds: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0
    least: float = 0.0  # seconds

    def add(self, other: Work) -> None:
        """Takes over another sum."""
        for name in vars(other):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def part(self, calls: int) -> Work:
        """A `calls`-th of it."""
        return Work(self.calls // calls, *(value / calls for name, value in vars(self).items() if name != "calls"))


@dataclass(frozen=True)
class Limits:
    """What the machine can do: FLOP a second, and bytes a second by the bytes that an operation touches."""

    rate: float
    sizes: np.ndarray
    bandwidths: np.ndarray

    def least(self, flop: float, touched: float) -> float:
        """Seconds of an operation that computes and moves data at the same time, each at its limit."""
        speed = np.interp(np.log(max(touched, 1.0)), np.log(self.sizes), self.bandwidths)
        return max(flop / self.rate, touched / float(speed))


def measure_bandwidth(clock: Callable[[], float] = time.perf_counter) -> tuple[np.ndarray, np.ndarray]:
    """Bytes touched, and bytes a second of the best of some sums of two arrays into a third."""
    sizes, speeds = [], []
    for size in MEGABYTES:
        a, b, c = torch.ones(3, int(size * 2**20 / 12))
        taken = []
        for _ in range(max(5, int(64 / size))):
            start = clock()
            torch.add(a, b, out=c)
            taken.append(clock() - start)
        sizes.append(12 * len(a))
        speeds.append(sizes[-1] / min(taken))
    return np.array(sizes, float), np.array(speeds)


class Operations(TorchDispatchMode):
    """While it is entered every operator that does more than look at its arguments anew is timed and counted."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self.limits, self.clock = limits, clock
        self.work: dict[tuple[str, str], Work] = {}  # by operator and shapes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operator."""
        start = self.clock()
        out = func(*args, **(kwargs or {}))
        seconds = self.clock() - start
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        results = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        looks = func.is_view or func._schema.name in ALLOCATIONS
        touched = 0.0 if looks else float(sum(map(touched_bytes, tensors + results)))
        flop = 0.0 if looks else flop_of(func, args, out)
        shapes = " ".join("x".join(map(str, x.shape)) for x in tensors[:SHAPES_SHOWN])
        work = Work(1, seconds, flop, touched, self.limits.least(flop, touched) if touched else 0.0)
        self.work.setdefault((str(func), shapes), Work()).add(work)
        return out

    def by_kind(self, calls: int = 1) -> dict[str, Work]:
        """The sums of all operators of a kind, the costliest first, a `calls`-th of each."""
        kinds: dict[str, Work] = {}
        for (name, _), work in self.work.items():
            kinds.setdefault(kind_of(name), Work()).add(work)
        return dict(sorted(((k, w.part(calls)) for k, w in kinds.items()), key=lambda pair: -pair[1].seconds))

    def costliest(self, count: int, calls: int = 1) -> list[tuple[tuple[str, str], Work]]:
        """Operators with the shapes of their arguments, the costliest first, a `calls`-th of each."""
        ordered = sorted(self.work.items(), key=lambda pair: -pair[1].seconds)[:count]
        return [(name, work.part(calls)) for name, work in ordered]


def kind_of(name: str) -> str:
    """The kind of work that an operator does."""
    operator = name.split(".")[1]
    found = (kind for kind, parts in KINDS.items() if any(part in operator for part in parts))
    return next(found, "element by element")


def touched_bytes(x: Tensor) -> int:
    """Of the entries that a tensor's shape and strides reach, each once."""
    if x.is_mkldnn:
        return x.numel() * x.element_size()
    reached = 1
    for size, stride in zip(x.shape, x.stride(), strict=True):
        reached *= size if stride else 1
    return reached * x.element_size()


def flop_of(func: Any, args: Any, out: Any) -> float:
    """Of convolutions and matrix products, torch's own and oneDNN's; 0 for others."""
    name = func._schema.name.split("::")[1]
    if name == "convolution_backward":
        given, weight, wanted = args[0], args[2], sum(args[10][:2])
        return 2.0 * wanted * given.numel() * weight.numel() / weight.shape[0]
    if "convolution" in name:
        weight = args[2] if "binary" in str(func) else args[1]
        return 2.0 * out.numel() * weight.numel() / weight.shape[0]
    if name in ("mm", "bmm", "_linear_pointwise", "linear"):
        return 2.0 * out.numel() * args[0].shape[-1]
    if name in ("addmm", "_addmm_activation", "baddbmm"):
        return 2.0 * out.numel() * args[1].shape[-1]
    if "scaled_dot_product" in name:
        return 4.0 * args[0].numel() * args[1].shape[-2]
    return 0.0
