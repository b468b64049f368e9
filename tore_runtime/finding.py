"""Who is in an image, for one network: boxes, and for a network of upright hands the turn and side of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from tore_runtime.crop import Crop
from tore_runtime.crops import Place, middle_box
from tore_runtime.detector import Detection, Detector, find
from tore_runtime.hands import SEARCH_MARGIN, HandPlacer, HandsOfPeople, upright_detections
from tore_runtime.image_format import ImageFormat


class Finding(ABC):
    """What `tore.MeshRecovery` and `tore_runtime.predictor.ExportedRecovery` have to find people and hands."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Whom the network recovers: "body" or "hand"."""

    @property
    @abstractmethod
    def image_format(self) -> ImageFormat:
        """What the network is shown."""

    @property
    @abstractmethod
    def hand_placer(self) -> HandPlacer:
        """What finds the turn of hands, for a network that sees upright ones."""

    def find(self, detector: Detector, image: np.ndarray, people: int | str = "all") -> list[Detection]:
        """Whom a detector finds in an image (H, W, 3) uint8 RGB for this network: people, or hands.

        Where the network sees upright hands, those beyond the wrists of people are looked at first: joints, side, turn,
        and whether there is a hand at all.
        """
        if self.image_format.upright and not getattr(detector, "hands", False):
            detector = HandsOfPeople(detector, self.hand_placer)
        return find(detector, image, people, hands=self.kind == "hand")

    def upright(
        self, image: np.ndarray, places: Sequence[Place] | None, left: bool | Sequence[bool] | None
    ) -> tuple[list[Place] | None, bool | list[bool]]:
        """Boxes and sides as `crops_of` takes them: for a network that sees upright hands with the turn of each.

        image: (H, W, 3) uint8 RGB. places: None for the center of the image; a `Crop` stays as it is. left: None where
        it is not said: such a network says it itself, any other takes hands for right ones.
        """
        if not self.image_format.upright:
            sides = bool(left) if left is None or isinstance(left, bool) else list(left)
            return (None if places is None else list(places)), sides
        given: list[Place] = [middle_box(image, SEARCH_MARGIN)] if places is None else list(places)
        asked = [left] * len(given) if left is None or isinstance(left, bool) else list(left)
        if len(asked) != len(given):
            return given, [bool(side) for side in asked]  # which crops_of refuses
        found: list[Place] = []
        told: list[bool] = []
        for each, side in zip(given, asked, strict=True):
            if isinstance(each, Crop):
                found.append(each)
                told.append(bool(self.hand_placer.look(image, [each]).left[0]) if side is None else side)
            else:
                (detection,) = upright_detections(self.hand_placer, image, [each], [side])
                found.append(detection)
                told.append(detection.left)
        return found, told
