"""Boxes as detectors write them: COCO annotations and results, or lists by image name, with scores or without.

All become `Detections`: for each name or number of an image its boxes (x, y, width, height) in pixels. Which image a
name means is found by `tore_runtime.inputs`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tore_runtime.detector import Box, Detection
from tore_runtime.files import parse_json
from tore_runtime.names import short, some

FORMATS: dict[str, str] = {"xywh": "x, y, width, height", "xyxy": "left, top, right, bottom", "cxcywh": "middle, size"}
EXPECTED = '{"name.jpg": [[x, y, width, height], ...], ...}, or COCO annotations or results'
PERSON_CATEGORIES, HAND_CATEGORIES = ("person", "people", "pedestrian", "human"), ("hand", "hands")
ANYBODY = (*PERSON_CATEGORIES, *HAND_CATEGORIES)
COCO_PERSON = 1
NORMALIZED_LIMIT = 1.5  # pixels; a box that lies within is one in shares of the image, which may reach a bit beyond it
BOX_NAMES, LIST_NAMES = ("bbox", "box"), ("boxes", "bboxes")
IMAGE_NAMES = ("file_name", "image_name", "image_path", "filename", "image", "name", "image_id")
SCORE_NAMES = ("score", "confidence")
# What a box is: its number in the file's own list, its name in words, then numbers of any list.
CATEGORY_NAMES = ("category_id", "category_name", "class_name", "name", "category", "label", "class", "class_id", "cls")
CATEGORY_LISTS = ("labels", "category_ids", "names", "class_names", "classes", "class_ids", "cls")
ENTRY_LISTS = ("annotations", "results", "predictions", "detections")
SIDES = {
    "xywh": (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height")),
    "xyxy": (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom")),
    "cxcywh": (("cx", "cy", "w", "h"), ("cx", "cy", "width", "height")),
}

ImageName = str | int


@dataclass
class Detections:
    """Boxes by image; a number is a COCO image number whose file name the file does not say."""

    source: str
    boxes: dict[ImageName, list[Box]]
    notes: list[str] = field(default_factory=list)  # what was left out, one sentence each
    scores: dict[ImageName, list[float | None]] = field(default_factory=dict)  # None: it has none

    def of(self, name: ImageName) -> list[Detection]:
        """The people of one of its images."""
        scores = self.scores.get(name) or [None] * len(self.boxes[name])
        pairs = zip(self.boxes[name], scores, strict=True)
        return [Detection(box, self.source, None if score is None else float(score)) for box, score in pairs]


@dataclass
class _Found:
    """One box as it lies in the file."""

    image: ImageName
    values: Any
    score: Any = None
    category: Any = None
    crowd: bool = False


def read_boxes(path: str | Path, box_format: str = "xywh", threshold: float | None = None) -> Detections:
    """The boxes of a JSON file. `threshold`: boxes with a lower score are left out; every box needs a score then.

    Raises FileNotFoundError, or ValueError in one sentence that names the file and the entry that cannot be used.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(f"{path} is {'a folder' if path.is_dir() else 'missing'}: give a JSON file of boxes")
    if threshold is not None and not np.isfinite(threshold):
        raise ValueError(f"box threshold {threshold}: give a finite number")
    try:
        return _Reader(path, box_format, threshold).read(_content(path))
    except _Wrong as wrong:
        raise ValueError(f"{path}: {wrong}") from None


def parse_boxes(words: list[str], box_format: str = "xywh") -> list[Box]:
    """Boxes of a command line, four numbers each, apart by commas or spaces. ValueError for other text."""
    text = " ".join(words)
    asked = f"box {short(text)}: give four numbers x,y,width,height in pixels, such as 120,40,200,380"
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(asked) from None
    if not numbers or len(numbers) % 4:
        raise ValueError(asked)
    return [as_box(numbers[start : start + 4], box_format) for start in range(0, len(numbers), 4)]


class _Wrong(Exception):
    """What is wrong with an entry, without the file's name."""


def as_box(values: Any, box_format: str = "xywh") -> Box:
    """Four numbers in one of `FORMATS` as x, y, width, height. ValueError where they are no box in pixels."""
    shown = f"box {short(values)}"
    if not isinstance(values, list | tuple) or len(values) != 4:
        raise ValueError(f"{shown} is not four numbers ({FORMATS[box_format]})")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise ValueError(f"{shown} holds something other than numbers")
    try:
        a, b, c, d = (float(value) for value in values)
    except OverflowError:
        raise ValueError(f"{shown} holds a number that is too large") from None
    if not np.isfinite((a, b, c, d)).all():
        raise ValueError(f"{shown} holds a number that is not finite")
    if max(map(abs, (a, b, c, d))) <= NORMALIZED_LIMIT:
        raise ValueError(f"{shown} lies within about 0..1: it is normalized; give pixels, not shares of the image")
    if box_format == "xyxy":
        if c <= a or d <= b:
            raise ValueError(f"{shown} as left, top, right, bottom has no area; if it is x, y, width, height, use xywh")
        return a, b, c - a, d - b
    if c <= 0 or d <= 0:
        raise ValueError(f"{shown} has no area: its width and height are not both above 0")
    return (a - c / 2, b - d / 2, c, d) if box_format == "cxcywh" else (a, b, c, d)


def _content(path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
            raise _Wrong(f"the name {short(name)} is there twice; join its boxes into one list")
        return found

    data = path.read_bytes()
    encoding = json.detect_encoding(data)
    try:  # a name that is not UTF-8 in the file is the one that the file system has
        text = data.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "strict")
        return parse_json(text, str(path), unique)
    except ValueError as error:
        named = "" if str(path) in str(error) else f"{path} is not JSON: "
        raise ValueError(f"{named}{error}; boxes are written as {EXPECTED}") from None


class _Reader:
    """Goes through one file's content, whatever its layout."""

    def __init__(self, path: Path, box_format: str, threshold: float | None) -> None:
        self.path, self.box_format, self.threshold = path, box_format, threshold
        self.notes: list[str] = []
        self.images: dict[ImageName, None] = {}  # all that are named, with boxes or without, in order

    def read(self, content: Any) -> Detections:
        """Everything in the file as boxes by image."""
        persons: set[Any] | None = None
        if isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content:
            persons = _person_categories(content.get("categories"))
            found = list(self._annotations(content))
        elif isinstance(content, list | dict) and (entries := _entries(content)) is not None:
            found = [box for entry in entries for box in self._entry(entry)]
        elif isinstance(content, dict):
            found = [box for name, value in content.items() for box in self._image(name, value)]
        else:
            raise ValueError(f"{self.path} holds {short(content)}; boxes are written as {EXPECTED}")
        kept = self._strong(self._people(found, persons))
        boxes: dict[ImageName, list[Box]] = {name: [] for name in self.images}
        scores: dict[ImageName, list[float | None]] = {name: [] for name in self.images}
        for box in kept:
            try:
                boxes[box.image].append(as_box(box.values, self.box_format))
                scores[box.image].append(box.score)
            except ValueError as wrong:
                raise _Wrong(f"{_named(box.image)}: {wrong}") from None
        return Detections(str(self.path), boxes, self.notes, scores)

    def _annotations(self, content: dict[str, Any]) -> Iterator[_Found]:
        """COCO annotations: images with numbers and file names, boxes with the images' numbers."""
        names: dict[Any, str] = {}
        for image in content["images"]:
            if not isinstance(image, dict) or "id" not in image or not isinstance(image.get("file_name"), str):
                raise _Wrong(f"image {short(image)} has no id and file_name")
            if _key(image["id"]) in names or image["file_name"] in self.images:
                raise _Wrong(f"the image {short(image)} is there twice, by its id or its file_name")
            names[_key(image["id"])] = image["file_name"]
            self._name(image["file_name"])
        if not isinstance(content["annotations"], list):
            raise _Wrong(f"annotations are {short(content['annotations'])}, not a list")
        for annotation in content["annotations"]:
            number = annotation.get("image_id") if isinstance(annotation, dict) else None
            if _key(number) not in names:
                raise _Wrong(f"annotation {short(annotation)} names no image of the file's list")
            yield self._box(names[_key(number)], annotation)

    def _entry(self, entry: Any) -> Iterator[_Found]:
        """An item of a list: one box with its image (COCO results), or one image with its boxes."""
        name = next((entry[key] for key in IMAGE_NAMES if key in entry), None) if isinstance(entry, dict) else None
        if isinstance(name, float) and name.is_integer():
            name = int(name)
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise _Wrong(f"entry {short(entry)} does not say its image (image_id or file_name); write {EXPECTED}")
        if any(key in entry for key in LIST_NAMES):
            yield from self._image(name, entry)
        else:
            self._name(name)
            yield self._box(name, entry)

    def _image(self, name: ImageName, value: Any) -> Iterator[_Found]:
        """All boxes of one image: a list of boxes, one box, or a dictionary of boxes and scores."""
        self._name(name)
        if isinstance(value, dict) and (key := next((key for key in LIST_NAMES if key in value), None)):
            yield from self._columns(name, value, key)
            return
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list):
            raise _Wrong(f"{_named(name)}: boxes are {short(value)}; give a list of boxes, [] for nobody")
        if value and not any(isinstance(item, list | dict) for item in value):
            value = [value]
        for item in value:
            yield self._box(name, item)

    def _columns(self, name: ImageName, value: dict[str, Any], key: str) -> Iterator[_Found]:
        boxes = value[key]
        if not isinstance(boxes, list):
            raise _Wrong(f"{_named(name)}: {key} are {short(boxes)}, not a list")
        columns = []
        for names in (("scores", "confidences"), CATEGORY_LISTS):
            column = next((value[other] for other in names if other in value), [None] * len(boxes))
            if not isinstance(column, list) or len(column) != len(boxes):
                raise _Wrong(f"{_named(name)}: {names[0]} are {short(column)} for {len(boxes)} boxes")
            columns.append(column)
        for item, score, category in zip(boxes, *columns, strict=True):
            box = self._box(name, item)
            box.score = box.score if score is None else score
            box.category = box.category if category is None else category
            yield box

    def _box(self, name: ImageName, item: Any) -> _Found:
        """A box as four numbers, five with the score behind them, or a dictionary."""
        if isinstance(item, list):
            return _Found(name, item[:4], item[4]) if len(item) == 5 else _Found(name, item)
        if not isinstance(item, dict):
            raise _Wrong(f"{_named(name)}: box {short(item)} is neither four numbers nor a dictionary with bbox")
        score = next((item[key] for key in SCORE_NAMES if key in item), None)
        category = next((item[key] for key in CATEGORY_NAMES if key in item and item[key] != name), None)
        held = next((item[key] for key in BOX_NAMES if key in item), None)
        if isinstance(held, list) and len(held) == 5 and score is None:
            held, score = held[:4], held[4]
        values = self._sides(item if held is None else held) if not isinstance(held, list) else held
        if values is None:
            raise _Wrong(f"{_named(name)}: {short(item)} has no bbox")
        return _Found(name, values, score, category, bool(item.get("iscrowd", 0)))

    def _sides(self, item: Any) -> Any:
        """The numbers of a box whose sides are named, in the file's format; what is no dictionary as it is."""
        if not isinstance(item, dict):
            return item
        for box_format, layouts in SIDES.items():
            for names in layouts:
                if all(name in item for name in names):
                    if box_format != self.box_format:
                        raise _Wrong(f"box {short(item)} names its sides: add --box_format {box_format}")
                    return [item[name] for name in names]
        return None

    def _name(self, name: ImageName) -> None:
        self.images[name] = None

    def _people(self, found: list[_Found], persons: set[Any] | None) -> list[_Found]:
        """Without crowds, and without what is no person."""
        single = [box for box in found if not box.crowd]
        if len(single) < len(found):
            self.notes.append(f"{len(found) - len(single)} boxes of crowds (iscrowd) were left out")
        if persons is None:
            categories = {_key(box.category) for box in single if box.category is not None}
            if words := {word for word in categories if isinstance(word, str) and word.lower() in ANYBODY}:
                categories = {item for item in categories if not isinstance(item, str)}
            persons = categories if len(categories) <= 1 and categories <= {0, COCO_PERSON} else {COCO_PERSON}
            if categories and (0 in categories or COCO_PERSON not in categories) and persons != categories:
                raise _Wrong(
                    f"its boxes have the categories {some(sorted(map(str, categories)))} and no list says which is a "
                    f"person (COCO's is {COCO_PERSON}); keep the people's boxes only"
                )
            persons = persons | words
        kept = [box for box in single if box.category is None or _key(box.category) in persons]
        if len(kept) < len(single):
            self.notes.append(f"{len(single) - len(kept)} boxes of other categories than people were left out")
        return kept

    def _strong(self, found: list[_Found]) -> list[_Found]:
        """Without boxes below the threshold; scores are numbers or nothing."""
        for box in found:
            score = box.score
            number = isinstance(score, int | float) and not isinstance(score, bool) and np.isfinite(score)
            if score is not None and not number:
                raise _Wrong(f"{_named(box.image)}: score {short(score)} is no finite number")
            if score is None and self.threshold is not None:
                raise _Wrong(f"{_named(box.image)}: box {short(box.values)} has no score; leave --box_threshold out")
        if self.threshold is None:
            if any(box.score is not None for box in found):
                low = min(box.score for box in found if box.score is not None)
                self.notes.append(f"boxes of any score are used, down to {low:g}; --box_threshold leaves some out")
            return found
        kept = [box for box in found if box.score >= self.threshold]
        self.notes.append(f"{len(found) - len(kept)} of {len(found)} boxes score below {self.threshold:g}")
        return kept


def _entries(content: list[Any] | dict[str, Any]) -> list[Any] | None:
    """The items of COCO results, also where they lie under a name of their own; None for a dictionary by image."""
    if isinstance(content, list):
        return content
    if isinstance(content.get("images"), list) and not any(isinstance(item, list) for item in content["images"]):
        raise _Wrong("it has images but no annotations: it is a list of images, not of boxes")
    lists = [content[name] for name in ENTRY_LISTS if isinstance(content.get(name), list)]
    return lists[0] if len(lists) == 1 and all(isinstance(item, dict) for item in lists[0]) else None


def _named(name: ImageName) -> str:
    return f"image {short(name)}"


def _key(value: Any) -> Any:
    """Numbers and texts compare as they are; what cannot be looked up is nothing."""
    return value if isinstance(value, str | int | float) else None


def _person_categories(categories: Any) -> set[Any] | None:
    """The numbers of people's categories, by the file's own list; None where it has none."""
    if not categories:
        return None
    if not isinstance(categories, list) or not all(isinstance(item, dict) and "id" in item for item in categories):
        raise _Wrong(f"categories are {short(categories)}, not a list of numbers (id) and names")
    for wanted in (PERSON_CATEGORIES, HAND_CATEGORIES):
        if people := {_key(item["id"]) for item in categories if str(item.get("name", "")).lower() in wanted}:
            return people
    raise _Wrong(f"its categories are {some(item.get('name') for item in categories)}, none of them called person")
