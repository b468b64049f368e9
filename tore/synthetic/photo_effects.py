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
MOST_CHANGE = (0.3, 6.0)
QUALITY = (45, 96)


def photographed(rng: Generator, image: Floats, person: Mask | None = None) -> Bytes:
    """An image (H, W, 3) in [0, 1] as a camera would have taken it, uint8, exposed for the `person (H, W)` in it."""
    size = len(image)
    if person is not None and person.any():
        image = exposed(image, person, night=rng.random() < NIGHT)
    gain = np.exp(EXPOSURE * rng.standard_normal() + CAST * rng.standard_normal(3)).astype(np.float32)
    contrast = np.float32(rng.uniform(*CONTRAST))
    image = ((image.astype(np.float32) - 0.43) * contrast + 0.43) * gain
    if person is not None and person.any():
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


def exposed(image: Floats, person: Mask, night: bool = False) -> Floats:
    """The image with more or less light, so that the person is neither clipped nor a dark lump.

    At `night` the person may be darker. The background counts too, as far as the person stays bright enough.
    """
    own, around = image[person], image[~person][::AROUND_STEP]
    bright = float(np.percentile(own.max(1), BRIGHT))
    gray = own @ GRAY_OF
    middle, light = np.percentile(gray, [50, 90])
    share = NIGHT_SHARE if night else 1.0
    need = max(linear_light(share * MIDDLE) / linear_light(middle), linear_light(share * LIGHT) / linear_light(light))
    most = linear_light(CEILING - 0.05) / linear_light(bright)
    factor = max(1.0, need)
    if len(around):  # a bright background keeps the person half as dark at most
        background = float(np.percentile(around @ GRAY_OF, 60))
        factor = max(min(1.0, AGAINST_LIGHT * need), min(factor, linear_light(BACKGROUND) / linear_light(background)))
    factor = float(np.clip(min(factor, most), *MOST_CHANGE))
    if abs(factor - 1) < 0.02:
        return image
    return tone_mapped(film_radiance(image) * np.float32(factor))


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
