"""Detectors as graphs that end with the decoding, so that a program gets people, palms and joints as numbers.

The maps that MoveNet's people and keypoints are made of are outputs as well, by which an export is verified: the maps
are the network's, and the rest is what the decoding makes of them. MediaPipe's networks choose nothing in their
decoding and are compared by its results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tore.modeling.mediapipe_hand import HAND_JOINTS, HAND_SIZE, HandLandmarks, load_hand_landmarks
from tore.modeling.mediapipe_palm import PALM_SIZE, PalmFinder, Palms, anchors, decode_palms, load_palm_finder
from tore.modeling.movenet import (
    KEYPOINT_NAMES,
    STRIDE,
    THUNDER_SIZE,
    MoveNet,
    People,
    decode_keypoints,
    decode_people,
    load_movenet,
)
from tore_runtime.joints import HAND_NAMES
from tore_runtime.predictor import FINDER, LANDMARKS, PALMS, PLACER

MAP = "map_"  # in front of a head's name: the output that holds its map
POINT = "x and y in shares of the image's width and height, the outer corner of the upper left pixel at (0, 0)"
HAND_POINTS = f"the hand's 21: {', '.join(HAND_NAMES)}"


class DetectorGraph(nn.Module):
    """A detector from images (B, 3, H, W), RGB in 0..255, to a tuple in the order of `outputs`.

    size: of the images' sides, None where any multiples of 32 do. outputs: shape and unit of each, by name. decoded:
    the names of what is told, which come first; what follows are maps.
    """

    size: int | None
    outputs: dict[str, dict[str, Any]]
    decoded: Sequence[str]

    def told(self, images: Tensor) -> tuple[Tensor, ...]:
        """What is decoded of images, in the order of `decoded`."""
        return self(images)

    def wanted(self, images: Tensor, answer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What a runtime's answer for images should be."""
        return _named(self.outputs, self(images))


class MoveNetGraph(DetectorGraph):
    """MoveNet with its decoding: the people of any image, or the keypoints of the one person of a square."""

    def __init__(self, network: MoveNet) -> None:
        super().__init__()
        self.network, self.single = network, "box_size" not in network.heads
        self.size = THUNDER_SIZE if self.single else None
        keypoints = f"{POINT}; score; COCO's 17: {', '.join(KEYPOINT_NAMES)}"
        boxes = "left, top, right, bottom in shares of the image's width and height"
        scores = "0 to 1, the highest first; candidates beyond the people in the image have one near 0"
        cells = [THUNDER_SIZE // 4] * 2 if self.single else ["8 h", "8 w"]
        told = {"keypoints": _output([17, 3] if self.single else [6, 17, 3], keypoints)}
        told |= {} if self.single else {"boxes": _output([6, 4], boxes), "scores": _output([6], scores)}
        self.decoded = tuple(told) if self.single else People._fields
        self.outputs = told | {
            f"{MAP}{head}": _output([layers[-1].out_channels, *cells], "what the others are decoded of")  # type: ignore[index]
            for head, layers in network.heads.items()
        }

    def decode(self, maps: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What the heads' maps tell, in the order of `decoded`."""
        return (decode_keypoints(maps),) if self.single else tuple(decode_people(maps))

    def told(self, images: Tensor) -> tuple[Tensor, ...]:
        """People or keypoints."""
        return self.decode(self.network(images))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, H, W) RGB in 0..255."""
        maps = self.network(images)
        return *self.decode(maps), *maps.values()

    def wanted(self, images: Tensor, answer: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The network's maps, and what is decoded of the answer's; who is not in the image becomes 0 in both."""
        told = {head: torch.from_numpy(answer[f"{MAP}{head}"]) for head in self.network.heads}
        found = _named(self.decoded, self.decode(told))
        found |= {f"{MAP}{head}": value.numpy() for head, value in self.network(images).items()}
        if not self.single:  # where there are fewer peaks than six, anything is a candidate of score 0
            somebody = found["scores"] > 0
            for values in (answer, found):
                values |= {n: values[n] * somebody.reshape(-1, 6, *[1] * (values[n].ndim - 2)) for n in self.decoded}
        return found


class PalmGraph(DetectorGraph):
    """MediaPipe's palm finder with its decoding."""

    size = PALM_SIZE
    decoded = Palms._fields

    def __init__(self, network: PalmFinder) -> None:
        super().__init__()
        self.network, count = network, len(anchors())
        places = "center x, y, width, height in shares of the image's sides"
        points = f"{POINT}; the first is the wrist, the third the middle finger's knuckle"
        score = "0 to 1; palms from 0.5 on, of which those that overlap are one"
        self.outputs = {
            "scores": _output([count], score),
            "boxes": _output([count, 4], places),
            "keypoints": _output([count, 7, 2], points),
        }

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, 256, 256) RGB in 0..255."""
        return tuple(decode_palms(*self.network(images * (2 / 255) - 1)))


class LandmarkGraph(DetectorGraph):
    """MediaPipe's hand landmarks: the joints of the one hand of a square, in which it stands upright."""

    size = HAND_SIZE
    decoded = ("joints", "presence", "right", "meters")

    def __init__(self, network: HandLandmarks) -> None:
        super().__init__()
        self.network = network
        depth = "z in the same unit, away from the camera"
        self.outputs = {
            "joints": _output([HAND_JOINTS, 3], f"{POINT}; {depth}; {HAND_POINTS}"),
            "presence": _output([], "probability that a hand is there; hands from 0.5 on"),
            "right": _output([], "probability that it is a right one"),
            "meters": _output([HAND_JOINTS, 3], "x, y, z in meters, about the hand's center; the same joints"),
        }

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, 224, 224) RGB in 0..255."""
        maps = self.network(images / 255)
        return tuple(getattr(maps, name) for name in self.decoded)


# What `tore export` calls them -> the graph of a network, and what loads the one that ships.
DETECTORS: dict[str, tuple[Callable[[Any], DetectorGraph], Callable[[], nn.Module]]] = {
    FINDER: (MoveNetGraph, lambda: load_movenet("multipose")),
    PLACER: (MoveNetGraph, lambda: load_movenet("thunder")),
    PALMS: (PalmGraph, load_palm_finder),
    LANDMARKS: (LandmarkGraph, load_hand_landmarks),
}


def detector_graph(name: str, network: nn.Module | None = None) -> DetectorGraph:
    """The graph of one of `DETECTORS`; network: in the place of the one that ships. ValueError for another name."""
    if name not in DETECTORS:
        raise ValueError(f"detector {name!r} cannot be exported; use {', '.join(DETECTORS)}")
    graph, load = DETECTORS[name]
    return graph(load() if network is None else network).eval()


def sides_of(graph: DetectorGraph) -> list[int | str]:
    """Height and width of a graph's images, as a record names them."""
    return [f"{STRIDE} h", f"{STRIDE} w"] if graph.size is None else [graph.size] * 2


def _output(shape: Sequence[Any], unit: str) -> dict[str, Any]:
    return {"shape": ["batch", *shape], "unit": unit}


def _named(names: Mapping[str, Any] | Sequence[str], values: Sequence[Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}
