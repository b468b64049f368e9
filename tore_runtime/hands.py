"""Hands: MediaPipe's hand landmarks, and hands of people whose wrists are known. Whatever runs the networks.

A hand is looked at in a crop in which it stands upright (`tore_runtime.crop.upright_hand`). A palm's keypoints tell
the turn; where only a box is known, it is found: of four, the one in which the landmark network is surest that it sees
a hand, and then the one that its joints tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tore_runtime.crop import UPRIGHT_MARGIN, Crop, rotate_xy, upright_hand
from tore_runtime.detector import Box, Detection, Detector, Found, find, overlaps, take
from tore_runtime.joints import HAND_NAMES
from tore_runtime.movenet import TURNS, cut

HAND_JOINTS = len(HAND_NAMES)
HAND_SIZE, PALM_SIZE = 224, 256  # pixels; sides of the networks' images
PALM_WRIST, PALM_KNUCKLE = 0, 2  # of a palm's keypoints: wrist, knuckle of the middle finger
THRESHOLD = 0.5  # of the presence of a hand
PALM_THRESHOLD = 0.5  # of palms
SAME_PALM = 0.3  # intersection over union from which two palms are one
SAME_HAND = 0.2  # mean distance of the joints, in sides of the box around them, up to which two hands are one
SEARCH_MARGIN = 1.6  # side of the crop in which the turn is looked for, over the longer side of the box
PALM_MARGIN, PALM_SHIFT = 2.6, 0.5  # MediaPipe's: side of the crop over the palm's, and how far it moves to the fingers
Network = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # images (B, H, W, 3) uint8 -> what is decoded, by name
GIVEN = ""  # in the place of a detector's name, for a box that was given


class PlacedHands(NamedTuple):
    """The N hands of one image, each as it is seen in its last crop."""

    joints: np.ndarray  # (N, 21, 3) x, y in pixels of the image, presence
    presence: np.ndarray  # (N,) probability that a hand is there
    left: np.ndarray  # (N,) bool
    rotations: np.ndarray  # (N,) degrees of the last crop


class HandPlacer:
    """Joints, side and turn of hands that are somewhere in known squares, by MediaPipe's hand landmarks.

    network: of images of 224 x 224, gives `joints` (B, 21, 2 or more), x and y in shares of the sides, `presence` (B,)
    and `right` (B,), the probabilities that a hand is there and that it is a right one.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def look(self, image: np.ndarray, crops: Sequence[Crop]) -> PlacedHands:
        """What is seen in crops of an image (H, W, 3) uint8 RGB, one pass for each."""
        if not crops:
            return PlacedHands(np.zeros((0, HAND_JOINTS, 3)), np.zeros(0), np.zeros(0, bool), np.zeros(0))
        shown = np.stack([cut(image, crop, HAND_SIZE) for crop in crops])
        said = self._network(shown)
        places, presence = said["joints"][..., :2].astype(np.float64), said["presence"].astype(np.float64)
        points = np.stack([crop.to_image(2 * own - 1) for crop, own in zip(crops, places, strict=True)])
        scores = np.broadcast_to(presence[:, None, None], (*points.shape[:2], 1))
        left = said["right"] < 0.5
        return PlacedHands(np.concatenate([points, scores], -1), presence, left, np.array([c.rotation for c in crops]))

    def again(self, image: np.ndarray, hands: PlacedHands) -> PlacedHands:
        """A second look, in the crops in which the joints of the first stand upright."""
        return self.look(image, [upright_hand(joints[:, :2]) for joints in hands.joints])

    def turned(self, image: np.ndarray, squares: Sequence[Crop]) -> PlacedHands:
        """Hands in squares whose turn is not known: five passes for each."""
        turns = (0.0, *TURNS)
        every = [replace(crop, rotation=crop.rotation + turn) for crop in squares for turn in turns]
        seen = self.look(image, every)
        best = seen.presence.reshape(-1, len(turns)).argmax(1) + len(turns) * np.arange(len(squares))
        return self.again(image, PlacedHands(*(values[best] for values in seen)))


def upright_detections(
    placer: HandPlacer, image: np.ndarray, places: Sequence[Box | Detection], sides: Sequence[bool | None]
) -> list[Detection]:
    """Given boxes and detections with joints, side and turn, in their order; those that have joints stay as they are.

    sides: which are left hands, None where the network is to say it. Where no hand is seen in a box, its joints are
    left out; the turn is that of the last look all the same.
    """
    known = [as_detection(place) for place in places]
    asked = [index for index, detection in enumerate(known) if not has_joints(detection)]
    hands = placer.turned(image, [_square(known[index].box) for index in asked])
    for number, index in enumerate(asked):
        seen = hands.presence[number] >= THRESHOLD
        joints = hands.joints[number] if seen else None
        side = bool(hands.left[number])
        rotation = float(hands.rotations[number])
        known[index] = replace(known[index], keypoints=joints, left=side, rotation=rotation)
    return [one if side is None else replace(one, left=side) for one, side in zip(known, sides, strict=True)]


def as_detection(place: Box | Detection) -> Detection:
    """A given box as what a detector would have told."""
    return place if isinstance(place, Detection) else Detection(place, GIVEN)


def upright_crop(detection: Detection, margin: float = UPRIGHT_MARGIN) -> Crop:
    """The crop in which a detected hand stands upright: by its joints, else about its box, in its rotation.

    margin: the crop's side over the longer side of the box around the joints, or of the detection's own.
    """
    if has_joints(detection):
        assert detection.keypoints is not None
        return upright_hand(detection.keypoints[:, :2], margin)
    x, y, width, height = detection.box
    return Crop((x + width / 2, y + height / 2), margin * max(width, height), detection.rotation)


def has_joints(detection: Detection) -> bool:
    """Whether its keypoints are a hand's own 21 joints."""
    return detection.keypoints is not None and len(detection.keypoints) == HAND_JOINTS


class HandFinder:
    """Hands by MediaPipe's palm finder, with joints, side and turn by its landmarks.

    finder: of images of 256 x 256, gives `scores` (B, N), `boxes` (B, N, 4), center x, y, width, height, and
    `keypoints` (B, N, 7, 2), in shares of the sides. threshold: of the presence of a hand.
    """

    name = "mediapipe"
    hands = True

    def __init__(self, finder: Network, placer: HandPlacer, *, threshold: float = THRESHOLD) -> None:
        self.threshold, self._finder, self.placer = threshold, finder, placer

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """images: each (H, W, 3) uint8 RGB. One result for each, without duplicates."""
        return [self._found(np.ascontiguousarray(image)) for image in images]

    def _found(self, image: np.ndarray) -> Found:
        seen = self.placer.look(image, self.palms(image))
        sure = seen.presence >= self.threshold
        return found_hands(self.placer.again(image, PlacedHands(*(values[sure] for values in seen))), self.threshold)

    def palms(self, image: np.ndarray) -> list[Crop]:
        """The crops of MediaPipe about the palms of an image, each with the hand upright."""
        height, width = image.shape[:2]
        whole = Crop((width / 2, height / 2), max(height, width))
        palms = self._finder(cut(image, whole, PALM_SIZE)[None])
        sure = np.flatnonzero(palms["scores"][0] >= PALM_THRESHOLD)
        order = sure[np.argsort(-palms["scores"][0][sure], kind="stable")]
        boxes, keypoints = (palms[name][0].astype(np.float64)[order] for name in ("boxes", "keypoints"))
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], 1)
        kept: list[int] = []
        for index in range(len(corners)):
            if not kept or overlaps(corners[index], corners[kept]).max() < SAME_PALM:
                kept.append(index)
        return [_crop_of_palm(whole, boxes[index], keypoints[index]) for index in kept]


def _crop_of_palm(whole: Crop, box: np.ndarray, keypoints: np.ndarray) -> Crop:
    """box: (4,) center and size, keypoints (7, 2), in shares of the whole's sides."""
    side = float(box[2:].max()) * whole.size
    along = keypoints[PALM_KNUCKLE] - keypoints[PALM_WRIST]
    rotation = float(np.degrees(np.arctan2(along[0], -along[1])))
    x, y = whole.to_image(2 * box[:2] - 1) + rotate_xy(np.array([0.0, -PALM_SHIFT * side]), rotation)
    return Crop((x, y), PALM_MARGIN * side, rotation)


class HandsOfPeople:
    """Hands beyond the wrists of the people whom another detector finds, where the landmarks see one."""

    hands = True

    def __init__(self, people: Detector, placer: HandPlacer, threshold: float = THRESHOLD) -> None:
        """`people` must give keypoints. threshold: of the presence of a hand."""
        self.people, self.placer, self.threshold = people, placer, threshold
        self.name = people.name

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """images: each (H, W, 3) uint8 RGB. ValueError for a detector that gives no keypoints."""
        found = []
        for image in images:
            squares = [_square(hand.box) for hand in find(self.people, image, hands=True)]
            found.append(found_hands(self.placer.turned(image, squares), self.threshold))
        return found


def found_hands(hands: PlacedHands, threshold: float) -> Found:
    """Those of at least a presence, the surest first, none of them twice; with boxes around their joints."""
    points = hands.joints[..., :2]
    low, high = points.min(1), points.max(1)
    boxes = np.concatenate([low, high - low], 1)
    kept: list[int] = []
    for index in np.argsort(-hands.presence, kind="stable"):
        near = [np.linalg.norm(points[index] - points[other], axis=1).mean() for other in kept]
        same = any(distance < SAME_HAND * boxes[index, 2:].max() for distance in near)
        if hands.presence[index] >= threshold and not same:
            kept.append(int(index))
    return take(Found(boxes, hands.presence, hands.joints, hands.rotations, hands.left), np.array(kept, np.int64))


def _square(box: Box) -> Crop:
    x, y, width, height = box
    return Crop((x + width / 2, y + height / 2), SEARCH_MARGIN * max(width, height))
