"""Reads the sources' files and checks their fields; every error is one sentence that says where and what."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tore.files import read_json

GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female", "n": "neutral", "neutral": "neutral"}


def gender_name(value: object) -> str | None:
    """The gender in full words from the sources' spellings, None where it is something else."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return GENDERS.get(text.strip().lower())


def skip_to(start: int, parts: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Of (length, part) pairs that follow one another, those that reach beyond `start`, as (entries to skip, part)."""
    end = 0
    for length, part in parts:
        end += length
        if end > start:
            yield max(0, start - (end - length)), part


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of `size` that cover `count`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def load_json(path: Path) -> Any:
    """The value of a JSON file. FileNotFoundError or ValueError with one sentence that names it."""
    try:
        return read_json(require(path))
    except ValueError as error:
        raise ValueError(f"{error}{other_source(path, '.json')}; download it again") from None


def other_source(path: Path, expected: str) -> str:
    """What to say of a file whose ending is that of another source's files, nothing where it is as `expected`."""
    known = {".npz": "spin", ".pkl": "3dpw", ".json": "3dpw-pose2mesh"}
    ending = path.suffix.lower()
    return f" (`tore convert {known[ending]}` reads {ending} files)" if ending in known and ending != expected else ""


def require(path: Path) -> Path:
    """The path, or FileNotFoundError with one sentence."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: docs/DATA.md says where to get it and where it goes")
    return path


def field(record: Mapping[str, Any], name: str, where: str) -> Any:
    """record[name], or ValueError that says where a field is missing."""
    if not isinstance(record, Mapping) or name not in record:
        there = ", ".join(map(str, itertools.islice(record, 12))) if isinstance(record, Mapping) else repr(record)[:60]
        raise ValueError(f"{where} has no field {name!r} (it has: {there})")
    return record[name]


def items(value: Any, where: str) -> list[Any]:
    """The items of a list or array. ValueError where there is something else."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return list(value)
    raise ValueError(f"{where} is not a list but {repr(value)[:60]}")


def array(value: Any, shape: tuple[int, ...], where: str, flat: bool = False) -> np.ndarray:
    """float64 array of a given shape; -1 stands for any length, `flat` drops the axes first.

    ValueError says where and what is wrong.
    """
    try:
        out = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where} does not hold an array of numbers") from None
    out = out.reshape(-1) if flat else out
    if out.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, out.shape, strict=True)):
        expected = tuple("any" if want == -1 else want for want in shape)
        raise ValueError(f"{where} has shape {out.shape}, expected {expected}")
    return out


def file_stamp(path: Path) -> dict[str, Any]:
    """Name and size of a file, for a source's description."""
    return {"file": path.name, "bytes": require(path).stat().st_size}
