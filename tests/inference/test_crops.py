"""The crops: official preprocessing for the middle, evaluation's crop for boxes, and where they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from tests import rules
from tore.datasets.augmentation import Draw, finish_image
from tore_runtime.crop import Crop
from tore_runtime.crops import crop_of_box, crops_of, cut_crop, middle_crop, untruncated
from tore_runtime.cutting import crop_bounds, crop_image

OFFICIAL = transforms.Compose(
    [
        transforms.Resize(224),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)
SIZES = [(224, 224), (225, 224), (480, 640), (640, 481), (100, 50), (301, 1777), (1, 1), (3, 2), (1000, 17)]


@pytest.mark.parametrize("size", SIZES)
def test_middle_is_the_official_preprocessing(size: tuple[int, int]) -> None:
    image = np.random.RandomState(0).randint(0, 256, (*size, 3)).astype(np.uint8)
    (crop,) = crops_of(image)
    assert torch.equal(torch.from_numpy(crop.image), OFFICIAL(Image.fromarray(image)))


@pytest.mark.parametrize("size", [(1, 90), (90, 1), (2, 131)])
def test_very_long_images_differ_by_a_rounding_at_most(size: tuple[int, int]) -> None:
    image = np.random.RandomState(1).randint(0, 256, (*size, 3)).astype(np.uint8)
    plain = np.array(transforms.CenterCrop(224)(transforms.Resize(224)(Image.fromarray(image))))
    assert np.abs(middle_crop(image)[0].astype(int) - plain).max() <= 1


@pytest.mark.parametrize("size", [(480, 640), (640, 481), (50, 100), (301, 1777), (5000, 3)])
def test_window_of_the_middle(size: tuple[int, int]) -> None:
    """An image whose values are the coordinates themselves says where each pixel of the crop came from."""
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    for axis, ramp in enumerate((x / width, y / height)):
        image = np.repeat(np.rint(ramp * 255)[:, :, None], 3, 2).astype(np.uint8)
        cropped, region = middle_crop(image)
        inner = np.arange(8, 216)
        points = np.full((len(inner), 2), 0.0)
        points[:, axis] = (inner + 0.5) / 112 - 1
        expected = region.to_image(points)[:, axis] / (width, height)[axis] * 255
        found = cropped[112, inner, 0] if axis == 0 else cropped[inner, 112, 0]
        assert np.abs(found - expected).max() < 1.2 + 1.5 * 255 / (width, height)[axis]
    assert region.size == min(size)


def test_a_box_gives_the_crop_of_evaluation() -> None:
    image = rules.photo(1, 480, 640)
    (crop,) = crops_of(image, [(100.0, 60.0, 100.0, 250.0)])  # side 300 about (150, 185): whole pixels
    assert crop.region == Crop((150, 185), 300)
    evaluated = finish_image(crop_image(image, Crop((150, 185), 300)), Draw())
    assert np.array_equal(crop.image, evaluated)
    assert np.abs(crop.pixels - crop_image(image, Crop((150, 185), 300))).max() <= 0.5


def test_windows_are_cut_to_the_pixel() -> None:
    r = np.random.RandomState(2)
    for _ in range(300):
        left, top = r.randint(-400, 400, 2)
        side = int(r.randint(1, 900))
        if left + side <= 0 or top + side <= 0:
            continue
        crop = Crop((left + side / 2, top + side / 2), side)
        assert crop.whole_pixels() == crop
        assert crop_bounds(untruncated(crop), 224) == (left, top, left + side, top + side)


def test_a_box_beyond_the_edge_is_black_there() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    crop = crop_of_box((-50, 20, 100, 50), (100, 100))
    assert crop.upper_left == (-60, -15) and crop.size == 120
    cut = cut_crop(image, crop, 120)
    assert (cut[:, :60] == 0).all() and (cut[:15] == 0).all() and (cut[15:115, 60:] == 200).all()


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ((0, 0, 0, 5), "no area"),
        ((0, 0, float("nan"), 5), "no area"),
        ((100, 0, 5, 5), "outside of the image of 100 x 80"),
        ((-5, 0, 5, 5), "outside"),
        ((0, 0, 1e5, 5), "16000 are allowed"),
    ],
)
def test_boxes_that_cannot_be_used(box: tuple[float, float, float, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"here, person 2: box .*{sentence}"):
        crops_of(np.zeros((80, 100, 3), np.uint8), [(1, 1, 5, 5), box], "here")
