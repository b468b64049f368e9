"""MediaPipe's palm finder and hand landmarks in torch, as `tore_runtime.hands` uses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tore.modeling.mediapipe_hand import load_hand_landmarks
from tore.modeling.mediapipe_palm import decode_palms, load_palm_finder
from tore_runtime import hands
from tore_runtime.hands import THRESHOLD, HandFinder


class HandPlacer(hands.HandPlacer):
    """Joints, side and turn of hands that are somewhere in known squares; device: where the landmarks run."""

    def __init__(self, *, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        network = load_hand_landmarks().to(memory_format=torch.channels_last).to(self.device)

        @torch.inference_mode()
        def landmarks(images: np.ndarray) -> dict[str, np.ndarray]:
            maps = network(_planes(images, self.device) / 255)
            return {name: getattr(maps, name).cpu().numpy() for name in ("joints", "presence", "right")}

        super().__init__(landmarks)


class PalmDetector(HandFinder):
    """Hands by MediaPipe's palm finder, with joints, side and turn by its landmarks.

    threshold: of the presence of a hand. device: where the networks run. weights: the palm finder's, the shipped ones
    unless a file is given.
    """

    def __init__(
        self,
        *,
        threshold: float = THRESHOLD,
        device: str | torch.device = "cpu",
        weights: str | Path | None = None,
    ) -> None:
        self.device = torch.device(device)
        network = load_palm_finder(weights).to(memory_format=torch.channels_last).to(self.device)

        @torch.inference_mode()
        def palms(images: np.ndarray) -> dict[str, np.ndarray]:
            found = decode_palms(*network(_planes(images, self.device) * (2 / 255) - 1))
            return {name: value.cpu().numpy() for name, value in found._asdict().items()}

        super().__init__(palms, HandPlacer(device=device), threshold=threshold)


def _planes(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, channels innermost."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(device, torch.float32)
