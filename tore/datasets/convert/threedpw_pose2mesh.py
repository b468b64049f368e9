"""3DPW as Pose2Mesh gives it: COCO-style `3DPW_{train,test}.json`, SMPL parameters already in the camera frame.

The published 3DPW TSV files came from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tore.datasets.convert.entries import BOX_MARGIN, SCALE_UNIT, Entry
from tore.datasets.convert.posed_bodies import CHUNK, BodyModels, entry
from tore.datasets.convert.reading import array, field, file_stamp, gender_name, items, load_json

TABLES = ("images", "annotations")


class Posed(NamedTuple):
    """One annotation: picture, SMPL parameters and pinhole camera."""

    key: str
    box: tuple[np.ndarray, float]  # centre (2,), scale
    pose: np.ndarray  # (72,)
    betas: np.ndarray  # (10,)
    translation: np.ndarray  # (3,) metres, camera frame
    intrinsics: np.ndarray  # (3,3)
    gender: str | None


class Pose2MeshAnnotations:
    """The annotations of one JSON file, in the file's order; the box is the annotation's.

    Published: joints are the neutral model's 24 train joints whatever the person's gender.
    """

    def __init__(self, path: str | Path, data_dir: str | Path | None = None) -> None:
        self.path = Path(path)
        record = load_json(self.path)
        tables = {name: items(field(record, name, str(self.path)), f"{self.path}: {name}") for name in TABLES}
        self._images = {str(field(image, "id", f"{self.path}: an image")): image for image in tables["images"]}
        self._annotations = tables["annotations"]
        self._bodies = BodyModels({"neutral"}, data_dir)
        self.description: dict[str, Any] = {
            "source": "3dpw-pose2mesh",
            "annotations": file_stamp(self.path),
            "body_models": self._bodies.description,
        }

    def __len__(self) -> int:
        return len(self._annotations)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """The entries from number `start` on, whole chunks going through the body model together."""
        for first in range(start - start % CHUNK, len(self), CHUNK):
            people = [self._posed(row) for row in range(first, min(first + CHUNK, len(self)))]
            poses, betas = np.stack([p.pose for p in people]), np.stack([p.betas for p in people])
            joints = self._bodies.joints24("neutral", poses, betas)
            for person, points in list(zip(people, joints, strict=True))[max(0, start - first) :]:
                known = (person.translation, person.intrinsics, person.pose, person.betas, person.gender, person.box)
                yield entry(person.key, points, *known)

    def _posed(self, row: int) -> Posed:
        where = f"{self.path} annotation {row}"
        annotation = self._annotations[row]
        image_id = str(field(annotation, "image_id", where))
        if image_id not in self._images:
            raise ValueError(f"{where} names image {image_id}, which the file does not list")
        image, at = self._images[image_id], f"{self.path} image {image_id}"
        smpl = field(annotation, "smpl_param", where)
        camera = field(image, "cam_param", at)
        x, y, width, height = array(field(annotation, "bbox", where), (4,), f"{where}: bbox")
        (fx, fy), (cx, cy) = (array(field(camera, name, at), (2,), f"{at}: {name}") for name in ("focal", "princpt"))
        return Posed(
            key=f"imageFiles/{field(image, 'sequence', at)}/{field(image, 'file_name', at)}",
            box=(np.array([x + width / 2, y + height / 2]), BOX_MARGIN * max(width, height) / SCALE_UNIT),
            pose=array(field(smpl, "pose", where), (72,), f"{where}: pose", flat=True),
            betas=array(field(smpl, "shape", where), (10,), f"{where}: shape", flat=True),
            translation=array(field(smpl, "trans", where), (3,), f"{where}: trans", flat=True),
            intrinsics=np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
            gender=gender_name(smpl.get("gender", "")),
        )
