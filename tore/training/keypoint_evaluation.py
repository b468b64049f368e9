"""Evaluation of a network on 2D keypoints: its meshes' joints, where its camera puts them, against what is labeled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tore.body.body_model import BodyModel
from tore.body.joints import COCO_TO_J24
from tore.datasets.keypoints import KeypointFile, LabeledPerson
from tore.evaluation.keypoints import JUDGED, MEASURES, Judgment, in_boxes, judge, mean_pose
from tore.geometry.crop import Crop
from tore.inference.images import read_image
from tore.inference.predictor import MeshRecovery
from tore.paths import SYNTHETIC
from tore.synthetic.free_body import keypoint_rows

NETWORK, CONSTANT = "network", "constant pose"
WHOM = {"body": "people", "hand": "hands"}
NO_LIMB = "no joint that is judged is labeled"
BOX_FACTOR = 1.25  # side of the crop over the longer side of the labeled box
ROWS_OF_BODY = "COCO's keypoints, regressed from the mesh"
ROWS_OF_LABELS = "those of the 24 label joints, regressed from the mesh"
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
        lines = [
            f"{self.keypoints}: {self.judged} of {self.people} {whom} in {self.images} images are judged{notes}",
            f"boxes: {self.boxes}; joints: {self.joints}",
            f"PCK, the share of labeled joints within {MEASURES[self.judgment.kind]}"
            + (f" ({self.judgment.without_torso} people)" if self.judgment.kind == "body" else ""),
            f"{CONSTANT}: {self.baseline}",
            "",
            f"{'':24s}{whom:>7s}{'joints':>8s}{NETWORK:>16s}{CONSTANT:>18s}",
        ]
        for name, by in self.judgment.rows():
            network, constant = by[NETWORK], by[CONSTANT]
            shares = f"{network.coarse:9.3f}{network.fine:7.3f}{constant.coarse:11.3f}{constant.fine:7.3f}"
            lines.append(f"{name:24s}{network.people:7d}{network.joints:8d}{shares}")
        return "\n".join(lines)


def joint_rows(body: BodyModel) -> tuple[np.ndarray, str]:
    """The matrix (K, V) that gives a file's keypoints of a mesh's vertices, and what they are.

    The synthetic body knows COCO's keypoints.
    """
    if body.kind == "hand":
        return _array(body.output_rows), ROWS_OF_HAND
    if body.identity.name == SYNTHETIC:
        return keypoint_rows(), ROWS_OF_BODY
    assert isinstance(body.j24_rows, torch.Tensor)
    return _array(body.j24_rows)[list(COCO_TO_J24)], ROWS_OF_LABELS


def _array(rows: Any) -> np.ndarray:
    return np.asarray(rows.to_dense().cpu() if rows.is_sparse else rows.cpu(), np.float64)


def evaluate_keypoints(
    recovery: MeshRecovery,
    file: KeypointFile,
    images: Path,
    *,
    box_factor: float = BOX_FACTOR,
    progress: Callable[[Any], Any] | None = None,
) -> KeypointReport:
    """Judges a network on the people of a file whose image names start from the folder `images`.

    Each person's crop is the square about the center of the labeled box, `box_factor` times its longer side. progress:
    wraps the loop over images.

    Raises ValueError for a network of another kind, a file without anybody to judge, and an image of another size than
    the file says; FileNotFoundError for an image that is missing.
    """
    if recovery.body.kind != file.kind:
        labels, recovers = (WHOM[kind] for kind in (file.kind, recovery.body.kind))
        raise ValueError(f"{file.path} labels {labels}, but {recovery.checkpoint or 'the network'} recovers {recovers}")
    judged_joints = list(JUDGED[file.kind])
    people = [person for person in file.usable() if (person.keypoints[judged_joints, 2] > 0).any()]
    left_out = file.left_out()
    if unlabeled := len(file.usable()) - len(people):
        left_out[NO_LIMB] = unlabeled
    if not people:
        raise ValueError(f"{file.path} has nobody to judge: {left_out}")
    rows, joints = joint_rows(recovery.body)
    by_image: dict[str, list[int]] = {}
    for index, person in enumerate(people):
        by_image.setdefault(person.file, []).append(index)
    for name in by_image:
        if not (images / name).is_file():
            raise FileNotFoundError(f"{images / name} is missing: put the images of {file.path} below {images}")
    keypoints, boxes = np.stack([p.keypoints for p in people]), np.stack([p.box for p in people])
    predicted = np.full((*keypoints.shape[:2], 2), np.nan)
    for name, own in (progress or _same)(list(by_image.items())):
        predicted[own] = predict_image(recovery, images / name, [people[index] for index in own], rows, box_factor)
    constant = in_boxes(mean_pose(keypoints, boxes), boxes)
    found = {NETWORK: predicted, CONSTANT: constant}
    return KeypointReport(
        keypoints=str(file.path),
        checkpoint=recovery.checkpoint,
        boxes=f"the labeled ones, times {box_factor:g}",
        joints=joints,
        baseline="the mean of these people's poses in their boxes, scaled to the box",
        images=len(by_image),
        people=len(file.people),
        judged=len(people),
        left_out=left_out,
        side_unknown=sum(person.side is None for person in people) if file.kind == "hand" else 0,
        judgment=judge(found, keypoints, boxes, file.kind, [person.image_kind for person in people]),
    )


def _same(items: Any) -> Any:
    return items


def predict_image(
    recovery: MeshRecovery, path: Path, people: list[LabeledPerson], rows: np.ndarray, box_factor: float
) -> np.ndarray:
    """(N, K, 2) pixels of the joints (rows (K, V) of the mesh) of one image's people."""
    image = read_image(path)
    sizes = {person.image_size for person in people if person.image_size is not None}
    if sizes - {image.shape[:2]}:
        (height, width), (found_height, found_width) = next(iter(sizes)), image.shape[:2]
        raise ValueError(
            f"{path} has {found_width} x {found_height} pixels, but its labels are for {width} x {height}; label the "
            "image as it is shown, after the rotation that its EXIF names"
        )
    middles = [person.box[:2] + person.box[2:] / 2 for person in people]
    crops = [Crop((x, y), box_factor * person.box[2:].max()) for (x, y), person in zip(middles, people, strict=True)]
    left = [person.side == "left" for person in people] if recovery.body.kind == "hand" else False
    found = recovery.predict(image, crops, left=left, keep_crop=False)
    return np.stack([person.to_pixels(rows @ person.vertices) for person in found])


def with_bar(items: Any) -> Any:
    """A progress bar on stderr, where that is a terminal."""
    return tqdm(items, desc="keypoints", unit="image", leave=False, disable=None, dynamic_ncols=True)
