"""What a run is made of beside its network: random state, moving average, checkpoints, progress."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from manopth.torch_files import read_torch_file
from tore.engine.distributed import Processes
from tore.engine.logging import Window
from tore.files import read_json, sync_to_disk, write_json, writing


def seed_process(seed: int) -> None:
    """Seeds Python, numpy, torch and CUDA."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture_random_state() -> dict[str, Any]:
    """The generators' states as plain values and tensors, fit for a weights-only file."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Puts back what `capture_random_state` took; a CUDA state is left out where there is no CUDA."""
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class MovingAverage:
    """average := decay * average + (1 - decay) * model after every step; the decay starts low and rises.

    Step n uses min(decay, (1 + n) / (10 + n)), so that the random start is forgotten quickly. Whole-number entries
    and frozen parameters are copied: an average of equal numbers need not be that number, bit for bit.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"--ema {decay} is no decay; use a number between 0 and 1, such as 0.999")
        self.decay = decay
        self.steps = 0
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards the model's present state."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        state = model.state_dict()
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        names = [name for name, value in self.average.items() if value.is_floating_point() and name not in frozen]
        torch._foreach_lerp_([self.average[n] for n in names], [state[n] for n in names], share)
        for name in self.average.keys() - set(names):
            self.average[name].copy_(state[name])

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model carries the average; afterwards its own state again."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, object]:
        """What `load_state_dict` needs."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Resumes from a saved average."""
        average, steps = state["average"], state["steps"]
        assert isinstance(average, dict) and isinstance(steps, int)
        self.steps = steps
        for name, value in self.average.items():
            saved = average[name]
            assert isinstance(saved, Tensor)
            value.copy_(saved)


NAME = re.compile(r"checkpoint-(\d+)-(\d+)")
TRAINING, OFFICIAL, COMPLETE, BEST = "training.pt", "state_dict.bin", "complete.json", "best.json"
WRITING = ".writing-"


def is_complete(path: Path) -> bool:
    """Whether every file that `complete.json` lists is there with its size."""
    try:
        sizes = dict(read_json(path / COMPLETE)["files"])
        written = [path / name for name in (TRAINING, OFFICIAL)]
        return all(file.is_file() and file.stat().st_size == sizes[file.name] for file in written)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def order_of(path: Path) -> tuple[int, int, int]:
    """How checkpoints follow each other: by the number of their writing, where they have one, epoch and iteration.

    A run that resumes with another set or batch counts its iterations from zero, so that names alone do not tell.
    """
    match = NAME.fullmatch(path.name)
    assert match is not None, path
    try:
        number = int(read_json(path / COMPLETE).get("number", 0))
    except (OSError, ValueError, TypeError, AttributeError):  # the note of a damaged one
        number = 0
    return number, int(match.group(1)), int(match.group(2))


class CheckpointFolder:
    """The checkpoints of one run under its output folder."""

    def __init__(self, output: Path, *, keep: int) -> None:
        """`keep`: how many of the last ones stay beside the best."""
        if keep < 1:
            raise ValueError(f"--keep_checkpoints {keep} would delete the checkpoint just written; use at least 1")
        self.output = output
        self.keep = keep
        self._own: set[str] = set()  # names of those written here

    def complete(self) -> list[Path]:
        """The complete checkpoints, oldest first."""
        if not self.output.is_dir():
            return []
        found = [path for path in self.output.iterdir() if NAME.fullmatch(path.name) and is_complete(path)]
        return sorted(found, key=order_of)

    def newest(self) -> Path | None:
        """The newest complete checkpoint, or None."""
        return next(reversed(self.complete()), None)

    def newest_sound(self, say: Callable[[str], None]) -> Path | None:
        """The newest checkpoint whose training state can be read; `say` gets a line for each that was left out.

        Raises ValueError where there are checkpoints and none can be read: nothing starts anew without a word.
        """
        found = [path for path in self.output.iterdir() if NAME.fullmatch(path.name)] if self.output.is_dir() else []
        sound = self.complete()
        for path in sorted(set(found) - set(sound)):  # without its note, no one knows how new it is
            say(f"{path} is not used: files are missing or cut short, or its {COMPLETE} is damaged")
        for path in reversed(sound):
            try:
                load_training_state(path)
            except ValueError as error:
                say(f"{path} is not used: {error}")
                continue
            return path
        if found:
            raise ValueError(
                f"none of {len(found)} checkpoints in {self.output} can be read; choose another --output_dir"
            )
        return None

    def save(self, state: Mapping[str, Any], publish: Callable[[Path], None], *, epoch: int, iteration: int) -> Path:
        """Writes one checkpoint and returns its folder; one that was written here for this iteration stays.

        One of that name that an earlier run left is replaced. `publish` writes `state_dict.bin` to the given path.
        """
        path = self.output / f"checkpoint-{epoch}-{iteration}"
        earlier = self.complete()
        if path in earlier and path.name in self._own:
            return path
        number = 1 + (order_of(earlier[-1])[0] if earlier else 0)
        position = {"number": number, "epoch": epoch, "iteration": iteration}
        with writing(path):
            self.output.mkdir(parents=True, exist_ok=True)
            for leftover in [*self.output.glob(f"{WRITING}*"), *([] if path in earlier else [path])]:
                shutil.rmtree(leftover, ignore_errors=True)
            temporary = self.output / f"{WRITING}{path.name}"
            try:
                temporary.mkdir()
                torch.save(dict(state), temporary / TRAINING)
                publish(temporary / OFFICIAL)
                self._complete(temporary, position)
                replaced = self._hide(path) if path in earlier else None
                temporary.rename(path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_to_disk(self.output)
        if replaced is not None:
            shutil.rmtree(replaced)
        self._own.add(path.name)
        return path

    def _complete(self, folder: Path, position: Mapping[str, int]) -> None:
        """Puts the folder's files on disk, and last the note that lists them."""
        sizes = {name: (folder / name).stat().st_size for name in (TRAINING, OFFICIAL)}
        for name in sizes:
            sync_to_disk(folder / name)
        write_json(folder / COMPLETE, {**position, "files": sizes})
        sync_to_disk(folder)

    def mark_best(self, best: Mapping[str, Any]) -> None:
        """Writes `best.json`: {"checkpoint", "epoch", and the metric that chose it}."""
        write_json(self.output / BEST, best)

    def prune(self, best: str | None) -> None:
        """Deletes all but the last `keep` checkpoints and the one named `best`."""
        for path in self.complete()[: -self.keep]:
            if path.name != best:
                shutil.rmtree(self._hide(path))

    @staticmethod
    def _hide(path: Path) -> Path:
        """Renames a checkpoint before it is deleted, so that half of a folder is never taken for one."""
        return path.rename(path.with_name(f"{WRITING}old-{path.name}"))


def load_training_state(path: Path) -> dict[str, Any]:
    """The content of a checkpoint folder's `training.pt`, on the CPU.

    Raises FileNotFoundError or ValueError naming the file when it is missing or not a training state.
    """
    file = path / TRAINING
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: give a checkpoint folder that training wrote")
    try:
        state = read_torch_file(file)
    except ValueError as error:
        raise ValueError(f"{error}; or resume from an older checkpoint folder") from error
    if not isinstance(state, dict) or "iteration" not in state:
        raise ValueError(f"{file} holds no training state; resume from another checkpoint folder")
    return state


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
    epoch the run resumes after as many samples (rounded down); with a set of another size it repeats that epoch.
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

    With the same processes and batch the random states and the unfinished log window are restored, and the run resumes
    bit for bit. Otherwise the position moves, see `position_under`.
    """
    progress = Progress(**{name: state[name] for name in Progress().state_dict()})
    notes = [f"resumed at epoch {progress.epoch + 1}, step {progress.done}, iteration {progress.iteration}"]
    progress.done, progress.iteration = position_under(state, per_epoch, global_batch)
    place = f"step {progress.done} of epoch {progress.epoch + 1} (iteration {progress.iteration})"
    if state["global_batch"] != global_batch:
        notes.append(
            f"one step took {state['global_batch']} samples and now takes {global_batch}: the epoch has {per_epoch} "
            f"steps, and the run resumes at {place}; the learning rate is not scaled with the batch"
        )
    elif is_of_another_size(state, per_epoch, global_batch):
        notes.append(
            f"an epoch had {steps_per_epoch(state)} steps and now has {per_epoch}: {progress.epoch} whole epochs carry "
            f"over, and the run resumes at {place}"
        )
    ranks = state["ranks"]
    if len(ranks) == processes.size:
        restore_random_state(ranks[processes.rank]["random"])
        if state["global_batch"] == global_batch:
            window.load_state_dict(ranks[processes.rank]["window"])
    else:
        seed_process(seed + 1_000_003 * progress.iteration + processes.rank)
        notes.append(
            f"{len(ranks)} processes wrote the checkpoint and {processes.size} resume: dropout draws other numbers "
            "than the uninterrupted run would have drawn"
        )
    return progress, notes


@dataclass(frozen=True)
class Checkpointing:
    """What of a run is kept, and when. `save_steps`: 0 means at the end of an epoch only."""

    folder: CheckpointFolder
    save_weights: Callable[[Path], None]  # the network alone, in the official layout, for evaluation and inference
    config: Mapping[str, Any]  # what the run is, as plain values
    save_steps: int = 0
