"""Pictures of every kind become one kind: (H, W, 3) uint8 RGB, upright.

Files are read by Pillow. Grey, palette, 16-bit, float, CMYK and Lab pictures are converted, transparent ones are laid
on white, the EXIF orientation is obeyed, an animation gives its first frame. Pillow's limit
of 179 million pixels stands.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

PictureSource = str | Path | Image.Image | np.ndarray | torch.Tensor

PAPER = (255, 255, 255)
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
# What Pillow's readers raise on damaged files, each reader in its own way
DECODING_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, RuntimeError, LookupError, TypeError, ArithmeticError,
    struct.error, Image.DecompressionBombError,
)  # fmt: skip


def read_picture(source: PictureSource, name: str = "") -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB.

    source: a path; a Pillow image; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a tensor (H, W) or (1 | 3 | 4,
    H, W). Numbers are uint8, uint16, bool, or floats in [0, 1]. name: what to call it in messages, if not its path.

    Raises FileNotFoundError, or ValueError with one sentence that names the picture.
    """
    if isinstance(source, (str, Path)):
        return _read_file(Path(source))
    if isinstance(source, Image.Image):
        return _decoded(source, name or "picture")
    if isinstance(source, torch.Tensor):
        planes = source.detach().cpu()
        return _from_array((planes.movedim(0, -1) if planes.ndim == 3 else planes).numpy(), name or "tensor")
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "array")
    raise ValueError(
        f"{name or 'picture'} is a {type(source).__name__}; give a path, a Pillow image, an array, a tensor"
    )


def _read_file(path: Path) -> np.ndarray:
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a picture")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and odd metadata are no reason to speak
            image = Image.open(path, formats=_formats())
    except Image.UnidentifiedImageError:
        raise ValueError(f"{path} is no picture of a kind that Pillow reads") from None
    except DECODING_ERRORS as error:
        raise _undecodable(str(path), error) from error
    with image:
        return _decoded(image, str(path))


def _formats() -> list[str]:
    """All kinds that Pillow opens but those that it hands to another program."""
    Image.init()
    return [kind for kind in Image.OPEN if kind not in ("EPS", "WMF")]


def _decoded(image: Image.Image, name: str) -> np.ndarray:
    """Decodes, turns upright and converts; every fault of the file is a ValueError with its name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.array(_rgb(_upright(image)))
    except DECODING_ERRORS as error:
        raise _undecodable(name, error) from error
    if pixels.size == 0:
        raise ValueError(f"{name} has no pixels")
    return pixels


def _undecodable(name: str, error: Exception) -> ValueError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ValueError(f"{name} cannot be decoded ({reason})")


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
        return Image.fromarray(_eight_bits(np.array(image))).convert("RGB")
    if image.mode == "F":
        values = np.array(image)
        return Image.fromarray(_eight_bits(values if values.max() <= 1 else values / 255)).convert("RGB")
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
        return Image.fromarray(_eight_bits(np.array(image))).convert("RGB")
    clear = image.convert("RGBA")
    paper = Image.new("RGBA", clear.size, (*PAPER, 255))
    return Image.alpha_composite(paper, clear).convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """uint8 of bool, uint8, 16-bit or [0, 1] float values. ValueError for numbers outside of that."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values * np.uint8(255)
    low, high = values.min(), values.max()
    if np.issubdtype(values.dtype, np.floating):
        if not (low >= -1e-6 and high <= 1 + 1e-6):  # also not a number
            raise ValueError(f"values from {low:g} to {high:g}; floats count from 0 to 1, before normalisation")
        return np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    if low < 0 or high > 65535:
        raise ValueError(f"values from {low} to {high}; whole numbers have 8 or 16 bits, 0 to 255 or to 65535")
    if values.dtype.itemsize > 2 and high <= 255:  # wide numbers that hold 8 bits
        return values.astype(np.uint8)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_array(values: np.ndarray, name: str) -> np.ndarray:
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ValueError(
            f"{name} has shape {values.shape}; pictures are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as arrays "
            "and (1 | 3 | 4, H, W) as tensors"
        )
    if values.size == 0:
        raise ValueError(f"{name} has no pixels (shape {values.shape})")
    try:
        pixels = _eight_bits(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
    if channels == 4:
        return np.array(_on_paper(Image.fromarray(pixels, "RGBA")))
    planes = pixels.reshape(*values.shape[:2], channels)
    return np.ascontiguousarray(np.broadcast_to(planes, (*values.shape[:2], 3)))
