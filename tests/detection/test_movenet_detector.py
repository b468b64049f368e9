"""The detector that ships, on figures made of capsules: where they are, how they stand, and who is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import rules
from tests.exports import without_onnx
from tore.detection import MoveNetDetector, find
from tore.detection.movenet import KeypointPlacer
from tore.modeling.movenet import KEYPOINT_NAMES
from tore_runtime.crop import Crop
from tore_runtime.detector import LIMBS, Found, overlaps
from tore_runtime.movenet import FIRST_LOOK, THRESHOLD, cut, turned_back

HEIGHT, WIDTH = 300, 400
PEOPLE = [(110, 280, 240), (290, 270, 220)]  # x of the feet, y, size


@pytest.fixture(scope="module")
def detector() -> MoveNetDetector:
    return MoveNetDetector()


def true_box(person: tuple[float, float, float]) -> np.ndarray:
    x, y, size = person
    return np.array([x - 0.25 * size, y - size, 0.57 * size, size])


def test_two_figures_and_their_keypoints(detector: MoveNetDetector) -> None:
    people = find(detector, rules.capsule_people(HEIGHT, WIDTH, PEOPLE))
    assert len(people) == 2 and all(person.detector == "movenet" and person.rotation == 0 for person in people)
    for person in PEOPLE:
        shares = overlaps(true_box(person), np.array([found.box for found in people]))
        found = people[int(shares.argmax())]
        assert shares.max() > 0.7 and found.score > 0.25
        x, y, size = person
        ankles = found.keypoints[[KEYPOINT_NAMES.index("left_ankle"), KEYPOINT_NAMES.index("right_ankle")], :2]
        assert (
            np.abs(ankles - [[x + 0.09 * size, y - 0.03 * size], [x - 0.1 * size, y - 0.03 * size]]).max() < 0.1 * size
        )


def test_noise_shows_nobody(detector: MoveNetDetector) -> None:
    found = detector([rules.capsule_people(120, 160, [])])[0]
    assert found.boxes.shape == (0, 4) and found.keypoints.shape == (0, 17, 3) and found.rotations.shape == (0,)


def test_one_upside_down_is_seen_by_rotation() -> None:
    """Keypoints of the image on its head are those of the upright one, on their heads."""
    image, (x, y, width, height) = rules.capsule_people(280, 280, [(140, 260, 240)], 4), true_box((140, 260, 240))
    placer = KeypointPlacer()
    upright, none = placer(image, np.array([[x, y, width, height]]))
    on_its_head = np.ascontiguousarray(image[::-1, ::-1])
    turned, rotation = placer(on_its_head, np.array([[280 - x - width, 280 - y - height, width, height]]))
    assert none.tolist() == [0] and rotation.tolist() == [180]
    np.testing.assert_allclose(280 - turned[0, LIMBS, :2], upright[0, LIMBS, :2], atol=1.0)


def test_small_people_of_a_large_image_get_a_second_look(detector: MoveNetDetector) -> None:
    person = (400, 420, 80)
    image = rules.capsule_people(600, 800, [person])
    assert not (detector._look(image, FIRST_LOOK).scores >= THRESHOLD).any()
    (found,) = detector([image])
    assert len(found.boxes) == 1 and overlaps(true_box(person), found.boxes)[0] > 0.6


def test_a_turned_image_gets_turned_looks(detector: MoveNetDetector) -> None:
    """Nobody is seen in it as it stands. The oracle turns the true boxes."""
    image = np.ascontiguousarray(np.rot90(rules.capsule_people(HEIGHT, WIDTH, PEOPLE, 4), 2))
    assert not len(MoveNetDetector(second_look=False)([image])[0].boxes)
    found = detector([image])[0]
    assert len(found.boxes) == 2 and (found.rotations == 180).all()
    for person in PEOPLE:
        x, y, width, height = true_box(person)
        expected = np.array([WIDTH - x - width, HEIGHT - y - height, width, height])
        assert overlaps(expected, found.boxes).max() > 0.6


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_what_is_found_in_a_turned_image_is_turned_back(quarters: int) -> None:
    """Oracle: a pixel that is set before the image is turned."""
    image = np.zeros((7, 11))
    image[2, 8] = 1
    ((y, x),) = np.argwhere(np.rot90(image, quarters))
    found = Found(np.array([[x, y, 1.0, 1.0]]), np.ones(1), np.array([[[x + 0.5, y + 0.5, 0.9]]]))
    back = turned_back(found, quarters, image.shape)
    assert back.boxes.tolist() == [[8, 2, 1, 1]] and back.keypoints.tolist() == [[[8.5, 2.5, 0.9]]]


@pytest.mark.parametrize("rotation", [0.0, 90.0, 37.0])
@pytest.mark.parametrize("side", [64, 300])
def test_a_cut_shows_the_crops_points(rotation: float, side: int) -> None:
    """A bright disk in the image lies in the cut where the crop's map puts it."""
    points = np.stack(np.meshgrid(np.arange(500) + 0.5, np.arange(400) + 0.5), -1)
    image = np.where(np.linalg.norm(points - [220, 170], axis=-1) < 8, 255, 0).astype(np.uint8)[..., None].repeat(3, 2)
    crop = Crop((200, 180), side, rotation)
    shown = cut(image, crop, 128)[..., 0].astype(float)
    grid = np.stack(np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5), -1)
    seen = (grid * shown[..., None]).sum((0, 1)) / shown.sum()
    np.testing.assert_allclose(seen, (crop.to_crop(np.array([220.0, 170])) + 1) * 64, atol=0.6)


def test_the_exported_networks_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_onnx(monkeypatch, tmp_path)
    image = rules.capsule_people(HEIGHT, WIDTH, PEOPLE)
    plain, fast = (MoveNetDetector(fast=fast)([image])[0] for fast in (False, True))
    np.testing.assert_allclose(fast.boxes, plain.boxes, atol=0.1)
    np.testing.assert_allclose(fast.keypoints, plain.keypoints, atol=0.1)
