"""The maps of a crop against loops over points, and against a bright spot that is followed through the cut."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tore_runtime.crop import UPRIGHT_MARGIN, Crop, upright_hand
from tore_runtime.crops import cut_crop

CROPS = (Crop((40, 30), 20), Crop((12.5, -3.25), 7.5, 30), Crop((300, 200), 111, -140.0), Crop((0, 0), 2, 90))


@pytest.mark.parametrize("crop", CROPS)
def test_maps_against_a_loop(crop: Crop) -> None:
    points = np.random.RandomState(0).uniform(-1, 1, (9, 2))
    angle, found = math.radians(crop.rotation), crop.to_image(points)
    for (x, y), actual in zip(points, found, strict=True):
        right = math.cos(angle) * x - math.sin(angle) * y
        down = math.sin(angle) * x + math.cos(angle) * y
        expected = [crop.center[0] + crop.size / 2 * right, crop.center[1] + crop.size / 2 * down]
        np.testing.assert_allclose(actual, expected, atol=1e-12)
    np.testing.assert_allclose(crop.to_crop(found), points, atol=1e-12)
    mapped = np.c_[found, np.ones(9)] @ crop.matrix(224).T
    np.testing.assert_allclose(mapped[:, :2], (points + 1) * 112, atol=1e-9)
    np.testing.assert_allclose(crop.to_crop(crop.corners), [[-1, -1], [1, -1], [1, 1], [-1, 1]], atol=1e-12)


def test_three_coordinates_keep_the_depth_and_no_rotation_keeps_every_bit() -> None:
    vectors = np.random.RandomState(1).standard_normal((4, 5, 3)).astype(np.float32)
    turned = Crop((0, 0), 1, 90).rotate(vectors)
    np.testing.assert_allclose(turned, np.stack([-vectors[..., 1], vectors[..., 0], vectors[..., 2]], -1), atol=1e-6)
    assert turned.dtype == np.float32 and np.array_equal(Crop((3, 4), 5).rotate(vectors), vectors)
    np.testing.assert_allclose(Crop((0, 0), 1, 77).rotate_back(Crop((0, 0), 1, 77).rotate(vectors)), vectors, atol=1e-6)


@pytest.mark.parametrize("rotation", [0.0, 35.0, -100.0, 180.0])
def test_pixels_go_where_the_map_says(rotation: float) -> None:
    crop, spot = Crop((260, 190), 260, rotation), np.array([[300.5, 150.5]])
    image = np.zeros((400, 500, 3), np.uint8)
    image[147:154, 297:304] = 255
    bright = cut_crop(image, crop)[:, :, 0]
    rows, columns = np.nonzero(bright > 128)
    expected = (crop.to_crop(spot)[0] + 1) * 112
    assert np.abs([columns.mean() + 0.5, rows.mean() + 0.5] - expected).max() < 0.3


def test_whole_pixels_are_near() -> None:
    rng = np.random.RandomState(2)
    for _ in range(50):
        crop = Crop(tuple(rng.uniform(-50, 400, 2)), rng.uniform(0.2, 300), rng.uniform(-180, 180))
        whole = crop.whole_pixels()
        assert all(value.is_integer() for value in (*whole.upper_left, whole.size)) and whole.size >= 1
        assert np.abs(np.subtract(whole.center, crop.center)).max() <= 0.5 and abs(whole.size - crop.size) <= 0.8
        assert whole.rotation == crop.rotation and whole.whole_pixels() == whole


@pytest.mark.parametrize(
    "values", [((0, 0), 0), ((0, 0), -3), ((math.nan, 0), 1), ((0, 0), math.inf), ((0, 0), 1, math.nan)]
)
def test_no_crop_without_an_area(values: tuple) -> None:
    with pytest.raises(ValueError, match="span no box"):
        Crop(*values)


def test_a_label_says_the_size_as_a_multiple_of_200() -> None:
    assert Crop.of_label(np.array([3.0, 4.0]), 1.5, 20) == Crop((3, 4), 300, 20) and hash(Crop((3, 4), 5)) == hash(
        Crop((3, 4), 5.0)
    )


@pytest.mark.parametrize("degrees", [0.0, 40.0, 170.0, -95.0])
def test_an_upright_hand_looks_alike_however_it_is_turned(degrees: float) -> None:
    """The oracle turns the points one by one; the crop's own points stay, wrist below the knuckles, in the middle."""
    rng = np.random.RandomState(3)
    points = rng.uniform(-1, 1, (21, 2)) * [20, 30] + [0, -40]
    points[0] = 0
    angle, turned = math.radians(degrees), np.empty_like(points)
    for index, (x, y) in enumerate(points):
        turned[index] = [math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y]
    first, crop = upright_hand(points), upright_hand(turned + [300, 200])
    own = crop.to_crop(turned + [300, 200])
    np.testing.assert_allclose(own, first.to_crop(points), atol=1e-9)
    assert crop.size == pytest.approx(first.size)
    assert abs((crop.rotation - first.rotation - degrees + 180) % 360 - 180) < 1e-6
    knuckles = (own[5] + own[13] + 2 * own[9]) / 4
    assert abs(knuckles[0] - own[0, 0]) < 1e-9 and knuckles[1] < own[0, 1]
    assert np.abs(own.max(0) + own.min(0)).max() < 1e-9
    assert np.ptp(own, axis=0).max() == pytest.approx(2 / UPRIGHT_MARGIN)
    np.testing.assert_allclose(crop.to_image(own), turned + [300, 200], atol=1e-9)


def test_unknown_joints_of_an_upright_hand() -> None:
    points = np.random.RandomState(4).uniform(0, 50, (21, 2))
    some = points.copy()
    some[[5, 13, 20]] = np.nan
    assert math.isfinite(upright_hand(some).rotation)
    for missing in ([0], [5, 9, 13]):
        some = points.copy()
        some[missing] = np.nan
        with pytest.raises(ValueError, match="the wrist and a knuckle"):
            upright_hand(some)
