"""Which detector a name means: movenet, mediapipe, torchvision, torchvision:MODEL, or a function module:function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tore.detection.hands import THRESHOLD as HAND_THRESHOLD
from tore.detection.hands import PalmDetector
from tore.detection.movenet import MoveNetDetector
from tore.detection.torchvision_models import TorchvisionDetector
from tore.modeling.movenet import KEYPOINTS
from tore_runtime.detector import Detector, Found, take

DETECTORS = ("movenet", "mediapipe", "torchvision")


def detector_of(
    name: str,
    *,
    threshold: float | None = None,
    device: str | torch.device = "cpu",
    weights: str | Path | None = None,
    fast: bool = False,
    runtime: str | None = None,
    tell: Callable[[str], object] | None = None,
) -> Detector:
    """The detector that a name means.

    name: "movenet", "mediapipe" (hands), "torchvision", "torchvision:MODEL", or "module:function", a function that
    takes a list of images (H, W, 3) uint8 RGB and gives for each (boxes (N, 4), scores (N,), keypoints (N, 17, 3) or
    None). threshold: of scores, each detector's own unless it is given. weights: a file in place of the usual one.
    fast: the exported networks, where there are some, in `runtime`. tell: is handed one sentence before something is
    downloaded or exported.

    Raises ValueError for an unknown name, FileNotFoundError where weights can't be had.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"box threshold {threshold:g}: give a score from 0 to 1")
    options: dict[str, Any] = {"device": device, "weights": weights, "fast": fast, "runtime": runtime}
    options |= {} if tell is None else {"tell": tell}
    if name == "movenet":
        return MoveNetDetector(threshold=threshold, **options)
    if name == "mediapipe":
        return PalmDetector(threshold=HAND_THRESHOLD if threshold is None else threshold, **options)
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        return TorchvisionDetector(rest or None, threshold=threshold, device=device, weights=weights, tell=tell)
    if weights is not None:
        raise ValueError(
            f"--detector_weights goes with movenet, mediapipe and torchvision, not with {name}; leave it out"
        )
    if kind and rest:
        return FunctionDetector(name, threshold)
    raise ValueError(
        f"detector {name!r} is not known: use {', '.join(DETECTORS)}, none, a JSON file of boxes or module:function"
    )


class FunctionDetector:
    """A function of the user's, found by its name and checked at every call."""

    def __init__(self, name: str, threshold: float | None = None) -> None:
        """name: module:function; the module may lie in the working directory. ValueError where there is none."""
        self.name, self.threshold = name, threshold or 0.0
        module, _, function = name.partition(":")
        if "" not in sys.path:
            sys.path.append("")
        try:
            self._function = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"detector {name}: {error}; name a function that can be imported") from None
        if not callable(self._function):
            raise ValueError(f"detector {name} is {type(self._function).__name__}, not a function")

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """images: each (H, W, 3) uint8 RGB. ValueError where the function does not give what a detector gives."""
        results = list(self._function(list(images)))
        if len(results) != len(images):
            raise ValueError(f"detector {self.name} gave {len(results)} results for {len(images)} images")
        return [self._checked(result) for result in results]

    def _checked(self, result: Any) -> Found:
        if not isinstance(result, tuple | list) or len(result) not in (2, 3, 4):
            raise ValueError(f"detector {self.name} gave no (boxes, scores, keypoints) but {type(result).__name__}")
        boxes, scores = (np.asarray(values, np.float64) for values in result[:2])
        boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
            raise ValueError(
                f"detector {self.name} gave boxes {boxes.shape} and scores {scores.shape}; (N, 4) and (N,) are needed"
            )
        keypoints = None if len(result) == 2 or result[2] is None else np.asarray(result[2], np.float64)
        if keypoints is not None and keypoints.shape != (len(boxes), KEYPOINTS, 3):
            raise ValueError(f"detector {self.name} gave keypoints {keypoints.shape}; (N, {KEYPOINTS}, 3) are needed")
        rotations = np.asarray(result[3], np.float64) if len(result) == 4 and result[3] is not None else None
        values = [part for part in (boxes, scores, keypoints, rotations) if part is not None]
        if not all(np.isfinite(part).all() for part in values):
            raise ValueError(f"detector {self.name} gave a number that is not finite")
        order = np.argsort(-scores, kind="stable")
        return take(Found(boxes, scores, keypoints, rotations), order[scores[order] >= self.threshold])
