"""`tore evaluate --keypoints`: a network whose joints are the labels scores 1, and what is left out is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests import rules
from tests.inference.conftest import (
    HAND_SIDE,
    KnownNetwork,
    drawn_hand,
    small_checkpoint,
    standing,
    upright_checkpoint,
    upright_hands,
)
from tore import cli
from tore.body import load_body
from tore.body.body_model import BodyModel
from tore.body.joints import COCO_NAMES, COCO_TO_J24
from tore.datasets.keypoints import read_keypoints
from tore.detection import PalmDetector
from tore.inference import predictor
from tore.inference.predictor import MeshRecovery
from tore.synthetic.free_body import keypoint_rows
from tore.training.keypoint_evaluation import evaluate_keypoints, joint_rows
from tore_runtime.detector import Found

__all__ = ["drawn_hand", "small_checkpoint", "standing", "upright_checkpoint", "upright_hands"]  # fixtures
CAMERA = np.array([0.9, 0.05, -0.1])
SIDE = 100  # of the boxes


def labeled_scene(folder: Path, vertices: np.ndarray, body: Any) -> Path:
    """Two images with three people where CAMERA puts the mesh's joints in a crop of 1.25 times their boxes."""
    joints = body.joints24(torch.from_numpy(vertices)[None].float())[0, list(COCO_TO_J24), :2].numpy()  # (17, 2)
    images = [
        {"id": n, "file_name": f"{n}.png", "kind": ("sports", "street")[n], "height": 200, "width": 240} for n in (0, 1)
    ]
    annotations = []
    for number in range(3):
        box = np.array([20.0 + 40 * number, 30, SIDE, SIDE])
        middle, half = box[:2] + SIDE / 2, 1.25 * SIDE / 2
        points = middle + CAMERA[0] * (joints + CAMERA[1:]) * half
        keypoints = np.hstack([points, np.full((17, 1), 2)])
        annotations.append(
            {"id": number, "image_id": number % 2, "bbox": box.tolist(), "keypoints": keypoints.ravel().tolist()}
        )
    for number in (0, 1):
        Image.fromarray(rules.photo(number, 200, 240)).save(folder / f"{number}.png")
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def changed(path: Path, change: Any) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_a_network_that_says_the_labels_scores_one(tmp_path: Path, standing: tuple[np.ndarray, BodyModel]) -> None:
    vertices, body = standing
    path = labeled_scene(tmp_path, vertices, body)

    def move(content: dict[str, Any]) -> None:
        far = content["annotations"][1]["keypoints"]  # alone in the second image
        far[3 * COCO_NAMES.index("left_ankle")] += 4 * SIDE
        content["annotations"][0]["keypoints"][3 * COCO_NAMES.index("left_wrist") + 2] = 0

    network = MeshRecovery(KnownNetwork(np.tile(CAMERA, (3, 1)), vertices), body, checkpoint="known")
    found = evaluate_keypoints(network, read_keypoints(changed(path, move)), tmp_path)
    judgment = found.judgment
    scores = {name: by["network"] for name, by in judgment.rows()}
    assert (scores["all"].people, scores["all"].joints) == (3, 35) and scores["all"].fine == pytest.approx(34 / 35)
    assert scores["images: sports"].fine == 1 and scores["images: street"].fine == pytest.approx(11 / 12)
    assert scores["left_ankle"].coarse == pytest.approx(2 / 3) and scores["left_wrist"].people == 2
    constant = judgment.everyone["constant pose"]
    assert constant.joints == 35 and constant.fine == pytest.approx(32 / 35)  # the moved ankle moves the mean ankle
    assert found.left_out == {} and "3 of 3 people in 2 images are judged" in found.text()


def test_labeled_boxes_of_networks_on_movenet_are_rotated(
    tmp_path: Path, standing: tuple[np.ndarray, BodyModel]
) -> None:
    """The second image's one stands on their head, as the pose network sees; the network knows them upright."""
    vertices, body = standing

    def turn(content: dict[str, Any]) -> None:
        points = np.array(content["annotations"][1]["keypoints"]).reshape(17, 3)
        box = np.array(content["annotations"][1]["bbox"])
        points[:, :2] = 2 * (box[:2] + box[2:] / 2) - points[:, :2]
        content["annotations"][1]["keypoints"] = points.ravel().tolist()

    file = read_keypoints(changed(labeled_scene(tmp_path, vertices, body), turn))
    for turned, share in ((True, 1), (False, 2 / 3)):
        network = MeshRecovery(KnownNetwork(np.tile(CAMERA, (3, 1)), vertices), body)
        network.turns_people = turned
        network.keypoint_placer = lambda image, boxes: (None, np.full(len(boxes), 180.0 if len(boxes) == 1 else 0.0))
        found = evaluate_keypoints(network, file, tmp_path)
        assert found.judgment.everyone["network"].fine == pytest.approx(share, abs=0.1 * (share < 1))
        said = ", rotated where that gives surer keypoints (1 people)" if turned else ""
        assert found.boxes == f"the labeled ones, times 1.25{said}"


def test_crops_follow_the_factor_and_the_mesh_is_projected_by_the_camera(
    tmp_path: Path, standing: tuple[np.ndarray, BodyModel]
) -> None:
    vertices, body = standing
    path = labeled_scene(tmp_path, vertices, body)
    network = MeshRecovery(KnownNetwork(np.tile(CAMERA, (3, 1)), vertices), body)
    wide = evaluate_keypoints(network, read_keypoints(path), tmp_path, box_factor=2.5)
    assert wide.judgment.everyone["network"].fine < 0.5


def test_refined_people_are_judged_beside_the_predicted_ones(
    tmp_path: Path, standing: tuple[np.ndarray, BodyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera of the network is beside the people; the pose network sees them where they are, but one of them."""
    vertices, body = standing
    file = read_keypoints(labeled_scene(tmp_path, vertices, body))
    joints = torch.from_numpy(joint_rows(body)[0] @ vertices).float()  # (17, 3)
    shares = (1 + CAMERA[0] * (joints[:, :2] + torch.from_numpy(CAMERA[1:]).float())) / 2

    def see(images: torch.Tensor, *_: object) -> torch.Tensor:
        certain = torch.full((len(images), 17, 1), 0.9)
        certain[1:] = 0.05  # the second person of the first image
        return torch.cat([shares.expand(len(images), -1, -1), certain], -1)

    monkeypatch.setattr(predictor, "crop_keypoints", see)
    cameras = np.tile(CAMERA + [0, 0.12, 0], (6, 1))
    network = MeshRecovery(KnownNetwork(cameras, vertices), body)
    found = evaluate_keypoints(network, file, tmp_path, refine=True)
    everyone = found.judgment.everyone
    assert everyone["network"].fine < 0.2 and everyone["refined"].fine >= 2 / 3
    assert found.not_refined == 1 and "1 are not refined, for want of certain keypoints" in found.text()
    assert found.judgment.ways == ["network", "refined", "constant pose"]


class Finds:
    """A detector that finds the given boxes in every image, and a false one first."""

    name = "known"

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes = np.array([[0, 0, 30, 30], *boxes], float)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        return [Found(self.boxes, np.linspace(1, 0.5, len(self.boxes))) for _ in images]


def test_found_boxes_take_the_place_of_labeled_ones(tmp_path: Path, standing: tuple[np.ndarray, BodyModel]) -> None:
    """The first image's two people are found, the second image's one is not: each image shows two boxes."""
    vertices, body = standing
    file = read_keypoints(labeled_scene(tmp_path, vertices, body))
    boxes: dict[str, list[list[float]]] = {person.file: [] for person in file.people}
    for person in file.people:
        boxes[person.file].append(person.box.tolist())
    network = MeshRecovery(KnownNetwork(np.tile(CAMERA, (3, 1)), vertices), body)
    found = evaluate_keypoints(network, file, tmp_path, detector=Finds([*reversed(boxes["0.png"])]))
    everyone = found.judgment.everyone["network"]
    assert found.not_found == 1 and (everyone.joints, everyone.people) == (36, 3)
    assert everyone.fine == everyone.coarse == pytest.approx(24 / 36)
    assert "1 were not found, and all their joints count as wrong" in found.text()
    assert found.boxes == "found by known, times 1.25"


def test_the_free_body_gives_cocos_keypoints() -> None:
    rows, what = joint_rows(load_body("body", "synthetic"))
    assert "COCO" in what and (rows == keypoint_rows()).all()
    hand = load_body("hand", "synthetic")
    assert joint_rows(hand)[0].shape == (21, hand.num_vertices if hasattr(hand, "num_vertices") else 778)


def evaluate(checkpoint: Path, *more: str) -> int:
    return cli.main(["evaluate", "--checkpoint", str(checkpoint), "--device", "cpu", *more])


def test_the_command_prints_the_table_and_writes_the_numbers(
    tmp_path: Path, small_checkpoint: Path, standing: tuple[np.ndarray, BodyModel], capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["annotations"][1]["iscrowd"] = 1
        head = content["annotations"][2]["keypoints"]
        for joint in range(5, 17):
            head[3 * joint + 2] = 0

    path = changed(labeled_scene(tmp_path, *standing), spoil)
    assert evaluate(small_checkpoint, "--keypoints", str(path), "--json", str(tmp_path / "out.json")) == 0
    said = capsys.readouterr().out
    assert "1 of 3 people in 1 images are judged; left out 1: a crowd; left out 1: no joint that is judged" in said
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert numbers["judged"] == 1 and numbers["judgment"]["everyone"]["network"]["joints"] == 12
    assert set(numbers["judgment"]["joints"]) == set(COCO_NAMES[5:])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "nothing to evaluate on: give a set with --val_yaml, or 2D keypoints with --keypoints"),
        (["--keypoints", "{}", "--oracle", "true"], "--oracle: is for TSV sets; leave it out"),
        (["--val_yaml", "x.yaml", "--box_factor", "2"], "--box_factor 2: goes with --keypoints FILE; add it"),
        (["--keypoints", "{}", "--box_factor", "-1"], "--box_factor -1: give a number above 0"),
        (["--keypoints", "{}", "--detector", "nobody"], "detector 'nobody' is not known"),
        (["--keypoints", "{}", "--hand_turn", "labeled"], "--hand_turn labeled goes with labeled boxes"),
        (["--val_yaml", "x.yaml", "--hand_turn", "labeled"], "--hand_turn labeled: goes with --keypoints FILE"),
        (["--val_yaml", "x.yaml", "--detector", "movenet"], "--detector movenet: goes with --keypoints FILE"),
        (["--val_yaml", "x.yaml", "--refine"], "--refine: goes with --keypoints FILE"),
        (["--keypoints", "{}", "--images", "nowhere"], "nowhere is not a folder"),
        (["--keypoints", "{}.json"], "labels.json.json: no such file or directory"),
    ],
)
def test_what_cannot_be_gives_one_sentence(
    flags: list[str], sentence: str, tmp_path: Path, small_checkpoint: Path,
    standing: tuple[np.ndarray, BodyModel], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = labeled_scene(tmp_path, *standing)
    assert evaluate(small_checkpoint, *(flag.format(path) for flag in flags)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tore evaluate: ") and sentence in line


def test_labels_of_another_size_and_of_hands_are_refused(
    tmp_path: Path, small_checkpoint: Path, standing: tuple[np.ndarray, BodyModel], capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(
        labeled_scene(tmp_path, *standing), lambda content: content["images"][0].update(height=240, width=200)
    )
    assert evaluate(small_checkpoint, "--keypoints", str(path)) == 2
    assert "has 240 x 200 pixels, but its labels are for 200 x 240" in capsys.readouterr().err

    def hands(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["keypoints"] += [1.0, 1.0, 2.0] * 4

    assert evaluate(small_checkpoint, "--keypoints", str(changed(path, hands))) == 2
    assert "labels hands, but" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["found", "labeled", "palms"])
def test_upright_hands_are_judged_in_found_and_in_labeled_turns(
    tmp_path: Path, drawn_hand: tuple[np.ndarray, np.ndarray], upright_hands: MeshRecovery, way: str
) -> None:
    """A right hand as it is drawn, and its mirror image whose side the labels do not tell."""
    image, points = drawn_hand
    images, annotations = [], []
    for number, (shown, joints) in enumerate(
        ((image, points), (image[:, ::-1], np.array([HAND_SIDE, 0]) + points * [-1, 1]))
    ):
        Image.fromarray(shown).save(tmp_path / f"{number}.png")
        low, high = joints.min(0), joints.max(0)
        keypoints = np.hstack([joints, np.full((21, 1), 2)])
        images.append({"id": number, "file_name": f"{number}.png"})
        annotation = {"id": number, "image_id": number, "bbox": [*low, *(high - low)], "keypoints": keypoints.ravel()}
        annotations.append(
            {**annotation, "keypoints": keypoints.ravel().tolist()} | ({} if number else {"side": "right"})
        )
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    options = {"detector": PalmDetector()} if way == "palms" else {"hand_turn": way}
    found = evaluate_keypoints(upright_hands, read_keypoints(path), tmp_path, **options)
    everyone = found.judgment.everyone["network"]
    assert everyone.people == 2 and everyone.coarse > 0.95 and everyone.fine > 0.7
    assert found.side_unknown == 0 and found.not_found == 0
    who = (
        "found by mediapipe, hands upright as found" if way == "palms" else f"the labeled ones, hands upright as {way}"
    )
    assert found.boxes == f"{who}, times 1.75"
