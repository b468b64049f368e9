"""People by MoveNet: MultiPose finds them, Thunder places each one's keypoints. Whatever runs the two networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from tore_runtime.crop import Crop
from tore_runtime.detector import LIMBS, SURE, Found, take, without_duplicates
from tore_runtime.joints import COCO_NAMES
from tore_runtime.sessions import Session

KEYPOINTS = len(COCO_NAMES)
STRIDE = 32  # MultiPose's images have sides that are multiples of it
THUNDER_SIZE = 256  # pixels
THRESHOLD = 0.25  # of MultiPose's scores
FIRST_LOOK, SECOND_LOOK = 256, 512  # pixels; the longer side of the image as MultiPose is shown it
SMALL = 0.04  # of the image: the second look, which large images get, adds people whose boxes are smaller
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
    """Up to six people of an image, or more where a second look finds small ones, with keypoints.

    finder: MultiPose, gives `keypoints` (B, 6, 17, 3), `boxes` (B, 6, 4) and `scores` (B, 6), x and y in shares of the
    image's sides. threshold: of scores. second_look: at twice the size, for small people in large images, where it
    takes most of the time; and at images in which nobody is found, closer and in three rotations. A person whose
    keypoints are doubtful is looked at in three more rotations; the best one tells the keypoints and how a crop is to
    be rotated.
    """

    name = "movenet"

    def __init__(
        self, finder: Network, placer: KeypointPlacer, *, threshold: float = THRESHOLD, second_look: bool = True
    ) -> None:
        self.threshold, self.second_look = threshold, second_look
        self._finder, self._placer = finder, placer

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """images: each (H, W, 3) uint8 RGB. One result for each, without duplicates."""
        return [self._found(np.ascontiguousarray(image)) for image in images]

    def _found(self, image: np.ndarray) -> Found:
        found = self._look(image, FIRST_LOOK)
        if self.second_look and max(image.shape[:2]) >= SECOND_LOOK:
            closer = self._look(image, SECOND_LOOK)
            small = closer.boxes[:, 2:].prod(1) < SMALL * image.shape[0] * image.shape[1]
            found = _joined(found, take(closer, small))
        if self.second_look and not len(found.boxes):
            found = self._look_again(image)
        found = without_duplicates(found)
        if not len(found.boxes):
            return found._replace(rotations=np.zeros(0))
        keypoints, rotations = self._placer(image, found.boxes)
        boxes = _holding(found.boxes, keypoints, image.shape)
        return without_duplicates(Found(boxes, found.scores, keypoints, rotations))

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
        return take(Found(boxes, scores, keypoints), (scores >= self.threshold) & (boxes[:, 2:] > 0).all(1))


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
        shown = np.stack([cut(image, crop, THUNDER_SIZE) for crop in crops])
        placed = self._network(shown)["keypoints"].astype(np.float64)
        points = [crop.to_image(2 * own[:, :2] - 1) for crop, own in zip(crops, placed, strict=True)]
        return np.concatenate([np.stack(points), placed[..., 2:]], -1)


def cut(image: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """The crop (size, size, 3) uint8 of an image, smoothed where it shrinks; what lies beyond the image is black."""
    factor = size / crop.size
    if factor < 0.5:  # shrunk as a whole first, so that interpolation passes over no pixel
        image = cv2.resize(image, None, fx=2 * factor, fy=2 * factor, interpolation=cv2.INTER_AREA)
        crop = Crop((crop.center[0] * 2 * factor, crop.center[1] * 2 * factor), 2.0 * size, crop.rotation)
    matrix = crop.matrix(size)[:2]
    matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5  # OpenCV's pixels have their middles at whole numbers
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)


def _square(box: np.ndarray) -> Crop:
    return Crop((box[0] + box[2] / 2, box[1] + box[3] / 2), KEYPOINT_MARGIN * float(max(box[2:])))


def _joined(one: Found, other: Found) -> Found:
    assert one.keypoints is not None and other.keypoints is not None
    keypoints = np.concatenate([one.keypoints, other.keypoints])
    return Found(np.concatenate([one.boxes, other.boxes]), np.concatenate([one.scores, other.scores]), keypoints)


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
    """The boxes, enlarged to hold the sure keypoints within the image (height, width, ...)."""
    extent = np.array(size[1::-1])
    held = []
    for box, points in zip(boxes, keypoints, strict=True):
        sure = np.clip(points[points[:, 2] > SURE, :2], 0, extent)
        corners = np.concatenate([box[None, :2], box[None, :2] + box[2:], sure])
        held.append([*corners.min(0), *(corners.max(0) - corners.min(0))])
    return np.array(held)
