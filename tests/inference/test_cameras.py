"""Crop camera, whole-image camera, and meshes drawn where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import silhouette
from tests.inference.conftest import KnownNetwork
from tore.body.body_model import BodyModel
from tore.geometry.camera import (
    CropViews,
    PinholeCamera,
    crop_camera,
    fitted_translation,
    image_translation,
    pinhole_of_crop,
    project_weak_perspective,
)
from tore.inference.predictor import MeshRecovery
from tore.synthetic.look import open_look
from tore.synthetic.scenes import PeopleStudio
from tore_runtime.crops import crop_of_box, cut_crop
from tore_runtime.drawing import overlay_crop
from tore_runtime.focal_length import image_camera
from tore_runtime.outputs import crop_and_overlay, draw_people, other_views, tokens
from tore_runtime.renderer import render

Standing = tuple[np.ndarray, BodyModel]


def random_views(count: int = 20) -> tuple[torch.Tensor, ...]:
    r = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=r, dtype=torch.float64)

    camera = torch.cat([uniform(0.5, 1.2, count, 1), uniform(-0.3, 0.3, count, 2)], 1)
    return camera, uniform(0, 900, count, 2), uniform(40, 600, count), uniform(200, 400, count, 2), uniform(
        300, 5000, count
    )  # fmt: skip


def translations(*view: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(image_translation(CropViews(*(values.numpy() for values in view))))


def test_there_and_back() -> None:
    camera, *view = random_views()
    assert torch.allclose(crop_camera(translations(camera, *view), *view), camera, atol=1e-9)


def test_points_at_the_origins_depth_land_where_the_crop_puts_them() -> None:
    camera, centers, sides, principal, focal = random_views()
    points = torch.randn(len(camera), 7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.5
    points[:, :, 2] = 0
    inside = project_weak_perspective(points, camera)  # (B,7,2) in [-1, 1] of the crop
    expected = centers[:, None] + inside * sides[:, None, None] / 2
    placed = points + translations(camera, centers, sides, principal, focal)[:, None]
    found = placed[..., :2] / placed[..., 2:] * focal[:, None, None] + principal[:, None]
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_fitted_translation_brings_vertices_closest_to_where_the_crops_camera_sees_them() -> None:
    """In meters at their depth: x + tx = u (z + tz) and y + ty = v (z + tz), by least squares over what is in view."""
    cameras, *view = (values.numpy() for values in random_views(60))
    vertices = np.random.default_rng(2).normal(0, 0.4, (len(cameras), 50, 3))
    found, parts = fitted_translation(vertices, CropViews(cameras, *view)), []
    for mesh, camera, center, side, principal, focal, translation in zip(vertices, cameras, *view, found, strict=True):
        inside = project_weak_perspective(torch.from_numpy(mesh)[None], torch.from_numpy(camera)[None])[0].numpy()
        pixels = center + side / 2 * inside  # (V, 2)
        seen = ((pixels >= 0) & (pixels <= 2 * principal)).all(1)
        parts.append(seen.sum())
        mesh, pixels = (mesh[seen], pixels[seen]) if seen.any() else (mesh, pixels)
        rays = (pixels - principal) / focal
        sides = np.zeros((len(mesh), 2, 3))
        sides[:, 0, 0] = sides[:, 1, 1] = 1
        sides[:, :, 2] = -rays
        wanted = rays * mesh[:, 2:] - mesh[:, :2]
        if len(mesh) > 2:
            best = np.linalg.lstsq(sides.reshape(-1, 3), wanted.ravel(), rcond=None)[0]
            assert np.allclose(translation, best, rtol=1e-6, atol=1e-6)
    assert min(parts) == 0 and 50 in parts and len({*parts}) > 10


def test_of_flat_meshes_it_is_the_translation_at_the_origins_depth() -> None:
    cameras, *view = (values.numpy() for values in random_views())
    flat = np.random.default_rng(2).normal(0, 0.4, (len(cameras), 50, 3)) * (1, 1, 0)
    views = CropViews(cameras, *view)
    assert np.allclose(fitted_translation(flat, views), image_translation(views), rtol=1e-6)


@dataclass(frozen=True)
class ByKeypoints:
    """What a network's configuration says of its camera."""

    keypoint_queries: bool = True


def test_people_of_cameras_from_keypoints_are_drawn_where_these_see_them(standing: Standing) -> None:
    """Near the camera, an arm toward it: closer to the weak perspective than by the depth of the mesh's origin."""
    network = KnownNetwork(np.array([[0.8, 0.1, -0.2]]), standing[0] + (0, 0, 0.3))
    image, box = np.zeros((400, 700, 3), np.uint8), [(450, 60, 200, 300)]

    def miss(**options: str) -> tuple[np.ndarray, float]:
        network.asked = 0
        (person,) = MeshRecovery(network, standing[1]).predict(image, box, **options)
        drawn = person.image_camera.project(person.vertices + person.translation)
        return person.translation, float(np.linalg.norm(drawn - person.to_pixels(person.vertices), axis=1).mean())

    plain, beside = miss()
    official, _ = miss(focal_length="official")
    network.config = ByKeypoints()
    assert np.array_equal(miss(focal_length="official")[0], official)
    fitted, closer = miss()
    assert closer < 0.5 * beside and not np.allclose(fitted, plain, rtol=0.02)


def test_a_fit_brings_nobody_behind_the_camera(standing: Standing) -> None:
    """A narrow mesh that reaches far into depth, beside the middle of a wide image, which the fit brings too near."""
    vertices = standing[0] * (0.2, 0.1, 0)
    vertices[:, 2] = 3 * vertices[:, 0]
    camera, image, box = np.array([[8.0, 0.0, 0.0]]), np.zeros((400, 700, 3), np.uint8), [(550, 150, 100, 100)]
    found = {}
    for by_keypoints in (False, True):
        network = KnownNetwork(camera, vertices)
        network.config = ByKeypoints(by_keypoints)
        (person,) = MeshRecovery(network, standing[1]).predict(image, box, focal_length=480)
        found[by_keypoints] = person.translation
        assert person.in_front and (person.vertices[:, 2] + person.translation[2]).min() > 0
        region, view = person.crop.region, person.image_camera
        places = [np.array([each]) for each in (region.center, region.size, view.principal_point, view.focal_length)]
        assert fitted_translation(vertices[None], CropViews(camera, *places))[0, 2] < -vertices[:, 2].min()
    assert np.array_equal(found[True], found[False])


def test_the_middle_crops_official_camera_is_part_of_the_images(standing: Standing) -> None:
    camera = np.array([[0.8, 0.1, -0.2]])
    recovery = MeshRecovery(KnownNetwork(camera, standing[0]), standing[1])
    (person,) = recovery.predict(np.zeros((448, 700, 3), np.uint8), focal_length="official")
    pinhole, translation = pinhole_of_crop(camera[0])
    assert np.allclose(person.translation, translation, atol=1e-5)
    assert person.image_camera == PinholeCamera(pinhole.focal_length * 2, (350.0, 224.0))
    in_crop = pinhole.project(person.vertices + translation)
    in_image = person.image_camera.project(person.vertices + person.translation)
    assert np.allclose(in_image, in_crop * 2 + (350 - 224, 0), atol=1e-3)
    assert np.allclose(person.crop.region.to_image(in_crop / 112 - 1), in_image, atol=1e-3)


@pytest.mark.parametrize("size", [(224, 224), (300, 451), (1279, 720), (97, 40)])
def test_over_the_middle_crop_meshes_are_drawn_as_official(size: tuple[int, int], standing: Standing) -> None:
    camera = np.array([[0.9, 0.05, -0.1]])
    network = MeshRecovery(KnownNetwork(camera, standing[0]), standing[1])
    (person,) = network.predict(np.zeros((*size, 3), np.uint8), focal_length="official")
    pinhole, translation = pinhole_of_crop(camera[0])  # focal length 1000, (tx, ty, 2000 / (224 s + 1e-9))
    official = pinhole.project(person.vertices + translation)
    assert np.abs(person.crop_view.project(person.vertices + person.translation) - official).max() < 0.05
    drawn = crop_and_overlay(person, standing[1].faces.numpy())[:, 224:].astype(int)
    plain = overlay_crop(person.crop.pixels, person.vertices, standing[1].faces.numpy(), camera[0])
    assert (np.abs(drawn - plain).max(2) > 8).mean() < 0.005


def test_true_meshes_lie_on_synthetic_people(synthetic_body_dir: Path) -> None:
    """Ground truth through crop camera and drawing: within a pixel of the rendered silhouette, crop and whole."""
    studio, size = PeopleStudio(256, synthetic_body_dir, open_look(None, None, "val")), 256
    for number in (0, 1, 3, 6, 7, 9, 10, 11):
        drawn = studio.draw(np.random.default_rng([11, number]))
        label, mask = studio.label(drawn), silhouette.silhouette(studio, drawn)
        true = label["camera"]
        assert true["principal_point"] == [128, 128], "cut out of a larger image: take another number"
        with torch.no_grad():
            vertices = studio.figure.model(torch.tensor([label["pose"]]), torch.tensor([label["betas"]]))[0].numpy()
        side = 200 * label["scale"] / 1.2
        box = (label["center"][0] - side / 2, label["center"][1] - side / 2, side, side)
        region = crop_of_box(box, (size, size))
        values = (true["translation"], region.center, region.size, true["principal_point"], true["focal_length"])
        camera = crop_camera(*(torch.tensor([value], dtype=torch.float64) for value in values)).numpy()
        recovery = MeshRecovery(KnownNetwork(camera, vertices), studio.figure.model)
        (person,) = recovery.predict(np.zeros((size, size, 3), np.uint8), box, focal_length=true["focal_length"])
        whole = (draw_people(np.zeros((size, size, 3), np.uint8), [person], recovery.faces) > 0).any(2)
        assert overlap(whole, mask) > 0.9  # touched pixels against covered pixel centers
        assert not (mask & ~whole).any() and not (whole & ~widened(mask, 1)).any()
        expected = cut_crop(np.repeat(mask[:, :, None], 3, 2).astype(np.uint8) * 255, region)[:, :, 0] > 127
        placed = person.vertices + person.translation
        found = render(placed, recovery.faces, person.crop_view, (224, 224), samples=1).mask
        inside = cut_crop(np.full((size, size, 3), 255, np.uint8), region)[:, :, 0] > 127
        assert overlap(found & inside, expected) > 0.96  # the expected one was enlarged from 256 pixels


def test_the_silhouette_check_passes_and_draws_its_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert silhouette.main(["--images", "2", "--sheet", str(tmp_path / "sheet.jpg")]) == 0
    whole, crop = capsys.readouterr().out.splitlines()
    assert float(whole.split()[-1]) > 0.999 and float(crop.split()[-1]) > 0.97
    assert (tmp_path / "sheet.jpg").stat().st_size > 10000


def widened(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1, 2 * pixels + 1))).astype(bool)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def scene(standing: Standing) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, PinholeCamera]:
    """An image of two people by a known camera: their silhouettes, boxes, translations, and that camera."""
    view = image_camera((300, 420), 500.0)
    translations = np.array([[-0.9, 0.1, 5.0], [0.8, -0.2, 6.5]])
    masks = [render(standing[0] + t, standing[1].faces.numpy(), view, (300, 420), samples=1).mask for t in translations]
    boxes = []
    for mask in masks:
        y, x = np.nonzero(mask)
        boxes.append((x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()))
    return np.array(boxes, float), masks, translations, view


def test_people_are_drawn_at_their_place_in_the_whole_image(standing: Standing) -> None:
    """Ground truth cameras turned into crop cameras and back through the predictor: the silhouettes are the same."""
    boxes, masks, translations, view = scene(standing)
    image = np.full((300, 420, 3), 7, np.uint8)
    unknown = MeshRecovery(KnownNetwork(np.ones((2, 3)), standing[0]), standing[1]).predict(image, boxes)
    regions = [person.crop.region for person in unknown]
    cameras = crop_camera(
        torch.from_numpy(translations),
        torch.tensor([region.center for region in regions], dtype=torch.float64),
        torch.tensor([region.size for region in regions], dtype=torch.float64),
        torch.tensor([view.principal_point] * 2, dtype=torch.float64),
        torch.tensor([view.focal_length] * 2, dtype=torch.float64),
    ).numpy()
    recovery = MeshRecovery(KnownNetwork(cameras, standing[0]), standing[1])
    people = recovery.predict(image, boxes, focal_length=view.focal_length)
    assert np.allclose([person.translation for person in people], translations, atol=1e-4)
    drawn = draw_people(image, people, recovery.faces)
    soft = [render(standing[0] + t, recovery.faces, view, (300, 420)).coverage > 0 for t in translations]
    assert overlap((drawn != image).any(2), soft[0] | soft[1]) > 0.99
    hard = [
        render(p.vertices + p.translation, recovery.faces, p.image_camera, (300, 420), samples=1).mask for p in people
    ]
    assert all(overlap(one, other) > 0.999 for one, other in zip(hard, masks, strict=True))
    colors = [drawn[mask].mean(0) for mask in masks]
    assert np.abs(colors[0] - colors[1]).max() > 10  # each person has a color of its own


def test_without_the_focal_length_people_still_cover_their_crops_silhouette(standing: Standing) -> None:
    """The whole image's camera looks from another place than the crop's: the outline moves by a pixel or two."""
    boxes, faces = scene(standing)[0], standing[1].faces.numpy()
    image = np.full((300, 420, 3), 7, np.uint8)
    cameras = np.tile([0.85, 0.0, 0.0], (2, 1))
    margin = 200  # crops reach beyond the image
    inside = np.pad(np.ones((300, 420), bool), margin)
    for person in MeshRecovery(KnownNetwork(cameras, standing[0]), standing[1]).predict(image, boxes):
        whole = np.pad((draw_people(image, [person], faces) != image).any(2), margin)
        side = int(person.crop.region.size)
        left, top = (int(corner) + margin for corner in person.crop.region.upper_left)
        part = np.s_[top : top + side, left : left + side]
        pinhole, translation = pinhole_of_crop(person.camera, side)
        alone = render(person.vertices + translation, faces, pinhole, (side, side), samples=3).coverage > 0
        found, expected = whole[part], alone & inside[part]
        assert overlap(found, expected) > 0.93
        assert not (found & ~widened(expected, 2)).any() and not (expected & ~widened(found, 2)).any()


def test_crop_and_overlay_lie_side_by_side(standing: Standing, photo: np.ndarray) -> None:
    recovery = MeshRecovery(KnownNetwork(np.array([[0.9, 0.0, 0.0]]), standing[0]), standing[1])
    (person,) = recovery.predict(photo)
    pair = crop_and_overlay(person, recovery.faces)
    assert pair.shape == (224, 448, 3) and (pair[:, :224] == person.crop.pixels).all()
    covered = (pair[:, 224:] != person.crop.pixels).any(2)
    y, x = np.nonzero(covered)
    points = (person.camera[0] * (person.vertices[:, :2] + person.camera[1:]) + 1) * 112
    limits = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    assert np.abs(limits - [*points.min(0), *points.max(0)]).max() < 5  # perspective against weak perspective
    assert np.allclose(person.to_pixels(person.vertices), person.crop.region.to_image(points / 112 - 1), atol=1e-3)


def test_nearer_people_hide_farther_ones(standing: Standing) -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    body = standing[0]
    people = MeshRecovery(KnownNetwork(np.array([[0.9, 0, 0], [0.45, 0, 0]]), body), standing[1]).predict(
        image, [(40, 10, 60, 150), (40, 10, 60, 150)]
    )
    faces = standing[1].faces.numpy()
    both, near = draw_people(image, people, faces), draw_people(image, people[:1], faces)
    inside = (near > 0).all(2)
    assert people[0].translation[2] < people[1].translation[2]
    assert (np.abs(both.astype(int) - near)[inside].max(1) == 0).mean() > 0.95
    assert (draw_people(image, people[::-1], faces) == both).mean() > 0.999


def test_a_mesh_behind_the_camera_leaves_the_image_alone(standing: Standing, photo: np.ndarray) -> None:
    recovery = MeshRecovery(KnownNetwork(np.array([[-0.5, 0.0, 0.0]]), standing[0]), standing[1])
    (person,) = recovery.predict(photo)
    assert not person.in_front
    assert (draw_people(photo, [person], recovery.faces) == photo).all()
    assert (crop_and_overlay(person, recovery.faces)[:, 224:] == person.crop.pixels).all()


def test_sheets(recovery: MeshRecovery, photo: np.ndarray) -> None:
    (person,) = recovery.predict(photo)
    sheet = other_views(person, recovery.faces, ("side", "back", "front"))
    assert sheet.shape[1] > 5 * 224 and sheet.shape[0] < 2 * 224
    assert person.heatmap is not None and tokens(person).ndim == 3


def test_a_network_without_pruning_has_no_tokens_to_show(standing: Standing, photo: np.ndarray) -> None:
    (person,) = MeshRecovery(KnownNetwork(np.ones((1, 3)), standing[0]), standing[1]).predict(photo)
    with pytest.raises(ValueError, match="prunes no image tokens"):
        tokens(person)
