"""The one reader of every official kind of data file; what a pickle holds is never executed.

Model files (`.pkl`) and mesh levels (object arrays in `.npz`) are pickles inside, and a pickle may name any function to
call. This reader knows a short list of names: numpy arrays and scipy matrices, which it rebuilds itself, and chumpy's
classes, of which it keeps the stored numbers. Any other name is refused, with the name in the error.
Module paths that newer numpy and scipy no longer have are on the list by name only, so no import of them is tried.

Every error is a ValueError of one sentence: the file, what was found, what to do.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.sparse

from manopth.damage import DAMAGE, UnfitFile, damaged
from manopth.pickled_arrays import PickledArray, PickledType, array_from_data
from manopth.torch_files import read_torch_file

NUMPY_MODULES = ("numpy.core", "numpy._core")
SPARSE_KINDS = ("csc", "csr", "coo")
SPARSE_MODULES = {f"scipy.sparse.{prefix}{kind}": kind for prefix in ("", "_") for kind in SPARSE_KINDS}
MODEL_ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
OPTIONAL_ARRAYS = ("betas", "hands_components", "hands_mean")


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
    """Knows the names that data files hold, and makes its own stand-ins for each file."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin1")
        self.known: dict[tuple[str, str], Any] = {
            # Wrapped afresh for each file: a pickle may set attributes on what it is given.
            ("numpy", "dtype"): lambda *given: PickledType(*given),
            ("numpy", "ndarray"): type("ndarray", (), {}),
            ("_codecs", "encode"): lambda *given: _encode(*given),
            ("collections", "OrderedDict"): OrderedDict,
        }
        for builtins, copyreg in (("builtins", "copyreg"), ("__builtin__", "copy_reg")):  # Python 3's names, Python 2's
            self.known[builtins, "object"] = object
            self.known[builtins, "set"] = set
            self.known[builtins, "bytes"] = lambda: b""
            self.known[copyreg, "_reconstructor"] = lambda kind, base, state: self.reconstruct(kind)
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
    def reconstruct(kind: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _StandIn)):
            raise _Refused(f"copyreg._reconstructor of {kind!r}")
        return kind()


def _sparse_from(state: dict[str, Any], kind: str) -> Any:
    data, (rows, columns) = np.asarray(state["data"]), state["_shape"]
    shape = (int(rows), int(columns))
    if kind == "coo":
        coordinates = state["coords"] if "coords" in state else (state["row"], state["col"])
        return scipy.sparse.coo_matrix((data, tuple(coordinates)), shape=shape)
    build = scipy.sparse.csc_matrix if kind == "csc" else scipy.sparse.csr_matrix
    matrix = build((data, np.asarray(state["indices"]), np.asarray(state["indptr"])), shape=shape)
    matrix.check_format(full_check=True)
    return matrix


def _numbers_of(standin: _StandIn) -> Any:
    """The matrix or array that a stand-in's state describes; the stand-in itself where it describes none."""
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
    """`value` with every stand-in inside replaced by its numbers."""
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
        if not dtype.hasobject:
            count = int(np.prod(shape, dtype=np.int64))
            raw = stream.read(count * dtype.itemsize)
            flat = np.frombuffer(raw, dtype=dtype, count=count).copy()
            return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    except DAMAGE as error:
        raise damaged(path, "a numpy array", error) from None
    array = np.asarray(_unpickle(stream, path), dtype=object)
    if array.shape != shape:
        raise UnfitFile(f"{path} announces an array {shape} and holds {array.shape}: it is damaged; get it again")
    return array


def _read_members(path: Path, names: Iterable[str], optional: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """The named entries of an .npz, and no other: what is not asked for is never opened."""
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
    """The items (arrays, scipy matrices) of the object arrays `names` in an .npz; other entries are never opened."""
    return {name: list(array.ravel()) for name, array in _read_members(Path(path), list(names)).items()}


def load_array(path: str | Path) -> np.ndarray:
    """The array of an .npy file."""
    path = Path(path)
    with path.open("rb") as stream:
        return _read_npy(stream, path)


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
    if path.suffix == ".npz":
        raw: dict[str, Any] = dict(_read_members(path, MODEL_ARRAYS, OPTIONAL_ARRAYS))
    else:
        raw = load_pickle(path)
        if not isinstance(raw, dict):
            raise ValueError(f"{path} holds a {type(raw).__name__}, not a body model: get the official file again")
    missing = [name for name in MODEL_ARRAYS if name not in raw]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it is not a body model; get the official file again")
    arrays = {name: _dense(raw[name], name, path) for name in (*MODEL_ARRAYS, *OPTIONAL_ARRAYS) if name in raw}
    _check_body(arrays, path)
    return arrays


def _dense(value: Any, name: str, path: Path) -> np.ndarray:
    if isinstance(value, _StandIn):
        raise ValueError(f"{path}: {name} is a {value.official_name} without stored numbers; get the official file")
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.item()
    if hasattr(value, "toarray"):
        value = value.toarray()
    try:
        return np.asarray(value, dtype=np.int64 if name in ("f", "kintree_table") else np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: {name} is no array of numbers; get the official file again") from None


def _check_body(arrays: dict[str, np.ndarray], path: Path) -> None:
    vertices, joints = len(arrays["v_template"]), arrays["weights"].shape[-1]
    expected: dict[str, tuple[int | None, ...]] = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "kintree_table": (2, joints),
        "f": (None, 3),
    }
    for name, shape in expected.items():
        found = arrays[name].shape
        if len(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found, strict=True)):
            wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
            raise ValueError(f"{path}: {name} has shape {found}, not {wanted}; get the official file again")
    parents = arrays["kintree_table"][0, 1:]
    if (parents < 0).any() or (parents >= np.arange(1, joints)).any():
        raise ValueError(f"{path}: kintree_table names a parent after its child; get the official file again")
    if arrays["f"].size and not 0 <= arrays["f"].min() <= arrays["f"].max() < vertices:
        raise ValueError(f"{path}: f names a vertex outside 0..{vertices - 1}; get the official file again")
