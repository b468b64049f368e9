"""Cuts the crop of an image (`tore_runtime.crop`): the square that the network sees, and labeled points in it.

The official computation copies the box to a float64 canvas, rotates that and shrinks it. The numbers here are the
same, bit for bit, but only the pixels that the shrinking reads are computed: two per output row and column. That is
exact because

* OpenCV's bilinear shrinking reads two neighbors per axis;
* OpenCV's float64 rotation rounds positions to 1/32 pixel, so its results are whole multiples of 1/1024, which
  float32 holds exactly.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np

from tore_runtime.crop import BOX_MARGIN, PIXELS_PER_SCALE, Crop, rotation_2d
from tore_runtime.image_format import IMAGE_SIZE

MAX_BOX_SIDE = 16_000  # OpenCV's remap holds positions in 16 bits, and rotation widens the box
TILE = 75  # rows and columns of the crop that are shrunk at a time
PASTE_UP_TO = 5  # boxes up to this many times the side of the crop are cheaper to shrink whole
REDUCTIONS = (1, 2, 4, 8)  # JPEG decoders shrink by these at no cost
TAB_BITS = 5  # warpAffine rounds positions to 1/32 pixel
INTERPOLATION_ROWS = 3  # beyond a turned box: the second row of an interpolation, and rounding
FIXED_BITS = 10  # ... from coordinates held as multiples of 1/1024


class Bounds(NamedTuple):
    """The crop's box in source pixels, right and bottom excluded; may reach beyond the image."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns of the box."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows of the box."""
        return self.bottom - self.top


def box_around(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Center (2,) and scale of the crop around points (N, 2) in pixels, with `BOX_MARGIN`."""
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, BOX_MARGIN * float((high - low).max()) / PIXELS_PER_SCALE


class Taps(NamedTuple):
    """The source pixels that the pixels of a shrunk line are blended of."""

    places: np.ndarray  # (2, size), the near ones first
    share: np.ndarray  # (size,) of the far ones


def map_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps 1-based points (N, 2) by a (3, 3) matrix to (N, 2) int64, truncated toward zero as in the official code."""
    ones = np.ones((len(points), 1))
    homogeneous = np.concatenate([np.asarray(points, np.float64) - 1, ones], axis=1)  # (N, 3)
    mapped = np.matmul(matrix, homogeneous[:, :, None])[:, :2, 0]
    return mapped.astype(np.int64) + 1  # Official: truncation toward zero, not rounding


@lru_cache(maxsize=16)  # a sample asks for its box before it decodes the image and when it cuts it
def crop_bounds(crop: Crop, size: int) -> Bounds:
    """The source pixels that the crop shows before rotation.

    Raises ValueError where the box has no pixel or too many.
    """
    if crop.size >= MAX_BOX_SIDE + 1 or max(map(abs, crop.center)) > 1e6:
        raise ValueError(f"{crop.described()} span a box beyond {MAX_BOX_SIDE} pixels")
    inverse = np.linalg.inv(replace(crop, rotation=0.0).matrix(size))
    corners = map_points(inverse, np.array([[1, 1], [size + 1, size + 1]])) - 1
    box = Bounds(*corners[0].tolist(), *corners[1].tolist())
    if box.width < 1 or box.height < 1:
        raise ValueError(f"{crop.described()} span a box of {box.width} x {box.height} pixels")
    return box


def crop_image(image: np.ndarray, crop: Crop, size: int = IMAGE_SIZE) -> np.ndarray:
    """Cuts the crop from an image (H, W, C) uint8 and shrinks it to (size, size, C) float64, not rounded.

    Pixels outside the image are zero.
    """
    box, rotation = crop_bounds(crop, size), crop.rotation
    side = max(box.width, box.height)
    if rotation == 0 and side <= PASTE_UP_TO * size:
        return cv2.resize(_paste(image, box), (size, size))
    source = _UprightBox(image, box) if rotation == 0 else _TurnedBox(image, box, rotation)
    if side <= 2 * size:
        whole = source.pick(np.arange(box.height), np.arange(box.width))
        return cv2.resize(whole.astype(np.float64), (size, size))
    return _shrink(source, box, size, image.shape[2])


def _shrink(source: _UprightBox | _TurnedBox, box: Bounds, size: int, channels: int) -> np.ndarray:
    """(size, size, C) float64: OpenCV's bilinear shrinking of a box of which only the pixels it reads are given.

    Tile by tile, so that what is at work stays in the processor's cache.
    """
    rows, columns = _taps(box.height, size), _taps(box.width, size)
    shrunk = np.empty((size, size, channels))
    tiles = [slice(first, min(first + TILE, size)) for first in range(0, size, TILE)]
    for down, across in product(tiles, tiles):
        sampled = source.pick(rows.places[:, down].ravel(), columns.places[:, across].ravel())
        height, width = down.stop - down.start, (across.stop - across.start) * channels
        sampled = sampled.reshape(2, height, 2, width)  # near and far rows, near and far columns
        blended = _blend(sampled[:, :, 0], sampled[:, :, 1], np.repeat(columns.share[across], channels))
        blended = _blend(blended[0], blended[1], rows.share[down, None])
        shrunk[down, across] = blended.reshape(height, -1, channels)
    return shrunk


def rows_read(crop: Crop, size: int = IMAGE_SIZE, reduction: int = 1) -> int:
    """How many rows of the whole image, from its top, a crop of it reads at most; below them it may be cut off.

    `reduction`: how many times smaller the image is that the crop is made from.
    """
    box = crop_bounds(crop, size)
    cosine, sine = np.abs(rotation_2d(crop.rotation)[:, 0])
    reach = (box.width * sine + box.height * cosine) / 2
    return max(int(np.ceil((box.top + box.bottom) / 2 + reach)) + INTERPOLATION_ROWS * reduction, 0)


def decoding_reduction(crop: Crop, size: int = IMAGE_SIZE) -> int:
    """How many times smaller an image may be decoded, 1, 2, 4 or 8, so that its box still has `size` pixels a side."""
    box = crop_bounds(crop, size)
    return max(factor for factor in REDUCTIONS if factor == 1 or min(box.width, box.height) >= factor * size)


def fast_crop(image: np.ndarray, crop: Crop, size: int = IMAGE_SIZE, reduction: int = 1) -> np.ndarray:
    """`crop_image` by one affine warp, (size, size, C) uint8: the same box, turned and shrunk in one interpolation.

    `image` is (H, W, C) uint8, `reduction` times smaller than the one that the crop is in pixels of. What
    differs is the rounding, and in rotated crops the official second interpolation (docs/dev/speed.md has numbers).
    """
    box = crop_bounds(crop, size)
    to_source = _scaling(reduction, reduction)
    to_source[:2, 2] -= box.left, box.top
    turn = np.eye(3)
    turn[:2] = cv2.getRotationMatrix2D(((box.width - 1) / 2, (box.height - 1) / 2), crop.rotation, 1.0)
    matrix = _scaling(size / box.width, size / box.height) @ turn @ to_source
    return cv2.warpAffine(image, matrix[:2], (size, size), flags=cv2.INTER_LINEAR)


def _scaling(across: float, down: float) -> np.ndarray:
    """(3, 3) map of pixel indices that scales the plane on which pixel i covers [i, i + 1)."""
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])


def _paste(image: np.ndarray, box: Bounds) -> np.ndarray:
    """(height, width, C) float64 of the box, zero outside the image."""
    region, top, left = _region(image, box.top, box.bottom, box.left, box.right)
    if region.shape[:2] == (box.height, box.width):
        return region.astype(np.float64)
    canvas = np.zeros((box.height, box.width, image.shape[2]))
    if region.size:
        top, left = top - box.top, left - box.left
        canvas[top : top + region.shape[0], left : left + region.shape[1]] = region
    return canvas


def _blend(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    """float64 low * (1 - share) + high * share."""
    blended = low * (1 - share)
    blended += high * share
    return blended


def _taps(source: int, size: int) -> Taps:
    position = (np.arange(size) + 0.5) * (source / size) - 0.5
    low = np.floor(position).astype(np.int64)
    share = np.where((low >= 0) & (low < source - 1), position - low, 0.0)
    low = np.clip(low, 0, source - 1)
    return Taps(np.stack([low, np.minimum(low + 1, source - 1)]), share)


def _region(image: np.ndarray, top: int, bottom: int, left: int, right: int) -> tuple[np.ndarray, int, int]:
    """The part of the image inside the bounds, and its top and left; empty where they do not overlap."""
    top, left = max(top, 0), max(left, 0)
    return image[top : max(bottom, top), left : max(right, left)], top, left


class _UprightBox:
    """The pixels of a box, zero outside the image."""

    def __init__(self, image: np.ndarray, box: Bounds) -> None:
        self.image, self.box = image, box

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(rows, columns, C) uint8 at the given rows and columns of the box."""
        rows, columns = rows + self.box.top, columns + self.box.left
        region, top, left = _region(self.image, rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
        if region.size == 0:
            return np.zeros((len(rows), len(columns), self.image.shape[2]), np.uint8)
        places = np.empty((len(rows), len(columns), 2), np.int16)
        places[:, :, 0] = columns - left
        places[:, :, 1] = (rows - top)[:, None]
        return cv2.remap(region, places, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)


class _TurnedBox:
    """The pixels of a box turned about its middle.

    The box is first grown by the official margin; the image outside of the grown box counts as zero.
    """

    def __init__(self, image: np.ndarray, box: Bounds, rotation: float) -> None:
        diagonal = np.linalg.norm(np.array([box.width, box.height]))
        margin = int(diagonal / 2 - float(box.height) / 2)
        self._image, self._margin = image, margin
        self._grown = Bounds(box.left - margin, box.top - margin, box.right + margin, box.bottom + margin)
        self._inverse = _inverse_rotation(self._grown.width, self._grown.height, rotation)

    def pick(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(rows, columns, C) float32 at the given rows and columns of the turned box."""
        x, y = self._positions(rows, columns)
        column, row = x >> TAB_BITS, y >> TAB_BITS
        grown = self._grown
        region, top, left = _region(
            self._image,
            grown.top + max(row.min(), 0),
            grown.top + min(row.max() + 2, grown.height),
            grown.left + max(column.min(), 0),
            grown.left + min(column.max() + 2, grown.width),
        )
        if region.size == 0:
            return np.zeros((len(rows), len(columns), region.shape[2]), np.float32)
        places = np.empty((len(rows), len(columns), 2), np.int16)
        places[:, :, 0] = column + (grown.left - left)
        places[:, :, 1] = row + (grown.top - top)
        fraction = (1 << TAB_BITS) - 1
        table = (((y & fraction) << TAB_BITS) + (x & fraction)).astype(np.uint16)
        region = region.astype(np.float32)
        return cv2.remap(region, places, table, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)

    def _positions(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions x, y (rows, columns) int32 in 1/32 pixel of the grown box that OpenCV's warpAffine reads."""
        (a, b, shift_x), (c, d, shift_y) = self._inverse
        rows, columns = rows + self._margin, columns + self._margin
        one, half = 1 << FIXED_BITS, 1 << (FIXED_BITS - TAB_BITS - 1)
        across_x, across_y = (np.rint(factor * columns * one).astype(np.int32) for factor in (a, c))
        down_x = np.rint((b * rows + shift_x) * one).astype(np.int32) + half
        down_y = np.rint((d * rows + shift_y) * one).astype(np.int32) + half
        drop = FIXED_BITS - TAB_BITS
        return (down_x[:, None] + across_x) >> drop, (down_y[:, None] + across_y) >> drop


def _inverse_rotation(width: int, height: int, rotation: float) -> tuple[tuple[float, float, float], ...]:
    """The two rows of the map from turned to source pixels, worked out as in OpenCV's warpAffine."""
    forward = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rotation, 1.0)
    share = 1.0 / (forward[0, 0] * forward[1, 1] - forward[0, 1] * forward[1, 0])
    a, b = forward[1, 1] * share, forward[0, 1] * -share
    c, d = forward[1, 0] * -share, forward[0, 0] * share
    shift_x = -a * forward[0, 2] - b * forward[1, 2]
    shift_y = -c * forward[0, 2] - d * forward[1, 2]
    return (a, b, shift_x), (c, d, shift_y)
