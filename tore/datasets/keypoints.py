"""People or hands with 2D keypoints, from a JSON file in COCO's form.

`images` have an id, a file_name and, where known, width, height and a kind (or source) of image; `annotations` have an
id, an image_id, a bbox (x, y, width, height), keypoints (x, y, v, x, y, v, ...; v: 0 not labeled, 1 hidden, 2 visible)
and, where known, iscrowd, and a hand's side. 17 keypoints are a body's, 21 a hand's; where the file's first category
names its keypoints, they may be in any order. Points are continuous pixels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tore.body.joints import KEYPOINT_NAMES
from tore.files import read_json

KIND_OF = {len(names): kind for kind, names in KEYPOINT_NAMES.items()}
SIDES = ("left", "right")
CROWD, NO_KEYPOINTS, NO_BOX = "a crowd", "no keypoint is labeled", "the box has no area"
TWICE = "its id occurs a second time"


@dataclass(frozen=True, eq=False)
class LabeledPerson:
    """One person, or one hand."""

    file: str  # the image, as the file names it
    box: np.ndarray  # (4,) x, y, width, height in pixels
    keypoints: np.ndarray  # (17 | 21, 3) x, y in pixels, and 0 not labeled, 1 hidden, 2 visible
    image_kind: str | None = None
    image_size: tuple[int, int] | None = None  # height, width, where the file says it
    side: str | None = None  # a hand's: "left" | "right"
    left_out: str = ""  # why nothing can be done with it


@dataclass(frozen=True)
class KeypointFile:
    """What a file holds."""

    path: Path
    kind: str  # "body" | "hand"
    people: list[LabeledPerson] = field(repr=False)
    images: int

    def usable(self) -> list[LabeledPerson]:
        """The people that are not left out."""
        return [person for person in self.people if not person.left_out]

    def left_out(self) -> dict[str, int]:
        """Reason -> number of people."""
        return dict(Counter(person.left_out for person in self.people if person.left_out))


def read_keypoints(path: str | Path) -> KeypointFile:
    """The people of a file, in its order.

    Raises FileNotFoundError, and ValueError with the annotation and the field that cannot be.
    """
    path = Path(path)
    found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(found.get(name), list) for name in ("images", "annotations")):
        raise ValueError(f"{path} is not in COCO's form: it needs lists named images and annotations")
    images = {}
    for place, image in enumerate(found["images"]):
        if not isinstance(image, dict) or "id" not in image or not isinstance(image.get("file_name"), str):
            raise ValueError(f"{path}: image number {place + 1} needs an id and a file_name")
        if image["id"] in images:
            raise ValueError(f"{path}: image id {image['id']!r} occurs twice; give every image one of its own")
        images[image["id"]] = image
    annotations = [item for item in found["annotations"] if not isinstance(item, dict) or "keypoints" in item]
    if not annotations:
        raise ValueError(f"{path} has no annotation with keypoints; COCO's are in its person_keypoints files")
    order = _order(path, found.get("categories"))
    count = len(order) if order is not None else _count(path, annotations)
    order = np.arange(count) if order is None else order
    seen: set[Any] = set()
    people = []
    for place, annotation in enumerate(annotations):
        number = annotation.get("id", place) if isinstance(annotation, dict) else place
        person = _person(f"{path}: annotation {number!r}", annotation, images, order, number in seen)
        seen.add(number)
        people.append(person)
    return KeypointFile(path, KIND_OF[count], people, len(images))


def _order(path: Path, categories: Any) -> np.ndarray | None:
    """Where in an annotation each of `KEYPOINT_NAMES` stands, by the first category's names; None without names."""
    first = categories[0] if isinstance(categories, list) and categories else None
    names = first.get("keypoints") if isinstance(first, dict) else None
    if not isinstance(names, list):
        return None
    given = [str(name).lower() for name in names]
    for known in KEYPOINT_NAMES.values():
        if sorted(given) == sorted(known):
            return np.array([given.index(name) for name in known])
    raise ValueError(f"{path}: the {len(given)} keypoints of its first category are neither COCO's 17 nor a hand's 21")


def _count(path: Path, annotations: list[Any]) -> int:
    """The number of keypoints of the first annotation that has a list of them."""
    for annotation in annotations:
        points = annotation.get("keypoints") if isinstance(annotation, dict) else None
        if isinstance(points, list) and len(points) // 3 in KIND_OF and len(points) % 3 == 0:
            return len(points) // 3
    raise ValueError(f"{path}: no annotation has 17 or 21 keypoints, three numbers each")


def _person(where: str, annotation: Any, images: dict[Any, Any], order: np.ndarray, twice: bool) -> LabeledPerson:
    if not isinstance(annotation, dict) or annotation.get("image_id") not in images:
        raise ValueError(f"{where} has no image_id of the file's images")
    image = images[annotation["image_id"]]
    box = _numbers(where, "bbox", annotation.get("bbox"), 4)
    points = _numbers(where, "keypoints", annotation["keypoints"], 3 * len(order)).reshape(-1, 3)[order]
    side = annotation.get("side")
    if side not in (None, *SIDES):
        raise ValueError(f"{where}: side is {side!r}; give left or right")
    size = (image.get("height"), image.get("width"))
    kind = image.get("kind", image.get("source"))
    reason = TWICE if twice else CROWD if annotation.get("iscrowd") else ""
    reason = reason or (NO_BOX if min(box[2:]) <= 0 else "") or ("" if (points[:, 2] > 0).any() else NO_KEYPOINTS)
    known = all(isinstance(length, int) for length in size)
    return LabeledPerson(
        file=image["file_name"],
        box=box,
        keypoints=points,
        image_kind=None if kind is None else str(kind),
        image_size=size if known else None,
        side=side,
        left_out=reason,
    )


def _numbers(where: str, name: str, values: Any, count: int) -> np.ndarray:
    """(count,) float64. ValueError where there is something else."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ValueError(f"{where}: {name} is {str(values)[:60]}; give {count} finite numbers")
    return array
