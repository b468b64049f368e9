"""Images of every kind become one kind: (H, W, 3) uint8 RGB, upright.

Files are read by Pillow. Grey, palette, 16-bit, float, CMYK and Lab images are converted, transparent ones are laid
on white, the EXIF orientation is obeyed, an animation gives its first frame. Pillow's limit of 179 million pixels
and its warnings are the process's own (`PIL.Image.MAX_IMAGE_PIXELS`, `warnings.filterwarnings`): nothing here changes
them.
"""

from __future__ import annotations

import inspect
import io
import os
import re
import stat
import struct
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import torch
from PIL import Image, ImageOps

from tore.inference.pixels import ValueRange, check_reading, eight_bits, pixels_of

Content = bytes | bytearray | memoryview | BinaryIO
PictureSource = str | os.PathLike[str] | Content | Image.Image | np.ndarray | torch.Tensor

PAPER = (255, 255, 255)
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
# What Pillow's readers raise on damaged files, each reader in its own way; warnings where the process makes them errors
DECODING_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, RuntimeError, LookupError, TypeError, ArithmeticError,
    AssertionError, struct.error, Image.DecompressionBombError, Warning,
)  # fmt: skip
URL = re.compile(r"(data:|[a-z][a-z0-9+.-]+:/)", re.IGNORECASE)
NAME_SHOWN = 200  # letters of a path in messages
SOURCES = "a path, an image file's bytes, an open file, a Pillow image, an array or a tensor"


def read_picture(
    source: PictureSource, name: str = "", *, value_range: ValueRange | None = None, channel_order: str = "rgb"
) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB.

    source: a path; the content of an image file as bytes, or open in binary mode, which is read from where it stands
    and put back there; a Pillow image; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a tensor (H, W) or (1 | 3 |
    4, H, W). name: what to call it in messages, if not its path. value_range: the numbers that are black and white in
    an array or a tensor; without it `tore.inference.pixels` tells by its rule. channel_order: of arrays and tensors,
    "rgb", or "bgr" as OpenCV reads them.

    Raises FileNotFoundError, or ValueError with one sentence that says what was given.
    """
    check_reading(value_range, channel_order)
    if isinstance(source, (np.ndarray, torch.Tensor)):
        default = "tensor" if isinstance(source, torch.Tensor) else "array"
        return _from_pixels(pixels_of(source, name or default, value_range, channel_order))
    if value_range is not None or channel_order != "rgb":
        shown = name or (str(source)[:NAME_SHOWN] if isinstance(source, (str, os.PathLike)) else "image")
        raise ValueError(
            f"{shown} is a {type(source).__name__}, which says its range and its channels itself; "
            "value_range and channel_order are for arrays and tensors"
        )
    if isinstance(source, Image.Image):
        return _from_pillow(source, name or "picture")
    if isinstance(source, (str, os.PathLike)):
        return _read_file(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read_content(bytes(source), name or "picture")
    if callable(getattr(source, "read", None)):
        return _read_content(_content_of(source, name or "picture"), name or "picture")
    raise ValueError(f"{name or 'picture'} is a {type(source).__name__}; give {SOURCES}")


def _read_file(source: str | os.PathLike[str]) -> np.ndarray:
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
        raise ValueError(f"{shown} is a folder, not a picture")
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


def _read_content(content: bytes, name: str) -> np.ndarray:
    if not content:
        raise ValueError(f"{name} is empty (0 bytes)")
    return _opened(io.BytesIO(content), name)


def _opened(file: Path | io.BytesIO, name: str) -> np.ndarray:
    try:
        image = Image.open(file, formats=_formats())
    except Image.UnidentifiedImageError:
        raise ValueError(f"{name} is no picture of a kind that Pillow reads") from None
    except DECODING_ERRORS as error:
        _refuse(name, error)
    with image:
        return _decoded(image, name)


def _formats() -> list[str]:
    """All kinds that Pillow opens but those that it hands to another program."""
    Image.init()
    return [kind for kind in list(Image.OPEN) if kind not in ("EPS", "WMF")]


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    """A Pillow image of the caller, which may not be loaded yet, or be closed already."""
    try:
        image.load()
    except (AssertionError, ValueError, AttributeError) as error:
        if not isinstance(error, ValueError) or "closed" in str(error):
            closed = f"{name} is a closed Pillow image; read it before its `with` ends, or give its path"
            raise ValueError(closed) from None
        _refuse(name, error)
    except DECODING_ERRORS as error:
        _refuse(name, error)
    return _decoded(image, name)


def _decoded(image: Image.Image, name: str) -> np.ndarray:
    """Decodes, turns upright and converts; every fault of the file is a ValueError with its name."""
    try:
        pixels = np.array(_rgb(_upright(image)))
    except DECODING_ERRORS as error:
        _refuse(name, error)
    if pixels.size == 0:
        raise ValueError(f"{name} has no pixels")
    return pixels


def _refuse(name: str, error: BaseException) -> NoReturn:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise ValueError(f"{name} cannot be decoded ({reason})") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the EXIF orientation says; metadata that cannot be read turn nothing."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except DECODING_ERRORS:
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        return _on_paper(image)
    if image.mode.startswith("I"):
        return Image.fromarray(_sixteen_bits(np.array(image))).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(eight_bits(np.array(image))).convert("RGB")
    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        assert converted is not None  # it is, unless it works in place
        return converted
    return image.convert("RGB")


def _on_paper(image: Image.Image) -> Image.Image:
    """Transparent pixels laid on white; opaque ones keep their colour."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode.startswith("I"):  # one grey value counts as transparent: as good as none in a photograph
        return Image.fromarray(_sixteen_bits(np.array(image))).convert("RGB")
    clear = image.convert("RGBA")
    paper = Image.new("RGBA", clear.size, (*PAPER, 255))
    return Image.alpha_composite(paper, clear).convert("RGB")


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    """uint8 of the whole numbers of Pillow's modes of 16 and 32 bits; wide ones may hold 8 bits."""
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ValueError(f"values from {low} to {high}; whole numbers have 8 or 16 bits, 0 to 255 or to 65535")
    return eight_bits(values, (0, 255) if values.dtype.itemsize > 2 and high <= 255 else (0, 65535))


def _from_pixels(pixels: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1 | 3 | 4) uint8 -> (H, W, 3)."""
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return np.array(_on_paper(Image.fromarray(pixels, "RGBA")))
    planes = pixels.reshape(*pixels.shape[:2], -1)
    return np.ascontiguousarray(np.broadcast_to(planes, (*planes.shape[:2], 3)))
