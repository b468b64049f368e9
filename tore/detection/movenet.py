"""The detector that ships: MoveNet in torch, or its exports, as `tore_runtime.movenet` uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tore.export.detectors import running
from tore.modeling.movenet import load_movenet
from tore_runtime import movenet
from tore_runtime.movenet import PeopleFinder
from tore_runtime.predictor import FINDER, PLACER


class MoveNetDetector(PeopleFinder):
    """The people of an image, with keypoints.

    threshold: of scores; unless it is given, 0.25, or 0.15 where the keypoints are sure. device: where the networks
    run. weights: MultiPose's, the shipped ones unless a file is given. fast: on a CPU the networks' exports, made on
    first use, in `runtime` (openvino unless it is said), of which `tell` is told in a line. second_look: also looks at
    large images at twice the size, where it takes most of the time; at images in which nobody is found, closer and in
    three rotations; and at full ones part by part. Without it six sure people are found at most. A person whose
    keypoints are doubtful is looked at in three more rotations; the best one tells the keypoints and how a crop is to
    be rotated.
    """

    def __init__(
        self,
        *,
        threshold: float | None = None,
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
