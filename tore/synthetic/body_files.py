"""Writes the body models that the project makes as the files that the loaders of the licensed models read."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tore.files import check_outputs, replacing, writing
from tore.paths import BodyFiles

KINDS = ("body", "hand")
ABANDONED = 3600.0  # seconds after which nobody writes into an unfinished folder any more


@dataclass(frozen=True)
class SyntheticModel:
    """Everything that the files of one synthetic body model hold, under the names of those files."""

    model: dict[str, Any]
    levels: dict[str, list[Any]]  # U, D, A, F of the mesh levels
    regressor_extra: NDArray[np.float64] | None = None
    regressor_h36m: NDArray[np.float64] | None = None


def file_names(files: BodyFiles) -> list[str]:
    """Names of all files of a body model."""
    names = [
        files.model,
        files.mesh_levels,
        *(f"{files.adjacency}_{part}.pt" for part in ("indices", "values", "size")),
    ]
    return names + [name for name in (files.regressor_extra, files.regressor_h36m) if name]


def write_files(files: BodyFiles, figure: SyntheticModel, folder: Path) -> None:
    """Writes every file of the figure into `folder` (made if missing); each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / files.model) as path:
        path.write_bytes(pickle.dumps(figure.model, protocol=2))
    with replacing(folder / files.mesh_levels) as path, path.open("wb") as stream:
        arrays: dict[str, Any] = {name: _object_array(items) for name, items in figure.levels.items()}
        np.savez(stream, **arrays)
    _write_adjacency(folder, files, figure)
    for name, rows in ((files.regressor_extra, figure.regressor_extra), (files.regressor_h36m, figure.regressor_h36m)):
        if name and rows is not None:
            with replacing(folder / name) as path, path.open("wb") as stream:
                np.save(stream, rows)


def _write_adjacency(folder: Path, files: BodyFiles, figure: SyntheticModel) -> None:
    """The coarsest level's adjacency with self loops: indices (2, N), values (N,), size."""
    coarse = figure.levels["A"][-1].toarray() + np.eye(figure.levels["A"][-1].shape[0])
    indices = np.stack(np.nonzero(coarse))
    parts = {
        "indices": torch.from_numpy(indices),
        "values": torch.from_numpy(coarse[tuple(indices)].astype(np.float32)),
        "size": torch.Size(coarse.shape),
    }
    for part, value in parts.items():
        with replacing(folder / f"{files.adjacency}_{part}.pt") as path, path.open("wb") as stream:
            torch.save(value, stream)


def _object_array(items: list) -> np.ndarray:
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return out


def made_folder(folder: Path, files: Mapping[str, BodyFiles], build: Callable[[str], SyntheticModel]) -> Path:
    """`folder` with the files of the body and the hand that `build` makes, written only where it is missing.

    Safe to call from many processes at once: each makes its own folder, and the first to be ready gives it its name.
    Raises OutputError where the folder cannot be written.
    """
    if folder.is_dir():
        return folder
    with writing(folder, fix="set TORE_CACHE_DIR to a folder that can be"):
        check_outputs(folder=folder.parent)
        figures = {kind: build(kind) for kind in KINDS}  # takes most of the time; nothing is on disk yet
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for kind, figure in figures.items():
                write_files(files[kind], figure, fresh)
            fresh.chmod(0o755)
            try:
                fresh.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _remove_leftovers(folder: Path) -> None:
    """Deletes what builds left that were killed while they wrote: unfinished folders that are hours old."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
