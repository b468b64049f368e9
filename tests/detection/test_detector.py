"""Detectors of any kind: who is chosen, who is somebody once more, where hands are, and functions of the user's."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.detection import measure
from tore.detection import Detection, Found, detector_of, find, hands_of, people_wanted
from tore_runtime.detector import ELBOW, SHOULDER, WRIST, chosen, overlaps, without_duplicates

IMAGE = np.zeros((100, 200, 3), np.uint8)
BOXES = np.array([[10.0, 10, 30, 60], [100, 5, 60, 90], [60, 20, 10, 20]])


def standing(x: float, y: float, score: float = 0.9) -> np.ndarray:
    """(17, 3) keypoints: elbows 20 pixels below the shoulders, wrists 20 below those, the left side to the right."""
    points = np.array([[x, y, score]] * 17)
    for side, sign in enumerate((1, -1)):
        for places, below in ((SHOULDER, 0), (ELBOW, 20), (WRIST, 40)):
            points[places[side], :2] = x + 10 * sign, y + below
    return points


class Known:
    """Finds what it is told."""

    name = "known"

    def __init__(self, found: Found) -> None:
        self.found = found

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        return [self.found for _ in images]


def test_find_tells_box_score_keypoints_and_source() -> None:
    found = Found(BOXES, np.array([0.9, 0.8, 0.7]), np.stack([standing(20, 30)] * 3), np.array([0.0, 180, 0]))
    people = find(Known(found), IMAGE)
    assert [person.box for person in people] == [tuple(box) for box in BOXES]
    assert [person.score for person in people] == [0.9, 0.8, 0.7] and people[1].rotation == 180
    assert all(person.detector == "known" and person.keypoints.shape == (17, 3) for person in people)


@pytest.mark.parametrize(
    ("people", "numbers"), [("all", [0, 1, 2]), ("largest", [1]), (1, [0]), (2, [0, 1]), (9, [0, 1, 2])]
)
def test_who_is_chosen(people: int | str, numbers: list[int]) -> None:
    found = Known(Found(BOXES, np.array([0.9, 0.8, 0.7])))
    assert [person.box for person in find(found, IMAGE, people)] == [tuple(BOXES[number]) for number in numbers]


def test_without_scores_the_largest_are_chosen() -> None:
    people = [Detection(tuple(box), "boxes.json") for box in BOXES.tolist()]
    assert chosen(people, 2) == people[:2]
    assert chosen(people[::-1], 1) == [people[1]]


@pytest.mark.parametrize("text", ["none", "0", "-1", "1.5", ""])
def test_numbers_of_people_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match="neither all nor largest"):
        people_wanted(text)
    assert people_wanted("largest") == "largest" and people_wanted("3") == 3


def test_overlaps_by_counting_pixels() -> None:
    masks = []
    for x, y, width, height in [(2, 3, 10, 6), (5, 5, 10, 10), (20, 20, 3, 3)]:
        mask = np.zeros((40, 40), bool)
        mask[y : y + height, x : x + width] = True
        masks.append(mask)
    counted = [(masks[0] & other).sum() / (masks[0] | other).sum() for other in masks[1:]]
    boxes = np.array([[5.0, 5, 10, 10], [20, 20, 3, 3]])
    np.testing.assert_allclose(overlaps(np.array([2.0, 3, 10, 6]), boxes), counted)


def test_duplicates_go_by_keypoints_where_they_are_known() -> None:
    boxes, scores = np.array([[0.0, 0, 50, 90], [2, 0, 50, 90], [100, 0, 50, 90]]), np.array([0.5, 0.9, 0.3])
    alone = without_duplicates(Found(boxes, scores))
    assert alone.scores.tolist() == [0.9, 0.3]  # the surer one of two boxes that overlap
    people = np.stack([standing(10, 20), standing(40, 20), standing(125, 20)])
    assert len(without_duplicates(Found(boxes, scores, people)).boxes) == 3  # two people who embrace
    people[1] = people[0] + [1, 1, 0]
    assert without_duplicates(Found(boxes, scores, people)).scores.tolist() == [0.9, 0.3]
    people[:2, :, 2] = 0.1  # nothing is known of how they stand
    assert without_duplicates(Found(boxes, scores, people)).scores.tolist() == [0.9, 0.3]


def test_hands_lie_beyond_the_wrists() -> None:
    person = Detection((0, 0, 100, 100), "known", 0.9, standing(50, 20))
    left, right = hands_of([person], (200, 200))
    assert left.left and not right.left
    for hand, x in ((left, 60), (right, 40)):  # wrist at y = 60, forearm of 20 pixels
        box_x, box_y, width, height = hand.box
        assert (box_x + width / 2, box_y + height / 2) == pytest.approx((x, 67)) and width == height == 18
        assert hand.score == 0.9 and hand.detector == "known"
    person.keypoints[ELBOW[0], 2] = 0.1
    assert [hand.left for hand in hands_of([person], (200, 200))] == [False]
    assert not hands_of([person], (65, 200))  # below the image's edge
    with pytest.raises(ValueError, match="known finds no keypoints"):
        hands_of([Detection((0, 0, 9, 9), "known")], (9, 9))


def test_a_function_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = """
        import numpy as np
        def two(images):
            return [(np.array([[0, 0, 5, 5], [1, 2, 30, 40]]), np.array([0.2, 0.9])) for _ in images]
        def nobody(images):
            return [([], [], None) for _ in images]
        def few(images):
            return []
        def corners(images):
            return [(np.zeros((2, 5)), np.zeros(2)) for _ in images]
        def wrong(images):
            return [([[0, 0, 5, float("nan")]], [0.5]) for _ in images]
        number = 3
    """
    (tmp_path / "own_detector.py").write_text(textwrap.dedent(text))
    people = find(detector_of("own_detector:two"), IMAGE)
    assert [(person.box, person.score) for person in people] == [((1, 2, 30, 40), 0.9), ((0, 0, 5, 5), 0.2)]
    assert [person.score for person in find(detector_of("own_detector:two", threshold=0.5), IMAGE)] == [0.9]
    assert find(detector_of("own_detector:nobody"), IMAGE) == []
    for name, sentence in (("few", "gave 0 results for 1 images"), ("corners", r"gave boxes \(2, 5\)"),
                           ("wrong", "not finite")):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            find(detector_of(f"own_detector:{name}"), IMAGE)
    for name, sentence in (("own_detector:none", "has no attribute"), ("nowhere:two", "No module named"),
                           ("own_detector:number", "is int, not a function")):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            detector_of(name)
    with pytest.raises(ValueError, match="goes with movenet, mediapipe and torchvision"):
        detector_of("own_detector:two", weights="x")


def test_the_benchmark_counts_people_boxes_and_joints(tmp_path: Path) -> None:
    """Of two people one is found, whose left wrist lies 12 pixels off; one box is nobody, one somebody who is not
    counted. The torso is 50 pixels long: 10 and 25 pixels are near."""
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    points = standing(20, 30)
    points[[11, 12]] = [[30, 70, 2], [10, 70, 2]]
    points[5, :2], points[12, :2] = (40, 30), (10, 70)
    placed = points.copy()
    placed[9, 0] += 12
    people = [
        {"file": "a.png", "box": [5, 5, 40, 80], "keypoints": points.tolist(), "source": "some"},
        {"file": "a.png", "box": [150, 10, 40, 80], "source": "some"},
    ]
    content = {"people": people, "other_person_boxes": [{"file": "a.png", "box": [60, 0, 30, 40]}]}
    boxes = np.array([[6.0, 5, 40, 80], [62, 2, 20, 30], [100, 50, 20, 20]])
    counts, _ = measure(content, tmp_path, Known(Found(boxes, np.array([0.9, 0.8, 0.7]), np.stack([placed] * 3))))
    found = counts["all"]
    assert (found.people, found.found, found.large, found.wrong, found.joints) == (2, 1, 2, 1, 12)
    assert found.right == {0.2: 11, 0.5: 12} and found.told() == counts["some"].told()
