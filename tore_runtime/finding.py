"""Who is in an image, for one network: boxes, the turn of each person on MoveNet, turn and side of upright hands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tore_runtime.crop import Crop
from tore_runtime.crops import Place, crop_of_box, middle_box
from tore_runtime.detector import Detection, Detector, find
from tore_runtime.hands import SEARCH_MARGIN, HandPlacer, HandsOfPeople, as_detection, upright_detections
from tore_runtime.image_format import ImageFormat
from tore_runtime.movenet import KeypointPlacer


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

    @property
    @abstractmethod
    def turns_people(self) -> bool:
        """Whether people in given boxes are rotated where MoveNet is surer of them: the network stands on MoveNet."""

    @property
    @abstractmethod
    def keypoint_placer(self) -> KeypointPlacer:
        """What finds the turn of people in given boxes, for a network that `turns_people`."""

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
        """Boxes and sides as `crops_of` takes them, with turns: of upright hands, and of people on MoveNet.

        image: (H, W, 3) uint8 RGB. places: None for the center of the image; a `Crop` stays as it is, and so does a
        detection of a person with keypoints or a rotation. left: None where it is not said: a network that sees upright
        hands says it itself, any other takes hands for right ones.
        """
        if not self.image_format.upright:
            sides = bool(left) if left is None or isinstance(left, bool) else list(left)
            if places is None:
                return None, sides
            return (self._turned(image, places) if self.turns_people else list(places)), sides
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

    def _turned(self, image: np.ndarray, places: Sequence[Place]) -> list[Place]:
        """Places of people; those of whom a box alone is known in the rotation that their keypoints tell."""
        found = list(places)
        asked = {index: as_detection(place) for index, place in enumerate(places) if not isinstance(place, Crop)}
        asked = {index: one for index, one in asked.items() if _is_box_alone(one, (image.shape[0], image.shape[1]))}
        if asked:
            _, rotations = self.keypoint_placer(image, np.array([one.box for one in asked.values()], float))
            for (index, one), rotation in zip(asked.items(), rotations, strict=True):
                found[index] = replace(one, rotation=float(rotation))
        return found


def _is_box_alone(person: Detection, image_size: tuple[int, int]) -> bool:
    """Whether neither keypoints nor a rotation are known, and the box is none that `crops_of` refuses."""
    if person.keypoints is not None or person.rotation:
        return False
    try:
        crop_of_box(person.box, image_size)
    except ValueError:
        return False
    return True
