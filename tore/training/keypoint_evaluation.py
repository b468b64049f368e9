"""Evaluation of a network on 2D keypoints: its meshes' joints, where its camera puts them, against what is labeled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from tore.body.body_model import BodyModel
from tore.datasets.keypoints import KeypointFile, LabeledPerson
from tore.evaluation.keypoints import JUDGED, MEASURES, Judgment, in_boxes, judge, matched, mean_pose
from tore.inference.images import read_image
from tore.inference.predictor import MeshRecovery
from tore.inference.refinement import STAYED, coco_rows
from tore_runtime.crop import UPRIGHT_MARGIN, Crop, upright_hand
from tore_runtime.detector import Detection, Detector, as_box
from tore_runtime.hands import GIVEN, upright_crop
from tore_runtime.result import Recovery

NETWORK, REFINED, CONSTANT = "network", "refined", "constant pose"
WHOM = {"body": "people", "hand": "hands"}
NO_LIMB = "no joint that is judged is labeled"
BOX_FACTOR = 1.25  # side of the crop over the longer side of the labeled box
FOUND, LABELED = TURNS = ("found", "labeled")  # whence upright hands have their turn
ROWS_OF_HAND = "the hand's 21 joints, regressed from the mesh"


@dataclass(frozen=True)
class KeypointReport:
    """What was measured, and how."""

    keypoints: str
    checkpoint: str
    boxes: str
    joints: str  # which joints of the mesh are compared
    baseline: str
    images: int
    people: int  # in the file
    judged: int
    left_out: dict[str, int]  # reason -> people
    side_unknown: int  # hands that are taken for right ones
    not_found: int  # people whom the detector missed: none of their joints is near
    not_refined: int | None  # found people who stayed as predicted; None without refinement
    judgment: Judgment

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return {**asdict(self), "judgment": self.judgment.as_dict()}

    def text(self) -> str:
        """The report as lines of text."""
        notes = "".join(f"; left out {count}: {reason}" for reason, count in self.left_out.items())
        whom = WHOM[self.judgment.kind]
        if self.side_unknown:
            notes += f"; {self.side_unknown} whose side is not said are taken for right ones"
        if self.not_found:
            notes += f"; {self.not_found} were not found, and all their joints count as wrong"
        if self.not_refined:
            notes += f"; {self.not_refined} are not refined, for want of certain keypoints, and count as predicted"
        lines = [
            f"{self.keypoints}: {self.judged} of {self.people} {whom} in {self.images} images are judged{notes}",
            f"boxes: {self.boxes}; joints: {self.joints}",
            f"PCK, the share of labeled joints within {MEASURES[self.judgment.kind]}"
            + (f" ({self.judgment.without_torso} people)" if self.judgment.kind == "body" else ""),
            f"{CONSTANT}: {self.baseline}",
            "",
            f"{'':24s}{whom:>7s}{'joints':>8s}" + "".join(f"{way:>18s}" for way in self.judgment.ways),
        ]
        for name, by in self.judgment.rows():
            shares = "".join(f"{by[way].coarse:11.3f}{by[way].fine:7.3f}" for way in self.judgment.ways)
            lines.append(f"{name:24s}{by[NETWORK].people:7d}{by[NETWORK].joints:8d}{shares}")
        return "\n".join(lines)


def joint_rows(body: BodyModel) -> tuple[np.ndarray, str]:
    """The matrix (K, V) that gives a file's keypoints of a mesh's vertices, and what they are."""
    if body.kind == "body":
        return coco_rows(body)
    rows = body.output_rows
    return np.asarray(rows.to_dense().cpu() if rows.is_sparse else rows.cpu(), np.float64), ROWS_OF_HAND


def evaluate_keypoints(
    recovery: MeshRecovery,
    file: KeypointFile,
    images: Path,
    *,
    box_factor: float | None = None,
    detector: Detector | None = None,
    hand_turn: str = FOUND,
    progress: Callable[[Any], Any] | None = None,
    refine: bool = False,
) -> KeypointReport:
    """Judges a network on the people of a file whose image names start from the folder `images`.

    Each person's crop is the square about the center of the labeled box, `box_factor` (1.25) times its longer side;
    with a detector, of the found box that overlaps the labeled one; in the rotation that the detector names, or that
    `Finding.upright` gives for a network on MoveNet where a box alone is known. A network that sees upright hands gets
    the upright square about a hand's joints, `box_factor` (1.75) times their longer side: as they are found from the
    labeled box, with the side, or with hand_turn "labeled" as they are labeled. progress: wraps the loop over images.
    refine: judges the people as predicted and refined (`tore.inference.refinement`).

    Raises ValueError for a network of another kind, a file without anybody to judge, and an image of another size than
    the file says; FileNotFoundError for an image that is missing.
    """
    looking = Looking.at(recovery, file, box_factor, detector, hand_turn)
    people, left_out = judged_people(file)
    by_image = images_of(file, people, images)
    rows, joints = joint_rows(recovery.body)
    keypoints, boxes = np.stack([p.keypoints for p in people]), np.stack([p.box for p in people])
    ways = {NETWORK: False} | ({REFINED: True} if refine else {})
    predicted = {way: np.full((*keypoints.shape[:2], 2), np.nan) for way in ways}
    found, stayed, turned = 0, 0, 0
    for name, own in (progress or _same)(list(by_image.items())):
        shown = [people[index] for index in own]
        image = checked_image(images / name, shown)
        places = looking.places(image, shown)
        for way, refined in ways.items():
            for place, person in zip(places, recover_places(recovery, image, places, refined), strict=True):
                predicted[way][own[place.person]] = person.to_pixels(rows @ person.vertices)
                stayed += person.refinement.startswith(STAYED)
        found += len(places)
        turned += sum(place.crop.rotation != 0 for place in places)
    predictions = predicted | {CONSTANT: in_boxes(mean_pose(keypoints, boxes), boxes)}
    return KeypointReport(
        keypoints=str(file.path),
        checkpoint=recovery.checkpoint,
        boxes=looking.told(turned),
        joints=joints,
        baseline="the mean of these people's poses in their boxes, scaled to the box",
        images=len(by_image),
        people=len(file.people),
        judged=len(people),
        left_out=left_out,
        side_unknown=sum(person.side is None for person in people) if looking.needs_sides else 0,
        not_found=len(people) - found,
        not_refined=stayed if refine else None,
        judgment=judge(predictions, keypoints, boxes, file.kind, [person.image_kind for person in people]),
    )


@dataclass(frozen=True)
class Looking:
    """Where a network looks at labeled people; fields as the arguments of `evaluate_keypoints`."""

    recovery: MeshRecovery
    detector: Detector | None
    factor: float  # of the boxes
    hand_turn: str

    @classmethod
    def at(
        cls,
        recovery: MeshRecovery,
        file: KeypointFile,
        box_factor: float | None,
        detector: Detector | None,
        hand_turn: str,
    ) -> Looking:
        """ValueError for a network of another kind than the file's people, and a turn that does not count."""
        if recovery.body.kind != file.kind:
            labels, recovers = (WHOM[kind] for kind in (file.kind, recovery.body.kind))
            network = recovery.checkpoint or "the network"
            raise ValueError(f"{file.path} labels {labels}, but {network} recovers {recovers}")
        upright = recovery.image_format.upright
        if hand_turn == LABELED and (detector is not None or not upright):
            raise ValueError(
                "--hand_turn labeled goes with labeled boxes and a network that sees upright hands; leave it out"
            )
        return cls(recovery, detector, box_factor or (UPRIGHT_MARGIN if upright else BOX_FACTOR), hand_turn)

    @property
    def needs_sides(self) -> bool:
        """Whether labels alone tell which hands are left ones."""
        return self.recovery.kind == "hand" and self.detector is None and not self.recovery.image_format.upright

    def places(self, image: np.ndarray, people: list[LabeledPerson]) -> list[PersonPlace]:
        """Crops of an image's people, without those whom the detector missed."""
        if self.recovery.image_format.upright and self.detector is None:
            return upright_places(self.recovery, image, people, self.factor, self.hand_turn)
        return places_of(self.recovery, image, people, self.factor, self.detector)

    def told(self, turned: int) -> str:
        """Which crops these are, in words. turned: how many people were shown rotated."""
        text = "the labeled ones" if self.detector is None else f"found by {self.detector.name}"
        if self.recovery.image_format.upright:
            text += f", hands upright as {LABELED if self.hand_turn == LABELED else FOUND}"
        text += f", times {self.factor:g}"
        if self.recovery.turns_people and self.detector is None:
            text += f", rotated where that gives surer keypoints ({turned} people)"
        return text


def images_of(file: KeypointFile, people: list[LabeledPerson], folder: Path) -> dict[str, list[int]]:
    """The images of people, by name: who of them is in each. FileNotFoundError where one is missing in the folder."""
    by_image: dict[str, list[int]] = {}
    for index, labeled in enumerate(people):
        by_image.setdefault(labeled.file, []).append(index)
    for name in by_image:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing: put the images of {file.path} below {folder}")
    return by_image


def judged_people(file: KeypointFile) -> tuple[list[LabeledPerson], dict[str, int]]:
    """The people who have a labeled joint that is judged, and why how many others are left out.

    Raises ValueError where nobody remains.
    """
    joints = list(JUDGED[file.kind])
    people = [person for person in file.usable() if (person.keypoints[joints, 2] > 0).any()]
    left_out = file.left_out()
    if unlabeled := len(file.usable()) - len(people):
        left_out[NO_LIMB] = unlabeled
    if not people:
        raise ValueError(f"{file.path} has nobody to judge: {left_out}")
    return people, left_out


def _same(items: Any) -> Any:
    return items


def checked_image(path: Path, people: list[LabeledPerson]) -> np.ndarray:
    """The image (H, W, 3) uint8. ValueError where its labels are for one of another size."""
    image = read_image(path)
    for person in people:
        if person.image_size not in (None, image.shape[:2]):
            (height, width), found = person.image_size, image.shape
            raise ValueError(
                f"{path} has {found[1]} x {found[0]} pixels, but its labels are for {width} x {height}; label the "
                "image as it is shown, after the rotation that its EXIF names"
            )
    return image


class PersonPlace(NamedTuple):
    """Where one of an image's labeled people is looked at."""

    person: int  # of the image's people
    crop: Crop
    left: bool


def places_of(
    recovery: MeshRecovery, image: np.ndarray, people: list[LabeledPerson], factor: float, detector: Detector | None
) -> list[PersonPlace]:
    """Crops of an image's people, by their labeled boxes or by the found ones that overlap those."""
    if detector is None:
        known = [Detection(as_box(person.box), GIVEN, left=person.side == "left") for person in people]
        pairs = list(enumerate(known))
    else:
        found = recovery.find(detector, image)
        owners = matched(np.array([one.box for one in found]).reshape(-1, 4), np.stack([p.box for p in people]))
        pairs = [(index, found[owner]) for index, owner in enumerate(owners) if owner >= 0]
    if recovery.image_format.upright:
        return [PersonPlace(index, upright_crop(one, factor), one.left) for index, one in pairs]
    turned, _ = recovery.upright(image, [one for _, one in pairs], False)
    places = []
    for (index, _), one in zip(pairs, turned or [], strict=True):
        assert isinstance(one, Detection)
        places.append(PersonPlace(index, crop_around(np.array(one.box), factor, one.rotation), one.left))
    return places


def upright_places(
    recovery: MeshRecovery, image: np.ndarray, people: list[LabeledPerson], factor: float, turn: str
) -> list[PersonPlace]:
    """Upright crops of hands, found from their labeled boxes, with the side; or with turn "labeled" by their labels.

    A hand whose labels do not tell its turn or side has the one that is found.
    """
    boxes = [Detection(as_box(person.box), GIVEN) for person in people]
    found, _ = recovery.upright(image, boxes, None)
    places = []
    for index, (person, hand) in enumerate(zip(people, found or [], strict=True)):
        assert isinstance(hand, Detection)
        crop, left = upright_crop(hand, factor), hand.left
        if turn == LABELED:
            left = left if person.side is None else person.side == "left"
            with suppress(ValueError):  # without the wrist
                joints = np.where(person.keypoints[:, 2:] > 0, person.keypoints[:, :2], np.nan)
                crop = upright_hand(joints, factor)
        places.append(PersonPlace(index, crop, left))
    return places


def recover_places(
    recovery: MeshRecovery, image: np.ndarray, places: list[PersonPlace], refine: bool = False
) -> list[Recovery]:
    """What the network recovers there."""
    left = [place.left for place in places] if recovery.body.kind == "hand" else False
    return recovery.predict(image, [place.crop for place in places], left=left, keep_crop=False, refine=refine)


def crop_around(box: np.ndarray, factor: float, rotation: float = 0.0) -> Crop:
    """The square about the center of a box (4,), `factor` times its longer side."""
    x, y = box[:2] + box[2:] / 2
    return Crop((x, y), factor * box[2:].max(), rotation)


def with_bar(items: Any) -> Any:
    """A progress bar on stderr, where that is a terminal."""
    return tqdm(items, desc="keypoints", unit="image", leave=False, disable=None, dynamic_ncols=True)
