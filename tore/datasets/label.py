"""A sample's label: its fields, their ranges, and how many samples have which."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tore.datasets.images import row_key
from tore.datasets.sets import BadSample, Place
from tore.files import parse_json

FLAGS = ("has_smpl", "has_3d_joints", "has_2d_joints")
GENDERS = {"m": "male", "f": "female", "male": "male", "female": "female"}
BETAS = 10


@dataclass(frozen=True)
class Label:
    """Arrays are float64 in the source image's frame: pixels, meters, radians."""

    key: str
    center: np.ndarray  # (2,) pixels
    scale: float  # box side / 200 pixels
    joints_2d: np.ndarray  # (J, 3) pixels, confidence
    joints_3d: np.ndarray  # (J, 4) meters, confidence
    pose: np.ndarray  # (3 K,) axis-angle
    betas: np.ndarray  # (10,)
    has_smpl: int
    has_3d_joints: int
    has_2d_joints: int
    gender: str  # "male" | "female" | "neutral"


def parse_label(columns: list[bytes], place: Place, joints: tuple[int, ...], pose: tuple[int, ...]) -> Label:
    """Reads a label row; `joints` and `pose` are the lengths allowed.

    BadSample for JSON that cannot be read, a missing field, a wrong length, or a number that is not finite.
    """
    fields = _Fields(person_of(columns, place), place, row_key(columns))
    scale = float(fields.numbers("scale", ((),)))
    if scale <= 0:
        raise fields.bad("scale", f"is {scale}, expected a positive number")
    return Label(
        key=row_key(columns),
        center=fields.numbers("center", ((2,),)),
        scale=scale,
        joints_2d=fields.numbers("2d_joints", tuple((count, 3) for count in joints)),
        joints_3d=fields.numbers("3d_joints", tuple((count, 4) for count in joints)),
        pose=fields.numbers("pose", tuple((count,) for count in pose)),
        betas=fields.numbers("betas", ((BETAS,),)),
        has_smpl=fields.flag("has_smpl"),
        has_3d_joints=fields.flag("has_3d_joints"),
        has_2d_joints=fields.flag("has_2d_joints"),
        gender=GENDERS.get(str(fields.person.get("gender", "")).lower(), "neutral"),
    )


def person_of(columns: list[bytes], place: Place) -> dict[str, Any]:
    """The person of a label row, unchecked. BadSample where there is none, or more than the one that would be read."""
    key = row_key(columns)
    if len(columns) < 2:
        raise BadSample.at(place, key, "the row has no label column")
    try:
        people = parse_json(columns[-1], "the label")
    except ValueError as error:
        raise BadSample.at(place, key, str(error)[:100]) from None
    if not (isinstance(people, list) and people and isinstance(people[0], dict)):
        raise BadSample.at(place, key, "the label is not a list that holds one person")
    if len(people) > 1:
        raise BadSample.at(place, key, f"the label holds {len(people)} people; give each a row of its own")
    return people[0]


def described_kind(person: dict[str, Any]) -> str | None:
    """ "body" or "hand", by the sizes of a person's 3D joints and pose; None where they do not tell.

    A body has 24 joints and 72 pose numbers, a hand 21 and 48; a hand may carry the body's sizes, zeros behind its own.
    """
    try:
        sizes = {name: np.ravel(np.asarray(person[name], np.float64)) for name in ("3d_joints", "2d_joints", "pose")}
    except (KeyError, TypeError, ValueError):
        return None
    size = (len(sizes["3d_joints"]), len(sizes["pose"]))
    if size == (21 * 4, 48):
        return "hand"
    if size != (24 * 4, 72):
        return None
    if sizes["pose"][48:].any() or sizes["3d_joints"][21 * 4 :].any() or sizes["2d_joints"][21 * 3 :].any():
        return "body"
    return "hand" if sizes["pose"].any() else None


class _Fields:
    """Reads numbers from one person's fields and says what is wrong with them."""

    def __init__(self, person: dict[str, Any], place: Place, key: str) -> None:
        self.person, self.place, self.key = person, place, key

    def bad(self, name: str, finding: str) -> BadSample:
        return BadSample.at(self.place, self.key, f"field {name!r} {finding}")

    def numbers(self, name: str, shapes: tuple[tuple[int, ...], ...]) -> np.ndarray:
        """Finite float64 of one of the shapes; leading axes of length 1 are dropped."""
        if name not in self.person:
            raise self.bad(name, "is missing")
        try:
            array = np.asarray(self.person[name])
        except ValueError:
            raise self.bad(name, "has rows of different lengths") from None
        if array.dtype.kind not in "iufb":
            raise self.bad(name, f"holds something other than numbers: {str(self.person[name])[:40]!r}")
        shape = array.shape
        while array.ndim > len(shapes[0]) and array.shape[0] == 1:
            array = array[0]
        if array.shape not in shapes:
            wanted = " or ".join(str(allowed) for allowed in shapes)
            raise self.bad(name, f"has shape {shape}, expected {wanted}")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise self.bad(name, "holds a number that is not finite")
        return array

    def flag(self, name: str) -> int:
        value = float(self.numbers(name, ((),)))
        if value not in (0, 1):
            raise self.bad(name, f"is {value:g}, expected 0 or 1")
        return int(value)


class LabelShares:
    """Counts labels."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, label: Label) -> None:
        """Counts one label."""
        counts = self.counts
        counts["labels"] += 1
        counts.update({flag: getattr(label, flag) for flag in FLAGS})
        counts["without label"] += not is_labelled(label)
        if label.has_3d_joints:
            unlabeled = int((label.joints_3d[:, 3] <= 0).sum())
            counts["joints"] += len(label.joints_3d)
            counts["unlabeled joints"] += unlabeled
            counts["partly labeled"] += 0 < unlabeled < len(label.joints_3d)

    def notes(self) -> list[str]:
        """The shares in sentences."""
        counts = self.counts
        total = counts["labels"]
        if not total:
            return []
        shares = ", ".join(f"{flag} {counts[flag]} ({counts[flag] / total:.1%})" for flag in FLAGS)
        notes = [f"labeled of {total} rows: {shares}; {counts['without label']} have no label at all"]
        if counts["unlabeled joints"]:
            notes.append(
                f"of the rows with 3D joints {counts['partly labeled']} leave some of them at confidence 0 "
                f"({counts['unlabeled joints'] / counts['joints']:.1%} of all their joints)"
            )
        return notes


def is_labelled(label: Label) -> bool:
    """Whether a label has anything to compare with: a mesh, 3D joints, or 2D joints."""
    joints_3d = label.has_3d_joints and (label.joints_3d[:, 3] > 0).any()
    return bool(label.has_smpl or joints_3d or (label.joints_2d[:, 2] > 0).any())
