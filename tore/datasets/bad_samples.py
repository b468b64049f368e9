"""Rows that cannot be used: the error that names them, and the log of those that training passed over."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tore.datasets.sets import Place

SHOWN = 10


class BadSample(ValueError):
    """One row that cannot be used; the message names file, row, key and finding. Made with `BadSample.at`."""

    def __init__(self, message: str) -> None:
        # an error in a loader's worker arrives as the text of its traceback, which ends with the message
        super().__init__(message.rstrip().rsplit(f"{BadSample.__name__}: ", 1)[-1])

    @classmethod
    def at(cls, place: Place, key: str, finding: str) -> BadSample:
        """The error of one row."""
        return cls(f"{place} (key {key!r}): {finding}")


class BadSampleLog:
    """Which samples were passed over, in memory that loader workers share with the process that started them."""

    def __init__(self, size: int) -> None:
        self._marks = torch.zeros(size, dtype=torch.uint8, device="cpu").share_memory_()

    def mark(self, index: int) -> None:
        """Notes that sample `index` could not be used."""
        self._marks[index] = 1

    def indices(self) -> list[int]:
        """The samples passed over so far, each once, ascending."""
        return torch.nonzero(self._marks)[:, 0].tolist()

    def merge(self, largest_of_all: Callable[[Tensor], Tensor]) -> None:
        """Adds what other processes passed over; the function gives the entry-wise largest tensor of all processes."""
        self._marks.copy_(largest_of_all(self._marks))

    def summary(self, read: Callable[[int], object]) -> str:
        """A few lines for the end of a run: how many, and the first ones' findings, got by reading them again."""
        bad = self.indices()
        if not bad:
            return f"all {len(self._marks)} samples could be used"
        lines = [f"{len(bad)} of {len(self._marks)} samples could not be used and were replaced by the next one:"]
        for index in bad[:SHOWN]:
            try:
                read(index)
            except BadSample as error:
                lines.append(f"  {error}")
        if len(bad) > SHOWN:
            lines.append(f"  ... and {len(bad) - SHOWN} more")
        return "\n".join(lines)
