"""Hands found by MediaPipe's networks, on a drawn mesh of the resting hand: where, how it is turned, which side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.inference.conftest import HAND_SIDE, drawn_hand
from tore.detection import Detection, Found, HandPlacer, PalmDetector, find
from tore_runtime.crop import Crop, upright_hand
from tore_runtime.detector import ELBOW, SHOULDER, WRIST
from tore_runtime.hands import (
    GIVEN,
    HandsOfPeople,
    PlacedHands,
    found_hands,
    has_joints,
    upright_crop,
    upright_detections,
)

__all__ = ["drawn_hand"]  # a fixture


@pytest.fixture(scope="module")
def placer() -> HandPlacer:
    return HandPlacer()


def box_of(points: np.ndarray) -> tuple[float, float, float, float]:
    low, high = points.min(0), points.max(0)
    return (*low.tolist(), *(high - low).tolist())


def square(points: np.ndarray) -> Crop:
    x, y, width, height = box_of(points)
    return Crop((x + width / 2, y + height / 2), 1.6 * max(width, height))


VIEWS = {  # of the image, and of its points
    "as it is": (lambda image: image, lambda points: points),
    "quarter": (lambda image: np.rot90(image, 1), lambda points: np.stack([points[:, 1], HAND_SIDE - points[:, 0]], 1)),
    "mirrored": (lambda image: image[:, ::-1], lambda points: np.array([HAND_SIDE, 0]) + points * [-1, 1]),
}


@pytest.mark.parametrize("view", VIEWS)
def test_turn_and_side_are_found(drawn_hand: tuple[np.ndarray, np.ndarray], placer: HandPlacer, view: str) -> None:
    """However the image is turned, the hand stands upright in its crop, and its mirror image is a left hand."""
    change, move = VIEWS[view]
    image, points = np.ascontiguousarray(change(drawn_hand[0])), move(drawn_hand[1])
    hands = placer.turned(image, [square(points)])
    expected = upright_hand(points)
    assert hands.presence[0] > 0.8 and bool(hands.left[0]) == (view == "mirrored")
    assert abs((hands.rotations[0] - expected.rotation + 180) % 360 - 180) < 20
    assert np.linalg.norm(hands.joints[0, :, :2] - points, axis=1).mean() < 0.12 * max(box_of(points)[2:])
    assert (hands.joints[0, :, 2] == hands.presence[0]).all()


def test_palms_are_found_with_joints_and_side(drawn_hand: tuple[np.ndarray, np.ndarray]) -> None:
    image, points = drawn_hand
    detector, both = PalmDetector(), np.concatenate([image, image[:, ::-1]], 1)
    hands = find(detector, both, hands=True)
    assert sorted(hand.left for hand in hands) == [False, True] and all(has_joints(hand) for hand in hands)
    right = next(hand for hand in hands if not hand.left)
    assert right.detector == "mediapipe" and right.score > 0.5
    assert np.linalg.norm(right.keypoints[:, :2] - points, axis=1).mean() < 0.12 * max(box_of(points)[2:])
    np.testing.assert_allclose(right.box, box_of(right.keypoints[:, :2]))
    with pytest.raises(ValueError, match="mediapipe finds hands, not people"):
        find(detector, both)


def test_no_hand_in_noise() -> None:
    noise = np.random.RandomState(0).randint(0, 255, (100, 160, 3)).astype(np.uint8)
    found = PalmDetector()([noise])[0]
    assert found.boxes.shape == (0, 4) and found.keypoints.shape == (0, 21, 3) and found.left.shape == (0,)


class OnePerson:
    """Finds somebody whose right wrist is the hand's, and whose left one lies where nothing is."""

    name = "known"

    def __init__(self, wrist: np.ndarray, fingers: np.ndarray) -> None:
        keypoints = np.zeros((1, 17, 3))
        length = (fingers - wrist) * 1.4  # a forearm beside a hand
        for places, point in ((WRIST, wrist), (ELBOW, wrist - length), (SHOULDER, wrist - 2 * length)):
            keypoints[0, places[1]] = [*point, 0.9]
        keypoints[0, WRIST[0]], keypoints[0, ELBOW[0]] = [8, 8, 0.9], [8, 30, 0.9]
        self.found = Found(np.array([[0.0, 0, HAND_SIDE, HAND_SIDE]]), np.array([0.8]), keypoints)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        return [self.found for _ in images]


def test_wrists_without_a_hand_are_left_out(drawn_hand: tuple[np.ndarray, np.ndarray], placer: HandPlacer) -> None:
    image, points = drawn_hand
    (hand,) = find(HandsOfPeople(OnePerson(points[0], points[12]), placer), image, hands=True)
    assert hand.detector == "known" and not hand.left and has_joints(hand)
    assert np.linalg.norm(hand.keypoints[:, :2] - points, axis=1).mean() < 0.15 * max(box_of(points)[2:])


def test_given_boxes_get_joints_and_known_sides_stay(
    drawn_hand: tuple[np.ndarray, np.ndarray], placer: HandPlacer
) -> None:
    image, points = drawn_hand
    known = Detection((0, 0, 9, 9), "other", keypoints=np.ones((21, 3)), left=True)
    nothing = (2.0, 2.0, 12.0, 12.0)
    places = [box_of(points), known, nothing]
    found, same, empty = upright_detections(placer, image, places, [None, None, None])
    assert found.detector == GIVEN and has_joints(found) and not found.left and found.box == places[0]
    assert same is known or same == known
    assert empty.keypoints is None and empty.box == nothing
    (told,) = upright_detections(placer, image, places[:1], [True])
    assert told.left and has_joints(told)
    crop = upright_crop(found)
    assert crop == upright_hand(found.keypoints[:, :2])
    assert upright_crop(empty) == Crop((8, 8), 1.75 * 12, empty.rotation)


def test_one_hand_is_found_once() -> None:
    rng = np.random.RandomState(0)
    joints = np.concatenate([rng.uniform(0, 100, (1, 21, 3))] * 3)
    joints[1, :, :2] += 3
    joints[2, :, :2] += 200
    presence = np.array([0.8, 0.9, 0.7])
    hands = PlacedHands(joints, presence, np.array([False, True, False]), np.zeros(3))
    assert found_hands(hands, 0.5).scores.tolist() == [0.9, 0.7]
    assert found_hands(hands, 0.75).left.tolist() == [True]
