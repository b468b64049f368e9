"""Which body model a network, a set or a mesh belongs to: a name and a fingerprint of its files.

Body models of one kind have the same sizes, so that nothing but this tells when files of two of them are mixed up.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manopth.files import load_body_arrays
from manopth.lbs import SkinnedModel
from tore.body.files import locate, read_levels
from tore.body.mesh_levels import MeshLevels, SparseMap
from tore.paths import MADE_BODIES, REMOVED, REMOVED_BODIES, SYNTHETIC

WAVES = 8  # numbers that stand for an array
STEP, SHARE_STEP = 1e-4, 1e-2  # what they are rounded to: 0.1 mm, and a hundredth where the array holds shares
SHAPES = 10  # shape directions that count
DIGITS = 8  # of a fingerprint's halves, hexadecimal
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class BodyIdentity:
    """A body model's name and the fingerprint of its files.

    `mesh`: of template, faces, blend weights, rest joints and shape directions. `levels`: of the maps between the mesh
    levels. None where it is not known. Pose directions and the regressors of label joints are not in it.
    """

    name: str
    mesh: str | None = None
    levels: str | None = None

    def __str__(self) -> str:
        known = "-".join(half or "?" for half in (self.mesh, self.levels))
        return f"{self.name!r} ({known})" if self.is_known else repr(self.name)

    @property
    def is_known(self) -> bool:
        """Whether there is a fingerprint beside the name."""
        return self.mesh is not None or self.levels is not None

    def described(self) -> dict[str, Any]:
        """Plain values, for JSON and checkpoints; `from_plain` reads them."""
        return asdict(self)

    @classmethod
    def from_plain(cls, value: Any, place: str | Path) -> BodyIdentity:
        """The identity that a file records. ValueError, naming the file, for anything else."""
        known = isinstance(value, Mapping) and isinstance(value.get("name"), str)
        if not known or not all(isinstance(value.get(half), str | None) for half in ("mesh", "levels")):
            raise ValueError(f"{place} is damaged: its record of the body model is {value!r}; get it again")
        return cls(value["name"], value.get("mesh"), value.get("levels"))

    def agrees_with(self, other: BodyIdentity) -> bool:
        """Whether both are one body model: by the halves of the fingerprint that both know, else by the name."""
        halves = [(getattr(self, half), getattr(other, half)) for half in ("mesh", "levels")]
        known = [mine == theirs for mine, theirs in halves if mine is not None and theirs is not None]
        return all(known) if known else self.name == other.name

    def refuse_another(self, found: BodyIdentity, what: str, more: str = "") -> None:
        """ValueError where `found`, the body model in use, is another one.

        `what` begins the sentence, such as "a.bin was trained on"; `more` ends it.
        """
        if self.agrees_with(found):
            return
        if self.name == found.name:
            fix = "these are other files of that name; use those of then"
        elif self.name in REMOVED_BODIES:
            fix = f"that was one of {REMOVED}; make or train it again with --body_dir {SYNTHETIC}"
        elif self.name in MADE_BODIES:
            fix = f"use --body_dir {self.name} (in Python body_dir={self.name!r})"
        else:
            fix = f"name the folder of {self.name}'s files with --body_dir (in Python body_dir)"
        raise ValueError(f"{what} the body model {self}, and the one in use is {found}: {fix}{more}")


def body_identity(kind: str, body_dir: str | Path | None = None) -> BodyIdentity:
    """Which "body" or "hand" a folder holds; without the model file the fingerprint is that of the mesh levels alone.

    Raises FileNotFoundError where the mesh levels are missing, ValueError for a file that holds something else.
    """
    folder, files = locate(kind, body_dir)
    path, mesh = folder / files.model, None
    if path.is_file():
        facts = path.stat()
        mesh = _mesh_in(path, facts.st_mtime_ns, facts.st_size)
    return BodyIdentity(files.name, mesh, levels_fingerprint(read_levels(kind, body_dir)))


@functools.lru_cache(maxsize=8)
def _mesh_in(path: Path, changed: int, size: int) -> str:
    """The mesh fingerprint of a model file, which is read again only where its time or size is another one."""
    arrays = load_body_arrays(path)
    return mesh_fingerprint(arrays, arrays["f"])


def arrays_of(skinned: SkinnedModel) -> dict[str, NDArray[Any]]:
    """What the fingerprint is of, by the names and shapes of a body model's file."""
    basis, betas = skinned.basis.cpu().numpy(), skinned.num_betas  # (1 + S + P, 3, V)
    return {
        "v_template": basis[0].T,
        "shapedirs": basis[1 : 1 + betas].transpose(2, 1, 0),
        "J_regressor": skinned.joint_regressor.cpu().numpy().T,
        "weights": skinned.weights.cpu().numpy().T,
    }


def mesh_fingerprint(arrays: Mapping[str, NDArray[Any]], faces: NDArray[Any]) -> str:
    """The fingerprint of a skinned mesh.

    `arrays`: `v_template (V, 3)`, `shapedirs (V, 3, S)`, `J_regressor (K, V)`, `weights (V, K)`; `faces (F, 3)`.

    Numbers are first rounded to float32, so that files in float32 and float64 give the same, and 10 shape directions
    count. Then each array is projected onto eight waves over its rows and columns, scaled so that a projection moves as
    much as the array's entries do, and the projections are rounded to 0.1 mm, those of blend weights to a hundredth.
    Rounding every entry instead would not do: of 20,000 some always lie so near to a limit that the last bit of a float
    moves them across.
    """
    template, shapes, regressor, weights = (
        np.asarray(arrays[name]).astype(np.float32).astype(np.float64)
        for name in ("v_template", "shapedirs", "J_regressor", "weights")
    )
    lengths = (template, regressor @ template, shapes[..., :SHAPES].reshape(len(template), -1))
    return _digest([faces, *(_projected(array, STEP) for array in lengths), _projected(weights, SHARE_STEP)])


def levels_fingerprint(levels: MeshLevels) -> str:
    """The fingerprint of the maps between mesh levels, up and down, projected likewise and rounded to a hundredth."""
    maps = [step for steps in (levels.up, levels.down) for step in steps if isinstance(step, SparseMap)]
    return _digest([np.array(levels.sizes), *(_projected_map(step) for step in maps)])


def _waves(count: int) -> NDArray[np.float64]:
    """(8, count) cosines of unit mean square, whose frequencies have nothing to do with the array."""
    frequency = np.arange(1, WAVES + 1)[:, None] * GOLDEN
    return np.sqrt(2) * np.cos(2 * np.pi * (frequency * np.arange(1, count + 1) % 1))


def _projected(array: NDArray[np.float64], step: float) -> NDArray[np.int64]:
    """An array (N, C) as eight whole numbers of steps."""
    rows, columns = _waves(array.shape[0]), _waves(array.shape[1])
    return _rounded(((rows @ array) * columns).sum(1) / np.sqrt(array.size), step)


def _projected_map(step: SparseMap) -> NDArray[np.int64]:
    """A sparse matrix (R, C) as eight whole numbers of steps."""
    rows, columns = _waves(step.shape[0]), _waves(step.shape[1])
    weight, index = step.weight.float().cpu().double().numpy(), step.index.cpu().numpy()  # (R, K)
    applied = (columns[:, index] * weight).sum(2)  # (8, R)
    return _rounded((rows * applied).sum(1) / np.sqrt(step.shape[0]), SHARE_STEP)


def _rounded(values: NDArray[np.float64], step: float) -> NDArray[np.int64]:
    return np.rint(values / step).astype(np.int64)


def _digest(arrays: list[NDArray[Any]]) -> str:
    content = b"".join(f"{array.shape}".encode() + array.astype("<i8").tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()[:DIGITS]
