"""`tore infer` finds the people of an image: what is written, who is chosen, and images of nobody."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import rules
from tore import cli
from tore.cli.infer import official_main
from tore.detection import Detection, MoveNetDetector
from tore.inference.predictor import MeshRecovery
from tore_runtime.crop import BOX_MARGIN
from tore_runtime.result import save_result

PEOPLE = [(110, 280, 240), (290, 270, 220)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (folder := tmp_path / "in").mkdir()
    Image.fromarray(rules.capsule_people(300, 400, PEOPLE)).save(folder / "two.png")
    Image.fromarray(rules.capsule_people(120, 160, [])).save(folder / "nobody.png")
    return folder


def infer(checkpoint: Path, *options: str | Path) -> int:
    return cli.main(["infer", *map(str, options), "--checkpoint", str(checkpoint), "--device", "cpu"])


def test_people_are_found_and_told(
    small_checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert infer(small_checkpoint, images, "--output_dir", out, "--save_results", "json") == 0
    captured = capsys.readouterr()
    assert f"{images / 'nobody.png'}: nobody was found" in captured.err
    assert "2 images, 0 failed, 2 people; reading" in captured.out and "finding" in captured.out
    drawn = ["nobody_tore_pred.jpg", "two_tore_pred.jpg"]
    own = [f"two_person{number}_tore_pred.{ending}" for number in (1, 2) for ending in ("jpg", "json")]
    assert sorted(path.name for path in out.iterdir()) == sorted(drawn + own)
    for number in (1, 2):
        held = json.loads((out / f"two_person{number}_tore_pred.json").read_text())
        x, y, width, height = held["box"]
        assert held["detector"] == "movenet" and 0.25 < held["score"] < 1 and held["crop_origin"] == "box"
        assert held["crop_size"] == pytest.approx(BOX_MARGIN * max(width, height), abs=0.5)
        assert len(held["keypoints"]) == 17
        ankle = held["keypoints"]["left_ankle"]
        assert x < ankle[0] < x + width and y < ankle[1] < y + height + 1


@pytest.mark.parametrize(("options", "count"), [(("--people", "largest"), 1), (("--people", "1"), 1),
                                               (("--box_threshold", "0.99"), 0)])  # fmt: skip
def test_who_is_chosen(
    options: tuple[str, ...], count: int, small_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(small_checkpoint, images / "two.png", "--no_overlay", "--json_lines", *options) == 0
    assert len(json.loads(capsys.readouterr().out)["people"]) == count


def test_a_file_of_boxes_by_either_name(
    small_checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = {"two.png": [[50, 40, 137, 240, 0.4], [230, 50, 125, 220, 0.8]]}
    for name in ("boxes.json", "boxes.txt"):
        (tmp_path / name).write_text(json.dumps(boxes))
    lines = []
    for flag, name in (("--detector", "boxes.json"), ("--boxes", "boxes.txt"), ("--detector", "boxes.txt")):
        call = (images / "two.png", flag, tmp_path / name, "--no_overlay", "--json_lines", "--people", "1")
        assert infer(small_checkpoint, *call) == 0
        (person,) = json.loads(capsys.readouterr().out)["people"]
        assert person["score"] == 0.8 and person["detector"] == str(tmp_path / name) and person["keypoints"] is None
        lines.append({**person, "detector": ""})
    assert lines[0] == lines[1] == lines[2]


def test_the_official_script_takes_the_center_of_a_named_checkpoint(
    small_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--image_file_or_path", str(images / "two.png"), "--device", "cpu", "--no_overlay", "--json_lines"]
    assert official_main([*call, "--resume_checkpoint", str(small_checkpoint)]) == 0
    (person,) = json.loads(capsys.readouterr().out)["people"]
    assert person["crop_origin"] == "center" and person["detector"] == "" and person["score"] is None
    assert official_main(call) == 2
    assert "no checkpoint is named" in capsys.readouterr().err


def test_no_image_is_one_sentence(small_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer(small_checkpoint) == 2
    assert "no image is named; write tore infer photo.jpg" in capsys.readouterr().err


def test_the_library_finds_people_too(recovery: MeshRecovery, images: Path, tmp_path: Path) -> None:
    people = recovery.predict([images / "two.png", images / "nobody.png"], detector=MoveNetDetector())
    assert len(people) == 2 and {person.crop.detection.detector for person in people} == {"movenet"}
    with np.load(save_result(tmp_path / "one.npz", people[0])) as held:
        assert held["keypoints"].shape == (17, 3) and held["score"] == people[0].crop.detection.score
    (center,) = recovery.predict(images / "two.png")
    with np.load(save_result(tmp_path / "center.npz", center)) as held:
        assert held["keypoints"].shape == (0,) and np.isnan(held["score"]) and str(held["detector"]) == ""


def test_a_detections_rotation_is_the_crops(recovery: MeshRecovery, images: Path) -> None:
    upright, turned = (Detection((50, 40, 137, 240), "known", rotation=turn) for turn in (0.0, 180.0))
    first, second = recovery.predict(images / "two.png", [upright, turned])
    assert (first.crop.region.rotation, second.crop.region.rotation) == (0, 180)
    shown = second.crop.pixels[::-1, ::-1].astype(int)
    assert np.abs(shown[2:-2, 2:-2] - first.crop.pixels[2:-2, 2:-2]).mean() < 20
