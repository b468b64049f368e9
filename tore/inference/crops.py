"""What the network sees of an image: its center as in the official code, or a person's box.

Frames are those of `tore.geometry.camera`: continuous pixels, the outer corner of the upper left pixel at (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from tore.datasets.augmentation import Draw, finish_image
from tore.datasets.crop import BOX_MARGIN, MAX_BOX_SIDE, PIXELS_PER_SCALE, crop_image
from tore.image_format import IMAGE_SIZE, OFFICIAL_FORMAT, ImageFormat

LONG_RATIO = 64  # images longer than this many times their shorter side are never made whole at the crop's size
WHOLE_PIXELS = 1e-6  # pixels; keeps a truncation toward zero on the whole number that is meant

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the image


@dataclass(frozen=True)
class Window:
    """The square of the image that a crop shows; it may reach beyond the image."""

    left: float
    top: float
    side: float

    @property
    def center(self) -> tuple[float, float]:
        """Its middle (x, y)."""
        return self.left + self.side / 2, self.top + self.side / 2

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the crop's [-1, 1] range -> (..., 2) pixels of the image."""
        return np.array([self.left, self.top]) + (points + 1) / 2 * self.side


@dataclass(frozen=True, eq=False, repr=False)
class Crop:
    """One person or hand as the network sees it. Two crops are equal where they are the same object."""

    image: torch.Tensor  # (3, n, n) float32, normalized for the network; mirrored for a left hand
    pixels: np.ndarray  # (n, n, 3) uint8, as in the image
    window: Window
    box: Box | None  # the person's box, None for the center of the image
    image_size: tuple[int, int]  # height, width
    source: str
    person: int  # from 1
    left: bool = False  # a left hand, which networks for right hands see mirrored
    image_format: ImageFormat = OFFICIAL_FORMAT  # of `image`

    def __repr__(self) -> str:
        box = "" if self.box is None else f", box ({', '.join(f'{value:g}' for value in self.box)})"
        return f"{type(self).__name__}({self.source!r}, person {self.person}{box}{', left' if self.left else ''})"

    def without_pixels(self) -> CropPlace:
        """The same without what it shows: some hundred bytes instead of 0.75 MB."""
        place = object.__new__(CropPlace)
        vars(place).update({name: value for name, value in vars(self).items() if name not in ("image", "pixels")})
        return place


class CropPlace(Crop):
    """Where a crop lies, without what it shows. ValueError for whoever asks for that."""

    @property
    def image(self) -> torch.Tensor:
        """It was let go."""
        raise ValueError(self._gone("image"))

    @property
    def pixels(self) -> np.ndarray:
        """They were let go."""
        raise ValueError(self._gone("pixels"))

    def _gone(self, name: str) -> str:
        return f"{self.source}, person {self.person}: the crop's {name} were not kept; predict with keep_crop=True"


def middle_crop(image: np.ndarray, size: int = IMAGE_SIZE) -> tuple[np.ndarray, Window]:
    """The official preprocessing: shorter side to `size` (bilinear, antialiased), then the square in the middle.

    image: (H, W, 3) uint8. Returns (size, size, 3) uint8 and its window.
    """
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    new_long = int(size * long / short)
    new_width, new_height = (new_long, size) if width > height else (size, new_long)
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    step_x, step_y = width / new_width, height / new_height
    source = Image.fromarray(image)
    if long <= LONG_RATIO * short:
        whole = source.resize((new_width, new_height), Image.Resampling.BILINEAR)
        square = whole.crop((left, top, left + size, top + size))
    else:  # the same to one step of 255, without the image of 224 x 1120000 that 1 x 5000 would become
        part = (left * step_x, top * step_y, (left + size) * step_x, (top + size) * step_y)
        square = source.resize((size, size), Image.Resampling.BILINEAR, box=part)
    # the longer side was rounded down to whole pixels: the window's side is that of the shorter one
    middle_x, middle_y = (left + size / 2) * step_x, (top + size / 2) * step_y
    return np.array(square), Window(middle_x - short / 2, middle_y - short / 2, short)


def box_window(box: Box, image_size: tuple[int, int], margin: float = BOX_MARGIN) -> Window:
    """The square about a box, `margin` times its longer side, on whole pixels.

    Raises ValueError for a box without area, outside of the image (height, width), or too large.
    """
    described = f"box {', '.join(f'{value:g}' for value in box)} (x, y, width, height)"
    x, y, width, height = box
    if not (np.isfinite(box).all() and width > 0 and height > 0):
        raise ValueError(f"{described} has no area")
    if lies_outside(box, image_size):
        raise ValueError(f"{described} lies outside of the image of {image_size[1]} x {image_size[0]} pixels")
    side = max(1, round(margin * max(width, height)))
    if side > MAX_BOX_SIDE:
        raise ValueError(f"{described} asks for a crop of {side} pixels; {MAX_BOX_SIDE} are allowed")
    return Window(round(x + width / 2 - side / 2), round(y + height / 2 - side / 2), side)


def lies_outside(box: Box, image_size: tuple[int, int]) -> bool:
    """Whether no part of the box lies in the image (height, width)."""
    x, y, width, height = box
    return x >= image_size[1] or y >= image_size[0] or x + width <= 0 or y + height <= 0


def box_crop(image: np.ndarray, window: Window, size: int = IMAGE_SIZE) -> np.ndarray:
    """The crop of evaluation (`tore.datasets.crop`) at a window of whole pixels: (size, size, 3) float64."""
    corner = np.array([window.left, window.top])
    center = corner + window.side / 2 + WHOLE_PIXELS * (corner >= 0)
    return crop_image(image, center, (window.side + WHOLE_PIXELS) / PIXELS_PER_SCALE, size=size)


def crops_of(
    image: np.ndarray,
    boxes: Sequence[Box] | None = None,
    source: str = "image",
    left: bool | Sequence[bool] = False,
    image_format: ImageFormat = OFFICIAL_FORMAT,
    numbers: Sequence[int] | None = None,
) -> list[Crop]:
    """The crops of one image (H, W, 3) uint8: its middle, or one per box; `left`: which of them are left hands.

    image_format: what the network is shown, its `config.image_format`. numbers: of the boxes' people, usually from 1.

    Raises ValueError for a box that cannot be used, and where `left` is neither one flag nor one for each person.
    """
    size = (image.shape[0], image.shape[1])
    people = 1 if boxes is None else len(boxes)
    sides = [left] * people if isinstance(left, bool) else list(left)
    if len(sides) != people:
        raise ValueError(f"{source}: {len(sides)} flags for left hands, but {people} people; give one for each")
    if boxes is None:
        pixels, window = middle_crop(image, image_format.size)
        normalized = _normalized(pixels, sides[0], image_format)
        return [Crop(normalized, pixels, window, None, size, source, 1, sides[0], image_format)]
    found = []
    for person, box, mirrored in zip(numbers or range(1, people + 1), boxes, sides, strict=True):
        try:
            window = box_window(box, size)
            exact = box_crop(image, window, image_format.size)
        except ValueError as error:
            raise ValueError(f"{source}, person {person}: {error}") from None
        pixels = np.rint(exact).astype(np.uint8)
        normalized = _normalized(exact, mirrored, image_format)
        found.append(Crop(normalized, pixels, window, box, size, source, person, mirrored, image_format))
    return found


def _normalized(pixels: np.ndarray, mirrored: bool, image_format: ImageFormat) -> torch.Tensor:
    """(n, n, 3) in [0, 255] -> (3, n, n) float32, normalized for the network, mirrored if so."""
    return torch.from_numpy(finish_image(pixels.astype(np.float64), Draw(flip=mirrored), image_format))
