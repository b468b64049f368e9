"""The one reader of torch's files: nothing in them is executed, and damage is found before a number is used.

`torch.save` writes a zip whose records carry CRC-32 checksums, which `torch.load` does not compare: a flipped bit would
become a wrong weight. Here every record is compared first (about a second for each gigabyte). Files of torch before
1.6 are no zips and carry none.

Besides tensors and plain values, numpy's scalars and arrays, paths and `argparse.Namespace` are read, each rebuilt by
this package from plain values; any other name that a file asks for is refused.
"""

from __future__ import annotations

import functools
import pickle
import re
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .damage import DAMAGE, UnfitFile
from .pickled_arrays import PickledArray, PickledType, array_from_data

CHUNK = 1 << 20
ASKED_NAME = re.compile(r"GLOBAL (\S+)")
PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_one_at_a_time = threading.Lock()  # torch keeps its list of allowed names once for the process


def read_torch_file(path: str | Path) -> Any:
    """What `torch.save` wrote, on the CPU.

    Raises FileNotFoundError, or ValueError of one sentence: a damaged record by its name, a file that is cut short or
    of another kind, a name that is not on the list.
    """
    path = Path(path)
    with path.open("rb") as stream:
        magic = stream.read(4)
    try:
        if magic == b"PK\x03\x04":
            check_zip(path)
        return _load(path)
    except UnfitFile:
        raise
    except DAMAGE as error:
        if asked := ASKED_NAME.search(str(error)):
            raise UnfitFile(_refusal(path, asked.group(1).rstrip(","))) from None
        what = f"is not a checkpoint or is damaged ({_first_line(error)})"
        raise UnfitFile(f"{path} {what}: it is cut short or another file; get it again") from None


def check_zip(path: Path) -> None:
    """Compares every record of a zip with its checksum. UnfitFile names the first one that differs.

    A file that torch wrote with checksums switched off holds 0 for each of them; then only the zip's own headers count.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) != len(members):
            raise _broken(path, "its list of records", "names one twice")
        summed = any(member.CRC for member in members)
        for member in members:
            if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
                raise _broken(path, f"the record {member.filename}", "has two sizes")
            try:
                with archive.open(member) as record:
                    while summed and record.read(CHUNK):
                        pass
            except DAMAGE as error:
                raise _broken(path, f"the record {member.filename}", f"does not match ({_first_line(error)})") from None


def _broken(path: Path, part: str, what: str) -> UnfitFile:
    return UnfitFile(f"{path} is damaged: {part} {what}; get the file again")


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        scope = getattr(torch.serialization, "safe_globals", None)  # torch 2.5 on
        asked = ASKED_NAME.search(str(error))
        if scope is None or asked is None or asked.group(1).rstrip(",") not in REBUILT:
            raise
    with _one_at_a_time, scope(list(REBUILT.values())):
        return _plain(torch.load(path, map_location="cpu", weights_only=True))


class _Options:
    """Stands in for `argparse.Namespace`: its values, as a dictionary."""

    def __setstate__(self, state: Any) -> None:
        self.values = state


def _named(name: str, helper: Any) -> Any:
    """`helper` under the name by which files ask for it, as torch's list of allowed names wants it."""
    module, _, short = name.rpartition(".")
    if isinstance(helper, type):
        return type(short, (helper,), {"__module__": module, "__qualname__": short})

    @functools.wraps(helper)
    def called(*given: Any) -> Any:
        return helper(*given)

    called.__module__, called.__name__, called.__qualname__ = module, short, short
    return called


def _scalar(dtype: Any, data: Any) -> Any:
    return array_from_data(data, dtype, (1,))[0].item()


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: str) -> Any:
    return array_from_data(bytes(buffer), dtype, shape, order)


def _helpers() -> dict[str, Any]:
    held: dict[str, Any] = {"numpy.dtype": PickledType, "numpy.ndarray": PickledArray, "argparse.Namespace": _Options}
    for core in ("numpy.core", "numpy._core"):
        inner: dict[str, Callable[..., Any]] = {
            "multiarray._reconstruct": lambda *given: REBUILT["numpy.ndarray"](),
            "multiarray.scalar": _scalar,
            "numeric._frombuffer": _from_buffer,
        }
        held |= {f"{core}.{name}": helper for name, helper in inner.items()}
    for module in ("pathlib", "pathlib._local"):
        held |= {f"{module}.{name}": lambda *parts: "/".join(map(str, parts)) for name in PATHS}
    return held


REBUILT = {name: _named(name, helper) for name, helper in _helpers().items()}


def _plain(value: Any) -> Any:
    """`value` with what was rebuilt replaced by its numbers or values."""
    if isinstance(value, PickledArray):
        return value.array
    if isinstance(value, PickledType):
        return value.dtype
    if isinstance(value, _Options):
        return _plain(getattr(value, "values", {}))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value


def _refusal(path: Path, name: str) -> str:
    return (
        f"{path} holds pickled code or objects ({name}), not only tensors, and is not loaded: use the file of tensors "
        f"that was saved beside it, {path.with_name('state_dict.bin')}, or, where you trust its source, save its "
        "tensors alone with torch.save(model.state_dict(), FILE)"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    if not text or text.isdigit() or "persistent" in text or "magic" in text.lower():
        return "torch did not write it"
    return text.splitlines()[0].split(". ")[0]
