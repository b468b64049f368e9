"""The one reader of every official kind of data file; what a pickle holds is never executed.

Model files (`.pkl`) and mesh levels (object arrays in `.npz`) are pickles inside, and a pickle may name any function to
call. This reader knows a short list of names: numpy arrays and scipy matrices, which it rebuilds itself, and chumpy's
classes, of which it keeps the stored numbers. Any other name is refused, with the name in the error.
Module paths that newer numpy and scipy no longer have are on the list by name only, so no import of them is tried.

Every error is a ValueError of one sentence: the file, what was found, what to do.
"""

from __future__ import annotations

import itertools
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.sparse

from manopth.body_checks import MODEL_ARRAYS, OPTIONAL_ARRAYS, checked_body
from manopth.damage import DAMAGE, UnfitFile, damaged
from manopth.pickled_arrays import PickledArray, PickledType, array_from_data
from manopth.torch_files import read_torch_file

NUMPY_MODULES = ("numpy.core", "numpy._core")
ARRAY_CLASSES = (
    *(("numpy", name) for name in ("ndarray", "matrix", "memmap")),
    ("numpy.matrixlib.defmatrix", "matrix"),
    *((f"{module}.memmap", "memmap") for module in NUMPY_MODULES),
)
SPARSE_KINDS = ("csc", "csr", "coo", "bsr", "dia", "dok", "lil")
SPARSE_MODULES = {f"scipy.sparse.{prefix}{kind}": kind for prefix in ("", "_") for kind in SPARSE_KINDS}
ZIP, NPY = b"PK\x03\x04", b"\x93NUMPY"  # how an .npz and an .npy begin, whatever they are called


class _Refused(Exception):
    """A pickle names something that is not on the list."""


class _StandIn:
    """Keeps the state of an object whose class is not imported."""

    official_name = ""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            self.__dict__.update(part or {})

    @property
    def module(self) -> str:
        return self.official_name.rpartition(".")[0]


def _array_from_buffer(buffer: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    return array_from_data(bytes(buffer), dtype, shape, order)


def _scalar(dtype: Any, data: bytes | str) -> Any:
    return array_from_data(data, dtype, (1,))[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode with encoding {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Knows the names that data files hold, and makes its own placeholders for each file."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin1")
        self.known: dict[tuple[str, str], Any] = {
            # Wrapped afresh for each file: a pickle may set attributes on what it is given.
            ("numpy", "dtype"): lambda *given: PickledType(*given),
            **{key: type(key[1], (), {}) for key in ARRAY_CLASSES},
            ("_codecs", "encode"): lambda *given: _encode(*given),
            ("collections", "OrderedDict"): OrderedDict,
        }
        for builtins, copyreg in (("builtins", "copyreg"), ("__builtin__", "copy_reg")):  # Python 3's names, Python 2's
            self.known[builtins, "object"] = object
            self.known[builtins, "set"] = set
            self.known[builtins, "dict"] = lambda *given: dict(*given)
            self.known[builtins, "bytes"] = lambda: b""
            self.known[copyreg, "_reconstructor"] = lambda kind, base, state: self.reconstruct(kind, state)
        helpers: dict[tuple[str, str], Callable] = {
            ("multiarray", "_reconstruct"): PickledArray,
            ("multiarray", "scalar"): _scalar,
            ("numeric", "_frombuffer"): _array_from_buffer,
        }
        for module in NUMPY_MODULES:
            for (inner, name), helper in helpers.items():
                self.known[f"{module}.{inner}", name] = lambda *given, helper=helper: helper(*given)

    def find_class(self, module: str, name: str) -> Any:
        key = (module, name)
        if key not in self.known:
            kind = SPARSE_MODULES.get(module)
            sparse = kind is not None and name in (f"{kind}_matrix", f"{kind}_array")
            chumpy = module.split(".")[0] == "chumpy" and name.isidentifier()
            if not (sparse or chumpy):
                raise _Refused(f"{module}.{name}")
            self.known[key] = type(name, (_StandIn,), {"official_name": f"{module}.{name}"})
        return self.known[key]

    @staticmethod
    def reconstruct(kind: Any, content: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _StandIn)):
            raise _Refused(f"copyreg._reconstructor of {kind!r}")
        made = kind()
        if isinstance(content, dict):
            made.__setstate__({"_dict": content})  # a dok matrix is a dictionary in older versions of scipy
        return made


def _sparse_from(state: dict[str, Any], kind: str) -> Any:
    rows, columns = state["_shape"]
    shape = (int(rows), int(columns))
    if kind in ("coo", "dok", "lil"):
        values, coordinates = _entries_of(state, kind)
        return scipy.sparse.coo_matrix((values, tuple(coordinates)), shape=shape).asformat(kind)
    data = _of_scipy(np.asarray(state["data"]))
    if kind == "dia":
        return scipy.sparse.dia_matrix((data, np.asarray(state["offsets"])), shape=shape)
    build = {"csc": scipy.sparse.csc_matrix, "csr": scipy.sparse.csr_matrix, "bsr": scipy.sparse.bsr_matrix}[kind]
    matrix = build((data, np.asarray(state["indices"]), np.asarray(state["indptr"])), shape=shape)
    matrix.check_format(full_check=True)
    return matrix


def _entries_of(state: dict[str, Any], kind: str) -> tuple[np.ndarray, Any]:
    """Values (N,) and their rows and columns, (N,) each, of a matrix that is kept entry by entry."""
    if kind == "coo":
        values = _of_scipy(np.asarray(state["data"]))
        return values, state["coords"] if "coords" in state else (state["row"], state["col"])
    if kind == "dok":
        places = np.array(list(state["_dict"]), np.int64).reshape(-1, 2)
        return np.array(list(state["_dict"].values()), np.float64), places.T
    columns, values = (np.asarray(state[name]).tolist() for name in ("rows", "data"))
    if [len(row) for row in columns] != [len(row) for row in values]:
        raise ValueError("a lil matrix has rows of unequal lengths")
    row = np.repeat(np.arange(len(columns)), [len(row) for row in columns])
    flat = [list(itertools.chain.from_iterable(lists)) for lists in (values, columns)]
    return np.array(flat[0], np.float64), (row, np.array(flat[1], np.int64))


def _of_scipy(data: np.ndarray) -> np.ndarray:
    """The values in a type that scipy's matrices take; half precision and objects are none."""
    if data.dtype == object:
        return data.astype(np.float64)
    return data.astype(np.float32) if data.dtype == np.float16 else data


def _numbers_of(standin: _StandIn) -> Any:
    """The matrix or array that a placeholder's state describes; the placeholder itself if it describes none."""
    if standin.module in SPARSE_MODULES:
        return _sparse_from(standin.__dict__, SPARSE_MODULES[standin.module])
    state = standin.__dict__
    if "x" in state:
        return np.asarray(_plain(state["x"]))
    if {"a", "idxs"} <= state.keys():  # chumpy.reordering: entries of another array, by flat index
        chosen = np.asarray(_plain(state["a"])).ravel()[np.asarray(_plain(state["idxs"]))]
        return chosen.reshape(state["preferred_shape"]) if "preferred_shape" in state else chosen
    return standin


def _plain(value: Any) -> Any:
    """`value` with every placeholder inside replaced by its numbers."""
    if isinstance(value, _StandIn):
        return _numbers_of(value)
    if isinstance(value, PickledType):
        return value.dtype
    value = value.array if isinstance(value, PickledArray) else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.ndarray) and value.dtype == object:
        out = np.empty(value.size, dtype=object)
        for index, item in enumerate(value.ravel()):
            out[index] = _plain(item)
        return out.reshape(value.shape)
    return value


def _unpickle(stream: IO[bytes], path: Path) -> Any:
    try:
        return _plain(_Unpickler(stream).load())
    except _Refused as refused:
        raise UnfitFile(
            f"{path} asks for {refused}, which no data file needs; nothing was executed: get it again from its site"
        ) from None
    except DAMAGE as error:
        raise damaged(path, "a pickle", error) from None


def _read_npy(stream: IO[bytes], path: Path) -> np.ndarray:
    """One array in numpy's own format; one of objects goes through the allow-list."""
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if min(shape, default=0) < 0:
            raise ValueError(f"it announces an array {shape}")
        if not dtype.hasobject:
            count = math.prod(shape)
            raw = stream.read(count * dtype.itemsize)
            if stream.read(1):
                raise ValueError(f"it holds more than the array {shape} of {dtype} that it announces")
            flat = np.frombuffer(raw, dtype=dtype, count=count).copy() if count else np.empty(0, dtype)
            return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    except DAMAGE as error:
        raise damaged(path, "a numpy array", error) from None
    array = np.asarray(_unpickle(stream, path), dtype=object)
    if array.shape != shape:
        raise UnfitFile(f"{path} announces an array {shape} and holds {array.shape}: it is damaged; get it again")
    return array


def _read_members(path: Path, names: Iterable[str], optional: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """The named entries of an .npz, and no other: other entries are never opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            held = {member.removesuffix(".npy") for member in archive.namelist()}
            missing = [name for name in names if name not in held]
            if missing:
                raise UnfitFile(
                    f"{path} lacks {', '.join(missing)} (it holds {', '.join(sorted(held))}): "
                    "it is another file; get the official one"
                )
            wanted = [*names, *(name for name in optional if name in held)]
            return {name: _read_entry(archive, name, path) for name in wanted}
    except (FileNotFoundError, UnfitFile):
        raise
    except DAMAGE as error:
        raise damaged(path, "an .npz archive", error) from None


def _read_entry(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    with archive.open(f"{name}.npy") as stream:
        return _read_npy(stream, path)


def load_pickle(path: str | Path) -> Any:
    """What a pickle holds, as dicts, lists, numpy arrays and scipy matrices (Python 2 strings become str).

    An expression of chumpy's that stores no numbers of its own becomes an inert object, which an unused entry may be.

    Raises ValueError, in one sentence, for a name that is not on the list and for a damaged file.
    """
    path = Path(path)
    with path.open("rb") as stream:
        return _unpickle(stream, path)


def load_object_arrays(path: str | Path, names: Iterable[str]) -> dict[str, list]:
    """The items (arrays, scipy matrices) of the lists `names` in an .npz or a pickled dictionary.

    Other entries of an .npz are never opened. Raises ValueError, in one sentence, as `load_pickle` does.
    """
    path, names = Path(path), list(names)
    if _first_bytes(path).startswith(ZIP):
        return {name: _items(array) for name, array in _read_members(path, names).items()}
    held = _unpickled_levels(path)
    if missing := [name for name in names if name not in held]:
        raise UnfitFile(f"{path} lacks {', '.join(missing)}: it is another file; get the official one")
    return {name: _items(held[name]) for name in names}


def _unpickled_levels(path: Path) -> dict[str, Any]:
    try:
        held = load_pickle(path)
    except UnfitFile as error:
        if "asks for" in str(error):
            raise
        raise UnfitFile(
            f"{path} cannot be read as an .npz archive or a pickle: it is cut short or another file; get it again"
        ) from None
    return held if isinstance(held, dict) else {}


def _items(value: Any) -> list:
    """What a list, an object array or the first axis of a plain array holds."""
    array = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    items = list(array) if isinstance(array, list | tuple | np.ndarray) else [array]
    return [_of_scipy(item) if isinstance(item, np.ndarray) and item.dtype == object else item for item in items]


def load_array(path: str | Path) -> np.ndarray:
    """The array of an .npy file; of an .npz or a pickle that holds one array, too.

    Raises ValueError, in one sentence, for a damaged file, or one that holds something else.
    """
    path = Path(path)
    start = _first_bytes(path)
    if start.startswith(ZIP):
        with zipfile.ZipFile(path) as archive:
            names = [member.removesuffix(".npy") for member in archive.namelist()]
        held: Any = _read_members(path, names)[names[0]] if len(names) == 1 else None
    elif start[:1] == b"\x80":
        held = load_pickle(path)
        held = held.toarray() if hasattr(held, "toarray") else held
    else:
        with path.open("rb") as stream:
            return _read_npy(stream, path)
    if not isinstance(held, np.ndarray):
        raise UnfitFile(f"{path} holds no single array: it is another file; get it again")
    return held


def load_tensor(path: str | Path) -> Any:
    """The tensor (or `torch.Size`) of a `.pt` file, through torch's own restricted reader, on the CPU."""
    return read_torch_file(path)


def load_body_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a SMPL- or MANO-format body model, from its `.pkl` or from a plain `.npz` of the same names.

    Names and shapes (V vertices, K joints, S shape directions): `v_template (V,3)`, `shapedirs (V,3,S)`,
    `posedirs (V,3,9*(K-1))`, `J_regressor (K,V)` dense, `weights (V,K)`, `kintree_table (2,K)` with the parents in its
    first row, `f (F,3)`; where the file has them `betas`, `hands_components`, `hands_mean`.

    Raises ValueError, in one sentence, for a missing entry, a wrong shape and everything `load_pickle` refuses.
    """
    path = Path(path)
    return checked_body(_read_body(path), path)


def _read_body(path: Path) -> dict[str, Any]:
    """The entries of a body model file, whose kind its first bytes tell, not its name."""
    start = _first_bytes(path)
    if start.startswith(ZIP):
        return dict(_read_members(path, MODEL_ARRAYS, OPTIONAL_ARRAYS))
    held = load_array(path) if start.startswith(NPY) else load_pickle(path)
    if isinstance(held, np.ndarray) and held.dtype == object and held.size == 1:
        held = held.item()  # a dictionary that numpy.save wrote
    if not isinstance(held, dict):
        raise ValueError(f"{path} holds a {type(held).__name__}, not a body model: get the official file again")
    return held


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(len(NPY))
