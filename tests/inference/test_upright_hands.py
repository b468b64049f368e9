"""A network of upright hands: the turn and the side are found, and results are those of the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import rules
from tests.exports import without_onnx
from tests.inference.conftest import HAND_SIDE
from tests.inference.test_hands import MIRROR
from tore import cli
from tore.body.joints import HAND_NAMES
from tore.detection import Detection, PalmDetector
from tore.inference.predictor import MeshRecovery
from tore.modeling.mediapipe_hand import shipped_hand_weights
from tore.paths import default_checkpoint
from tore_runtime.crop import Crop, upright_hand
from tore_runtime.crops import crops_of
from tore_runtime.result import Recovery

Drawn = tuple[np.ndarray, np.ndarray]


def box_of(points: np.ndarray) -> tuple[float, float, float, float]:
    low, high = points.min(0), points.max(0)
    return (*low.tolist(), *(high - low).tolist())


def error(person: Recovery, points: np.ndarray) -> float:
    """Mean distance of the mesh's joints in sides of the joints' box."""
    return float(np.linalg.norm(person.mesh_joints_2d - points, axis=1).mean() / max(box_of(points)[2:]))


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_hand_is_recovered_however_the_image_is_turned(
    upright_hands: MeshRecovery, drawn_hand: Drawn, turns: int
) -> None:
    image, points = np.ascontiguousarray(np.rot90(drawn_hand[0], turns)), drawn_hand[1]
    for _ in range(turns):
        points = np.stack([points[:, 1], HAND_SIDE - points[:, 0]], 1)
    (person,) = upright_hands.predict(image, [box_of(points)])
    assert not person.crop.left and error(person, points) < 0.12
    turn = person.crop.region.rotation - upright_hand(points).rotation
    assert abs((turn + 180) % 360 - 180) < 20
    assert person.crop.region.size == pytest.approx(1.75 * max(box_of(points)[2:]), rel=0.25)


def test_sides_are_found_unless_they_are_told(upright_hands: MeshRecovery, drawn_hand: Drawn) -> None:
    image, points = drawn_hand
    mirrored, moved = np.ascontiguousarray(image[:, ::-1]), [HAND_SIDE, 0] + points * [-1, 1]
    (right,) = upright_hands.predict(image, [box_of(points)])
    (left,) = upright_hands.predict(mirrored, [box_of(moved)])
    assert left.crop.left and not right.crop.left and error(left, moved) < 0.12
    (told,) = upright_hands.predict(mirrored, [box_of(moved)], left=False)
    assert not told.crop.left


def test_a_left_hand_is_the_mirror_image_of_a_right_one(upright_hands: MeshRecovery, drawn_hand: Drawn) -> None:
    """In crops that are given, which are cut as they are."""
    image, points = drawn_hand
    crop = upright_hand(points).whole_pixels()
    other = Crop((HAND_SIDE - crop.center[0], crop.center[1]), crop.size, -crop.rotation)
    (right,) = upright_hands.predict(image, [crop], left=False)
    (left,) = upright_hands.predict(image[:, ::-1], [other], left=True)
    assert right.crop.region == crop and left.crop.region == other
    for name in ("vertices", "joints", "mesh_joints", "translation"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name) * MIRROR, atol=1e-3, err_msg=name)


def test_a_detector_tells_turn_and_side(upright_hands: MeshRecovery, drawn_hand: Drawn) -> None:
    image, points = drawn_hand
    both = np.concatenate([image, image[:, ::-1]], 1)
    people = upright_hands.predict(both, detector=PalmDetector())
    assert sorted(person.crop.left for person in people) == [False, True]
    right = next(person for person in people if not person.crop.left)
    assert error(right, points) < 0.12 and right.crop.detection.detector == "mediapipe"


def test_without_a_box_the_middle_is_searched(upright_hands: MeshRecovery, drawn_hand: Drawn) -> None:
    (person,) = upright_hands.predict(drawn_hand[0])
    assert error(person, drawn_hand[1]) < 0.12


def test_other_networks_of_hands_take_joints_as_a_box_alone(drawn_hand: Drawn) -> None:
    image, points = drawn_hand
    keypoints = np.concatenate([points, np.ones((21, 1))], 1)
    hand = Detection(box_of(points), "known", keypoints=keypoints, rotation=77.0)
    (crop,) = crops_of(image, [hand])
    assert crop.region.rotation == 0 and crop.region.size == round(1.2 * max(hand.box[2:]))


def test_the_fast_way_gives_the_same(
    upright_checkpoint: Path,
    upright_hands: MeshRecovery,
    drawn_hand: Drawn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exports of the network, the palm finder and the landmarks, each made once."""
    without_onnx(monkeypatch, tmp_path / "cache")
    told: list[str] = []
    fast = MeshRecovery.from_checkpoint(upright_checkpoint, device="cpu", fast=True, tell=told.append)
    image, points = drawn_hand
    both = np.concatenate([image, image[:, ::-1]], 1)
    for where in ({"boxes": [box_of(points)]}, {"detector": PalmDetector(fast=True, tell=told.append)}):
        slow = where if "boxes" in where else {"detector": PalmDetector()}
        found, expected = fast.predict(both, **where), upright_hands.predict(both, **slow)
        assert len(found) == len(expected) > 0
        for person, other in zip(found, expected, strict=True):
            assert person.crop.region == other.crop.region and person.crop.left == other.crop.left
            np.testing.assert_allclose(person.vertices, other.vertices, atol=1e-5)
    assert [line.split()[1] for line in told] == ["hand", "mediapipe-palm", "mediapipe-hand"]


def infer(*options: str | Path) -> int:
    return cli.main(["infer", "--device", "cpu", *map(str, options)])


def test_the_command_finds_hands(upright_checkpoint: Path, drawn_hand: Drawn, tmp_path: Path) -> None:
    Image.fromarray(drawn_hand[0][:, ::-1]).save(tmp_path / "hand.png")
    assert infer("--checkpoint", upright_checkpoint, tmp_path / "hand.png", "--save_results", "json") == 0
    held = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert held["side"] == "left" and set(held["keypoints"]) == set(HAND_NAMES)
    assert held["detector"] == "mediapipe" and abs(held["crop_rotation"]) > 150


def test_the_network_that_ships_recovers_hands(drawn_hand: Drawn, tmp_path: Path) -> None:
    """By name alone; with MediaPipe's files it takes 16 MB at most."""
    files = [default_checkpoint("hand"), shipped_hand_weights("hand"), shipped_hand_weights("palm")]
    assert sum(path.stat().st_size for path in files) < 16e6
    Image.fromarray(drawn_hand[0]).save(tmp_path / "hand.png")
    assert infer("--body", "hand", tmp_path / "hand.png", "--save_results", "json") == 0
    held = json.loads(next(tmp_path.glob("*.json")).read_text())
    joints = np.array([held["mesh_joints_2d"][name] for name in HAND_NAMES])
    assert held["side"] == "right"
    assert np.linalg.norm(joints - drawn_hand[1], axis=1).mean() < 0.12 * max(box_of(drawn_hand[1])[2:])


def test_what_cannot_be_gives_one_sentence(
    upright_checkpoint: Path, small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(rules.photo(1, 60, 60)).save(tmp_path / "one.png")
    for options, sentence in (
        (("--checkpoint", upright_checkpoint, "--body", "body"), "recovers hands; leave --body out"),
        (("--checkpoint", small_checkpoint, "--body", "hand"), "recovers people; leave --body out"),
        (("--checkpoint", small_checkpoint, "--detector", "mediapipe"), "--detector mediapipe finds hands"),
        (("--checkpoint", upright_checkpoint, "--left"), "tells which hands are left ones"),
    ):
        assert infer(*options, tmp_path / "one.png") == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tore infer: ")][-1:]
        assert sentence in line
