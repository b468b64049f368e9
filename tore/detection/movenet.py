"""The detector that ships: MoveNet MultiPose finds people, MoveNet Thunder places each one's keypoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from tore.detection.detector import LIMBS, SURE, Found, take, without_duplicates
from tore.export.detectors import DetectorGraph, kept_detector
from tore.geometry.crop import Crop
from tore.modeling.movenet import KEYPOINTS, STRIDE, THUNDER_SIZE, load_movenet

THRESHOLD = 0.25  # of MultiPose's scores
FIRST_LOOK, SECOND_LOOK = 256, 512  # pixels; the longer side of the image as MultiPose is shown it
SMALL = 0.04  # of the image: the second look, which large images get, adds people whose boxes are smaller
KEYPOINT_MARGIN = 1.1  # side of Thunder's crop over the longer side of the box
DOUBTFUL = 0.5  # mean score of the limbs below which the person is looked at in three more rotations
GAIN = 0.1  # by which a rotation must score higher than the upright crop
TURNS = (90.0, 180.0, 270.0)  # degrees


class MoveNetDetector:
    """Up to six people of an image, or more where a second look finds small ones, with keypoints.

    threshold: of scores. device: where the networks run. weights: MultiPose's, the shipped ones unless a file is
    given. fast: on a CPU the networks' exports, made on first use, in `runtime` (openvino unless it is said), of
    which `tell` is told in a line. second_look: at twice the size, for small people in large images; it takes most of
    the time. A person whose keypoints are doubtful is looked at in three more rotations; the best one tells the
    keypoints and how a crop is to be rotated.
    """

    name = "movenet"

    def __init__(
        self,
        *,
        threshold: float = THRESHOLD,
        device: str | torch.device = "cpu",
        weights: str | Path | None = None,
        fast: bool = False,
        runtime: str | None = None,
        second_look: bool = True,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.threshold, self.device, self.second_look = threshold, torch.device(device), second_look
        self._finder = _decoded("multipose", weights, self.device, fast, runtime, tell)
        self._placer = KeypointPlacer(device=device, fast=fast, runtime=runtime, tell=tell)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """images: each (H, W, 3) uint8 RGB. One result for each, without duplicates."""
        return [self._found(np.ascontiguousarray(image)) for image in images]

    def _found(self, image: np.ndarray) -> Found:
        found = self._look(image, FIRST_LOOK)
        if self.second_look and max(image.shape[:2]) >= SECOND_LOOK:
            closer = self._look(image, SECOND_LOOK)
            small = closer.boxes[:, 2:].prod(1) < SMALL * image.shape[0] * image.shape[1]
            found = _joined(found, take(closer, small))
        found = without_duplicates(found)
        if not len(found.boxes):
            return found._replace(rotations=np.zeros(0))
        keypoints, rotations = self._placer(image, found.boxes)
        boxes = _holding(found.boxes, keypoints, image.shape)
        return without_duplicates(Found(boxes, found.scores, keypoints, rotations))

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
    """Keypoints of people whose boxes are known, by MoveNet Thunder."""

    def __init__(
        self,
        *,
        device: str | torch.device = "cpu",
        fast: bool = False,
        runtime: str | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.device = torch.device(device)
        self._network = _decoded("thunder", None, self.device, fast, runtime, tell)

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """image (H, W, 3) uint8 RGB, boxes (N, 4) x, y, width, height in pixels, N at least 1.

        Returns keypoints (N, 17, 3), x and y in pixels, score; and by how many degrees each person's crop was rotated
        to place them (N,), 0 unless that gave surer ones.
        """
        crops = [_square(box) for box in boxes]
        keypoints, rotations = self._keypoints(image, crops), np.zeros(len(boxes))
        doubtful = np.nonzero(keypoints[:, LIMBS, 2].mean(1) < DOUBTFUL)[0]
        if not len(doubtful):
            return keypoints, rotations
        turned = [Crop(crops[index].center, crops[index].size, turn) for index in doubtful for turn in TURNS]
        others = self._keypoints(image, turned).reshape(len(doubtful), len(TURNS), KEYPOINTS, 3)
        for index, tries in zip(doubtful, others, strict=True):
            scores = tries[:, LIMBS, 2].mean(1)
            if scores.max() > keypoints[index, LIMBS, 2].mean() + GAIN:
                keypoints[index], rotations[index] = tries[scores.argmax()], TURNS[scores.argmax()]
        return keypoints, rotations

    def _keypoints(self, image: np.ndarray, crops: Sequence[Crop]) -> np.ndarray:
        """Thunder's keypoints (N, 17, 3) of crops, x and y in pixels of the image."""
        shown = np.stack([cut(image, crop, THUNDER_SIZE) for crop in crops])
        placed = self._network(shown)["keypoints"].astype(np.float64)
        points = [crop.to_image(2 * own[:, :2] - 1) for crop, own in zip(crops, placed, strict=True)]
        return np.concatenate([np.stack(points), placed[..., 2:]], -1)


def _decoded(
    name: str,
    weights: str | Path | None,
    device: torch.device,
    fast: bool,
    runtime: str | None,
    tell: Callable[[str], object],
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """MoveNet from images (B, H, W, 3) uint8 to what is decoded: the export on a CPU where it shall be fast."""
    network = load_movenet(name, weights)
    if fast and device.type == "cpu":
        session = kept_detector(f"movenet-{name}", network, runtime, tell)
        return lambda images: session(images.transpose(0, 3, 1, 2))
    graph = DetectorGraph(network.to(memory_format=torch.channels_last).to(device), name)

    @torch.inference_mode()
    def decoded(images: np.ndarray) -> dict[str, np.ndarray]:
        tensor = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()  # channels stay innermost
        found = graph.decode(graph.network(tensor))
        return {part: value.cpu().numpy() for part, value in zip(graph.decoded, found, strict=True)}

    return decoded


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


def _holding(boxes: np.ndarray, keypoints: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The boxes, enlarged to hold the sure keypoints within the image (height, width, ...)."""
    extent = np.array(size[1::-1])
    held = []
    for box, points in zip(boxes, keypoints, strict=True):
        sure = np.clip(points[points[:, 2] > SURE, :2], 0, extent)
        corners = np.concatenate([box[None, :2], box[None, :2] + box[2:], sure])
        held.append([*corners.min(0), *(corners.max(0) - corners.min(0))])
    return np.array(held)
