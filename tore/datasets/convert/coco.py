"""People or hands with 2D keypoints in COCO's form: label rows with 2D joints alone.

COCO's 17 keypoints are 17 of the 24 label joints; the other seven (neck, top of head, pelvis, thorax, spine, jaw, head)
get confidence 0. A keypoint that is labeled, hidden or visible, has confidence 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tore.body.joints import COCO_TO_J24, J24_NAMES
from tore.datasets.convert.entries import Entry, Person
from tore.datasets.convert.reading import file_stamp, require
from tore.datasets.keypoints import LabeledPerson, read_keypoints
from tore_runtime.crop import BOX_MARGIN, PIXELS_PER_SCALE

LEFT_HAND = "a left hand, and networks know right ones"


class CocoKeypoints:
    """One row per annotation with keypoints, in the file's order."""

    def __init__(self, path: str | Path) -> None:
        self.description: dict[str, Any] = {"source": "coco", "annotations": file_stamp(require(Path(path)))}
        self._file = read_keypoints(path)

    def __len__(self) -> int:
        return len(self._file.people)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """One entry per person."""
        for person in self._file.people[start:]:
            reason = person.left_out or (LEFT_HAND if person.side == "left" else "")
            label = None if reason else self._label(person).label()
            yield Entry(person.file, label, reason)

    def _label(self, person: LabeledPerson) -> Person:
        labeled = person.keypoints[:, 2:] > 0
        points = np.hstack([np.where(labeled, person.keypoints[:, :2], 0), labeled])  # (17 | 21, 3)
        if self._file.kind == "body":
            joints = np.zeros((len(J24_NAMES), 3))
            joints[list(COCO_TO_J24)] = points
        else:
            joints = points
        center = person.box[:2] + person.box[2:] / 2
        scale = BOX_MARGIN * float(person.box[2:].max()) / PIXELS_PER_SCALE
        return Person(center, scale, joints, None, None, None, kind=self._file.kind)
