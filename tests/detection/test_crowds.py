"""Who is found in full images, and at what price: with networks that know where people stand, as colored boxes."""

from __future__ import annotations

import numpy as np
import pytest

from tore_runtime.detector import overlaps
from tore_runtime.movenet import AT_ONCE, MOST, PARTS, KeypointPlacer, PeopleFinder, parts_of

VISIBLE = 16  # pixels of an image that is shown; who is less high is not seen
POSE = np.random.default_rng(0).uniform(0.1, 0.9, (17, 2))  # in shares of a person's box
Person = tuple[int, int, int, int]  # x, y, width, height


def painted(shape: tuple[int, int], people: list[Person]) -> np.ndarray:
    """An image with a box for each person, who is told by its red level."""
    image = np.zeros((*shape, 3), np.uint8)
    for index, (x, y, width, height) in enumerate(people):
        image[y : y + height, x : x + width] = (5 * index, 255, 0)
    return image


def seen(image: np.ndarray) -> dict[int, tuple[float, float, float, float]]:
    """Left, top, right and bottom of each person in an image that is shown, in its pixels."""
    found = {}
    rows, columns = np.nonzero(image[..., 1] > 250)
    reds = image[rows, columns, 0].astype(int)
    for red in np.unique(reds[reds % 5 == 0]):
        own = np.abs(reds - red) < 2
        low, high = np.array([columns[own].min(), rows[own].min()]), np.array([columns[own].max(), rows[own].max()]) + 1
        if high[1] - low[1] >= VISIBLE:
            found[int(red) // 5] = (*low, *high)
    return found


class Oracle:
    """Both networks. scores: of the people, as MultiPose's. sureness: of their keypoints, as Thunder's."""

    def __init__(self, scores: list[float], sureness: list[float] | None = None) -> None:
        self.scores, self.sureness = scores, sureness or [0.9] * len(scores)
        self.looks: list[tuple[int, ...]] = []
        self.placed: list[int] = []

    def find(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """MultiPose: the six whom it is surest of."""
        self.looks.append(images.shape[1:3])
        size = np.array([images.shape[2], images.shape[1]])
        people = sorted(seen(images[0]).items(), key=lambda person: -self.scores[person[0]])[:MOST]
        boxes, keypoints, scores = np.zeros((1, MOST, 4)), np.zeros((1, MOST, 17, 3)), np.zeros((1, MOST))
        for place, (index, corners) in enumerate(people):
            low, high = np.array(corners[:2]), np.array(corners[2:])
            boxes[0, place] = np.concatenate([low / size, high / size])
            keypoints[0, place] = np.c_[(low + POSE * (high - low)) / size, np.full(17, 0.8)]
            scores[0, place] = self.scores[index]
        return {"boxes": boxes, "keypoints": keypoints, "scores": scores}

    def place(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Thunder: the person at the middle."""
        self.placed.append(len(images))
        keypoints = np.zeros((len(images), 17, 3))
        for row, image in enumerate(images):
            red, green, _ = image[128, 128].astype(int)
            if green > 250:
                index = round(red / 5)
                low, high = np.array(seen(image)[index]).reshape(2, 2)
                keypoints[row] = np.c_[(low + POSE * (high - low)) / 256, np.full(17, self.sureness[index])]
        return {"keypoints": keypoints}

    def finder(self, **options: float) -> PeopleFinder:
        """With these two networks."""
        return PeopleFinder(self.find, KeypointPlacer(self.place), **options)


def rows_of(count: int, width: int, height: int, columns: int) -> list[Person]:
    """People side by side, none at a round place."""
    return [(23 + index % columns * (width + 37), 17 + index // columns * (height + 41), width, height)
            for index in range(count)]  # fmt: skip


def assert_each_once(people: list[Person], boxes: np.ndarray) -> None:
    assert len(boxes) == len(people)
    for person in people:
        assert overlaps(np.array(person, float), boxes).max() > 0.85


@pytest.mark.parametrize(
    ("shape", "people"),
    [
        ((600, 900), rows_of(21, 80, 150, 7)),
        ((600, 900), rows_of(36, 55, 90, 9)),
        ((900, 500), rows_of(12, 70, 200, 4)),
        ((330, 400), rows_of(12, 50, 66, 4)),  # no second look: it is full at first
        ((1200, 1800), rows_of(5, 90, 130, 5)),  # five small ones are not full
    ],
)
def test_all_people_of_a_full_image_are_found_once(shape: tuple[int, int], people: list[Person]) -> None:
    oracle = Oracle([0.9 - 0.01 * index for index in range(len(people))])
    image = painted(shape, people)
    assert_each_once(people, oracle.finder()([image])[0].boxes)
    assert len(oracle.looks) > 2 and max(oracle.placed) <= AT_ONCE
    assert len(oracle.finder(second_look=False)([image])[0].boxes) <= MOST


def test_few_people_cost_no_further_looks() -> None:
    """As many looks as the size of the image asks for; nobody at all asks for more."""
    for shape, person, looks in [
        ((300, 400), (90, 40, 120, 220), [256]),
        ((600, 800), (190, 80, 240, 440), [256, 512]),
        ((600, 800), None, [256, 512, 512, 256, 256, 256]),
    ]:
        oracle = Oracle([0.6])
        found = oracle.finder()([painted(shape, [person] if person else [])])[0]
        assert len(found.boxes) == (person is not None)
        assert [max(sides) for sides in oracle.looks] == looks


def test_sure_keypoints_make_people_of_faint_ones() -> None:
    people = rows_of(4, 90, 200, 4)
    image = painted((300, 500), people)
    oracle = Oracle([0.6, 0.2, 0.2, 0.1], [0.9, 0.6, 0.1, 0.9])
    assert_each_once(people[:2], oracle.finder()([image])[0].boxes)
    for options in ({"threshold": 0.25}, {"second_look": False}):
        assert_each_once(people[:1], oracle.finder(**options)([image])[0].boxes)
    assert_each_once(people[:3], oracle.finder(threshold=0.18)([image])[0].boxes)


def test_a_faint_one_in_somebody_else_is_not_looked_at() -> None:
    oracle = Oracle([0.6, 0.2])
    image = painted((300, 400), [(50, 40, 120, 220), (60, 60, 100, 170)])
    assert len(oracle.finder()([image])[0].boxes) == 1 and sum(oracle.placed) == 1


def test_doubtful_keypoints_do_not_enlarge_a_box() -> None:
    beyond = np.array([[1.4, 0.5]]) - POSE[5]
    for sureness, wider in ((0.45, False), (0.6, True)):
        oracle = Oracle([0.6], [sureness])
        placer = KeypointPlacer(oracle.place)
        keypoints = placer(painted((300, 400), [(150, 40, 100, 220)]), np.array([[150.0, 40, 100, 220]]))[0]
        keypoints[0, 5, :2] += beyond[0] * [100, 220]
        finder = PeopleFinder(oracle.find, lambda image, boxes, of=keypoints: (of, np.zeros(1)))
        (box,) = finder([painted((300, 400), [(150, 40, 100, 220)])])[0].boxes
        assert (box[2] > 130) == wider


@pytest.mark.parametrize("shape", [(600, 900), (901, 333), (64, 64)])
def test_parts_hold_everybody_they_are_made_for(shape: tuple[int, int]) -> None:
    """Wherever somebody of the median size stands, a part of each size shows them whole."""
    longer = max(shape)
    boxes = np.array([[0, 0, 0.05, 0.14], [0, 0, 0.04, 0.12], [0, 0, 0.2, 0.3]]) * longer
    parts = np.array(parts_of(shape, boxes))
    assert len(parts) == len(set(map(tuple, parts.tolist())))
    assert (parts[:, :2] >= 0).all() and (parts[:, 2:] <= [shape[1], shape[0]]).all()
    draw = np.random.default_rng(1)
    for width in sorted({right - left for left, _, right, _ in parts.tolist()}):
        same = parts[parts[:, 2] - parts[:, 0] == width]
        reach = 0.45 * (same[0, 2:] - same[0, :2])  # of those who fit half a part
        for low in draw.uniform(0, np.array([shape[1], shape[0]]) - reach, (200, 2)):
            assert ((same[:, :2] <= low) & (low + reach <= same[:, 2:])).all(1).any()
    wide = np.unique(parts[:, 2] - parts[:, 0])
    np.testing.assert_allclose(wide / shape[1], [times * 0.14 for times in PARTS], atol=1.5 / shape[1])
    assert len(parts_of(shape, np.zeros((0, 4)))) == 9, "of the largest size where nobody is sure"
