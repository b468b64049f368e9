"""Boxes and sides find their images in order and by name; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tore
from tests import rules
from tests.inference.conftest import SMALL
from tore.body.body_model import load_body
from tore.inference.pairing import Asked, paired
from tore.inference.predictor import MeshRecovery

BOX, OTHER = (1.0, 2.0, 30.0, 40.0), (5.0, 6.0, 70.0, 80.0)
PATHS = ["one/a.jpg", Path("one/b.jpg"), "two/c.jpg"]


def asked(*arguments: Any) -> list[Asked]:
    return list(paired(*arguments))


@pytest.mark.parametrize(
    "boxes",
    [
        [[BOX], None, [BOX, OTHER]],
        ([BOX], None, np.array([BOX, OTHER])),
        (each for each in [BOX, None, torch.tensor([BOX, OTHER], requires_grad=True)]),
        iter([np.array(BOX), None, [np.array(BOX), torch.tensor(OTHER)]]),
        {"a.jpg": [BOX], "one/b.jpg": None, "c": [BOX, OTHER]},
        {Path("one/a.jpg"): [BOX], "b": None, "two/c.jpg": iter([BOX, OTHER])},
    ],
)
def test_boxes_in_order_and_by_name(boxes: Any) -> None:
    assert [(one.name, one.boxes) for one in asked(PATHS, boxes)] == [
        ("one/a.jpg", [BOX]), ("one/b.jpg", None), ("two/c.jpg", [BOX, OTHER]),
    ]  # fmt: skip


def test_boxes_of_a_dictionary_of_images() -> None:
    both = asked({"a.jpg": [BOX], Path("b.jpg"): None, "c.jpg": []})
    assert [one.boxes for one in both] == [[BOX], None, []]


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (True, [True, True, True]),
        (np.False_, [False, False, False]),
        (torch.tensor(True), [True, True, True]),
        ([False, True, False], [False, True, False]),
        (np.array([False, True, True]), [False, True, True]),
        (torch.tensor([1, 0, 1]), [True, False, True]),
        ((flag for flag in [True, [False], np.True_]), [True, [False], True]),
        ({"a": True, "b": False, "c": True}, [True, False, True]),
    ],
)
def test_sides_in_order_and_by_name(left: Any, expected: list[Any]) -> None:
    assert [one.left for one in asked(PATHS, None, left)] == expected


def test_one_image_has_flags_for_its_people() -> None:
    assert asked("a.jpg", [BOX, OTHER], [False, np.True_])[0].left == [False, True]
    assert asked("a.jpg", (value for value in [BOX, OTHER]))[0].boxes == [BOX, OTHER]
    assert asked("a.jpg", {"a": [BOX]}, True)[0] == Asked("a.jpg", "a.jpg", [BOX], True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((PATHS, [None, None]), "2 lists of boxes for 3 images"),
        ((PATHS, None, [True, False]), "2 flags for left hands for 3 images"),
        ((iter(PATHS), [None, None]), "no lists of boxes any more for two/c.jpg"),
        ((iter(PATHS), [None] * 4), "more lists of boxes than images"),
        ((PATHS, None, iter([True] * 4)), "more flags for left hands than images"),
        ((PATHS, BOX[:3]), "one/a.jpg: boxes have shape"),
        ((PATHS, "abc"), "boxes are a str"),
        ((PATHS, None, "left"), "flags for left hands are a str"),
        ((PATHS, None, 2), "flags for left hands are a int"),
        ((PATHS, None, [True, "no", False]), "one/b.jpg: a flag for a left hand is True or False, not 'n'"),
        ((PATHS, None, [True, None, False]), "one/b.jpg: "),
        ((PATHS, {"a": BOX, "b": BOX}), "name 'a', 'b', but not two/c.jpg"),
        ((PATHS, {"a": BOX, "b": BOX, "c": None, "d.jpg": BOX}), "name 'd.jpg', which is none of the images"),
        ((["one/a.jpg", "two/a.jpg"], {"a.jpg": BOX}), "'a.jpg' fit one/a.jpg and two/a.jpg"),
        (({"a.jpg": [BOX]}, [[BOX]]), "given twice"),
        (({1: [BOX]},), "paths as its names and boxes as its values, not 1"),
        (({"a.jpg": {"x": 1}},), "a.jpg: boxes are lists of four numbers"),
        (({"a.jpg", "b.jpg"},), "a set of images has no order"),
        ((PATHS, [[(0.1, 0.2, 0.3, 0.4)], None, None]), "one/a.jpg: .*give pixels"),
        ((PATHS, [[BOX, (-0.02, 0.2, 1.1, 0.4)], None, None]), "one/a.jpg: .*give pixels"),  # by a detector's rule
        ((PATHS, [[BOX, (1, 2, 30, 0)], None, None]), "one/a.jpg: box .* has no area"),
        ((PATHS, [[BOX, (1, 2, 30, np.inf)], None, None]), "one/a.jpg: box .* not finite"),
    ],
)
def test_what_does_not_fit(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        asked(*arguments)


def test_names_are_compared_before_an_image_is_read() -> None:
    with pytest.raises(ValueError, match="none of the images"):
        paired(PATHS, {"a": BOX, "b": BOX, "c": BOX, "d": BOX})


def test_each_hand_has_its_side(synthetic_body_dir: Path) -> None:
    torch.manual_seed(0)
    network = tore.create_model(body="hand", body_dir=synthetic_body_dir, **SMALL)
    hands = MeshRecovery(network, load_body("hand", synthetic_body_dir))
    photos = [rules.photo(1, 90, 90), rules.photo(2, 90, 90)]
    right, left = hands.predict(photos, left=[False, np.True_])
    assert (right.crop.left, left.crop.left) == (False, True)
    np.testing.assert_allclose(left.vertices, hands.predict(photos[1], left=True)[0].vertices, atol=1e-5)
    with pytest.raises(ValueError, match="image 1: 2 flags for left hands, but 1 people"):
        hands.predict(photos, left=[[True, False], True])
