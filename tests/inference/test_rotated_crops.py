"""Rotated crops: a rotated photograph with a likewise rotated crop gives the same people, rotated in the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import rules
from tests.inference.conftest import KnownNetwork
from tore.body.body_model import BodyModel
from tore.geometry.rotations import axis_angle_to_matrix
from tore.inference.predictor import MeshRecovery
from tore_runtime.crop import Crop, rotate_xy
from tore_runtime.crops import crops_of, cut_crop
from tore_runtime.frames import Prediction, rotated_back
from tore_runtime.outputs import crop_and_overlay, draw_people
from tore_runtime.result import Recovery, save_result

Standing = tuple[np.ndarray, BodyModel]
HEIGHT, WIDTH = 300, 420


def quarter_turns(points: np.ndarray, turns: int) -> np.ndarray:
    """Where points (..., 2) of the image lie after so many quarter turns clockwise, worked out turn by turn."""
    size = (HEIGHT, WIDTH)
    for _ in range(turns):
        points = np.stack([size[0] - points[..., 1], points[..., 0]], -1)
        size = size[::-1]
    return points


def rotated_crop(crop: Crop, turns: int) -> Crop:
    x, y = quarter_turns(np.array(crop.center), turns)
    return Crop((x, y), crop.size, crop.rotation + 90 * turns)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("crop", [Crop((210, 140), 100), Crop((200.5, 100.5), 251), Crop((250, 160), 1400)])
def test_a_rotated_image_gives_the_same_pixels(crop: Crop, turns: int) -> None:
    image = rules.photo(3, HEIGHT, WIDTH)
    rotated = np.ascontiguousarray(np.rot90(image, -turns))
    assert np.array_equal(cut_crop(rotated, rotated_crop(crop, turns)), cut_crop(image, crop))


def assert_rotated(found: Recovery, expected: Recovery, degrees: float) -> None:
    for name in ("vertices", "joints", "mesh_joints", "translation"):
        np.testing.assert_allclose(getattr(found, name), rotate_xy(getattr(expected, name), degrees), atol=2e-5)
    np.testing.assert_allclose(found.camera[1:], rotate_xy(expected.camera[1:], degrees), atol=1e-5)
    assert found.camera[0] == pytest.approx(expected.camera[0], abs=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_rotated_image_gives_the_rotated_person(recovery: MeshRecovery, turns: int) -> None:
    image, crop = rules.photo(3, HEIGHT, WIDTH), Crop((210, 140), 180)
    (expected,) = recovery.predict(image, [crop])
    (found,) = recovery.predict(np.rot90(image, -turns), [rotated_crop(crop, turns)])
    assert np.array_equal(found.crop.image, expected.crop.image)
    assert_rotated(found, expected, 90 * turns)
    for name in ("joints_2d", "mesh_joints_2d"):
        np.testing.assert_allclose(getattr(found, name), quarter_turns(getattr(expected, name), turns), atol=1e-3)
    placed = expected.image_camera.project(expected.vertices + expected.translation)
    drawn = found.image_camera.project(found.vertices + found.translation)
    np.testing.assert_allclose(drawn, quarter_turns(placed, turns), atol=1e-2)
    np.testing.assert_array_equal(found.heatmap, expected.heatmap)


@pytest.mark.parametrize("angle", [0.0, 30.0, -77.0, 180.0])
def test_the_saved_camera_projects_the_saved_joints(angle: float, standing: Standing, tmp_path: Path) -> None:
    """The network's own 2D points in the crop, put into the image by the crop's map."""
    camera, crop = np.array([[0.8, 0.1, -0.2]]), Crop((200, 130), 150, angle)
    network = MeshRecovery(KnownNetwork(camera, standing[0]), standing[1])
    (person,) = network.predict(rules.photo(3, HEIGHT, WIDTH), crop)
    inside = 0.8 * (standing[0][:14, :2] + camera[0, 1:])
    np.testing.assert_allclose(person.joints_2d, crop.to_image(inside), atol=1e-4)
    held = json.loads(save_result(tmp_path / "person.json", person).read_text())
    joints = np.array(list(held["joints"].values()))
    scale, *shift = held["crop_camera"]
    projected = held["crop_center"] + held["crop_size"] / 2 * scale * (joints[:, :2] + shift)
    np.testing.assert_allclose(projected, list(held["joints_2d"].values()), atol=1e-4)
    assert (held["crop_rotation"], held["crop_origin"], held["box"]) == (angle, "crop", None)
    flat = person.vertices * [1, 1, 0]  # at the depth of the origin both cameras agree
    np.testing.assert_allclose(
        person.image_camera.project(flat + person.translation), person.to_pixels(flat), atol=1e-3
    )
    over_crop = person.crop_view.project(person.crop_vertices)
    expected = person.image_camera.project(person.vertices + person.translation)
    np.testing.assert_allclose(person.crop.region.to_image(over_crop / 112 - 1), expected, atol=1e-3)


def test_drawings_follow_the_rotation(standing: Standing) -> None:
    camera, image = np.array([[0.8, 0.1, -0.2]]), np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    masks = []
    for turns in (0, 1):
        network = MeshRecovery(KnownNetwork(camera, standing[0]), standing[1])
        background = np.ascontiguousarray(np.rot90(image, -turns))
        (person,) = network.predict(background, rotated_crop(Crop((210, 140), 200), turns))
        drawn = draw_people(background, [person], network.faces) != background
        pair = crop_and_overlay(person, network.faces).astype(int)
        masks.append((np.rot90(drawn.any(2), turns), (pair[:, :224] != pair[:, 224:]).any(2)))
    for upright, rotated in zip(*masks, strict=True):
        assert upright.mean() > 0.02 and (upright != rotated).mean() < 0.001


def test_the_parametric_body_stays_in_the_mesh(standing: Standing) -> None:
    """Rotating the root's rotation moves the body's vertices, around its pelvis, as it moves the network's."""
    body, angles = standing[1], [50.0, 0.0]
    pose = torch.randn(2, 24, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    rotations, betas = axis_angle_to_matrix(pose), torch.randn(2, 10)
    with torch.no_grad():
        vertices = body(rotations, betas)
        mesh = vertices.numpy()
        before = Prediction(np.ones((2, 3), np.float32), mesh[:, :14], mesh, rotations=rotations.numpy())
        after = rotated_back(before, angles)
        again = body(torch.from_numpy(after.rotations), betas)
        shift = body.root(torch.from_numpy(after.vertices)) - body.root(again)
    for sample, angle in enumerate(angles):
        expected = rotate_xy(vertices[sample].numpy(), angle)
        np.testing.assert_allclose(after.vertices[sample], expected, atol=1e-5)
        np.testing.assert_allclose((again + shift)[sample], expected, atol=1e-5)
    assert np.array_equal(after.vertices[1], before.vertices[1]) and rotated_back(before, [0.0, 0.0]) is before


def test_crops_and_boxes_may_be_mixed(recovery: MeshRecovery, photo: np.ndarray) -> None:
    people = recovery.predict(photo, [Crop((100, 80), 90.4, 15), (150, 60, 80, 80)])
    assert [person.crop.origin for person in people] == ["crop", "box"]
    assert people[0].crop.region == Crop((100, 80), 90, 15) and people[0].crop.box is None
    assert repr(people[0].crop) == "PersonCrop('image 1', person 1, rotation 15)"
    (middle,) = recovery.predict(photo)
    assert middle.crop.origin == "center"


def test_a_crop_outside_is_refused() -> None:
    image = np.zeros((80, 100, 3), np.uint8)
    with pytest.raises(ValueError, match=r"here, person 1: the crop of .*rotation 45 lies outside of the image of 100"):
        crops_of(image, [Crop((200, 40), 100, 45)], "here")
    with pytest.raises(ValueError, match="beyond 16000 pixels"):
        crops_of(image, [Crop((50, 40), 17000, 45)], "here")
