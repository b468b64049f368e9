"""Hands through inference: right ones as they are, left ones by their mirror image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tore
from tests import rules
from tests.inference.conftest import SMALL
from tore import cli
from tore.body.joints import HAND_NAMES
from tore.inference.predictor import MeshRecovery
from tore_runtime.crop import Crop
from tore_runtime.outputs import Wanted, crop_overlay, draw_people, write_outputs
from tore_runtime.result import Recovery

MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def hand_checkpoint(tmp_path_factory: pytest.TempPathFactory, synthetic_body_dir: Path) -> Path:
    """A small hand network that answers about the resting hand, a little off the middle of the image."""
    path = tmp_path_factory.mktemp("hands") / "hand.pt"
    torch.manual_seed(0)
    model = tore.create_model(body="hand", body_dir=synthetic_body_dir, **SMALL)
    with torch.no_grad():
        model.camera_head.weight.mul_(0.01)
        model.camera_head.bias.copy_(torch.tensor([6.0, 0.02, -0.01]))
    tore.save_model(model, path)
    return path


@pytest.fixture(scope="module")
def hands(hand_checkpoint: Path) -> MeshRecovery:
    return MeshRecovery.from_checkpoint(hand_checkpoint, device="cpu")


def assert_mirrored(left: Recovery, right: Recovery, width: int) -> None:
    """`left` of the mirrored image is the mirror image of `right` in the image."""
    for name in ("vertices", "joints", "mesh_joints", "translation"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name) * MIRROR, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(left.camera, right.camera * [1, -1, 1], atol=1e-4)
    for name in ("joints_2d", "mesh_joints_2d"):
        expected = np.array([width, 0]) + getattr(right, name) * [-1, 1]
        np.testing.assert_allclose(getattr(left, name), expected, atol=0.02, err_msg=name)
    grid = right.heatmap.reshape(len(right.heatmap), 7, 7)[:, :, ::-1]
    np.testing.assert_allclose(left.heatmap.reshape(grid.shape), grid, atol=1e-5)


@pytest.mark.parametrize(
    ("boxes", "mirrored_boxes"),
    [
        (None, None),
        ([(30, 40, 100, 80), (150, 20, 60, 60)], [(190, 40, 100, 80), (110, 20, 60, 60)]),
        ([Crop((140, 100), 96, 90), Crop((100, 90), 150, 25)], [Crop((180, 100), 96, -90), Crop((220, 90), 150, -25)]),
    ],
)
def test_a_left_hand_is_the_mirror_image_of_a_right_one(hands: MeshRecovery, boxes, mirrored_boxes) -> None:
    photo = rules.photo(8, 240, 320)
    right = hands.predict(photo, boxes)
    left = hands.predict(photo[:, ::-1], mirrored_boxes, left=True)
    assert len(left) == len(right) == len(boxes or [1]) and left[0].joint_names == HAND_NAMES
    for one, other in zip(left, right, strict=True):
        assert one.crop.left and not other.crop.left
        shown = np.abs(one.crop.pixels.astype(int) - other.crop.pixels[:, ::-1])
        assert shown.max() <= 1, "the crop is shown as it is in the image"
        assert_mirrored(one, other, 320)


def resting(hands: MeshRecovery, person: Recovery) -> Recovery:
    """The same person with the resting hand as its mesh, on the side that it is on."""
    with torch.no_grad():
        mesh = hands.body.targets(torch.zeros(1, 48), torch.zeros(1, 10)).vertices[-1][0].numpy()
    return Recovery(**{**vars(person), "vertices": mesh * (MIRROR if person.crop.left else 1)})


def test_drawings_of_a_left_hand_mirror_those_of_a_right_one(hands: MeshRecovery) -> None:
    photo = rules.photo(8, 224, 224)
    (right,) = (resting(hands, person) for person in hands.predict(photo))
    (left,) = (resting(hands, person) for person in hands.predict(photo[:, ::-1], left=True))
    drawn = crop_overlay(right, hands.faces).astype(int)
    assert (np.abs(drawn - right.crop.pixels).max(-1) > 0).mean() > 0.05, "the hand is in the image"
    assert np.abs(crop_overlay(left, hands.faces)[:, ::-1] - drawn).mean() < 1, "lit alike: normals point outward"
    whole = draw_people(photo, [right], hands.faces)
    assert np.abs(draw_people(photo[:, ::-1], [left], hands.faces)[:, ::-1].astype(int) - whole).mean() < 1


def signed_volume(path: Path) -> float:
    """Six times the volume of an OBJ file's mesh, positive where its faces turn outward."""
    words = [line.split() for line in path.read_text().splitlines()]
    points = np.array([word[1:4] for word in words if word[:1] == ["v"]], float)
    faces = np.array([[part.split("/")[0] for part in word[1:4]] for word in words if word[:1] == ["f"]], int) - 1
    a, b, c = points[faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum())


def infer(checkpoint: Path, *options: str | Path) -> int:
    return cli.main(["infer", "--resume_checkpoint", str(checkpoint), "--device", "cpu", *map(str, options)])


def test_both_hands_of_a_image_by_the_tool(hand_checkpoint: Path, hands: MeshRecovery, tmp_path: Path) -> None:
    Image.fromarray(rules.photo(8, 240, 320)).save(tmp_path / "two.png")
    options = ("--box", "30,40,100,80", "--left_box", "150,20,60,60", "--save_results", "json", "--save_mesh", "obj")
    assert infer(hand_checkpoint, "--image_file_or_path", tmp_path / "two.png", *options) == 0
    held = [json.loads((tmp_path / f"two_person{number}_tore_pred.json").read_text()) for number in (1, 2)]
    assert [one["side"] for one in held] == ["right", "left"] and set(held[1]["joints"]) == set(HAND_NAMES)
    (expected,) = hands.predict(tmp_path / "two.png", [(150, 20, 60, 60)], left=True)
    np.testing.assert_allclose(held[1]["vertices"], expected.vertices, atol=1e-5)
    assert Image.open(tmp_path / "two_tore_pred.jpg").size == (640, 240)


def test_the_saved_mesh_of_a_left_hand_is_not_inside_out(hands: MeshRecovery, tmp_path: Path) -> None:
    volumes = []
    for left in (False, True):
        people = [resting(hands, person) for person in hands.predict(rules.photo(8, 224, 224), left=left)]
        wanted = Wanted(overlay=False, mesh="obj")
        (path,), _ = write_outputs(people, None, tmp_path / f"hand{left}", wanted, hands.faces)
        volumes.append(signed_volume(path))
    assert volumes[1] == pytest.approx(volumes[0], rel=1e-4) and volumes[0] != 0


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--left",), "recovers people"), (("--left", "--left_box", "1,2,3,4"), "--left_box goes with --box alone")],
)
def test_left_where_it_means_nothing(small_checkpoint: Path, options, words: str, tmp_path: Path, capsys) -> None:
    Image.fromarray(rules.photo(1, 60, 60)).save(tmp_path / "one.png")
    assert infer(small_checkpoint, "--image_file_or_path", tmp_path / "one.png", *options) == 2
    assert words in capsys.readouterr().err


def test_a_official_layout_with_a_backbone_that_it_does_not_tell(
    hands: MeshRecovery, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As training saves it: the file says neither the backbone nor the number of heads."""
    tore.save_published(hands.model, tmp_path / "state_dict.bin")
    Image.fromarray(rules.photo(8, 240, 320)).save(tmp_path / "one.png")
    options = ("--image_file_or_path", tmp_path / "one.png", "--data_dir", "synthetic", "--no_overlay")
    options = (*options, "--save_results", "json")
    assert infer(tmp_path / "state_dict.bin", *options) == 2
    assert "name it with arch=" in capsys.readouterr().err
    assert infer(tmp_path / "state_dict.bin", *options, "--arch", SMALL["arch"]) == 0
    assert json.loads((tmp_path / "one_tore_pred.json").read_text())["kind"] == "hand"


def test_people_have_no_left(recovery: MeshRecovery) -> None:
    with pytest.raises(ValueError, match="no left or right"):
        recovery.predict(rules.photo(1, 60, 60), left=True)
