"""What a network is shown: the side of its square image, the mean and deviation of its colors, and how it is cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

STRIDE = 32  # pixels of the image for each position of a backbone's feature map
IMAGE_SIZE = 224  # pixels; the official networks' side
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageFormat:
    """Of a network's configuration; the defaults are the official networks'.

    size: side of the square image in pixels. mean, std: of red, green and blue on a scale from 0 to 1. upright: crops
    are rotated so that a hand stands upright, from the wrist to the middle finger (`tore.geometry.crop.upright_hand`).
    Raises ValueError for a side below 1, a deviation that is not above 0, and anything but three finite numbers.
    """

    size: int = IMAGE_SIZE
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    upright: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"image_size {self.size!r} is no number of pixels; use a whole number such as 224")
        for name, values in (("image_mean", self.mean), ("image_std", self.std)):
            if not _three_numbers(values):
                raise ValueError(f"{name} {values!r} is not three finite numbers for red, green and blue")
        if min(self.std) <= 0:
            raise ValueError(f"image_std {self.std!r} has a number that is not above 0; give deviations such as 0.229")

    def pixels(self, image: torch.Tensor) -> np.ndarray:
        """(n, n, 3) uint8 RGB of a normalized image (3, n, n)."""
        mean, std = (np.array(values)[:, None, None] for values in (self.mean, self.std))
        planes = image.detach().float().cpu().numpy() * std + mean
        return np.ascontiguousarray(np.rint(planes.transpose(1, 2, 0) * 255).clip(0, 255).astype(np.uint8))


def _three_numbers(values: Any) -> bool:
    if not isinstance(values, tuple) or len(values) != 3:
        return False
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


OFFICIAL_FORMAT = ImageFormat()
MOVENET_THUNDER, MEDIAPIPE_HAND = "movenet-thunder", "mediapipe-hand"
FORMATS = {  # of backbones that take no other
    MOVENET_THUNDER: ImageFormat(256, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    MEDIAPIPE_HAND: ImageFormat(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), upright=True),
}


def usual_format(arch: str) -> ImageFormat:
    """What a backbone is shown where nothing else is said."""
    return FORMATS.get(arch, OFFICIAL_FORMAT)


class ShownImage:
    """What the configurations of networks hold of the image that they are shown."""

    arch: str
    image_size: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]

    def __post_init__(self) -> None:
        wanted, side = FORMATS.get(self.arch), self.image_format.size
        if wanted not in (None, self.image_format):
            raise ValueError(
                f"{self.arch} sees images of image_size {wanted.size}, image_mean {wanted.mean} and image_std "
                f"{wanted.std}, not {side}, {self.image_mean} and {self.image_std}; leave these out, or give its own"
            )
        if side % STRIDE:
            lower, higher = side // STRIDE * STRIDE, (side // STRIDE + 1) * STRIDE
            near = f"{lower} or {higher}" if lower else f"{higher}"
            raise ValueError(f"image_size {side} is not a multiple of the backbone's stride {STRIDE}; use {near}")

    @property
    def image_format(self) -> ImageFormat:
        """Side, mean and deviation of the image, as data sets, crops and inference take them."""
        return ImageFormat(self.image_size, self.image_mean, self.image_std, usual_format(self.arch).upright)

    @property
    def image_positions(self) -> int:
        """How many positions the feature map has."""
        return (self.image_size // STRIDE) ** 2
