"""Means of what was measured since the last log line, kept on the device until they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Window:
    """Sums of named scalars over steps; one small tensor, no synchronisation in `add`."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Adds one step's scalars; every step has the same names."""
        names = list(values)
        assert not self.names or names == self.names, (names, self.names)
        row = torch.stack([value.detach().double() for value in values.values()])
        self.names, self.count = names, self.count + 1
        self.sums = row if self.sums is None else self.sums.to(row.device) + row

    def means(self) -> Tensor:
        """The means in the order of `names`."""
        assert self.sums is not None
        return self.sums / self.count

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs."""
        return {
            "names": self.names,
            "sums": None if self.sums is None else self.sums.cpu(),
            "count": self.count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on in the middle of a window."""
        self.names, self.sums, self.count = list(state["names"]), state["sums"], state["count"]
