"""What a run says of itself: window means of its losses, log lines, metrics files and TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tore.engine.distributed import Processes
from tore.engine.step import Batch, StepResult
from tore.evaluation.evaluator import EvaluationResult
from tore.files import write_whole, writing


class Window:
    """Sums of named scalars over steps; one small tensor, no synchronization in `add`."""

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
        """Resumes inside a window."""
        self.names, self.sums, self.count = list(state["names"]), state["sums"], state["count"]


class RunLog:
    """Writes from the main process only; the other processes hold a silent one (`folder` None)."""

    def __init__(self, folder: Path | None, *, echo: Callable[[str], None], tensorboard: bool = True) -> None:
        """`echo` shows a line to the person who watches."""
        self.folder = folder
        self._echo = echo
        self._tensorboard = tensorboard
        self._board: Any = None
        if folder is not None:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)

    def start(self, iteration: int) -> None:
        """Forgets what was logged after `iteration` by an earlier part of the run that was cut off."""
        if self.folder is None:
            return
        path = self.folder / "metrics.jsonl"
        if path.is_file():
            kept = [line for line in path.read_text().splitlines() if _iteration_of(line) <= iteration]
            write_whole(path, "".join(line + "\n" for line in kept))
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # a second's import that silent processes skip

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=iteration + 1)

    def line(self, text: str) -> None:
        """One line of text, with its time in the file."""
        if self.folder is None:
            return
        self._echo(text)
        self._append("log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def metrics(self, kind: str, iteration: int, values: Mapping[str, float], **facts: Any) -> None:
        """One line of `metrics.jsonl`, and a TensorBoard scalar `kind/name` per value."""
        if self.folder is None:
            return
        record = {"kind": kind, "iteration": iteration, **facts, **values}
        self._append("metrics.jsonl", json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, iteration)

    def _append(self, name: str, text: str) -> None:
        assert self.folder is not None
        path = self.folder / name
        with writing(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)

    def image(self, name: str, iteration: int, pixels: np.ndarray) -> None:
        """An (H, W, 3) uint8 image for TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, pixels, iteration, dataformats="HWC")

    def close(self) -> None:
        """Flushes TensorBoard."""
        if self._board is not None:
            self._board.close()
            self._board = None


def _iteration_of(line: str) -> int:
    """The iteration of a line of `metrics.jsonl`; a torn line counts as later than any."""
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 2**62


def open_log(folder: Path, processes: Processes, *, tensorboard: bool, quiet: bool = False) -> RunLog:
    """The main process's log, whose lines nobody is shown where it is quiet; the others keep silent."""

    def echo(text: str) -> None:
        if not quiet:
            tqdm.write(text, file=sys.stderr)

    return RunLog(folder if processes.is_main else None, echo=echo, tensorboard=tensorboard)


@dataclass(frozen=True)
class Monitoring:
    """What a run shows of itself, and how it is judged.

    validate: the result after an epoch; it is given a function that says whether to give up, and then returns None.
    draw: an image of a step. visual_steps: 0 means never.
    """

    log: RunLog
    validate: Callable[[Callable[[], bool]], EvaluationResult | None] | None = None
    draw: Callable[[int, Batch, StepResult], Any] | None = None
    logging_steps: int = 1000
    visual_steps: int = 0
