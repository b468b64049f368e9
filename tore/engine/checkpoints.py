"""Checkpoint folders that are either complete or not there.

`<output>/checkpoint-<epoch>-<iteration>/` holds

- `training.pt`: everything that going on needs, readable without executing anything (weights-only);
- `state_dict.bin`: the network in the published layout, for evaluation and inference;
- `complete.json`: written last: names and sizes of the files.

A checkpoint is written into a hidden folder and renamed, so a process killed at any moment leaves the older ones
as they were. `<output>/best.json` names the best one.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from manopth.torch_files import read_torch_file
from tore.files import read_json, sync_to_disk, write_json, writing

NAME = re.compile(r"checkpoint-(\d+)-(\d+)")
TRAINING, PUBLISHED, COMPLETE, BEST = "training.pt", "state_dict.bin", "complete.json", "best.json"
WRITING = ".writing-"


def is_complete(path: Path) -> bool:
    """Whether every file that `complete.json` lists is there with its size."""
    try:
        sizes = dict(read_json(path / COMPLETE)["files"])
        written = [path / name for name in (TRAINING, PUBLISHED)]
        return all(file.is_file() and file.stat().st_size == sizes[file.name] for file in written)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def order_of(path: Path) -> tuple[int, int, int]:
    """How checkpoints follow each other: by the number of their writing, where they have one, epoch and iteration.

    A run that goes on with another set or batch counts its iterations anew, so that names alone do not tell.
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
                publish(temporary / PUBLISHED)
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
        sizes = {name: (folder / name).stat().st_size for name in (TRAINING, PUBLISHED)}
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
