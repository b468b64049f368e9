"""Reads images of every kind, from a path to an array, as (H, W, 3) uint8 RGB by one rule."""

from __future__ import annotations

import inspect
import io
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from tore_runtime.focal_length import NO_LENS, Lens, lens_of
from tore_runtime.image_files import (
    DECODING_ERRORS,
    ValueRange,
    check_reading,
    decoded_image,
    on_paper,
    opened_image,
    pixels_of,
    refuse_image,
)

Content = bytes | bytearray | memoryview | BinaryIO
ImageSource = str | os.PathLike[str] | Content | Image.Image | np.ndarray

URL = re.compile(r"(data:|[a-z][a-z0-9+.-]+:/)", re.IGNORECASE)
NAME_SHOWN = 200  # letters of a path in messages
SOURCES = "a path, an image file's bytes, an open file, a Pillow image or an array"


class Photograph(NamedTuple):
    """An image as it is worked on, and what its file says of the lens."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    lens: Lens


def read_image(
    source: ImageSource, name: str = "", *, value_range: ValueRange | None = None, channel_order: str = "rgb"
) -> np.ndarray:
    """The pixels of `read_photograph`, (H, W, 3) uint8 RGB."""
    return read_photograph(source, name, value_range=value_range, channel_order=channel_order).pixels


def read_photograph(
    source: ImageSource, name: str = "", *, value_range: ValueRange | None = None, channel_order: str = "rgb"
) -> Photograph:
    """An image as (H, W, 3) uint8 RGB, rotated upright as its EXIF orientation says, and its lens.

    source: a path; the content of an image file as bytes, or open in binary mode, which is read from where it stands
    and put back there; a Pillow image; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). name: what to call it in
    messages, if not its path. value_range: the numbers that are black and white in an array; without it
    `tore_runtime.image_files` tells by its rule. channel_order: of arrays, "rgb", or "bgr" as OpenCV reads them.

    Raises FileNotFoundError, or ValueError with one sentence that says what was given.
    """
    check_reading(value_range, channel_order)
    if isinstance(source, np.ndarray):
        return Photograph(_from_pixels(pixels_of(source, name or "array", value_range, channel_order)), NO_LENS)
    if value_range is not None or channel_order != "rgb":
        shown = name or (str(source)[:NAME_SHOWN] if isinstance(source, (str, os.PathLike)) else "image")
        raise ValueError(
            f"{shown} is a {type(source).__name__}, which says its range and its channels itself; "
            "value_range and channel_order are for arrays and tensors"
        )
    if isinstance(source, Image.Image):
        return _from_pillow(source, name or "image")
    if isinstance(source, (str, os.PathLike)):
        return _read_file(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read_content(bytes(source), name or "image")
    if callable(getattr(source, "read", None)):
        return _read_content(_content_of(source, name or "image"), name or "image")
    raise ValueError(f"{name or 'image'} is a {type(source).__name__}; give {SOURCES}")


def _read_file(source: str | os.PathLike[str]) -> Photograph:
    path = _existing(source)
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    return _opened(path, str(path))


def _existing(source: str | os.PathLike[str]) -> Path:
    """The path of a file. ValueError or FileNotFoundError where it is none."""
    given = os.fspath(source)
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is a path as bytes; give os.fsdecode(path)")
    shown = given if len(given) <= NAME_SHOWN else f"{given[:NAME_SHOWN]}... ({len(given)} letters)"
    path, kind = Path(given), 0
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        if not URL.match(given):
            raise ValueError(f"{shown!r} is no path that can be read ({error}); give {SOURCES}") from None
    if stat.S_ISREG(kind):
        return path
    if not kind and URL.match(given):
        raise ValueError(f"{shown} is a URL; fetch it and give its bytes, or the path of a file")
    if not kind:
        raise FileNotFoundError(f"{shown} is missing")
    if stat.S_ISDIR(kind):
        raise ValueError(f"{shown} is a folder, not an image")
    raise ValueError(f"{shown} is no regular file; give its content as bytes")


def _content_of(stream: Any, name: str) -> bytes:
    """What an open file holds from where it stands; it is left there."""
    if isinstance(stream, io.TextIOBase):
        raise ValueError(f"{name} is a file opened as text; open it in binary mode: open(path, 'rb')")
    try:
        start = stream.tell() if getattr(stream, "seekable", bool)() else None
        content = stream.read()
        if start is not None:
            stream.seek(start)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is an open file that cannot be read ({error})") from None
    if inspect.iscoroutine(content):
        content.close()
    if not isinstance(content, (bytes, bytearray)):
        raise ValueError(f"{name} is a {type(stream).__name__} that reads {type(content).__name__}, not bytes")
    if not content and start:
        raise ValueError(f"{name} is an open file at its end (byte {start}); go back with seek(0)")
    return bytes(content)


def _read_content(content: bytes, name: str) -> Photograph:
    if not content:
        raise ValueError(f"{name} is empty (0 bytes)")
    return _opened(io.BytesIO(content), name)


def _opened(file: Path | io.BytesIO, name: str) -> Photograph:
    with opened_image(file, name) as image:
        lens = lens_of(image)  # before the pixels: some readers close the file behind them
        return Photograph(decoded_image(image, name), lens)


def _from_pillow(image: Image.Image, name: str) -> Photograph:
    """A Pillow image of the caller, which may not be loaded yet, or be closed already."""
    try:
        image.load()
    except (AssertionError, ValueError, AttributeError) as error:
        if not isinstance(error, ValueError) or "closed" in str(error):
            closed = f"{name} is a closed Pillow image; read it before its `with` ends, or give its path"
            raise ValueError(closed) from None
        refuse_image(name, error)
    except DECODING_ERRORS as error:
        refuse_image(name, error)
    return Photograph(decoded_image(image, name), lens_of(image))


def _from_pixels(pixels: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1 | 3 | 4) uint8 -> (H, W, 3)."""
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return np.array(on_paper(Image.fromarray(pixels, "RGBA")))
    planes = pixels.reshape(*pixels.shape[:2], -1)
    return np.ascontiguousarray(np.broadcast_to(planes, (*planes.shape[:2], 3)))
