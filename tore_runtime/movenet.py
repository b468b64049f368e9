"""People by MoveNet: MultiPose finds them, Thunder places each one's keypoints. Whatever runs the two networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from tore_runtime.crop import Crop
from tore_runtime.detector import LIMBS, SURE, Found, overlaps, take, without_duplicates
from tore_runtime.joints import COCO_NAMES
from tore_runtime.sessions import Session

KEYPOINTS = len(COCO_NAMES)
STRIDE = 32  # MultiPose's images have sides that are multiples of it
THUNDER_SIZE = 256  # pixels
AT_ONCE = 16  # crops, in crowds
THRESHOLD = 0.25  # of MultiPose's scores
FAINT = 0.15  # ... from which somebody is a person if their limbs' keypoints score `SURE` on average
ALONE = 0.3  # intersection over union with anybody surer, from which a faint one is not looked at
FIRST_LOOK, SECOND_LOOK = 256, 512  # pixels; the longer side of the image as MultiPose is shown it
SMALL = 0.04  # of the image: the second look, which large images get, adds people whose boxes are smaller
APART = 0.1  # ... and those whose boxes overlap nobody's by so much (intersection over union)
MOST = 6  # people whom MultiPose sees at a time; where it sees so many, or `CROWD` small ones, parts are looked at
CROWD = 4
PARTS = (2.5, 3.5)  # longer sides of the parts over the median of the people's
LEAST_PART, LARGEST_PART = 0.25, 0.6  # of the image's longer side
SHARED = 0.5  # of a part: what its neighbor shows too, at least
PART_LOOK = 384  # pixels; a part's longer side as MultiPose is shown it
CUT = 0.02  # of a part's side: who comes nearer to an edge within the image is cut there, and left to the neighbor
KEYPOINT_MARGIN = 1.1  # side of Thunder's crop over the longer side of the box
# A person is looked at in three more rotations if the limbs' mean score is below the first and that of shoulders and
# hips below the second: a portrait, whose legs are not in the image, has a sure torso.
DOUBTFUL, SURE_TORSO = 0.5, 0.6
TORSO = [5, 6, 11, 12]
GAIN = 0.1  # by which a rotation must score higher than the upright crop
TURNS = (90.0, 180.0, 270.0)  # degrees
Network = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # images (B, H, W, 3) uint8 -> what is decoded, by name


def network_of(session: Session) -> Network:
    """The export of a detector as what `PeopleFinder` and `KeypointPlacer` take."""
    return lambda images: session(images.transpose(0, 3, 1, 2))


class PeopleFinder:
    """The people of an image, with keypoints.

    finder: MultiPose, gives `keypoints` (B, 6, 17, 3), `boxes` (B, 6, 4) and `scores` (B, 6), x and y in shares of the
    image's sides. threshold: of scores; unless it is given, 0.25, or 0.15 where the keypoints are sure. second_look:
    without it the image is looked at once, which finds six sure people at most. Else a large image is looked at again
    at twice the size, for small people; one in which nobody is found, closer and in three rotations; and one that is
    full, or in which several small people are found, part by part.

    A person whose keypoints are doubtful is looked at in three more rotations; the best one tells the keypoints and how
    a crop is to be rotated.
    """

    name = "movenet"

    def __init__(
        self, finder: Network, placer: KeypointPlacer, *, threshold: float | None = None, second_look: bool = True
    ) -> None:
        self.threshold, self.second_look = THRESHOLD if threshold is None else threshold, second_look
        self._least = min(FAINT, self.threshold) if second_look else self.threshold
        self._confirms = threshold is None
        self._finder, self._placer = finder, placer

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """images: each (H, W, 3) uint8 RGB. One result for each, without duplicates."""
        return [self._found(np.ascontiguousarray(image)) for image in images]

    def _found(self, image: np.ndarray) -> Found:
        found = self._look(image, FIRST_LOOK)
        if self.second_look:
            found = self._further(image, found)
            if not (found.scores >= self.threshold).any():
                found = _joined(found, self._look_again(image))
        found = without_duplicates(found)
        found = take(found, (found.scores >= self.threshold) | (_alone(found.boxes) & self._confirms))
        if not len(found.boxes):
            return found._replace(rotations=np.zeros(0))
        keypoints, rotations = self._placer(image, found.boxes)
        boxes = _holding(found.boxes, keypoints, image.shape)
        people = (found.scores >= self.threshold) | (keypoints[:, LIMBS, 2].mean(1) >= SURE)
        return without_duplicates(take(Found(boxes, found.scores, keypoints, rotations), people))

    def _further(self, image: np.ndarray, found: Found) -> Found:
        """Whom the first look found, and whom those see for which it or the size of the image gives a reason."""
        full, small = len(found.boxes) == MOST, SMALL * image.shape[0] * image.shape[1]
        if max(image.shape[:2]) >= SECOND_LOOK:
            closer = self._look(image, SECOND_LOOK)
            full = full or len(closer.boxes) == MOST
            new = (closer.boxes[:, 2:].prod(1) < small) | _apart(closer.boxes, found.boxes)
            found = without_duplicates(_joined(found, take(closer, new)))
        sure = found.boxes[found.scores >= self.threshold]
        if full or (sure[:, 2:].prod(1) < small).sum() >= CROWD:
            found = _joined(found, self._look_at_parts(image, sure))
        return found

    def _look_at_parts(self, image: np.ndarray, boxes: np.ndarray) -> Found:
        """Whom MultiPose sees in parts that fit people with such boxes (N, 4), but nobody whom an edge cuts."""
        found = []
        for left, top, right, bottom in parts_of(image.shape, boxes):
            seen = self._look(np.ascontiguousarray(image[top:bottom, left:right]), PART_LOOK)
            found.append(_moved(take(seen, _whole(seen.boxes, (left, top, right, bottom), image.shape)), left, top))
        return _joined(*found)

    def _look_again(self, image: np.ndarray) -> Found:
        """Whom MultiPose sees in an image in which it saw nobody: closer, if it has not been, or turned."""
        found = self._look(image, SECOND_LOOK)
        for quarters in range(1, 4):
            turned = self._look(np.ascontiguousarray(np.rot90(image, quarters)), FIRST_LOOK)
            found = _joined(found, turned_back(turned, quarters, image.shape))
        return found

    def _look(self, image: np.ndarray, longer: int) -> Found:
        """Whom MultiPose sees in the image shrunk or enlarged to a longer side."""
        height, width = image.shape[:2]
        factor = longer / max(height, width)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        padded = np.zeros((*(-(-side // STRIDE) * STRIDE for side in size[::-1]), 3), np.uint8)
        padded[: size[1], : size[0]] = shown
        people = self._finder(padded[None])
        scale = np.array([padded.shape[1] * width / size[0], padded.shape[0] * height / size[1]])
        corners = people["boxes"][0].reshape(-1, 2, 2) * scale
        corners = np.minimum(corners, [width, height])
        boxes = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], 1)
        keypoints = people["keypoints"][0] * [*scale, 1.0]
        scores = people["scores"][0].astype(np.float64)
        return take(Found(boxes, scores, keypoints), (scores >= self._least) & (boxes[:, 2:] > 0).all(1))


class KeypointPlacer:
    """Keypoints of people whose boxes are known, by MoveNet Thunder.

    network: gives `keypoints` (B, 17, 3) of images of 256 x 256, x and y in shares of the sides.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """image (H, W, 3) uint8 RGB, boxes (N, 4) x, y, width, height in pixels, N at least 1.

        Returns keypoints (N, 17, 3), x and y in pixels, score; and by how many degrees each person's crop was rotated
        to place them (N,), 0 unless that gave surer ones.
        """
        crops = [_square(box) for box in boxes]
        keypoints, rotations = self._keypoints(image, crops), np.zeros(len(boxes))
        scores = keypoints[..., 2]
        doubtful = np.nonzero((scores[:, LIMBS].mean(1) < DOUBTFUL) & (scores[:, TORSO].mean(1) < SURE_TORSO))[0]
        if not len(doubtful):
            return keypoints, rotations
        turned = [Crop(crops[index].center, crops[index].size, turn) for index in doubtful for turn in TURNS]
        others = self._keypoints(image, turned).reshape(len(doubtful), len(TURNS), KEYPOINTS, 3)
        for index, tries in zip(doubtful, others, strict=True):
            found = tries[:, LIMBS, 2].mean(1)
            if found.max() > keypoints[index, LIMBS, 2].mean() + GAIN:
                keypoints[index], rotations[index] = tries[found.argmax()], TURNS[found.argmax()]
        return keypoints, rotations

    def _keypoints(self, image: np.ndarray, crops: Sequence[Crop]) -> np.ndarray:
        """Thunder's keypoints (N, 17, 3) of crops, x and y in pixels of the image."""
        placed = np.concatenate(
            [
                self._network(np.stack([cut(image, crop, THUNDER_SIZE) for crop in crops[first : first + AT_ONCE]]))[
                    "keypoints"
                ]
                for first in range(0, len(crops), AT_ONCE)
            ]
        ).astype(np.float64)
        points = [crop.to_image(2 * own[:, :2] - 1) for crop, own in zip(crops, placed, strict=True)]
        return np.concatenate([np.stack(points), placed[..., 2:]], -1)


def cut(image: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """The crop (size, size, 3) uint8 of an image, smoothed where it shrinks; what lies beyond the image is black."""
    factor = size / crop.size
    if 1 / min(image.shape[:2]) < 2 * factor < 1:  # shrunk as a whole first: interpolation then passes over no pixel
        image = cv2.resize(image, None, fx=2 * factor, fy=2 * factor, interpolation=cv2.INTER_AREA)
        crop = Crop((crop.center[0] * 2 * factor, crop.center[1] * 2 * factor), 2.0 * size, crop.rotation)
    matrix = crop.matrix(size)[:2]
    matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5  # OpenCV's pixels have their middles at whole numbers
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _square(box: np.ndarray) -> Crop:
    return Crop((box[0] + box[2] / 2, box[1] + box[3] / 2), KEYPOINT_MARGIN * float(max(box[2:])))


def _joined(*several: Found) -> Found:
    keypoints = [found.keypoints for found in several if found.keypoints is not None]
    boxes, scores = ([getattr(found, name) for found in several] for name in ("boxes", "scores"))
    return Found(np.concatenate(boxes), np.concatenate(scores), np.concatenate(keypoints))


def _apart(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) which boxes (N, 4) overlap none of the others (M, 4)."""
    return np.array([overlaps(box, others).max(initial=0) < APART for box in boxes], bool)


def _alone(boxes: np.ndarray) -> np.ndarray:
    """(N,) which of the boxes (N, 4), the surest first, hardly overlap a surer one."""
    return np.array([overlaps(box, boxes[:index]).max(initial=0) < ALONE for index, box in enumerate(boxes)], bool)


def parts_of(shape: Sequence[int], boxes: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of the parts of an image (height, width, ...), row by row, the small ones first.

    Parts have the image's shape and a size that fits people with boxes such as these (N, 4), N may be 0. They cover the
    image; neighbors of a row or column share half of a part or more.
    """
    person = np.median(boxes[:, 2:].max(1)) / max(shape[:2]) if len(boxes) else 1.0
    parts = []
    for share in sorted({float(np.clip(times * person, LEAST_PART, LARGEST_PART)) for times in PARTS}):
        steps = int(np.ceil((1 - share) / (share * (1 - SHARED))))
        high, wide = (int(np.ceil(share * length)) for length in shape[:2])
        rows = [(shape[0] - high) * step // steps for step in range(steps + 1)]
        columns = [(shape[1] - wide) * step // steps for step in range(steps + 1)]
        parts += [(left, top, left + wide, top + high) for top in rows for left in columns]
    return parts


def _moved(found: Found, left: int, top: int) -> Found:
    """What was found in a part of an image, in the pixels of the image."""
    assert found.keypoints is not None
    return found._replace(boxes=found.boxes + [left, top, 0, 0], keypoints=found.keypoints + [left, top, 0])


def _whole(boxes: np.ndarray, part: tuple[int, int, int, int], shape: Sequence[int]) -> np.ndarray:
    """(N,) which boxes (N, 4), in pixels of the part, are not cut by those of its edges that lie within the image."""
    left, top, right, bottom = part
    wide, high = right - left, bottom - top
    inner = np.array([left > 0, top > 0, right < shape[1], bottom < shape[0]])
    ends = boxes[:, :2] + boxes[:, 2:]
    rooms = np.concatenate([boxes[:, :2] / [wide, high], 1 - ends / [wide, high]], 1)  # (N, 4), shares of the sides
    return ~((rooms < CUT) & inner).any(1)


def turned_back(found: Found, quarters: int, shape: Sequence[int]) -> Found:
    """What was found in `np.rot90(image, quarters)`, in the pixels of the image of this shape (height, width, ...)."""
    assert found.keypoints is not None
    size = np.array([shape[1], shape[0]] if quarters % 2 == 0 else [shape[0], shape[1]], float)  # of the turned image
    corners = np.stack([found.boxes[:, :2], found.boxes[:, :2] + found.boxes[:, 2:]], 1)  # (N, 2, 2)
    keypoints = found.keypoints.copy()
    for _ in range(quarters):  # each quarter back
        corners, keypoints[..., :2] = (
            np.stack([size[1] - points[..., 1], points[..., 0]], -1) for points in (corners, keypoints[..., :2])
        )
        size = size[::-1]
    low, high = corners.min(1), corners.max(1)
    return Found(np.concatenate([low, high - low], 1), found.scores, keypoints)


def _holding(boxes: np.ndarray, keypoints: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The boxes of people whose limbs are not doubtful, enlarged to hold the sure keypoints within the image's size."""
    extent = np.array(size[1::-1])
    held = []
    for box, points in zip(boxes, keypoints, strict=True):
        sure = np.clip(points[points[:, 2] > SURE, :2], 0, extent)
        trusted = sure if points[LIMBS, 2].mean() >= DOUBTFUL else sure[:0]
        corners = np.concatenate([box[None, :2], box[None, :2] + box[2:], trusted])
        held.append([*corners.min(0), *(corners.max(0) - corners.min(0))])
    return np.array(held)
