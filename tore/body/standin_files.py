"""Writes a stand-in figure in the file kinds of the published body models."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tore.body.standin_models import StandIn
from tore.files import replacing
from tore.paths import STANDIN_BODY_FILES, STANDIN_HAND_FILES, BodyFiles

FILES = {"body": STANDIN_BODY_FILES, "hand": STANDIN_HAND_FILES}


def file_names(kind: str) -> list[str]:
    """Names of all files of the stand-in "body" or "hand"."""
    files = FILES[kind]
    names = [
        files.model,
        files.mesh_levels,
        *(f"{files.adjacency}_{part}.pt" for part in ("indices", "values", "size")),
    ]
    return names + [name for name in (files.regressor_extra, files.regressor_h36m) if name]


def write_files(kind: str, figure: StandIn, folder: Path) -> None:
    """Writes every file of the figure into `folder` (made if missing); each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    files = FILES[kind]
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


def _write_adjacency(folder: Path, files: BodyFiles, figure: StandIn) -> None:
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
