"""The detector that ships: MoveNet in torch, or its exports, as `tore_runtime.movenet` uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tore.export.detectors import running
from tore.modeling.movenet import load_movenet
from tore_runtime import movenet
from tore_runtime.movenet import THRESHOLD, PeopleFinder
from tore_runtime.predictor import FINDER, PLACER


class MoveNetDetector(PeopleFinder):
    """Up to six people of an image, or more where a second look finds small ones, with keypoints.

    threshold: of scores. device: where the networks run. weights: MultiPose's, the shipped ones unless a file is given.
    fast: on a CPU the networks' exports, made on first use, in `runtime` (openvino unless it is said), of which `tell`
    is told in a line. second_look: at twice the size, for small people in large images, where it takes most of the
    time; and at images in which nobody is found, closer and in three rotations. A person whose keypoints are doubtful
    is looked at in three more rotations; the best one tells the keypoints and how a crop is to be rotated.
    """

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
        self.device = torch.device(device)
        network = load_movenet("multipose", weights)
        finder = running(FINDER, network, self.device, fast=fast, runtime=runtime, tell=tell)
        placer = KeypointPlacer(device=device, fast=fast, runtime=runtime, tell=tell)
        super().__init__(finder, placer, threshold=threshold, second_look=second_look)


class KeypointPlacer(movenet.KeypointPlacer):
    """Keypoints of people whose boxes are known, by MoveNet Thunder; parameters as of `MoveNetDetector`."""

    def __init__(
        self,
        *,
        device: str | torch.device = "cpu",
        fast: bool = False,
        runtime: str | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.device = torch.device(device)
        network = load_movenet("thunder")
        super().__init__(running(PLACER, network, self.device, fast=fast, runtime=runtime, tell=tell))
