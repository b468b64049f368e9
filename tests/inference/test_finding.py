"""Networks on a pose network find people by themselves, and are refined by the keypoints that it found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tore
from tests import rules
from tests.exports import without_onnx
from tore.body.topology import template_points
from tore.detection import Detection, MoveNetDetector
from tore.export import detectors, exporting
from tore.image_format import ImageFormat
from tore.inference import predictor
from tore.inference.predictor import MeshRecovery
from tore.inference.refinement import crop_keypoints
from tore.modeling.initialization import start_from_template
from tore.paths import example_photograph
from tore_runtime import cli as runtime_cli
from tore_runtime.crop import Crop
from tore_runtime.predictor import ExportedRecovery
from tore_runtime.result import as_values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small untrained network on MoveNet Thunder, which follows its keypoints."""
    folder = tmp_path_factory.mktemp("people")
    torch.manual_seed(0)
    small = {"widths": (32, 32), "hidden": (32, 32), "heads": 4}
    model = tore.create_model("fastmetro_tore_xs_movenet_thunder", body_dir="synthetic", device="cpu", **small)
    joints, vertices = template_points("body", "synthetic")
    start_from_template(model, vertices, joints)
    tore.save_model(model, folder / "model.safetensors", leave_out_backbone=True)
    return folder


def test_a_network_by_name_finds_the_people_of_a_photograph(folder: Path) -> None:
    recovery = MeshRecovery.from_pretrained(folder, device="cpu")
    (person,) = recovery.predict(example_photograph())
    (found,) = recovery.find(MoveNetDetector(), np.array(tore.inference.read_image(example_photograph())))
    assert person.crop.box is not None and np.allclose(person.crop.box, found.box)
    (told,) = recovery.predict(example_photograph(), [(100, 100, 50, 80)])
    assert told.crop.box == (100, 100, 50, 80)  # boxes that are given stay
    plain = MeshRecovery.from_checkpoint(folder, device="cpu")
    assert plain.detector is None and plain.predict(example_photograph())[0].crop.box is None
    (same,) = plain.predict(example_photograph(), detector=MoveNetDetector())
    assert np.array_equal(same.vertices, person.vertices)
    recovery.detector = None
    assert recovery.predict(example_photograph())[0].crop.box is None  # the center again


def test_other_networks_by_name_take_the_center(recovery: MeshRecovery, tmp_path: Path) -> None:
    recovery.save_pretrained(tmp_path)
    again = MeshRecovery.from_pretrained(tmp_path, device="cpu")
    assert again.detector is None and again.predict(example_photograph())[0].crop.box is None


def test_hands_by_name_have_their_own_detector() -> None:
    hands = MeshRecovery.from_pretrained(body="hand", device="cpu")
    assert hands.detector is not None and hands.detector.name == "mediapipe"
    assert hands.predict(example_photograph()) == []  # the photograph shows none


def test_refinement_takes_the_backbones_keypoints(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recovery, seen = MeshRecovery.from_pretrained(folder, device="cpu"), []

    def refined(prediction, keypoints, rotations):
        seen.append(keypoints)
        return prediction, ["as predicted"]

    monkeypatch.setattr(recovery.refiner(), "of_crops", refined)
    monkeypatch.setattr(predictor, "crop_keypoints", lambda *_: pytest.fail("the backbone has seen the crop"))
    (person,) = recovery.predict(example_photograph(), refine=True)
    shown: ImageFormat = recovery.image_format
    with torch.no_grad():
        expected = crop_keypoints(torch.from_numpy(person.crop.image)[None], shown)
    assert torch.allclose(seen[0], expected, atol=1e-4)


def test_a_trained_backbone_is_not_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keypoints may have moved with its weights."""
    recovery, asked = MeshRecovery.from_pretrained(folder, device="cpu"), []

    def see(images, shown):
        asked.append(len(images))
        return crop_keypoints(images, shown)

    monkeypatch.setattr(predictor, "crop_keypoints", see)
    free = {**vars(recovery.model.config), "frozen_backbone": False}
    monkeypatch.setattr(recovery.model, "config", type(recovery.model.config)(**free))
    recovery.predict(example_photograph(), refine=True)
    assert asked == [1]


SIDE, BOX = 280, (86.25, 15.0, 140.25, 255.0)  # of an image of one person, and around them
TURNED_BOX = (53.5, 10.0, 140.25, 255.0)  # of the same on their head


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    """(280, 280, 3) uint8, one who stands in `BOX`."""
    return rules.capsule_people(SIDE, SIDE, [(150, 270, 255)], 1)


@pytest.fixture(scope="module")
def turned(person: np.ndarray) -> np.ndarray:
    """The same on their head, in `TURNED_BOX`."""
    return np.ascontiguousarray(person[::-1, ::-1])


def test_someone_upside_down_in_a_given_box_is_shown_upright(
    folder: Path, person: np.ndarray, turned: np.ndarray
) -> None:
    """Oracle: the upright image, whose joints lie on their heads."""
    recovery = MeshRecovery.from_checkpoint(folder, device="cpu")
    (expected,) = recovery.predict(person, [BOX])
    (found,) = recovery.predict(turned, [TURNED_BOX])
    assert expected.crop.region.rotation == 0 and found.crop.region.rotation == 180
    assert found.crop.box == TURNED_BOX and found.crop.origin == "box" and as_values(found)["detector"] == ""
    np.testing.assert_allclose(SIDE - found.joints_2d, expected.joints_2d, atol=1.5)
    recovery.turns_people = False
    (lost,) = recovery.predict(turned, [TURNED_BOX])
    assert lost.crop.region.rotation == 0
    assert np.abs(SIDE - lost.joints_2d - expected.joints_2d).max() > 20


def test_who_is_known_beyond_a_box_stays(folder: Path, turned: np.ndarray) -> None:
    recovery = MeshRecovery.from_checkpoint(folder, device="cpu")
    told = Detection(TURNED_BOX, "boxes.json", 0.7)
    crop = Crop((130, 140), 290)
    known = [replace(told, keypoints=np.zeros((17, 3))), replace(told, rotation=90.0), crop, (900.0, 0.0, 50.0, 50.0)]
    places, sides = recovery.upright(turned, [*known, told], None)
    assert places is not None and sides is False
    assert all(one is other for one, other in zip(places[:-1], known, strict=True))
    assert isinstance(places[-1], Detection) and vars(places[-1]) == vars(replace(told, rotation=180.0))
    assert recovery.upright(turned, None, None) == (None, False)
    with pytest.raises(ValueError, match=r"person 1: box 900, 0, 50, 50 .* lies outside"):
        recovery.predict(turned, known[-1:])


def test_given_boxes_of_other_networks_stay_upright(recovery: MeshRecovery, turned: np.ndarray) -> None:
    (person,) = recovery.predict(turned, [TURNED_BOX])
    assert person.crop.region.rotation == 0 and person.crop.detection is None
    assert not recovery.turns_people and "keypoint_placer" not in vars(recovery)


def test_a_box_in_an_image_of_one_row_is_looked_at(folder: Path) -> None:
    recovery = MeshRecovery.from_checkpoint(folder, device="cpu")
    (person,) = recovery.predict(np.zeros((1, 5000, 3), np.uint8), [(0.0, 0.0, 5000.0, 1.0)])
    assert person.crop.region.size == 6000


def test_exports_turn_given_boxes_too(
    folder: Path, turned: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As torch does; with the network's export alone the command says that people stay upright."""
    without_onnx(monkeypatch, tmp_path / "cache")
    monkeypatch.delenv("TORE_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(exporting, "expected_outputs", lambda plain: [])  # the exports are torch's own, and hardly
    monkeypatch.setattr(detectors, "sample_images", lambda graph: [torch.zeros(1, 3, 256, 256)])  # verified
    plain = MeshRecovery.from_checkpoint(folder, device="cpu")
    export = tmp_path / "exports" / "network"
    exporting.export_model(plain.model, export, body_dir="synthetic", output="mesh", runtimes=["onnxruntime"])
    with pytest.raises(FileNotFoundError, match="movenet-thunder is missing: make one with `tore export people"):
        ExportedRecovery(export).predict(turned, [TURNED_BOX])
    Image.fromarray(turned).save(image := tmp_path / "turned.png")
    (boxes := tmp_path / "boxes.json").write_text(json.dumps({image.name: [TURNED_BOX]}))
    flags = [str(image), "--checkpoint", str(export), "--save_results", "json", "--no_overlay", "--overwrite"]
    given = ["--box", ",".join(map(str, TURNED_BOX))]
    for rotation, lines in ((0, 1), (180, 0)):
        if rotation:
            detectors.export_detector("movenet-thunder", export.with_name("movenet-thunder"), runtimes=["onnxruntime"])
        for named in (given, ["--detector", str(boxes)]):
            assert runtime_cli.main([*flags, *named]) == 0
            assert capsys.readouterr().err.count("people in boxes stay upright") == lines
            (result,) = tmp_path.glob("turned*.json")
            assert json.loads(result.read_text())["crop_rotation"] == rotation
    (found,), (expected,) = (one.predict(turned, [TURNED_BOX]) for one in (ExportedRecovery(export), plain))
    assert found.crop.region == expected.crop.region and found.crop.region.rotation == 180
    np.testing.assert_allclose(found.joints_2d, expected.joints_2d, atol=0.01)
