"""Where a run stands, and what of it survives a change of the number of processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tore.engine.distributed import Processes
from tore.engine.random_state import restore_random_state, seed_process
from tore.engine.window import Window


@dataclass
class Progress:
    """The position of a run."""

    epoch: int = 0  # whole epochs done
    done: int = 0  # iterations done in the present epoch
    iteration: int = 0  # iterations done in all
    skipped: int = 0  # steps left out because their loss was not finite
    best: dict[str, Any] | None = None  # checkpoint, epoch, and the metric that chose it

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def restore_progress(
    state: Mapping[str, Any],
    *,
    processes: Processes,
    per_epoch: int,
    global_batch: int,
    window: Window,
    seed: int,
) -> tuple[Progress, list[str]]:
    """The position of a saved training state under today's processes, and what there is to say about it.

    With the same processes and batch the random states and the unfinished log window come back, and the run goes on
    bit for bit. Otherwise the position moves to the step that has seen as many samples of the epoch (rounded down).
    """
    progress = Progress(**{name: state[name] for name in Progress().state_dict()})
    notes = [f"resumed at epoch {progress.epoch + 1}, step {progress.done}, iteration {progress.iteration}"]
    if state["global_batch"] != global_batch:
        seen = progress.done * state["global_batch"]
        progress.done = min(seen // global_batch, per_epoch)
        progress.iteration = progress.epoch * per_epoch + progress.done
        notes.append(
            f"one step took {state['global_batch']} samples and now takes {global_batch}: the epoch has {per_epoch} "
            f"steps, and the run goes on at step {progress.done} of epoch {progress.epoch + 1} (iteration "
            f"{progress.iteration}), {seen - progress.done * global_batch} samples before where it was"
        )
    ranks = state["ranks"]
    if len(ranks) == processes.size:
        restore_random_state(ranks[processes.rank]["random"])
        if state["global_batch"] == global_batch:
            window.load_state_dict(ranks[processes.rank]["window"])
    else:
        seed_process(seed + 1_000_003 * progress.iteration + processes.rank)
        notes.append(
            f"{len(ranks)} processes wrote the checkpoint and {processes.size} go on: dropout draws other numbers "
            "than the uninterrupted run would have drawn"
        )
    return progress, notes
