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


def steps_per_epoch(state: Mapping[str, Any]) -> int | None:
    """How many steps an epoch of a saved state had; None where an old state, in its first epoch, does not tell."""
    if "per_epoch" in state:
        return int(state["per_epoch"])
    return (state["iteration"] - state["done"]) // state["epoch"] if state["epoch"] else None


def is_of_another_size(state: Mapping[str, Any], per_epoch: int, global_batch: int) -> bool:
    """Whether the set behind a saved state had more or fewer samples than one of `per_epoch` steps can have."""
    saved = steps_per_epoch(state)
    if saved is None:
        return False
    fewest, fewest_now = saved * state["global_batch"], per_epoch * global_batch
    return fewest >= fewest_now + global_batch or fewest_now >= fewest + state["global_batch"]


def position_under(state: Mapping[str, Any], per_epoch: int, global_batch: int) -> tuple[int, int]:
    """Iterations done in the present epoch and in all, of a saved state under a set and batch of today.

    Whole epochs carry over, and the iterations are counted as if all of them had been of `per_epoch` steps. Within the
    epoch the run goes on behind as many samples (rounded down); with a set of another size it begins that epoch anew.
    """
    if is_of_another_size(state, per_epoch, global_batch):
        return 0, state["epoch"] * per_epoch
    if state["global_batch"] == global_batch:
        return state["done"], state["iteration"]
    done = min(state["done"] * state["global_batch"] // global_batch, per_epoch)
    return done, state["epoch"] * per_epoch + done


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
    bit for bit. Otherwise the position moves, see `position_under`.
    """
    progress = Progress(**{name: state[name] for name in Progress().state_dict()})
    notes = [f"resumed at epoch {progress.epoch + 1}, step {progress.done}, iteration {progress.iteration}"]
    progress.done, progress.iteration = position_under(state, per_epoch, global_batch)
    place = f"step {progress.done} of epoch {progress.epoch + 1} (iteration {progress.iteration})"
    if state["global_batch"] != global_batch:
        notes.append(
            f"one step took {state['global_batch']} samples and now takes {global_batch}: the epoch has {per_epoch} "
            f"steps, and the run goes on at {place}; the learning rate is not scaled with the batch"
        )
    elif is_of_another_size(state, per_epoch, global_batch):
        notes.append(
            f"an epoch had {steps_per_epoch(state)} steps and now has {per_epoch}: {progress.epoch} whole epochs carry "
            f"over, and the run goes on at {place}"
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
