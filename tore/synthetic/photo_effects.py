"""What a camera does to an image: exposure, color cast, blur, low resolution, noise and JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tore.synthetic.lighting import film_radiance, tone_mapped

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

EXPOSURE, CAST, CONTRAST = 0.16, 0.05, (0.8, 1.15)
BLURRED, MOVED, LOW, GRAY = 0.3, 0.05, 0.25, 0.03  # shares of the images
BLUR_SIGMA = (0.4, 1.2)  # pixels at 256
MOTION = (3.0, 9.0)  # pixels at 256
LOW_SIDE = (0.22, 0.75)  # of the image's side
NOISE = 0.035  # most, of the range; squares of uniform numbers are drawn
GRAY_OF = np.array([0.299, 0.587, 0.114], np.float32)
NIGHT, NIGHT_SHARE = 0.06, 0.55  # share of the images in which the person may be as much darker
MIDDLE, LIGHT = 0.17, 0.4  # least median and 90th percentile of the person's gray values
BRIGHT, CEILING = 96.0, 0.95  # percentile of the person's brightest channel, and what it may reach
BACKGROUND = 0.88  # that the 60th percentile of the background's gray values should not exceed
AGAINST_LIGHT = 0.5  # of the light that the person needs is enough before a bright background
AROUND_STEP = 7  # one pixel in as many of the background is looked at
MOST_CHANGE = (0.1, 6.0)
LEAST_RADIANCE = 1e-3
QUALITY = (45, 96)


def photographed(rng: Generator, radiance: Floats, person: Mask) -> Bytes:
    """Linear radiance (H, W, 3) as a camera's image, uint8, exposed for the `person (H, W)` in it if there is one."""
    size = len(radiance)
    image = tone_mapped(radiance * np.float32(exposure(radiance, person, night=rng.random() < NIGHT)))
    gain = np.exp(EXPOSURE * rng.standard_normal() + CAST * rng.standard_normal(3)).astype(np.float32)
    contrast = np.float32(rng.uniform(*CONTRAST))
    image = ((image - 0.43) * contrast + 0.43) * gain
    if person.any():
        brightest = float(np.percentile(image[person].max(1), BRIGHT))
        image = image * np.float32(min(1.0, CEILING / max(brightest, 1e-6)))
    chance = rng.random(4)
    sigma, length, angle = rng.uniform(*BLUR_SIGMA), rng.uniform(*MOTION), rng.uniform(0, np.pi)
    side, noise = rng.uniform(*LOW_SIDE), NOISE * rng.random() ** 2
    if chance[0] < BLURRED:
        image = cv2.GaussianBlur(image, (0, 0), sigma * size / 256)
    if chance[1] < MOVED:
        image = _moved(image, length * size / 256, angle)
    grain = rng.standard_normal(image.shape, np.float32)
    if chance[2] < LOW:
        small = max(8, round(size * side))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = image + np.float32(noise) * grain[:small, :small]
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    else:
        image = image + np.float32(noise) * grain
    if chance[3] < GRAY:
        image = np.repeat(image @ GRAY_OF[:, None], 3, axis=2)
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def exposure(radiance: Floats, person: Mask, night: bool = False) -> float:
    """The factor on linear radiance (H, W, 3) at which the `person (H, W)` is neither clipped nor a dark lump.

    It is measured before anything is clipped. At `night` the person may be darker. The background counts too, as far as
    the person stays bright enough.
    """
    if not person.any():
        return 1.0
    own, around = radiance[person], radiance[~person][::AROUND_STEP]
    bright = float(np.percentile(own.max(1), BRIGHT))
    middle, light = np.maximum(np.percentile(own @ GRAY_OF, [50, 90]), LEAST_RADIANCE)
    share = NIGHT_SHARE if night else 1.0
    need = max(linear_light(share * MIDDLE) / float(middle), linear_light(share * LIGHT) / float(light))
    factor = max(1.0, need)
    if len(around):  # a bright background keeps the person half as dark at most
        background = max(float(np.percentile(around @ GRAY_OF, 60)), LEAST_RADIANCE)
        factor = max(min(1.0, AGAINST_LIGHT * need), min(factor, linear_light(BACKGROUND) / background))
    return float(np.clip(min(factor, linear_light(CEILING - 0.05) / max(bright, LEAST_RADIANCE)), *MOST_CHANGE))


def linear_light(display: float) -> float:
    """The radiance of one display value."""
    return float(film_radiance(np.full(1, min(max(display, 0.02), 0.995), np.float32))[0])


def _moved(image: Floats, length: float, angle: float) -> Floats:
    """Blurred along a line of `length` pixels."""
    half = max(1, int(np.ceil(length / 2)))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    away = 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(round(16 * (half + sign * float(part))) for part in away) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def encoded(rng: Generator, image: Bytes) -> bytes:
    """JPEG bytes of an RGB image (H, W, 3), of a drawn quality."""
    quality = int(rng.integers(*QUALITY))
    done, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()
