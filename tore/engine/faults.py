"""What can interrupt training: losses that are not finite, and stop signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from tore_runtime.entry import STOP_SIGNALS


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


EXIT_STOPPED = 75  # sysexits' "temporary failure, try again": the run was saved and can resume
EXIT_NOT_FINITE = 76


class StopRequest:
    """While entered, `name` is the first signal that asked to stop, else None. A second SIGINT interrupts at once.

    In a thread other than the main one, where Python takes no handlers, it catches nothing and changes nothing.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
