"""Image files of every kind become one kind: (H, W, 3) uint8 RGB, upright.

What inference shows a network, and what training and evaluation read from rows that OpenCV would read otherwise.
Gray, palette, 16-bit, float, CMYK and Lab images are converted, transparent ones are laid on white, the EXIF
orientation is obeyed, an animation gives its first frame.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image, ImageOps

from tore.datasets.pixels import eight_bits

PAPER = (255, 255, 255)
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
# What Pillow's readers raise on damaged files, each reader in its own way; warnings where the process makes them errors
DECODING_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, RuntimeError, LookupError, TypeError, ArithmeticError,
    AssertionError, struct.error, Image.DecompressionBombError, Warning,
)  # fmt: skip


class UnknownKind(ValueError):
    """A file that is no image of a kind that Pillow reads."""


def open_image(file: Path | io.BytesIO, name: str) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB. ValueError with one sentence where it cannot be read."""
    try:
        image = Image.open(file, formats=_formats())
    except Image.UnidentifiedImageError:
        raise UnknownKind(f"{name} is no picture of a kind that Pillow reads") from None
    except DECODING_ERRORS as error:
        refuse_image(name, error)
    with image:
        return decoded_image(image, name)


def _formats() -> list[str]:
    """All kinds that Pillow opens but those that it hands to another program."""
    Image.init()
    return [kind for kind in list(Image.OPEN) if kind not in ("EPS", "WMF")]


def decoded_image(image: Image.Image, name: str) -> np.ndarray:
    """Decodes, turns upright and converts; every fault of the file is a ValueError with its name."""
    try:
        pixels = np.array(_rgb(_upright(image)))
    except DECODING_ERRORS as error:
        refuse_image(name, error)
    if pixels.size == 0:
        raise ValueError(f"{name} has no pixels")
    return pixels


def refuse_image(name: str, error: BaseException) -> NoReturn:
    """ValueError with the first line of what a reader said."""
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
        return on_paper(image)
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


def on_paper(image: Image.Image) -> Image.Image:
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
