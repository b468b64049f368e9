"""Boxes as detectors write them become the same boxes; what is no box in pixels is refused by one short sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tore_runtime.boxes import Detections, parse_boxes, read_boxes
from tore_runtime.inputs import detections_for

IMAGES = [Path("in/a.jpg"), Path("in/b.png"), Path("in/000000000785.jpg")]
STRONG, WEAK = (50.0, 40.0, 150.0, 190.0), (10.0, 20.0, 30.0, 40.0)
PEOPLE = [[STRONG, WEAK], [], [STRONG]]  # what every file below says
S, W = list(STRONG), list(WEAK)
COCO_RESULTS = [
    {"image_id": "a", "category_id": 1, "bbox": S, "score": 0.9},
    {"image_id": "a", "category_id": 3, "bbox": S, "score": 0.9},  # a car
    {"image_id": 785, "category_id": 1, "bbox": S, "score": 0.8},
    {"image_id": "a", "category_id": 1, "bbox": W, "score": 0.2},
]
COCO_ANNOTATIONS = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "in/b.png"}]
    + [{"id": 785, "file_name": "000000000785.jpg"}],
    "annotations": [
        {"image_id": 1, "bbox": S, "category_id": 7},
        {"image_id": 1, "bbox": W, "category_id": 7, "iscrowd": 0},
        {"image_id": 2, "bbox": S, "category_id": 7, "iscrowd": 1},
        {"image_id": 2, "bbox": S, "category_id": 1},
        {"image_id": 785, "bbox": S, "category_id": 7},
    ],
    "categories": [{"id": 1, "name": "car"}, {"id": 7, "name": "person"}],
}
LAYOUTS = {
    "lists": {"a.jpg": [S, W], "b.png": [], "000000000785.jpg": S},
    "scores": {"in/a.jpg": [[*S, 0.9], [*W, 0.2]], "785": [[*S, 0.8]]},
    "dictionaries": {"a": [{"bbox": S, "score": 0.9}, {"box": W, "score": 0.2}], "785": {"bbox": S, "score": 1}},
    "columns": {"a.jpg": {"boxes": [S, W], "scores": [0.9, 0.2]}, "785": {"boxes": [S], "scores": [0.7]}},
    "sides": {"a.jpg": [dict(zip("xywh", S, strict=True)), {"bbox": W}], "785": [S]},
    "per image": [{"file_name": "a.jpg", "boxes": [S, W]}, {"image_id": 785, "boxes": [S]}],
    "COCO results": COCO_RESULTS,
    "COCO results under a name": {"annotations": COCO_RESULTS},
    "COCO annotations": COCO_ANNOTATIONS,
}


def boxes_for(images: list[Path], detections: Detections) -> tuple[list, list[str]]:
    people, notes = detections_for(images, detections)
    assert {person.detector for own in people for person in own} <= {detections.source}
    return [[person.box for person in own] for own in people], notes


def written(folder: Path, content: Any) -> Path:
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_says_the_same(layout: str, tmp_path: Path) -> None:
    assert boxes_for(IMAGES, read_boxes(written(tmp_path, LAYOUTS[layout])))[0] == PEOPLE


def test_formats_and_thresholds(tmp_path: Path) -> None:
    corners = {"a.jpg": [[50, 40, 200, 230, 0.9], [10, 20, 40, 60, 0.2]], "785": [[50, 40, 200, 230, 0.8]]}
    middles = {"a.jpg": [[125, 135, 150, 190, 0.9], [25, 40, 30, 40, 0.2]], "785": [[125, 135, 150, 190, 0.8]]}
    for box_format, content in (("xyxy", corners), ("cxcywh", middles)):
        assert boxes_for(IMAGES, read_boxes(written(tmp_path, content), box_format))[0] == PEOPLE
    found, notes = boxes_for(IMAGES, read_boxes(written(tmp_path, corners), "xyxy", 0.8))
    assert found == [[STRONG], [], [STRONG]] and "1 of 3 boxes score below 0.8" in notes[0]
    assert boxes_for(IMAGES, read_boxes(tmp_path / "boxes.json", "xyxy", 0.95))[0] == [[], [], []]


def test_what_a_box_is_may_be_said_in_words(tmp_path: Path) -> None:
    person = {"name": "person", "class": 0, "confidence": 0.9, "box": {"x1": 50, "y1": 40, "x2": 200, "y2": 230}}
    dog = {"name": "dog", "class": 16, "confidence": 0.8, "box": {"x1": 50, "y1": 40, "x2": 90, "y2": 90}}
    columns = {"boxes": [[50, 40, 200, 230], [1, 2, 3, 4]], "labels": ["Person", "dog"], "scores": [0.9, 0.8]}
    rows = [{"file_name": "a.jpg", "name": "dog", "bbox": [1, 2, 3, 4]}]
    rows += [{"file_name": "a.jpg", "name": "person", "bbox": [50, 40, 200, 230]}]
    named = [{"name": "a.jpg", "bbox": [50, 40, 200, 230]}]
    for content in ({"a.jpg": [person, dog]}, {"a.jpg": columns}, rows, named):
        assert boxes_for(IMAGES[:1], read_boxes(written(tmp_path, content), "xyxy"))[0] == [[STRONG]]
    del person["name"], dog["name"]
    for wrong in ([person, dog], [{**dog, "name": "cat"}]):
        with pytest.raises(ValueError, match="no list says which is a person"):
            read_boxes(written(tmp_path, {"a.jpg": wrong}), "xyxy")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    content = COCO_ANNOTATIONS | {"images": [*COCO_ANNOTATIONS["images"], {"id": 9, "file_name": "typo.jpg"}]}
    found, notes = boxes_for([*IMAGES, Path("c.jpg")], read_boxes(written(tmp_path, content)))
    assert found == [*PEOPLE, []]
    assert [note.partition(": ")[2] for note in notes] == [
        "1 boxes of crowds (iscrowd) were left out",
        "1 boxes of other categories than people were left out",
        "1 of its names are no image's: 'typo.jpg'",
        "1 of 4 images are not in it and have nobody: 'c.jpg'",
    ]


def test_names_that_are_not_clear_are_refused(tmp_path: Path) -> None:
    twins = [Path("x/a.jpg"), Path("y/a.jpg"), Path("y/a.png")]
    clear = {"x/a.jpg": [S], str(Path("y/a.jpg").absolute()): [W], "./y/a.png": []}
    assert boxes_for(twins, read_boxes(written(tmp_path, clear)))[0] == [[STRONG], [WEAK], []]
    for names, sentence in (
        (["a.jpg"], "fits several images"),
        (["y/a"], "fits several images"),
        (["x/a.jpg", "x/a"], "both mean x/a.jpg"),
        (["z/a.jpg", "c.jpg"], "names none of the images: its first name is 'z/a.jpg'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            boxes_for(twins, read_boxes(written(tmp_path, {name: [S] for name in names})))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ("[" * 9999, "nested too deep"),
        ('{"a.jpg": [[1, 2, 30, 40]], "a.jpg": []}', "'a.jpg' is there twice"),
        ('{"a.jpg": [[1, 2, NaN, 40]]}', "not finite"),
        ('{"a.jpg": [[1, 2, 1e999, 40]]}', "not finite"),
        ({"a.jpg": [[1, 2, 10**400, 40]]}, "too large"),
        ({"a.jpg": [["1", "2", "30", "40"]]}, "something other than numbers"),
        ({"a.jpg": [[1, 2, 30, True]]}, "something other than numbers"),
        ({"a.jpg": [[0.2, 0.15, 0.6, 0.75]]}, "it is normalized"),
        ({"a.jpg": [[1, 2, 30, 0]]}, "has no area"),
        ({"a.jpg": [[1, 2, 30, -4]]}, "has no area"),
        ({"a.jpg": [[1, 2, 3]]}, "is not four numbers"),
        ({"a.jpg": [list(range(100_000))]}, "is not four numbers"),
        ({"a.jpg": None}, "give a list of boxes"),
        ({"a.jpg": [[1, 2, 30, 40, "high"]]}, "no finite number"),
        ({"a.jpg": [{"score": 1}]}, "has no bbox"),
        ({"a.jpg": [{"x1": 1, "y1": 2, "x2": 30, "y2": 40}]}, "add --box_format xyxy"),
        ({"a.jpg": {"boxes": [S, W], "scores": [1]}}, "for 2 boxes"),
        ([[1, 2, 30, 40]] * 9999, "does not say its image"),
        ([{"image_id": "a", "category_id": number, "bbox": S} for number in (0, 2)], "categories '0', '2' and no list"),
        (COCO_ANNOTATIONS | {"categories": [{"id": 1, "name": "car"}]}, "none of them called person"),
        (COCO_ANNOTATIONS | {"annotations": [{"image_id": 4, "bbox": S}]}, "names no image of the file's list"),
        (COCO_ANNOTATIONS | {"images": [{"id": number, "file_name": "a.jpg"} for number in (1, 2)]}, "is there twice"),
        ({"images": COCO_ANNOTATIONS["images"]}, "images but no annotations"),
        ({"a.jpg": [[-0.01, 0.1, 1.02, 0.9]]}, "it is normalized"),
        ("7", "boxes are written as"),
    ],
)
def test_wrong_files_are_one_short_sentence(content: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"boxes\.json.*{sentence}") as caught:
        read_boxes(written(tmp_path, content))
    assert len(str(caught.value)) < 300 + len(str(tmp_path)) and "\n" not in str(caught.value)


def test_flags_that_do_not_fit_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"a.jpg": [[50, 40, 30, 20]]})
    with pytest.raises(ValueError, match="as left, top, right, bottom has no area"):
        read_boxes(path, "xyxy")
    with pytest.raises(ValueError, match="has no score; leave --box_threshold out"):
        read_boxes(path, threshold=0.5)
    path.with_name("wide.json").write_bytes(b"\xff\xfe{\x00")
    with pytest.raises(ValueError, match=r"wide\.json is not JSON"):
        read_boxes(path.with_name("wide.json"))
    with pytest.raises(ValueError, match="box threshold nan"):
        read_boxes(path, threshold=float("nan"))
    with pytest.raises(FileNotFoundError, match="missing"):
        read_boxes(tmp_path / "none.json")


def test_boxes_of_a_command_line() -> None:
    assert parse_boxes(["1,2.5,3,4"]) == [(1, 2.5, 3, 4)]
    assert parse_boxes(["-10,", "5,", "8e1,", "90"]) == [(-10, 5, 80, 90)]
    assert parse_boxes(["-1e1,5,80,90", "1, 2, 3, 4"]) == [(-10, 5, 80, 90), (1, 2, 3, 4)]
    assert parse_boxes(["10 20 40 60"], "xyxy") == [WEAK]
    for words in (["1,2,3"], ["a,b,c,d"], [""], ["1,2,3,4,5"]):
        with pytest.raises(ValueError, match="give four numbers x,y,width,height"):
            parse_boxes(words)
