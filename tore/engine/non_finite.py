"""NaN and infinity: which terms, which samples, and how to leave a step out cleanly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class NonFiniteLossError(RuntimeError):
    """A loss or the gradient is NaN or infinite; the message names terms and samples."""


def name_non_finite(values: Mapping[str, Tensor]) -> list[str]:
    """The names whose scalar is NaN or infinite."""
    return [name for name, value in values.items() if not bool(torch.isfinite(value))]


def describe_non_finite(iteration: int, found: Sequence[tuple[list[str], list[str]]]) -> str:
    """One sentence from every process's (names, sample keys); processes whose values are finite are left out."""
    parts = [
        f"{', '.join(names)} (process {rank}; samples {', '.join(keys)})"
        for rank, (names, keys) in enumerate(found)
        if names
    ]
    return f"iteration {iteration}: not finite: {'; '.join(parts)}"


class BufferKeeper:
    """A copy of a network's buffers from before a step, since a forward pass spoils batch norm's statistics."""

    def __init__(self, network: nn.Module) -> None:
        self.buffers = list(network.buffers())
        self.copies = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def keep(self) -> None:
        """Takes the copy."""
        for copy, buffer in zip(self.copies, self.buffers, strict=True):
            copy.copy_(buffer)

    @torch.no_grad()
    def put_back(self) -> None:
        """Puts the copy back."""
        for copy, buffer in zip(self.copies, self.buffers, strict=True):
            buffer.copy_(copy)
