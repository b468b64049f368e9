"""Image files and arrays of every kind as (H, W, 3) uint8 RGB by one rule."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image, ImageOps

CHANNEL_ORDERS = ("rgb", "bgr")
CHANNELS = (1, 3, 4)
HALF_LEVEL = 0.5 / 255  # of the range; what is beyond it by less is rounding, and is cut off
DIM = 16.0  # a float image of 0 to 255 whose largest value is below it is too dark to be told from one of 0 to 1
NORMALIZED = 4.0  # ImageNet's mean and deviation bring 0 to 1 into -2.2 to 2.7
ARRAY_SHAPES = "arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"

ValueRange = tuple[float, float]  # what is black and what is white


def pixels_of(
    values: np.ndarray,
    name: str,
    value_range: ValueRange | None = None,
    channel_order: str = "rgb",
) -> np.ndarray:
    """An array as (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, uint8.

    channel_order: "bgr" for what OpenCV reads. Raises ValueError with one sentence about what `name` is.
    """
    table = _from_array(values, name)
    if table.size == 0:
        raise ValueError(f"{name} has no pixels (shape {tuple(values.shape)})")
    try:
        pixels = eight_bits(table, value_range)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if channel_order == "bgr" and pixels.ndim == 3 and pixels.shape[2] > 1:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    return np.ascontiguousarray(pixels)


def check_reading(value_range: Any, channel_order: Any) -> None:
    """ValueError where the two do not say what they should."""
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f"channel_order is {channel_order!r}; give {' or '.join(map(repr, CHANNEL_ORDERS))}")
    if value_range is None:
        return
    try:
        black, white = (float(value) for value in value_range)
    except (TypeError, ValueError):
        black, white = np.nan, np.nan
    if not (np.isfinite([black, white]).all() and black < white):
        raise ValueError(f"value_range is {value_range!r}; give the numbers that are black and white, as in (0, 255)")


def eight_bits(values: np.ndarray, value_range: ValueRange | None = None) -> np.ndarray:
    """Numbers of any real dtype as uint8, by the rule above. ValueError with what speaks against it."""
    if values.dtype == bool:
        if value_range is not None:
            raise ValueError("booleans are black and white; leave value_range out")
        return values * np.uint8(255)
    if values.dtype == np.uint8 and value_range is None:
        return values
    if values.dtype.kind not in "iuf":
        raise ValueError(f"numbers of dtype {values.dtype} are no brightness; give whole numbers or floats")
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"values from {low:g} to {high:g}, not all finite; floats count from 0 to 1 or to 255")
    if value_range is None:
        value_range = _range_of_floats(low, high) if values.dtype.kind == "f" else _range_of_integers(low, high)
        if values.dtype.kind != "f":
            return values.astype(np.uint8)
    black, white = float(value_range[0]), float(value_range[1])
    slack = HALF_LEVEL * (white - black)
    if low < black - slack or high > white + slack:
        raise ValueError(f"values from {low:g} to {high:g} are beyond the range {black:g} to {white:g}")
    share = (values.astype(np.float64) - black) / (white - black)
    return np.rint(share.clip(0, 1) * 255).astype(np.uint8)


def _range_of_integers(low: Any, high: Any) -> ValueRange:
    if low < 0 or high > 255:
        raise ValueError(
            f"values from {low} to {high}; whole numbers count from 0 to 255, be they of 8 or 16 bits or more; "
            "for another range give value_range, such as (0, 65535)"
        )
    if high == 1:
        raise ValueError("values are 0 and 1; give value_range=(0, 1) for black and white, or (0, 255)")
    return 0, 255


def _range_of_floats(low: Any, high: Any) -> ValueRange:
    found = f"values from {low:g} to {high:g}; floats count from 0 to 1 or from 0 to 255"
    if low < -HALF_LEVEL:
        if low >= -NORMALIZED and high <= NORMALIZED:
            raise ValueError(f"{found}: give them before normalization, or another value_range such as (-1, 1)")
        raise ValueError(f"{found}: give value_range=(black, white)")
    if high <= 1 + HALF_LEVEL:
        return 0, 1
    if DIM <= high <= 255 * (1 + HALF_LEVEL):
        return 0, 255
    raise ValueError(f"{found}, which these do not tell: give value_range=(black, white)")


def _from_array(values: np.ndarray, name: str) -> np.ndarray:
    shape = values.shape
    if values.dtype.kind not in "biuf":
        kind = "text" if values.dtype.kind in "USO" else "numbers"
        raise ValueError(f"{name} is an array of {kind} (dtype {values.dtype}); give paths as a list: array.tolist()")
    if values.ndim not in (2, 3) or (values.ndim == 3 and shape[2] not in CHANNELS):
        turn = values.ndim == 3 and shape[0] in CHANNELS
        fix = ": give array.transpose(1, 2, 0)" if turn else ""
        raise ValueError(f"{name} has shape {shape}; {ARRAY_SHAPES}{fix}")
    return np.asarray(values)


PAPER = (255, 255, 255)
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
# What Pillow's readers raise on damaged files, each reader in its own way; warnings where the process makes them errors
DECODING_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, RuntimeError, LookupError, TypeError, ArithmeticError,
    AssertionError, struct.error, Image.DecompressionBombError, Warning,
)  # fmt: skip


SERIES = ("AVIF", "FLI", "GIF", "PNG", "TIFF", "WEBP")  # kinds whose further images are none of the first one's parts
FILMS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


class UnknownKind(ValueError):
    """A file that is no image of a kind that Pillow reads."""


@contextmanager
def opened_image(file: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """An image file, opened by Pillow. ValueError with one sentence where it cannot be."""
    try:
        image = Image.open(file, formats=_formats())
    except Image.UnidentifiedImageError:
        raise UnknownKind(f"{name} is no image of a kind that Pillow reads{_instead_of(name)}") from None
    except DECODING_ERRORS as error:
        refuse_image(name, error)
    with image:
        yield image


def frame_count(path: Path) -> int:
    """How many images an animated file or one of several pages holds; 1 for previews, layers, and what cannot be read.

    The file is opened anew, since counting leaves some readers at another image.
    """
    try:
        with Image.open(path, formats=SERIES) as image:
            return int(getattr(image, "n_frames", 1))
    except DECODING_ERRORS:
        return 1


def open_image(file: Path | io.BytesIO, name: str) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB. ValueError with one sentence where it cannot be read."""
    with opened_image(file, name) as image:
        return decoded_image(image, name)


def _instead_of(name: str) -> str:
    if not name.lower().endswith(FILMS):
        return ""
    return "; save the frames of a film as images (ffmpeg -i FILM FOLDER/%05d.jpg), and give their folder"


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
    """Transparent pixels laid on white; opaque ones keep their color."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode.startswith("I"):  # one gray value counts as transparent: as good as none in a photograph
        return Image.fromarray(_sixteen_bits(np.array(image))).convert("RGB")
    clear = image.convert("RGBA")
    paper = Image.new("RGBA", clear.size, (*PAPER, 255))
    return Image.alpha_composite(paper, clear).convert("RGB")


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    """uint8 of the whole numbers of Pillow's modes of 16 and 32 bits; wide ones may hold 8 bits."""
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ValueError(f"values from {low} to {high}; whole numbers have 8 or 16 bits, 0 to 255 or to 65535")
    if values.dtype.itemsize == 2 and 1 < high <= 255:
        raise ValueError(
            f"values from {low} to {high} in an image of 16 bits, which is black unless they count to 255: "
            "save it with 8 bits, or give its numbers as an array"
        )
    return eight_bits(values, (0, 255) if values.dtype.itemsize > 2 and high <= 255 else (0, 65535))
