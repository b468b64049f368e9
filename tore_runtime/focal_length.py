"""The focal length of an image's camera: given, from a field of view, from EXIF, or the image's diagonal.

The official code draws every image with 1000 pixels for every 224 of its shorter side, a field of view of 13 degrees,
which puts the people of a phone's photograph several times too far away. `FocalChoice(focal_length="official")` does
so, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image
from PIL.ExifTags import Base

from tore_runtime.camera import CROP_FOCAL_LENGTH, FIELD_OF_VIEW_SIZE, PinholeCamera
from tore_runtime.image_files import DECODING_ERRORS

OFFICIAL = "official"
FULL_FRAME_DIAGONAL = math.hypot(36, 24)  # millimeters of the film that equivalent focal lengths speak of: 43.27
FIELDS_OF_VIEW = (2.0, 150.0)  # degrees over the longer side: from a 1000 mm telephoto lens to a fisheye's image
RESOLUTION_UNITS = {2.0: 25.4, 3.0: 10.0, 4.0: 1.0, 5.0: 0.001}  # EXIF's inch, cm, mm and micrometer, in millimeters
SENSORS = (3.0, 70.0)  # millimeters along the longer side, from a phone's to medium format
SAME_SHAPE = 0.02  # image and EXIF sizes whose ratios of the sides differ by less are one image, resized


@dataclass(frozen=True)
class Lens:
    """What an image file says of its focal length."""

    focal_length: float | None = None  # pixels of the image
    detail: str = "no EXIF focal length"  # where it is from, or why there is none


NO_LENS = Lens()


@dataclass(frozen=True)
class FocalLength:
    """The focal length of an image's camera, which all its people share."""

    pixels: float
    source: str  # given | fov | exif | diagonal | official
    detail: str = ""  # what it is from, in words

    def __str__(self) -> str:
        return f"{self.pixels:.0f} pixels, {self.source}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class FocalChoice:
    """How the focal lengths of images are chosen: as given, else from EXIF, else the image's diagonal.

    focal_length: pixels, or "official" for 1000 pixels for every 224 of the shorter side. fov: field of view in degrees
    over the image's longer side. Raises ValueError where both are given, and for values that cannot be.
    """

    focal_length: float | str | None = None
    fov: float | None = None

    def __post_init__(self) -> None:
        if self.focal_length is not None and self.fov is not None:
            raise ValueError(f"focal length {self.focal_length} and field of view {self.fov}: give one of the two")
        if self.focal_length not in (None, OFFICIAL) and not _number(self.focal_length) > 0:
            shown = f"{self.focal_length!r:.40}"
            raise ValueError(f"focal length {shown}: give a positive number of pixels, or {OFFICIAL}")
        low, high = FIELDS_OF_VIEW
        if self.fov is not None and not low <= _number(self.fov) <= high:
            raise ValueError(f"field of view {self.fov!r:.40}: give degrees of the longer side, {low:g} to {high:g}")

    def of(self, image_size: tuple[int, int], lens: Lens) -> FocalLength:
        """That of an image (height, width) whose file says `lens`."""
        if self.focal_length == OFFICIAL:
            pixels = CROP_FOCAL_LENGTH * min(image_size) / FIELD_OF_VIEW_SIZE
            return FocalLength(pixels, OFFICIAL, "1000 pixels for every 224 of the shorter side")
        if self.focal_length is not None:
            pixels = _number(self.focal_length)
            angle = field_of_view(pixels, image_size)
            odd = "" if _plausible(angle) else f"{angle:.3g} degrees of view; pixels are meant, not millimeters"
            return FocalLength(pixels, "given", odd)
        if self.fov is not None:
            angle = _number(self.fov)
            return FocalLength(focal_length_of(angle, image_size), "fov", f"{angle:g} degrees over the longer side")
        if lens.focal_length is not None:
            return FocalLength(lens.focal_length, "exif", lens.detail)
        return FocalLength(math.hypot(*image_size), "diagonal", lens.detail)


LINES = 5  # of a summary


def summary(lengths: Iterable[tuple[str, FocalLength]]) -> list[str]:
    """A line for each origin of the focal lengths of named images, the first ones of many."""
    groups: dict[tuple[str, str], list[tuple[str, FocalLength]]] = {}
    for name, length in lengths:
        groups.setdefault((length.source, length.detail), []).append((name, length))
    lines = []
    for (name, length), *more in groups.values():
        which = f"{1 + len(more)} images, of {name} " if more else f"{name}: "
        lines.append(f"focal length of {which}{length}")
    rest = len(lines) - LINES
    return lines if rest <= 1 else [*lines[:LINES], f"focal lengths of {rest} more origins: results hold them"]


def image_camera(image_size: tuple[int, int], focal_length: float) -> PinholeCamera:
    """The camera of an image (height, width) with a focal length in pixels: its principal point is the center."""
    height, width = image_size
    return PinholeCamera(focal_length, (width / 2, height / 2))


def field_of_view(focal_length: float, image_size: tuple[float, float]) -> float:
    """Degrees over the longer side of an image (height, width)."""
    return math.degrees(2 * math.atan(max(image_size) / (2 * focal_length)))


def focal_length_of(fov: float, image_size: tuple[int, int]) -> float:
    """The inverse of `field_of_view`, in pixels."""
    return max(image_size) / (2 * math.tan(math.radians(fov) / 2))


def lens_of(image: Image.Image) -> Lens:
    """What the EXIF entries of an image say, as the file holds it: loaded, not yet rotated upright."""
    try:
        exif = image.getexif()
        entries: dict[int, Any] = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    except DECODING_ERRORS:
        return Lens(detail="its EXIF cannot be read")
    photograph = _photograph_of(entries, image.size)
    found = [*_by_film(entries, photograph), *_by_sensor(entries, photograph)]
    if not found:
        return Lens()
    if photograph.scale is None:
        return Lens(detail=f"EXIF is not usable: {photograph.remark}")
    refused = []
    for pixels, detail, doubt in found:
        if doubt or not pixels > 0:
            refused.append(f"{detail} {doubt}".strip())
        elif not _plausible(angle := field_of_view(pixels, photograph.size)):
            refused.append(f"{detail} would be a field of view of {angle:.3g} degrees")
        else:
            return Lens(pixels, "; ".join(filter(None, [detail, photograph.remark])))
    return Lens(detail=f"EXIF is not usable: {', '.join(refused)}")


class _Photograph(NamedTuple):
    """The whole photograph that EXIF describes, of which an image may be a part."""

    size: tuple[float, float]  # width, height in pixels of the image
    named: bool = False  # EXIF says its size
    scale: float | None = 1.0  # how many times larger than EXIF says; None where that cannot be told
    remark: str = ""


class _Candidate(NamedTuple):
    """A focal length that EXIF entries say."""

    pixels: float  # of the image; NaN or 0 where they say none
    detail: str  # from what
    doubt: str = ""  # why it is not used


def _photograph_of(entries: Mapping[int, Any], size: tuple[int, int]) -> _Photograph:
    """By the size that EXIF names: the image's (width, height), the same shape, or one that holds it."""
    width, height = (_number(entries.get(tag)) for tag in (Base.ExifImageWidth, Base.ExifImageHeight))
    if not (width > 0 and height > 0):
        return _Photograph(size)
    # The longer sides belong together: some programs rotate the pixels and leave EXIF as it was.
    long, short = max(size) / max(width, height), min(size) / min(width, height)
    if abs(long / short - 1) < SAME_SHAPE:
        scale = math.sqrt(long * short)
        return _Photograph((width * scale, height * scale), True, scale)
    differs = f"EXIF says {width:.0f} x {height:.0f} pixels, the image has {size[0]} x {size[1]}"
    if any(size[0] <= across and size[1] <= down for across, down in ((width, height), (height, width))):
        return _Photograph((width, height), True, 1.0, f"{differs}: taken as a part that was not resized")
    return _Photograph((width, height), True, None, differs)


def _by_film(entries: Mapping[int, Any], photograph: _Photograph) -> Iterator[_Candidate]:
    """By the focal length that has the same field of view on 35 mm film."""
    if Base.FocalLengthIn35mmFilm in entries:
        length = _number(entries[Base.FocalLengthIn35mmFilm])
        pixels = length * math.hypot(*photograph.size) / FULL_FRAME_DIAGONAL
        yield _Candidate(pixels, f"{length:g} mm equivalent")


def _by_sensor(entries: Mapping[int, Any], photograph: _Photograph) -> Iterator[_Candidate]:
    """By the lens's focal length and the sensor's pixels; programs that resize often leave the latter as they were."""
    if Base.FocalLength not in entries or Base.FocalPlaneXResolution not in entries:
        return
    unit = RESOLUTION_UNITS.get(_number(entries.get(Base.FocalPlaneResolutionUnit, 2)), math.nan)
    density = _number(entries[Base.FocalPlaneXResolution]) / unit * (photograph.scale or 1.0)
    length, doubt = _number(entries[Base.FocalLength]), ""
    sensor = max(photograph.size) / density if density > 0 else math.nan
    if not photograph.named:
        doubt = "without the size of the image that they belong to"
    elif not SENSORS[0] <= sensor <= SENSORS[1]:
        doubt = f"would be a sensor of {sensor:.3g} mm"
    yield _Candidate(length * density, f"{length:g} mm and {density:.4g} pixels per mm", doubt)


def _plausible(angle: float) -> bool:
    return FIELDS_OF_VIEW[0] <= angle <= FIELDS_OF_VIEW[1]


def _number(value: Any) -> float:
    """A finite number as a float, NaN for anything else."""
    if isinstance(value, str | bytes | bool):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError, RuntimeError):
        return math.nan
    return number if np.isfinite(number) else math.nan
