"""What a network is shown: the side of its square image, the mean and deviation of its colors, and how it is cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

STRIDE = 32  # pixels of the image for each position of a backbone's feature map
IMAGE_SIZE = 224  # pixels; the official networks' side
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageFormat:
    """Of a network's configuration; the defaults are the official networks'.

    size: side of the square image in pixels. mean, std: of red, green and blue on a scale from 0 to 1. upright: crops
    are rotated so that a hand stands upright, from the wrist to the middle finger (`tore_runtime.crop.upright_hand`).
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

    def normalized(self, crop: np.ndarray, factors: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
        """A crop (n, n, 3) RGB in 0..255 as the network is shown it, (3, n, n) float32; factors: of its colors."""
        planes = np.empty((3, *crop.shape[:2]), np.float32)
        for color, plane in enumerate(planes):  # one by one, so that each stays in the cache
            factor, values = factors[color], crop[:, :, color]
            plane[:] = values if factor == 1 else np.clip(values * factor, 0, 255)
            plane /= np.float32(255)
            plane -= np.float32(self.mean[color])
            plane /= np.float32(self.std[color])
        return planes

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """(n, n, 3) uint8 RGB of a normalized image (3, n, n)."""
        mean, std = (np.array(values)[:, None, None] for values in (self.mean, self.std))
        planes = image * std + mean
        return np.ascontiguousarray(np.rint(planes.transpose(1, 2, 0) * 255).clip(0, 255).astype(np.uint8))


def _three_numbers(values: Any) -> bool:
    if not isinstance(values, tuple) or len(values) != 3:
        return False
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


OFFICIAL_FORMAT = ImageFormat()
