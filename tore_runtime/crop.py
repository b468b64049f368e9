"""A crop: a square of an image, which may be rotated, and its maps between pixels of the image and of the crop.

Image points are continuous pixels, the outer corner of the upper left pixel at (0, 0). A crop's own points are either
pixels of the square that is cut, n pixels a side, or in [-1, 1], in which networks predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

PIXELS_PER_SCALE = 200.0  # official labels give a crop's size as a multiple of this
UPRIGHT_MARGIN = 1.75  # side of an upright hand's crop over the longer side of the box around its joints
HAND_WRIST, HAND_KNUCKLES = 0, (9, 9, 5, 13)  # of a hand's 21 joints; the middle finger's counts twice, as MediaPipe's
BOX_MARGIN = 1.2  # side of a person's crop over the longer side of the box around them, as in the official data


@dataclass(frozen=True)
class Crop:
    """A square of an image. It may reach beyond the image, where it is black.

    center: (x, y) in pixels of the image. size: the square's side in pixels of the image. rotation: degrees by which
    the crop shows the image rotated counter-clockwise as seen, about the center; a person who is rotated clockwise by
    it in the image stands upright in the crop. Raises ValueError where a number is not finite, or the size not above 0.
    """

    center: tuple[float, float]
    size: float
    rotation: float = 0.0

    def __post_init__(self) -> None:
        x, y = (float(value) for value in self.center)
        for name, value in (("center", (x, y)), ("size", float(self.size)), ("rotation", float(self.rotation))):
            object.__setattr__(self, name, value)
        if not (np.isfinite([x, y, self.size, self.rotation]).all() and self.size > 0):
            raise ValueError(f"{self.described()} span no box")

    @classmethod
    def of_label(cls, center: Sequence[float] | np.ndarray, scale: float, rotation: float = 0.0) -> Crop:
        """The crop of official labels: `center` (x, y) in pixels, `scale` = size / 200."""
        return cls((center[0], center[1]), PIXELS_PER_SCALE * scale, rotation)

    def described(self) -> str:
        """The numbers in a few words, for messages."""
        size = f"size {self.size:g} pixels (scale {self.size / PIXELS_PER_SCALE:g})"
        turn = f" and rotation {self.rotation:g}" if self.rotation else ""
        return f"center ({self.center[0]:g}, {self.center[1]:g}) and {size}{turn}"

    def whole_pixels(self) -> Crop:
        """The nearest crop whose square, before its rotation, covers whole pixels: such a one is cut exactly."""
        side = max(1, round(self.size))
        left, top = (round(middle - side / 2) for middle in self.center)
        return replace(self, center=(left + side / 2, top + side / 2), size=side)

    @property
    def upper_left(self) -> tuple[float, float]:
        """The corner (x, y) of the square before its rotation."""
        return self.center[0] - self.size / 2, self.center[1] - self.size / 2

    @property
    def corners(self) -> np.ndarray:
        """(4, 2) image points of the rotated square's corners, clockwise from the crop's upper left one."""
        return self.to_image(np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]))

    def matrix(self, size: int) -> np.ndarray:
        """(3, 3) float64 map from image points (x, y, 1) to pixels of the crop cut with `size` pixels a side."""
        side = self.size
        matrix = np.diag([size / side, size / side, 1.0])
        matrix[0, 2] = size * (-self.center[0] / side + 0.5)
        matrix[1, 2] = size * (-self.center[1] / side + 0.5)
        if self.rotation == 0:
            return matrix
        to_middle, back = np.eye(3), np.eye(3)
        to_middle[:2, 2], back[:2, 2] = -size / 2, size / 2
        turn = np.eye(3)
        turn[:2, :2] = rotation_2d(-self.rotation)
        return np.dot(back, np.dot(turn, np.dot(to_middle, matrix)))

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in [-1, 1] of the crop -> (..., 2) image points."""
        return np.array(self.center) + self.rotate(points) * (self.size / 2)

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Image points (..., 2) -> (..., 2) in [-1, 1] of the crop."""
        return self.rotate_back((points - np.array(self.center)) / (self.size / 2))

    def rotate(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (..., 2 or more) along the crop's axes -> along the image's; what follows x and y is kept."""
        return rotate_xy(vectors, self.rotation)

    def rotate_back(self, vectors: np.ndarray) -> np.ndarray:
        """The inverse of `rotate`."""
        return rotate_xy(vectors, -self.rotation)


def upright_hand(joints: np.ndarray, margin: float = UPRIGHT_MARGIN) -> Crop:
    """The crop in which a hand stands upright, from the wrist to the knuckles, with its joints in the middle.

    joints: (21, 2) in pixels of the image, NaN where one is not known. margin: the crop's side over the longer side of
    the upright box around them. Raises ValueError without the wrist or all of the three knuckles in the middle.
    """
    knuckles = joints[list(HAND_KNUCKLES)]
    knuckles = knuckles[np.isfinite(knuckles).all(1)]
    if not len(knuckles) or not np.isfinite(joints[HAND_WRIST]).all():
        raise ValueError(
            "the wrist and a knuckle of the index, middle or ring finger must be known to turn a hand upright"
        )
    along = knuckles.mean(0) - joints[HAND_WRIST]
    rotation = float(np.degrees(np.arctan2(along[0], -along[1])))
    upright = rotate_xy(joints[np.isfinite(joints).all(1)], -rotation)
    low, high = upright.min(0), upright.max(0)
    x, y = rotate_xy((low + high) / 2, rotation)
    return Crop((x, y), margin * max(float((high - low).max()), 1.0), rotation)


def rotation_2d(degrees: float) -> np.ndarray:
    """(2, 2) matrix [[cos, -sin], [sin, cos]] of an angle in degrees: clockwise as seen, with y downward."""
    sine, cosine = np.sin(degrees * np.pi / 180), np.cos(degrees * np.pi / 180)
    return np.array([[cosine, -sine], [sine, cosine]])


def rotate_xy(vectors: np.ndarray, degrees: float) -> np.ndarray:
    """Vectors (..., 2 or more) with x and y rotated by `rotation_2d`; without an angle they stay bit for bit."""
    if degrees == 0:
        return vectors
    turned = np.array(vectors, dtype=np.result_type(vectors, np.float32))
    turned[..., :2] = vectors[..., :2] @ rotation_2d(degrees).T
    return turned
