"""The .npz annotations that GraphCMR and SPIN share: Human3.6M, MPII, COCO, LSP, MPI-INF-3DHP, UP-3D and more.

Arrays of N rows: `imgname`, `center` (N,2), `scale` (N,), and where known `part` (N,24,3), `S` (N,24,4), `pose` (N,72),
`shape` (N,10), `has_smpl` (N,), `gender` (N,). An absent array, or a row of it that carries no confidence,
becomes zeros and has_* = 0. SPIN's `openpose` and both projects' file lists of other tools are not read.
"""

from __future__ import annotations

import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from manopth.files import load_object_arrays
from tore.datasets.convert.entries import Entry, Person
from tore.datasets.convert.reading import array, file_stamp, gender_name, other_source

SHAPES: dict[str, tuple[int, ...]] = {
    "center": (-1, 2),
    "scale": (-1,),
    "part": (-1, 24, 3),
    "S": (-1, 24, 4),
    "pose": (-1, 72),
    "shape": (-1, 10),
    "has_smpl": (-1,),
}
NEEDED = ("imgname", "center", "scale")
LABELS = ("part", "S")
UNREAD = ("openpose", "maskname", "partname")  # of SPIN's and GraphCMR's files, for other purposes
SHOWN = 12  # names in a message
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    tokenize.TokenError,  # an array's header that ends too early
)


class SpinAnnotations:
    """The rows of one annotation file. `imgname` is the image's path below the images' root.

    ValueError names the file and the array that is missing or has the wrong shape.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.description: dict[str, Any] = {"source": "spin", "annotations": file_stamp(self.path)}
        raw = _load(self.path)
        names = enumerate(raw["imgname"].ravel())
        self._names = [_text(name, f"{self.path}: array 'imgname', row {row}") for row, name in names]
        self._genders = [gender_name(value) for value in raw["gender"].ravel()] if "gender" in raw else None
        self._arrays: dict[str, np.ndarray] = {}
        for name, shape in SHAPES.items():
            if name in raw:
                values = raw[name].reshape(-1) if len(shape) == 1 else raw[name]
                self._arrays[name] = array(values, shape, f"{self.path}: array {name!r}")
        lengths = {name: len(values) for name, values in self._arrays.items()} | {"imgname": len(self._names)}
        if self._genders is not None:
            lengths["gender"] = len(self._genders)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{self.path}: its arrays have different lengths: {lengths}")

    def __len__(self) -> int:
        return len(self._names)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """One entry per row of the arrays, in their order."""
        return (Entry(self._names[row], self._person(row).label()) for row in range(start, len(self)))

    def _person(self, row: int) -> Person:
        has_smpl = bool(self._arrays["has_smpl"][row]) if "has_smpl" in self._arrays else True
        return Person(
            center=self._arrays["center"][row],
            scale=float(self._arrays["scale"][row]),
            joints_2d=self._seen("part", row),
            joints_3d=self._seen("S", row),
            pose=self._arrays["pose"][row] if has_smpl and "pose" in self._arrays else None,
            betas=self._arrays["shape"][row] if has_smpl and "shape" in self._arrays else None,
            gender=self._genders[row] if self._genders is not None else None,
        )

    def _seen(self, name: str, row: int) -> np.ndarray | None:
        """The joints of a row, None where the array is absent or the row has no joint with confidence."""
        if name not in self._arrays or not (self._arrays[name][row, :, -1] > 0).any():
            return None
        return self._arrays[name][row]


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays that are read here, by name; those of Python objects through the reader that runs nothing."""
    try:
        with zipfile.ZipFile(path) as archive:  # np.load alone would take any file for a pickle
            held = {name.removesuffix(".npy") for name in archive.namelist()}
        _check_names(path, held)
        found = {}
        with np.load(path) as arrays:
            for name in (name for name in ("imgname", "gender", *SHAPES) if name in held):
                found[name] = _objects(path, name) if _holds_objects(path, name) else arrays[name]
        if not all(isinstance(values, np.ndarray) for values in found.values()):
            raise ValueError("an entry does not begin as an array does")
        if not all(map(_has_letters, found.values())):
            raise ValueError("a name in it holds what is no letter")
        return found
    except _Foreign as foreign:
        raise ValueError(str(foreign)) from None
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a whole .npz file of arrays: {reason}{other_source(path, '.npz')}") from None


class _Foreign(Exception):
    """A whole file, but of another project."""


def _check_names(path: Path, held: set[str]) -> None:
    """Refuses a file without what is needed, and one whose labels have names that are not read here."""
    missing = [name for name in NEEDED if name not in held]
    labels = [name for name in LABELS if name in held] or ({"pose", "shape"} <= held)
    unread = sorted(held - {*NEEDED, *SHAPES, "gender", *UNREAD})
    if missing or (unread and not labels):
        lacks = f"lacks {', '.join(missing)}" if missing else f"has no label ({', '.join(LABELS)}, or pose and shape)"
        there = ", ".join(sorted(held)[:SHOWN]) + (f" and {len(held) - SHOWN} more" if len(held) > SHOWN else "")
        raise _Foreign(
            f"{path} {lacks} (it has: {there or 'nothing'}): it is not an annotation file of GraphCMR or SPIN. "
            "`tore convert 3dpw`, `3dpw-pose2mesh` and `freihand` read those sites' own files; for another project "
            f"write an .npz with {', '.join(NEEDED)} and any of {', '.join(LABELS)}, pose with shape"
        )


def _holds_objects(path: Path, name: str) -> bool:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return bool(read(stream)[2].hasobject)


def _objects(path: Path, name: str) -> np.ndarray:
    """An array of texts or of arrays that was saved as one of Python objects."""
    items = load_object_arrays(path, [name])[name]
    try:
        return np.array([item.item() if isinstance(item, np.generic) else item for item in items])
    except ValueError:
        raise ValueError(f"array {name!r} holds objects of different kinds or lengths") from None


def _has_letters(values: np.ndarray) -> bool:
    """Whether text, if that is what the array holds, is made of letters that Unicode has."""
    if values.dtype.kind != "U" or not values.size or not values.dtype.itemsize:
        return True
    codes = np.ascontiguousarray(values).view(np.dtype(np.uint32).newbyteorder(values.dtype.byteorder))
    return bool(codes.max() <= sys.maxunicode)


def _text(name: object, where: str) -> str:
    if isinstance(name, bytes):
        try:
            return name.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{where} is {name!r:.80}, not UTF-8: rename the image and write its name anew") from None
    if not isinstance(name, str):
        raise ValueError(f"{where} is a {type(name).__name__}, not a text")
    return str(name)
