"""Who is in an image, for one network: what `MeshRecovery` has to find people and upright hands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from tore.body.body_model import BodyModel
from tore.detection.choice import detector_of
from tore.detection.hands import HandPlacer
from tore.device import place_of
from tore.image_format import MEDIAPIPE_HAND, MOVENET_THUNDER, ImageFormat
from tore.modeling.build import image_format_of
from tore_runtime.crops import Place, upright_places
from tore_runtime.detector import Detection, Detector, find
from tore_runtime.hands import HandsOfPeople

FINDERS = {MOVENET_THUNDER: "movenet", MEDIAPIPE_HAND: "mediapipe"}  # the detector of the same makers, by backbone


class Finding:
    """Boxes, turns and sides; `detector` finds people where `predict` is told neither boxes nor a detector.

    It is None unless it is given or set: then the center of each image is taken.
    """

    model: Any
    body: BodyModel
    detector: Detector | None

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return place_of(self.model)[0]

    @property
    def kind(self) -> str:
        """Whom it recovers: "body" or "hand"."""
        return self.body.kind

    @property
    def image_format(self) -> ImageFormat:
        """What the network is shown: its configuration's, the official one for a module without a configuration."""
        return image_format_of(self.model)

    def own_detector(self, **options: Any) -> Detector | None:
        """The detector that belongs to the pose network on which this network stands, None where it is on none.

        MoveNet's for `movenet-thunder`, MediaPipe's for `mediapipe-hand`; both come with the package. options: of
        `tore.detection.detector_of`.
        """
        name = FINDERS.get(getattr(getattr(self.model, "config", None), "arch", ""))
        return None if name is None else detector_of(name, device=self.device, **options)

    def find(self, detector: Detector, image: np.ndarray, people: int | str = "all") -> list[Detection]:
        """Whom a detector finds in an image (H, W, 3) uint8 RGB for this network: people, or hands.

        Where the network sees upright hands, those beyond the wrists of people are looked at first: joints, side, turn,
        and whether there is a hand at all.
        """
        hands = self.body.kind == "hand"
        if self.image_format.upright and not getattr(detector, "hands", False):
            detector = HandsOfPeople(detector, self.hand_placer)
        return find(detector, image, people, hands=hands)

    @cached_property
    def hand_placer(self) -> HandPlacer:
        """What finds the turn of hands, for a network that sees upright ones."""
        return HandPlacer(device=self.device)

    def upright(
        self, image: np.ndarray, places: Sequence[Place] | None, left: bool | Sequence[bool] | None
    ) -> tuple[list[Place] | None, bool | list[bool]]:
        """Boxes and sides as `crops_of` takes them: for a network that sees upright hands with the turn of each.

        image: (H, W, 3) uint8 RGB. places: None for the center of the image; a `Crop` stays as it is. left: None where
        it is not said: such a network says it itself, any other takes hands for right ones.
        """
        if self.image_format.upright:
            return upright_places(self.hand_placer, image, places, left)
        sides = bool(left) if left is None or isinstance(left, bool) else list(left)
        return (None if places is None else list(places)), sides
