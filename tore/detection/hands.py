"""MediaPipe's palm finder and hand landmarks in torch, or their exports, as `tore_runtime.hands` uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tore.export.detectors import running
from tore.modeling.mediapipe_hand import load_hand_landmarks
from tore.modeling.mediapipe_palm import load_palm_finder
from tore_runtime import hands
from tore_runtime.hands import THRESHOLD, HandFinder
from tore_runtime.predictor import LANDMARKS, PALMS


class HandPlacer(hands.HandPlacer):
    """Joints, side and turn of hands that are somewhere in known squares; parameters as of `PalmDetector`."""

    def __init__(
        self,
        *,
        device: str | torch.device = "cpu",
        fast: bool = False,
        runtime: str | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.device = torch.device(device)
        super().__init__(running(LANDMARKS, load_hand_landmarks(), device, fast=fast, runtime=runtime, tell=tell))


class PalmDetector(HandFinder):
    """Hands by MediaPipe's palm finder, with joints, side and turn by its landmarks.

    threshold: of the presence of a hand. device: where the networks run. weights: the palm finder's, the shipped ones
    unless a file is given. fast: on a CPU the networks' exports, made on first use, in `runtime` (openvino unless it
    is said), of which `tell` is told in a line.
    """

    def __init__(
        self,
        *,
        threshold: float = THRESHOLD,
        device: str | torch.device = "cpu",
        weights: str | Path | None = None,
        fast: bool = False,
        runtime: str | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.device = torch.device(device)
        palms = running(PALMS, load_palm_finder(weights), device, fast=fast, runtime=runtime, tell=tell)
        placer = HandPlacer(device=device, fast=fast, runtime=runtime, tell=tell)
        super().__init__(palms, placer, threshold=threshold)
