"""Who is in an image, for one network: what `MeshRecovery` has to find people and hands, and how they are turned."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch

from tore.body.body_model import BodyModel
from tore.detection.choice import detector_of
from tore.detection.hands import HandPlacer
from tore.detection.movenet import KeypointPlacer
from tore.device import place_of
from tore.image_format import MEDIAPIPE_HAND, MOVENET_THUNDER, ImageFormat
from tore.modeling.build import image_format_of
from tore.modeling.checkpoint_contents import unwrapped
from tore_runtime import finding
from tore_runtime.detector import Detector

FINDERS = {MOVENET_THUNDER: "movenet", MEDIAPIPE_HAND: "mediapipe"}  # the detector of the same makers, by backbone


class Finding(finding.Finding):
    """Boxes, turns and sides; `detector` finds people where `predict` is told neither boxes nor a detector.

    It is None unless it is given or set: then the center of each image is taken.
    """

    model: Any
    body: BodyModel
    detector: Detector | None
    placer_options: Mapping[str, Any] = MappingProxyType({})  # of `HandPlacer` and `KeypointPlacer`

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return place_of(self.model)[0]

    @property
    def config(self) -> Any:
        """The network's configuration, whatever wraps it; None for a module without one."""
        return getattr(unwrapped(self.model), "config", None)

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
        name = FINDERS.get(getattr(self.config, "arch", ""))
        return None if name is None else detector_of(name, device=self.device, **options)

    @cached_property
    def hand_placer(self) -> HandPlacer:
        """MediaPipe's landmarks; their export where the network was loaded to be fast."""
        return HandPlacer(device=self.device, **self.placer_options)

    @cached_property
    def turns_people(self) -> bool:
        """Whether people in given boxes are rotated where MoveNet is surer of them; False may be set."""
        config = self.config
        on_movenet = getattr(config, "arch", None) == MOVENET_THUNDER
        return on_movenet and bool(getattr(config, "keypoint_queries", False))

    @cached_property
    def keypoint_placer(self) -> KeypointPlacer:
        """MoveNet Thunder; its export where the network was loaded to be fast."""
        return KeypointPlacer(device=self.device, **self.placer_options)
