"""Finds a body model's files and reads them, checked, through manopth's allow-list reader.

A missing file is a FileNotFoundError that says which file, from which site, to which place; a file that holds something
else is a ValueError of one sentence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from manopth.files import load_array, load_object_arrays, load_tensor
from tore.body.mesh_levels import MeshLevels
from tore.paths import (
    BODY_FILES,
    MADE_BODIES,
    SMPL_GENDERED,
    SMPL_GENDERED_SITE,
    SUPPORT_SITE,
    SYNTHETIC,
    BodyFiles,
    find_body_files,
    made_folder_of,
    require_file,
)

ADJACENCY_PARTS = ("indices", "values", "size")
STEPS = {"body": 2, "hand": 1}  # mesh level changes in use; the official hand file holds more


def locate(kind: str, body_dir: str | Path | None = None) -> tuple[Path, BodyFiles]:
    """The folder and file names of a body model; those that the project makes itself are made on first use."""
    folder, files = find_body_files(kind, body_dir)
    if folder == made_folder_of(SYNTHETIC) and not folder.is_dir():
        from tore.synthetic.free_body import synthetic_body_dir  # it reads files through this module

        synthetic_body_dir()
    return folder, files


def needed_files(files: BodyFiles) -> dict[str, str]:
    """Every file of a body model that networks need, and the site that has it.

    The model has a site of its own; all others come with the official networks, or with a model of this project's.
    """
    licensed = BODY_FILES[files.kind][0]
    support = SUPPORT_SITE if files is licensed else files.site
    matrices = [f"{files.adjacency}_{part}.pt" for part in ADJACENCY_PARTS]
    others = [files.mesh_levels, *matrices, files.regressor_extra, files.regressor_h36m]
    return {files.model: files.site, **{name: support for name in others if name is not None}}


def _required(folder: Path, files: BodyFiles, name: str) -> Path:
    """A file of the folder; where it is missing, the error lists everything else that is missing, too."""
    needed = needed_files(files)
    return require_file(folder, name, needed[name], needed)


def model_path(kind: str, body_dir: str | Path | None = None, gender: str = "neutral") -> Path:
    """Where the model file lies; `gender` is "neutral", or for bodies "female" or "male"."""
    folder, files = locate(kind, body_dir)
    if gender == "neutral":
        return _required(folder, files, files.model)
    if kind != "body" or gender not in SMPL_GENDERED:
        known = ", ".join(["neutral", *(SMPL_GENDERED if kind == "body" else ())])
        raise ValueError(f"gender {gender!r} of a {kind} model is not known; choose from {known}")
    if files.name in MADE_BODIES:
        raise FileNotFoundError(f"the body model {files.name!r} has no {gender} one: leave the gender out")
    needed = needed_files(files)
    del needed[files.model]  # the neutral model is another one
    return require_file(folder, SMPL_GENDERED[gender], SMPL_GENDERED_SITE, needed)


def read_levels(kind: str, body_dir: str | Path | None = None) -> MeshLevels:
    """The mesh levels in use: body 431/1723/6890, hand 195/778."""
    folder, files = locate(kind, body_dir)
    path = _required(folder, files, files.mesh_levels)
    held = load_object_arrays(path, ["U", "D"])
    steps = STEPS[kind]
    up, down = held["U"][:steps], held["D"][:steps]
    if min(len(up), len(down)) < steps or not all(_is_matrix(m) for m in (*up, *down)):
        raise ValueError(f"{path} does not hold {steps} up- and down-sampling matrices; get the official file again")
    if not all(np.isfinite(m.data if hasattr(m, "tocsr") else m).all() for m in (*up, *down)):
        raise ValueError(f"{path} holds numbers that are not finite; get the official file again")
    try:
        return MeshLevels(up, down)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; get the official file again") from None


def _is_matrix(value: object) -> bool:
    return hasattr(value, "tocsr") or (isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "biuf")


def read_level_faces(kind: str, body_dir: str | Path | None = None) -> tuple[torch.Tensor, ...]:
    """The faces (F, 3) of every mesh level in use, coarse to full."""
    folder, files = locate(kind, body_dir)
    path = _required(folder, files, files.mesh_levels)
    held = load_object_arrays(path, ["F"])["F"][: STEPS[kind] + 1]
    sizes = read_levels(kind, body_dir).sizes
    if len(held) != len(sizes) or any(np.ndim(faces) != 2 or np.shape(faces)[1] != 3 for faces in held):
        raise ValueError(f"{path} does not hold the faces of {len(sizes)} levels; get the official file again")
    levels = tuple(torch.from_numpy(np.asarray(faces).astype(np.int64)) for faces in reversed(held))
    for faces, size in zip(levels, sizes, strict=True):
        if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < size:
            raise ValueError(f"{path} has faces with a vertex outside 0..{size - 1}; get the official file again")
    return levels


def read_adjacency(kind: str, body_dir: str | Path | None = None) -> torch.Tensor:
    """Dense (Vc, Vc) float32 adjacency of the coarse mesh, self loops included; 0 where two vertices do not touch.

    The official files hold row-normalized values; the networks only ask where they are 0.
    """
    folder, files = locate(kind, body_dir)
    paths = [_required(folder, files, f"{files.adjacency}_{part}.pt") for part in ADJACENCY_PARTS]
    indices, values, size = (load_tensor(path) for path in paths)
    for path, held in zip(paths, (indices, values), strict=False):
        if not isinstance(held, torch.Tensor):
            raise ValueError(f"{path} holds a {type(held).__name__}, no tensor; get the official file again")
    if indices.is_floating_point() or not torch.isfinite(values).all():
        raise ValueError(f"{paths[0]} or {paths[1].name} holds fractions or no finite numbers; get both files again")
    sides = tuple(int(n) for n in size) if isinstance(size, tuple | list | torch.Tensor) else (size,)
    if len(sides) != 2 or sides[0] != sides[1] or sides[0] < 1:
        raise ValueError(f"{paths[2]} holds {sides}, no square matrix's size; get the official file again")
    rows = sides[0]
    if indices.ndim != 2 or indices.shape[0] != 2 or values.shape != indices.shape[1:]:
        raise ValueError(
            f"{paths[0]} holds indices {tuple(indices.shape)} for values {tuple(values.shape)}, not (2, N) for (N,); "
            "get the official files again"
        )
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < rows:
        raise ValueError(f"{paths[0]} names a vertex outside 0..{rows - 1}; get the official files again")
    return torch.sparse_coo_tensor(
        indices.long(), values.float(), (rows, rows), device="cpu", check_invariants=True
    ).to_dense()


def read_regressor(name: str | None, rows: int, vertices: int, body_dir: str | Path | None = None) -> np.ndarray:
    """A body joint regressor (rows, vertices) by its file name."""
    folder, files = locate("body", body_dir)
    path = _required(folder, files, str(name))
    array = load_array(path)
    if array.shape != (rows, vertices):
        advice = "transpose it, or " if array.shape == (vertices, rows) else ""
        raise ValueError(f"{path} has shape {array.shape}, not {(rows, vertices)}; {advice}get the official file again")
    if array.dtype == object:
        array = np.array([number if isinstance(number, int | float) else "" for number in array.ravel()])
        array = array.reshape(rows, vertices)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all() or not array.any(1).all():
        raise ValueError(f"{path} holds no finite numbers in places or an empty row; get the official file again")
    return array
