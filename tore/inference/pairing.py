"""Which boxes and which side belong to which image, however they were given: one for all, in order, or by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from tore.inference.images import ImageSource
from tore_runtime.boxes import as_box
from tore_runtime.crop import Crop
from tore_runtime.crops import Place
from tore_runtime.detector import Detection

END = object()
PLACES = (Crop, Detection)


@dataclass(frozen=True)
class Asked:
    """One image, its name in messages and results, its people's boxes (None: its middle), which are left hands."""

    source: ImageSource
    name: str
    boxes: list[Place] | None
    left: bool | list[bool]


def paired(images: Any, boxes: Any = None, left: Any = False) -> Iterator[Asked]:
    """The images one by one, on request, with what belongs to each.

    images: one image, an iterable of them, or a dictionary from paths to boxes. boxes: of one image as `as_boxes`
    takes them; of many an iterable of such, None for the center of an image, or a dictionary by path, file name or
    stem. left: a flag for all, or likewise one (or one for each person) per image.

    Raises ValueError where these do not belong together: at once where it can be told, else when it shows.
    """
    if isinstance(images, Mapping):
        if boxes is not None:
            raise ValueError("boxes are given twice: in the dictionary of images and by themselves")
        images, boxes = _paths_of(images), list(images.values())
    many = as_many(images)
    if many is None:
        boxes, left = _for_one(boxes), _for_one(left)
        many = [images]
    count = len(many) if isinstance(many, Sized) else None
    every = (
        _Everyone(None) if boxes is None else _per_image(boxes, "lists of boxes", "one for each, or None", count),
        _Everyone(as_flag(left)) if _is_flag(left) else _per_image(left, "flags for left hands", "one for each", count),
    )
    if isinstance(many, (list, tuple)):  # what names no image is told before the first is read
        names = [name_of(source, index) for index, source in enumerate(many)]
        for values in every:
            if isinstance(values, _Named):
                values.check(names)
    return _pairs(many, *every)


def as_boxes(values: Any) -> list[Place]:
    """(N, 4) or one (4,) as a list of (x, y, width, height), `Crop`s and `Detection`s as they are; nothing for nobody.

    ValueError for another shape, and by the rule of `as_box` for what is no box in pixels.
    """
    given = values
    if isinstance(values, PLACES):
        return [values]
    if isinstance(values, list | tuple) and any(isinstance(value, PLACES) for value in values):
        return [value if isinstance(value, PLACES) else as_box(_plain(value)) for value in values]
    if isinstance(values, (Iterator, list, tuple)):
        values = [_plain(value) for value in values]
    try:
        table = np.asarray(_plain(values), np.float64)
    except (TypeError, ValueError):
        shown = f"{given!r:.80}"
        raise ValueError(f"boxes are lists of four numbers x, y, width, height, not {shown}") from None
    if table.shape in ((0,), (0, 4)):
        return []
    table = table[None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] != 4:
        raise ValueError(f"boxes have shape {table.shape}; give (N, 4): x, y, width, height in pixels")
    return [as_box(row) for row in table.tolist()]


def as_flag(value: Any) -> bool:
    """A truth value of Python, numpy or torch. ValueError for others."""
    if not _is_flag(value):
        raise ValueError(f"a flag for a left hand is True or False, not {value!r:.80}")
    return bool(value)


def as_many(images: Any) -> Iterable[ImageSource] | None:
    """The images one by one, or None where it is a single one. ValueError for a set, which has no order."""
    if isinstance(images, (np.ndarray, torch.Tensor)):
        dense = isinstance(images, np.ndarray) or (images.layout == torch.strided and not images.is_nested)
        return images if images.ndim == 4 and dense else None
    single = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
    if isinstance(images, single) or callable(getattr(images, "read", None)) or not isinstance(images, Iterable):
        return None
    if isinstance(images, Set):
        raise ValueError("a set of images has no order; give a list")
    return images


def name_of(source: Any, index: int) -> str:
    """A path as it was given; else the image's number, from 1."""
    return os.fspath(source) if isinstance(source, (str, Path)) else f"image {index + 1}"


class _Values(Protocol):
    """What belongs to each image."""

    def of(self, name: str) -> Any:
        """The next image's."""

    def finish(self) -> None:
        """ValueError where there were fewer images than this expects."""


@dataclass(frozen=True)
class _Everyone:
    value: Any

    def of(self, name: str) -> Any:
        return self.value

    def finish(self) -> None:
        pass


class _InOrder:
    def __init__(self, values: Iterable[Any], what: str) -> None:
        self._values, self.what = iter(values), what

    def of(self, name: str) -> Any:
        value = next(self._values, END)
        if value is END:
            raise ValueError(f"there are no {self.what} any more for {name}; give one for each image")
        return value

    def finish(self) -> None:
        if next(self._values, END) is not END:
            raise ValueError(f"there are more {self.what} than images; give one for each")


class _Named:
    def __init__(self, values: Mapping[Any, Any], what: str) -> None:
        self.values = {os.fspath(name) if isinstance(name, PurePath) else name: value for name, value in values.items()}
        self.what = what
        self._of: dict[Any, str] = {}  # which image a name was used for

    def of(self, name: str) -> Any:
        path = Path(name)
        for key in (name, path.as_posix(), path.name, path.stem):
            if key in self.values:
                if self._of.setdefault(key, name) != name:
                    raise ValueError(f"{self.what} of {key!r} fit {self._of[key]} and {name}; name them by their paths")
                return self.values[key]
        raise ValueError(f"{self.what} name {_some(self.values)}, but not {name}; give every image its own")

    def finish(self) -> None:
        if unused := [key for key in self.values if key not in self._of]:
            raise ValueError(f"{self.what} name {_some(unused)}, which is none of the images")

    def check(self, names: Sequence[str]) -> None:
        """All at once, where all names are known."""
        for name in names:
            self.of(name)
        self.finish()


def _pairs(many: Iterable[ImageSource], boxes: _Values, left: _Values) -> Iterator[Asked]:
    for index, source in enumerate(many):
        name = name_of(source, index)
        own, side = boxes.of(name), left.of(name)
        try:
            chosen = None if own is None else as_boxes(own)
            flags = as_flag(side) if _is_flag(side) else [as_flag(flag) for flag in side]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
        yield Asked(source, name, chosen, flags)
    boxes.finish()
    left.finish()


def _per_image(values: Any, what: str, wanted: str, count: int | None) -> _Values:
    if isinstance(values, Mapping):
        return _Named(values, what)
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        raise ValueError(f"{what} are a {type(values).__name__}; give {wanted}")
    if isinstance(values, (np.ndarray, torch.Tensor)) and values.ndim == 0:
        raise ValueError(f"{what} have shape (); give {wanted}")
    if count is not None and isinstance(values, Sized) and len(values) != count:
        raise ValueError(f"{len(values)} {what} for {count} images; give {wanted}")
    return _InOrder(values, what)


def _for_one(values: Any) -> Any:
    """What belongs to a single image as what belongs to each of one."""
    return values if values is None or isinstance(values, Mapping) or _is_flag(values) else [values]


def _paths_of(images: Mapping[Any, Any]) -> list[str | Path]:
    if wrong := [key for key in images if not isinstance(key, (str, Path))]:
        raise ValueError(f"a dictionary of images has paths as its names and boxes as its values, not {wrong[0]!r:.80}")
    return list(images)


def _is_flag(value: Any) -> bool:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.ndim == 0 and (value.dtype in (bool, torch.bool) or value.item() in (0, 1))
    return isinstance(value, (bool, np.bool_)) or (isinstance(value, (int, np.integer)) and value in (0, 1))


def _plain(value: Any) -> Any:
    """A tensor as an array; a list within a list likewise."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _some(names: Iterable[Any]) -> str:
    names = list(names)
    return ", ".join(f"{name!r:.80}" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
