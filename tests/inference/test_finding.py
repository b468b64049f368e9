"""Networks on a pose network find people by themselves, and are refined by the keypoints that it found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tore
from tore.body.topology import template_points
from tore.detection import MoveNetDetector
from tore.image_format import ImageFormat
from tore.inference import predictor
from tore.inference.predictor import MeshRecovery
from tore.inference.refinement import crop_keypoints
from tore.modeling.initialization import start_from_template
from tore.paths import example_photograph


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
