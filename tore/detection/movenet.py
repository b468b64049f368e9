"""The detector that ships: MoveNet in torch, or its exports, as `tore_runtime.movenet` uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tore.export.detectors import DetectorGraph, kept_detector
from tore.modeling.movenet import load_movenet
from tore_runtime import movenet
from tore_runtime.movenet import THRESHOLD, Network, PeopleFinder, network_of


class MoveNetDetector(PeopleFinder):
    """Up to six people of an image, or more where a second look finds small ones, with keypoints.

    threshold: of scores. device: where the networks run. weights: MultiPose's, the shipped ones unless a file is
    given. fast: on a CPU the networks' exports, made on first use, in `runtime` (openvino unless it is said), of
    which `tell` is told in a line. second_look: at twice the size, for small people in large images; it takes most of
    the time. A person whose keypoints are doubtful is looked at in three more rotations; the best one tells the
    keypoints and how a crop is to be rotated.
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
        finder = _decoded("multipose", weights, self.device, fast, runtime, tell)
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
        super().__init__(_decoded("thunder", None, self.device, fast, runtime, tell))


def _decoded(
    name: str,
    weights: str | Path | None,
    device: torch.device,
    fast: bool,
    runtime: str | None,
    tell: Callable[[str], object],
) -> Network:
    """MoveNet from images (B, H, W, 3) uint8 to what is decoded: the export on a CPU where it shall be fast."""
    network = load_movenet(name, weights)
    if fast and device.type == "cpu":
        return network_of(kept_detector(f"movenet-{name}", network, runtime, tell))
    graph = DetectorGraph(network.to(memory_format=torch.channels_last).to(device), name)

    @torch.inference_mode()
    def decoded(images: np.ndarray) -> dict[str, np.ndarray]:
        tensor = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()  # channels stay innermost
        found = graph.decode(graph.network(tensor))
        return {part: value.cpu().numpy() for part, value in zip(graph.decoded, found, strict=True)}

    return decoded
