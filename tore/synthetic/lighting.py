"""Light from all around: a panorama as nine numbers for each color, and its sun.

World frame: meters, y up. The panorama's middle column looks along +z, its right half toward -x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BRIGHTEST = 99.0  # percentile of the panorama from whose triple on light counts as a lamp's or the sun's
SUN_CONE = 0.94  # cosine of the angle around the brightest spot whose light comes from the sun
SUN_BLUR = 0.008  # of the panorama's width, to find the brightest spot rather than a pixel
BAND_WEIGHTS = np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)  # of a matt surface, over pi (Ramamoorthi and Hanrahan 2001)
GRAY = 0.18  # mean of a well-exposed photograph
MOST_SUN = 1.8
SKIN_LIGHT = (0.5, 1.0)  # least and most mean light on somebody of a well-exposed photograph
LEAST_LIGHT = 0.02
GAMMA = 2.2


@dataclass(frozen=True)
class Light:
    """What shines on a scene, in linear units in which 1 makes a white surface white.

    `panorama (H, W, 3)` radiance; `harmonics (9, 3)` of the light that a matt surface sends back; `sun (3,)` unit
    vector toward the sun and `sun_color (3,)`, both before the turn by `yaw` radians about the vertical.
    """

    panorama: Floats
    harmonics: Floats
    sun: Floats
    sun_color: Floats
    yaw: float = 0.0

    def turned(self, yaw: float) -> Light:
        """The same light from another side: yaw in radians about the vertical."""
        return replace(self, yaw=self.yaw + yaw)

    def dimmed(self, factor: float) -> Light:
        """All of it times a factor."""
        return replace(
            self,
            panorama=self.panorama * np.float32(factor),
            harmonics=self.harmonics * np.float32(factor),
            sun_color=self.sun_color * np.float32(factor),
        )

    def tinted(self, color: NDArray[np.floating]) -> Light:
        """All of it times a color (3,) of mean 1."""
        own = np.asarray(color, np.float32)
        return replace(
            self,
            panorama=self.panorama * own,
            harmonics=self.harmonics * own,
            sun_color=self.sun_color * own,
        )

    def tint(self) -> Floats:
        """(3,) the color of the light from all around, of mean 1."""
        return np.asarray(self.harmonics[0] / max(float(self.harmonics[0].mean()), 1e-6), np.float32)

    def with_sun(self, toward: NDArray[np.floating], color: NDArray[np.floating]) -> Light:
        """The same light with another sun: `toward (3,)` in the world, `color (3,)`."""
        own = np.asarray(toward, np.float32) @ _yaw_matrix(self.yaw)
        return replace(self, sun=own / np.linalg.norm(own), sun_color=np.asarray(color, np.float32))

    def sun_direction(self) -> Floats:
        """(3,) unit vector toward the sun in the world."""
        return np.asarray(self.sun @ _yaw_matrix(self.yaw).T, np.float32)

    def irradiance(self, normals: Floats) -> Floats:
        """(P, 3) light of the surroundings on matt surfaces with unit normals (P, 3), without the sun."""
        own = normals @ _yaw_matrix(self.yaw)
        return np.maximum(harmonic_basis(own) @ self.harmonics, LEAST_LIGHT)

    def radiance(self, directions: Floats) -> Floats:
        """(H, W, 3) of the panorama along unit directions (H, W, 3)."""
        own = directions @ _yaw_matrix(self.yaw)
        height, width = self.panorama.shape[:2]
        across = (np.arctan2(-own[..., 0], own[..., 2]) / (2 * np.pi) + 0.5) * width - 0.5
        down = np.arccos(np.clip(own[..., 1], -1, 1)) / np.pi * height - 0.5
        where = across.astype(np.float32), np.clip(down, 0, height - 1).astype(np.float32)
        return cv2.remap(self.panorama, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def light_of_panorama(panorama: NDArray[np.floating]) -> Light:
    """The light of a panorama (H, W, 3) in linear RGB, its row 0 straight up, exposed as a camera would.

    The brightest spot becomes the sun; other lamps stay in the nine numbers.
    """
    image = np.asarray(panorama, np.float32)
    height, width = image.shape[:2]
    brightness = image.mean(2)
    middle = brightness[height // 4 : height * 4 // 5]
    image = image * np.float32(GRAY / max(float(np.exp(np.log(middle + 1e-3).mean())), 1e-6))
    brightness = image.mean(2)
    directions, solid = panorama_directions(height, width)
    capped = np.minimum(image, 3 * np.percentile(brightness, BRIGHTEST))
    spot = np.unravel_index(
        np.argmax(cv2.GaussianBlur(brightness, (0, 0), max(SUN_BLUR * width, 0.5))), brightness.shape
    )
    sun = directions[spot]
    near = (directions @ sun > SUN_CONE)[..., None]
    excess = (image - capped) * solid[..., None]
    basis = harmonic_basis(directions.reshape(-1, 3))
    rest = (capped * solid[..., None] + np.where(near, 0, excess)).reshape(-1, 3)
    harmonics = basis.T @ rest * BAND_WEIGHTS[:, None]
    color = np.where(near, excess, 0).sum((0, 1)) / np.pi
    light = Light(capped, harmonics.astype(np.float32), sun.astype(np.float32), color.astype(np.float32))
    mean = float(0.282095 * harmonics[0].mean() + 0.25 * color.mean())
    light = light.dimmed(float(np.clip(mean, SKIN_LIGHT[0], SKIN_LIGHT[1])) / max(mean, 1e-6))
    return replace(light, sun_color=light.sun_color * min(MOST_SUN / max(float(light.sun_color.max()), 1e-6), 1))


def panorama_directions(height: int, width: int) -> tuple[Floats, Floats]:
    """Unit directions (H, W, 3) of a panorama's pixels, and their solid angles (H, W)."""
    polar = (np.arange(height) + 0.5)[:, None] / height * np.pi
    around = ((np.arange(width) + 0.5)[None] / width - 0.5) * 2 * np.pi
    directions = np.stack(
        [
            -np.sin(polar) * np.sin(around),
            np.broadcast_to(np.cos(polar), (height, width)),
            np.sin(polar) * np.cos(around),
        ],
        axis=-1,
    )
    solid = np.broadcast_to(np.sin(polar) * (np.pi / height) * (2 * np.pi / width), (height, width))
    return directions.astype(np.float32), solid.astype(np.float32)


def harmonic_basis(directions: Floats) -> Floats:
    """(P, 9) real spherical harmonics up to the second degree of unit directions (P, 3)."""
    x, y, z = np.asarray(directions, np.float32).T
    columns = [
        np.full_like(x, 0.282095),
        0.488603 * y,
        0.488603 * z,
        0.488603 * x,
        1.092548 * x * y,
        1.092548 * y * z,
        0.315392 * (3 * z * z - 1),
        1.092548 * x * z,
        0.546274 * (x * x - y * y),
    ]
    return np.stack(columns, 1)


def tone_mapped(radiance: Floats) -> Floats:
    """Display values in [0, 1] of linear radiance: a film's curve (Narkowicz 2015), then gamma."""
    x = np.maximum(radiance, 0)
    film = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.asarray(np.minimum(film, 1) ** (1 / GAMMA), np.float32)


def film_radiance(display: Floats) -> Floats:
    """The linear radiance that `tone_mapped` shows as a display value in [0, 1]."""
    y = np.minimum(display, np.float32(0.999)) ** np.float32(GAMMA)
    a, b, c = 2.51 - 2.43 * y, 0.03 - 0.59 * y, -0.14 * y
    return np.asarray((-b + np.sqrt(b * b - 4 * a * c)) / (2 * a), np.float32)


def _yaw_matrix(yaw: float) -> Floats:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
