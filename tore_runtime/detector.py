"""What a detector is: from images to people, as boxes with scores and, from some detectors, keypoints.

Boxes are x, y, width, height and keypoints x, y in continuous pixels of the image, the outer corner of the upper left
pixel at (0, 0). Keypoints are COCO's 17 (`tore_runtime.joints.COCO_NAMES`), or the 21 joints of a hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from tore_runtime.joints import COCO_NAMES as KEYPOINT_NAMES

Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the image

LIMBS = slice(5, 17)  # shoulders, elbows, wrists, hips, knees, ankles
SURE = 0.3  # a keypoint that scores lower is not relied upon
SAME_BOX = 0.6  # intersection over union from which two boxes are one person's
SAME_POSE = 0.08  # ... with keypoints: their mean distance in longer sides of the box, up to which they are
WRIST, ELBOW, SHOULDER = (tuple(KEYPOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right"))
                          for name in ("wrist", "elbow", "shoulder"))  # fmt: skip
BEYOND_WRIST = 0.35  # forearms from the wrist to the center of the hand
HAND_SIZE = 0.9  # side of a hand's box over the forearm's length
SHORTENED = 0.9  # a forearm that points at the camera is taken to be this many upper arms long, at least


class Found(NamedTuple):
    """The N people of one image, or its N hands, the surest first."""

    boxes: np.ndarray  # (N, 4) x, y, width, height in pixels
    scores: np.ndarray  # (N,)
    keypoints: np.ndarray | None = None  # (N, 17 | 21, 3) x, y in pixels, score; None from detectors of boxes
    rotations: np.ndarray | None = None  # (N,) degrees by which a crop is rotated to show the person upright
    left: np.ndarray | None = None  # (N,) bool, which are left hands


class Detector(Protocol):
    """Finds people; or hands, where it has an attribute `hands` that is true. `name` says where the boxes come from."""

    name: str

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """images: each (H, W, 3) uint8 RGB. One result for each."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One person, or one hand, of an image: where, how sure, and who says so."""

    box: Box
    detector: str  # a detector's name, or the file of boxes
    score: float | None = None  # None where only the box is known
    keypoints: np.ndarray | None = None  # (17, 3) x, y in pixels, score; a hand's its person's, or (21, 3) its joints
    rotation: float = 0.0  # degrees by which a crop is rotated to show them upright
    left: bool = False  # a left hand


def find(detector: Detector, image: np.ndarray, people: int | str = "all", *, hands: bool = False) -> list[Detection]:
    """The people of one image (H, W, 3) uint8 RGB, the surest first, as many as `chosen` leaves; or their hands.

    Raises ValueError for a detector of hands where people are looked for.
    """
    finds_hands = getattr(detector, "hands", False)
    if finds_hands and not hands:
        raise ValueError(f"{detector.name} finds hands, not people; use --detector movenet")
    (found,) = detector([image])
    count = len(found.boxes)
    keypoints = [None] * count if found.keypoints is None else list(found.keypoints)
    rotations = np.zeros(count) if found.rotations is None else found.rotations
    left = np.zeros(count, bool) if found.left is None else found.left
    rows = zip(found.boxes, found.scores, keypoints, rotations, left, strict=True)
    detections = [
        Detection(as_box(box), detector.name, float(score), points, float(turn), bool(side))
        for box, score, points, turn, side in rows
    ]
    detections = chosen(detections, people)
    wanted = hands and not finds_hands
    return hands_of(detections, (image.shape[0], image.shape[1])) if wanted else detections


def as_box(numbers: np.ndarray) -> Box:
    """Four numbers as a box."""
    x, y, width, height = (float(number) for number in numbers)
    return x, y, width, height


def chosen(detections: Sequence[Detection], people: int | str) -> list[Detection]:
    """All of them, the one with the largest box, or at most so many: the surest, or the largest without scores."""
    if people == "all":
        return list(detections)
    largest = sorted(detections, key=lambda person: -person.box[2] * person.box[3])
    if people == "largest":
        return largest[:1]
    count = int(people)
    best = {id(person) for person in sorted(largest, key=lambda person: -(person.score or 0.0))[:count]}
    return [person for person in detections if id(person) in best]


def people_wanted(text: str) -> int | str:
    """What `--people` says: all, largest or a number. ValueError for anything else."""
    if text in ("all", "largest"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is neither all nor largest nor a number of people such as 2")
    return int(text)


def without_duplicates(found: Found) -> Found:
    """Sorted, the surest first, without those who are somebody surer once more.

    Two are one person if their boxes overlap by `SAME_BOX`; where keypoints say how they stand, if those agree.
    """
    kept: list[int] = []
    for index in np.argsort(-found.scores, kind="stable"):
        if not any(_same(found, index, other) for other in kept):
            kept.append(int(index))
    return take(found, np.array(kept, np.int64))


def take(found: Found, which: np.ndarray) -> Found:
    """Some of the people: indices, or a mask (N,)."""
    keypoints = None if found.keypoints is None else found.keypoints[which]
    rotations = None if found.rotations is None else found.rotations[which]
    left = None if found.left is None else found.left[which]
    return Found(found.boxes[which], found.scores[which], keypoints, rotations, left)


def _same(found: Found, one: int, other: int) -> bool:
    overlap = overlaps(found.boxes[one], found.boxes[other][None])[0]
    if found.keypoints is None:
        return bool(overlap > SAME_BOX)
    first, second = found.keypoints[one], found.keypoints[other]
    sure = np.minimum(first[LIMBS, 2], second[LIMBS, 2]) > SURE
    if sure.sum() < 2:
        return bool(overlap > SAME_BOX)
    distance = np.linalg.norm(first[LIMBS, :2] - second[LIMBS, :2], axis=1)[sure].mean()
    return bool(distance < SAME_POSE * min(found.boxes[one, 2:].max(), found.boxes[other, 2:].max()))


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of a box (4,) with others (N, 4), all x, y, width, height."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(1)
    return shared / np.maximum(box[2:].prod() + boxes[:, 2:].prod(1) - shared, 1e-9)


def hands_of(people: Sequence[Detection], image_size: tuple[int, int]) -> list[Detection]:
    """The hands of people with keypoints whose wrist and elbow are sure: a box beyond each wrist, with its side.

    The box is square, about the point 0.35 forearms beyond the wrist. image_size: height, width; a hand whose middle
    lies beyond the image is left out. Raises ValueError for people without keypoints.
    """
    hands = []
    for person in people:
        if person.keypoints is None:
            raise ValueError(f"{person.detector} finds no keypoints, from which hands follow; use --detector movenet")
        for left, places in enumerate(zip(WRIST, ELBOW, SHOULDER, strict=True)):
            wrist, elbow, shoulder = person.keypoints[list(places)]
            if min(wrist[2], elbow[2]) < SURE:
                continue
            center = wrist[:2] + BEYOND_WRIST * (wrist[:2] - elbow[:2])
            if not ((center >= 0) & (center < image_size[::-1])).all():
                continue
            upper = np.linalg.norm(elbow[:2] - shoulder[:2]) if shoulder[2] >= SURE else 0.0
            side = HAND_SIZE * max(np.linalg.norm(wrist[:2] - elbow[:2]), SHORTENED * upper, 1.0)
            box = as_box(np.array([*(center - side / 2), side, side]))
            score = float(min(wrist[2], elbow[2]))
            hands.append(replace(person, box=box, score=score, left=left == 0, rotation=0.0))
    return hands
