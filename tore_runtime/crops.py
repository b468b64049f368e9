"""What the network sees of an image: its center as in the official code, a person's box, or any crop, also rotated.

Image points are continuous pixels, the outer corner of the upper left pixel at (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from tore_runtime.crop import BOX_MARGIN, Crop
from tore_runtime.cutting import MAX_BOX_SIDE, crop_image
from tore_runtime.detector import Box, Detection
from tore_runtime.focal_length import NO_LENS, Lens
from tore_runtime.hands import has_joints, upright_crop
from tore_runtime.image_format import IMAGE_SIZE, OFFICIAL_FORMAT, ImageFormat

LONG_RATIO = 64  # images longer than this many times their shorter side are never made whole at the crop's size
WHOLE_PIXELS = 1e-6  # pixels; keeps a truncation toward zero on the whole number that is meant

Place = Box | Crop | Detection  # of a person: x, y, width, height in pixels, a square, what a detector found


@dataclass(frozen=True, eq=False, repr=False)
class PersonCrop:
    """One person or hand as the network sees it. Two are equal where they are the same object."""

    image: np.ndarray  # (3, n, n) float32, normalized for the network; mirrored for a left hand
    pixels: np.ndarray  # (n, n, 3) uint8, rotated as the crop is, not mirrored
    region: Crop  # where it lies in the image
    box: Box | None  # the person's box, None where there is none
    image_size: tuple[int, int]  # height, width
    source: str
    person: int  # from 1
    left: bool = False  # a left hand, which networks for right hands see mirrored
    image_format: ImageFormat = OFFICIAL_FORMAT  # of `image`
    origin: str = "box"  # what the crop was made from: "center" of the image, "box", "crop" as it was given
    lens: Lens = NO_LENS  # what the image's file says of its focal length
    detection: Detection | None = None  # of whom a detector, or a file of boxes, told

    def __repr__(self) -> str:
        box = "" if self.box is None else f", box ({', '.join(f'{value:g}' for value in self.box)})"
        turn = f", rotation {self.region.rotation:g}" if self.region.rotation else ""
        side = ", left" if self.left else ""
        return f"{type(self).__name__}({self.source!r}, person {self.person}{box}{turn}{side})"

    def without_pixels(self) -> CropPlace:
        """The same without what it shows: some hundred bytes instead of 0.75 MB."""
        place = object.__new__(CropPlace)
        vars(place).update({name: value for name, value in vars(self).items() if name not in ("image", "pixels")})
        return place


class CropPlace(PersonCrop):
    """Where a crop lies, without what it shows. ValueError for whoever asks for that."""

    @property
    def image(self) -> np.ndarray:
        """It was let go."""
        raise ValueError(self._gone("image"))

    @property
    def pixels(self) -> np.ndarray:
        """They were let go."""
        raise ValueError(self._gone("pixels"))

    def _gone(self, name: str) -> str:
        return f"{self.source}, person {self.person}: the crop's {name} were not kept; predict with keep_crop=True"


def middle_crop(image: np.ndarray, size: int = IMAGE_SIZE) -> tuple[np.ndarray, Crop]:
    """The official preprocessing: shorter side to `size` (bilinear, antialiased), then the square in the middle.

    image: (H, W, 3) uint8. Returns (size, size, 3) uint8 and where it lies.
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
    # the longer side was rounded down to whole pixels: the crop's size is that of the shorter one
    center = ((left + size / 2) * step_x, (top + size / 2) * step_y)
    return np.array(square), Crop(center, short)


def middle_box(image: np.ndarray, margin: float) -> Box:
    """The box at the center of an image (H, W, 3) that `margin` times larger is the largest square there."""
    height, width = image.shape[:2]
    side = min(height, width) / margin
    return (width - side) / 2, (height - side) / 2, side, side


def crop_of_box(box: Box, image_size: tuple[int, int], margin: float = BOX_MARGIN) -> Crop:
    """The square about a box, `margin` times its longer side, on whole pixels.

    Raises ValueError for a box without area, outside of the image (height, width), or too large.
    """
    described = f"box {', '.join(f'{value:g}' for value in box)} (x, y, width, height)"
    x, y, width, height = box
    if not (np.isfinite(box).all() and width > 0 and height > 0):
        raise ValueError(f"{described} has no area")
    if lies_outside(box, image_size):
        raise ValueError(f"{described} lies outside of the image of {image_size[1]} x {image_size[0]} pixels")
    crop = Crop((x + width / 2, y + height / 2), margin * max(width, height)).whole_pixels()
    if crop.size > MAX_BOX_SIDE:
        raise ValueError(f"{described} asks for a crop of {crop.size:.0f} pixels; {MAX_BOX_SIDE} are allowed")
    return crop


def lies_outside(place: Place, image_size: tuple[int, int]) -> bool:
    """Whether no part of a box, or of the upright rectangle around a crop, lies in the image (height, width)."""
    if isinstance(place, Detection):
        place = place.box
    if isinstance(place, Crop):
        low, high = place.corners.min(0), place.corners.max(0)
    else:
        low, high = np.array(place[:2]), np.array(place[:2]) + place[2:]
    return bool((low >= image_size[::-1]).any() or (high <= 0).any())


def cut_crop(image: np.ndarray, crop: Crop, size: int = IMAGE_SIZE) -> np.ndarray:
    """The crop of evaluation (`tore_runtime.cutting`) at whole pixels, also rotated: (size, size, 3) float64."""
    return crop_image(image, untruncated(crop), size)


def untruncated(crop: Crop) -> Crop:
    """A crop of whole pixels, so little larger that the official truncation toward zero leaves it its pixels."""
    corner, center = np.array(crop.upper_left), np.array(crop.center)
    x, y = center + WHOLE_PIXELS * (corner >= 0)
    return Crop((x, y), crop.size + WHOLE_PIXELS, crop.rotation)


def crops_of(
    image: np.ndarray,
    boxes: Sequence[Place] | None = None,
    source: str = "image",
    left: bool | Sequence[bool] = False,
    image_format: ImageFormat = OFFICIAL_FORMAT,
    numbers: Sequence[int] | None = None,
    lens: Lens = NO_LENS,
) -> list[PersonCrop]:
    """What the network sees of one image (H, W, 3) uint8: its middle, or one crop per box.

    boxes: a `Crop` in place of a box is cut as it is, moved by less than a pixel to whole ones; a `Detection` tells its
    rotation and side. left: which of them are left hands. image_format: what the network is shown, its
    `config.image_format`. numbers: of the boxes' people, usually from 1. lens: what the image's file says of its focal
    length.

    Raises ValueError for a box that cannot be used, and where `left` is neither one flag nor one for each person.
    """
    size = (image.shape[0], image.shape[1])
    people = 1 if boxes is None else len(boxes)
    sides = [left] * people if isinstance(left, bool) else list(left)
    if len(sides) != people:
        raise ValueError(f"{source}: {len(sides)} flags for left hands, but {people} people; give one for each")
    if boxes is None:
        pixels, region = middle_crop(image, image_format.size)
        normalized = _normalized(pixels, sides[0], image_format)
        return [PersonCrop(normalized, pixels, region, None, size, source, 1, sides[0], image_format, "center", lens)]
    found = []
    for person, place, mirrored in zip(numbers or range(1, people + 1), boxes, sides, strict=True):
        detection = place if isinstance(place, Detection) else None
        mirrored = mirrored or (detection is not None and detection.left)
        try:
            region = _region_of(place, size, image_format.upright)
            exact = cut_crop(image, region, image_format.size)
        except ValueError as error:
            raise ValueError(f"{source}, person {person}: {error}") from None
        pixels = np.rint(exact).astype(np.uint8)
        normalized = _normalized(exact, mirrored, image_format)
        box = place.box if isinstance(place, Detection) else None if isinstance(place, Crop) else place
        more = (image_format, "crop" if isinstance(place, Crop) else "box", lens, detection)
        found.append(PersonCrop(normalized, pixels, region, box, size, source, person, mirrored, *more))
    return found


def check_crops(crops: Sequence[PersonCrop], kind: str, shown: ImageFormat, name: str) -> None:
    """ValueError for crops that a network of a "body" or "hand", shown images in a format, does not take."""
    if kind != "hand" and any(crop.left for crop in crops):
        raise ValueError(f"{name or 'this network'} recovers people, who have no left or right")
    if other := next((crop for crop in crops if crop.image_format != shown), None):
        raise ValueError(
            f"{other.source}, person {other.person}: the crop is made for {other.image_format}, but the network "
            f"takes {shown}; give crops_of the network's config.image_format"
        )


def _region_of(place: Place, image_size: tuple[int, int], upright: bool) -> Crop:
    """What is cut, on whole pixels; upright: a hand's crop stands upright. ValueError where it cannot be."""
    if isinstance(place, Detection):
        region = crop_of_box(place.box, image_size)
        if upright:
            return upright_crop(place).whole_pixels()
        return replace(region, rotation=0.0 if has_joints(place) else place.rotation)
    if not isinstance(place, Crop):
        return crop_of_box(place, image_size)
    if lies_outside(place, image_size):
        height, width = image_size
        raise ValueError(f"the crop of {place.described()} lies outside of the image of {width} x {height} pixels")
    return place.whole_pixels()


def _normalized(pixels: np.ndarray, mirrored: bool, image_format: ImageFormat) -> np.ndarray:
    """(n, n, 3) in [0, 255] -> (3, n, n) float32, normalized for the network, mirrored if so."""
    return image_format.normalized(pixels[:, ::-1] if mirrored else pixels)
