"""The crop against a plain transcription of the official one, over boxes and images of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState

from tests.datasets import published_crop
from tore_runtime.crop import Crop
from tore_runtime.cutting import crop_bounds, crop_image, decoding_reduction, fast_crop, map_points

SIZE = 224
ANGLES = ("none", "any", "small", "right")


def random_case(rng: RandomState, side: str, angle: str) -> tuple[np.ndarray, np.ndarray, float, float]:
    height, width = rng.randint(1, 700, 2)
    image = rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
    center = rng.uniform(-0.3, 1.3, 2) * [width, height]
    scale = {"tiny": rng.uniform(0.01, 0.1), "usual": rng.uniform(0.1, 2.2), "large": rng.uniform(2.3, 4.5)}[side]
    if rng.rand() < 0.3:  # whole numbers put the box's corners onto rounding edges
        center, scale = np.rint(center), max(round(scale, 1), 0.1)
    rotation = {"none": 0.0, "any": rng.uniform(-180, 180), "small": rng.uniform(-0.2, 0.2), "right": 90.0}[angle]
    return image, center, scale, rotation


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("side", ["tiny", "usual", "large"])
def test_pixels_equal_the_official_ones(side: str, angle: str) -> None:
    rng = RandomState(len(side) * 10 + ANGLES.index(angle))
    for _ in range(4 if side == "large" else 12):
        image, center, scale, rotation = random_case(rng, side, angle)
        ours = crop_image(image, Crop.of_label(center, scale, rotation), SIZE)
        official = published_crop.crop(image, center, scale, SIZE, rotation)
        if side == "large" and rotation:  # only the pixels read by the shrinking, whose sums may round differently
            np.testing.assert_allclose(ours, official, rtol=0, atol=1e-10)
        else:
            np.testing.assert_array_equal(ours, official)


@pytest.mark.parametrize("center", [(-5000.0, 50.0), (50.0, 9000.0), (-500.0, -500.0)])
@pytest.mark.parametrize("rotation", [0.0, 33.0])
@pytest.mark.parametrize("scale", [0.5, 3.0, 7.0])
def test_boxes_outside_the_image_are_black(center: tuple[float, float], rotation: float, scale: float) -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    ours = crop_image(image, Crop.of_label(center, scale, rotation), SIZE)
    np.testing.assert_array_equal(ours, published_crop.crop(image, center, scale, SIZE, rotation))
    assert scale == 7.0 or not ours.any()


def test_a_large_box_reads_only_its_taps() -> None:
    image = RandomState(5).randint(0, 256, (900, 1500, 3)).astype(np.uint8)
    ours = crop_image(image, Crop.of_label((700, 440), 6.3), SIZE)
    official = published_crop.crop(image, (700.0, 440.0), 6.3, SIZE)
    np.testing.assert_allclose(ours, official, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rotation", [0.0, 17.0, -90.0, 160.0])
@pytest.mark.parametrize("scale", [0.6, 1.12, 2.9])
@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_the_fast_crop_shows_the_same_places(rotation: float, scale: float, reduction: int) -> None:
    """On ramps in x and y both interpolations are exact, so that only rounding to whole colors may differ."""
    height, width = 640, 800
    x, y = np.meshgrid(np.arange(width) * 0.3, np.arange(height) * 0.3)
    image = np.stack([x, y, 200 - 0.1 * (x + y)], 2)
    blocks = image.reshape(height // reduction, reduction, width // reduction, reduction, 3)
    small = np.rint(blocks.mean((1, 3))).astype(np.uint8)  # pixels that cover the area of those that they stand for
    center = np.array([401.3, 318.0])
    fast = fast_crop(small, Crop.of_label(center, scale, rotation), SIZE, reduction)
    official = published_crop.crop(np.rint(image).astype(np.uint8), center, scale, SIZE, rotation)
    seen = published_crop.crop(np.full((height, width, 3), 255, np.uint8), center, scale, SIZE, rotation) == 255
    inside = np.abs(np.arange(SIZE) - SIZE / 2) < 0.7 * SIZE / 2  # turned, the official box has black corners
    inside = seen & (inside[:, None] & inside)[..., None]
    assert fast.dtype == np.uint8 and inside.sum() > 30_000
    assert np.abs(fast - official)[inside].max() < 1.6
    assert abs((fast - official)[inside].mean()) < 0.2


def test_decoding_is_no_smaller_than_the_crop() -> None:
    scales = (0.3, 1.0, 2.2, 2.3, 4.4, 4.6, 8.9, 9.1, 60.0)
    found = [decoding_reduction(Crop.of_label((500, 500), scale), SIZE) for scale in scales]
    assert found == [1, 1, 1, 2, 2, 4, 4, 8, 8]


def test_points_equal_the_official_ones() -> None:
    rng = RandomState(1)
    for _ in range(100):
        center, scale = rng.uniform(-50, 900, 2), rng.uniform(0.05, 5)
        rotation = float(rng.choice([0.0, rng.uniform(-60, 60)]))
        points = rng.uniform(-100, 1000, (20, 2))
        official = [published_crop.transform(point, center, scale, SIZE, rotation) for point in points]
        np.testing.assert_array_equal(map_points(Crop.of_label(center, scale, rotation).matrix(SIZE), points), official)


def test_points_follow_the_pixels() -> None:
    """A bright square moves to where the point map says, with and without rotation."""
    for rotation in (0.0, 40.0, -75.0):
        image = np.zeros((400, 500, 3), np.uint8)
        image[147:154, 297:304] = 255
        center, scale = np.array([260.0, 190.0]), 1.3
        bright = crop_image(image, Crop.of_label(center, scale, rotation), SIZE)[:, :, 0]
        rows, columns = np.nonzero(bright > 128)
        mapped = map_points(Crop.of_label(center, scale, rotation).matrix(SIZE), np.array([[301.0, 151.0]]))[0]
        assert (
            np.abs([columns.mean() - mapped[0], rows.mean() - mapped[1]]).max() < 2.5
        )  # the official points count from 1


@pytest.mark.parametrize(
    ("center", "scale", "finding"),
    [
        ((1.0, 1.0), 0.0, "span no box"),
        ((1.0, 1.0), float("nan"), "span no box"),
        ((float("inf"), 1.0), 1.0, "span no box"),
        ((1.0, 1.0), 81.0, "beyond 16000 pixels"),
        ((3e6, 1.0), 1.0, "beyond 16000 pixels"),
        ((100.2, 100.2), 0.0005, "a box of 0 x 0 pixels"),
    ],
)
def test_boxes_without_pixels_are_refused(center: tuple[float, float], scale: float, finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        crop_bounds(Crop.of_label(center, scale), SIZE)
