"""Drawings checked against what geometry says they must show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from tore.geometry.camera import PinholeCamera, pinhole_of_crop, project_weak_perspective
from tore_runtime.drawing import (
    CAPTION_HEIGHT,
    GAP,
    color_heatmap,
    contact_sheet,
    mean_heatmap,
    overlay,
    overlay_crop,
    token_sheet,
    turned,
    view,
)
from tore_runtime.mesh_files import save_mesh
from tore_runtime.renderer import Light, Lighting, render, vertex_normals

FLAT = Lighting(lights=(), sky=(1, 1, 1), ground=(1, 1, 1))
CAMERA = PinholeCamera(100.0, (10.0, 8.0))
TRIANGLE = np.array([[2.0, 1.0], [14.0, 1.0], [2.0, 13.0]])  # continuous pixels


def at_depth(points: np.ndarray, depth: float, camera: PinholeCamera = CAMERA) -> np.ndarray:
    """Points of the camera frame that project to (N, 2) continuous pixels."""
    xy = (points - np.array(camera.principal_point)) / camera.focal_length * depth
    return np.hstack([xy, np.full((len(points), 1), depth)])


def sphere() -> tuple[np.ndarray, np.ndarray]:
    ball = trimesh.creation.icosphere(subdivisions=4)
    return np.asarray(ball.vertices), np.asarray(ball.faces)


def test_a_triangle_covers_exactly_the_pixels_whose_centers_lie_in_it() -> None:
    drawn = render(at_depth(TRIANGLE, 2.0), np.array([[0, 2, 1]]), CAMERA, (16, 20))
    y, x = np.mgrid[:16, :20] + 0.5
    inside = (x > 2) & (y > 1) & ((x - 2) + (y - 1) < 12)
    on_edge = (x - 2) + (y - 1) == 12
    assert (drawn.mask == inside)[~on_edge].all()
    assert np.allclose(drawn.depth[drawn.mask], 2.0, atol=1e-5) and np.isinf(drawn.depth[~drawn.mask]).all()


def test_depth_of_a_slanted_plane_is_perspective() -> None:
    corners = np.array([[-4.0, -4, 5], [4, -4, 9], [4, 4, 9], [-4, 4, 5]])
    drawn = render(corners, np.array([[0, 1, 2], [0, 2, 3]]), CAMERA, (16, 20))
    x = (np.arange(20) + 0.5 - 10) / 100
    expected = 7 / (1 - 0.5 * x)  # z = 7 + x_metres / 2 along the ray (x, y, 1) z
    assert drawn.mask.all() and np.allclose(drawn.depth, expected[None], rtol=1e-5)


def test_coverage_approaches_the_area_of_a_sphere() -> None:
    vertices, faces = sphere()
    camera = PinholeCamera(120.0, (32.5, 31.0))
    drawn = render(vertices + [0, 0, 4], faces, camera, (64, 64), samples=4)
    assert drawn.coverage.sum() == pytest.approx(np.pi * 120**2 / 15, rel=5e-3)
    assert drawn.depth.min() == pytest.approx(3.0, abs=5e-3)


def test_shading_follows_the_cosine_and_is_smooth() -> None:
    vertices, faces = sphere()
    lamp = Lighting(lights=(Light((0, 0, -2), (0.8, 0.4, 0.2)),), sky=(0, 0, 0), ground=(0, 0, 0))
    camera = PinholeCamera(1000.0, (32.0, 32.0))
    drawn = render(vertices + [0, 0, 40], faces, camera, (64, 64), colors=(1, 1, 1), lighting=lamp, samples=1)
    y, x = (np.mgrid[:64, :64] + 0.5 - 32) / 1000 * 40
    cosine = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    inner = x**2 + y**2 < 0.8
    assert np.abs(drawn.color[..., 0] / 255 - 0.8 * cosine)[inner].max() < 0.02
    ratio = drawn.color[32, 32] / drawn.color[32, 32, 0]
    assert ratio == pytest.approx([1, 0.5, 0.25], abs=0.01)


def test_vertex_colors_mix_and_nearer_faces_hide_farther_ones() -> None:
    near, far = at_depth(TRIANGLE, 2.0), at_depth(TRIANGLE + [3, 1], 3.0)
    colors = np.array([[1, 0, 0]] * 3 + [[0, 0, 1]] * 3, float)
    vertices, faces = np.vstack([far, near]), np.array([[0, 2, 1], [3, 5, 4]])
    drawn = render(vertices, faces, CAMERA, (16, 20), colors=colors, lighting=FLAT, samples=1)
    assert tuple(drawn.color[3, 4]) == (0, 0, 255) and drawn.depth[3, 4] == pytest.approx(2.0)
    assert tuple(drawn.color[4, 13]) == (255, 0, 0) and drawn.depth[4, 13] == pytest.approx(3.0)


def test_nothing_in_view_leaves_the_background() -> None:
    vertices, faces = sphere()
    background = np.random.RandomState(0).randint(0, 256, (16, 20, 3)).astype(np.uint8)
    for shift in ([0, 0, -5], [500, 0, 5]):
        drawn = render(vertices + shift, faces, CAMERA, (16, 20), background=background)
        assert not drawn.mask.any() and (drawn.color == background).all() and drawn.coverage.sum() == 0
    around = render(vertices, faces, CAMERA, (16, 20))
    assert around.mask.all() and np.allclose(around.depth, 1, atol=0.05)


@pytest.mark.parametrize(
    ("vertices", "faces", "sentence"),
    [
        (np.zeros((3, 2)), np.array([[0, 1, 2]]), r"vertices \(V, 3\)"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), "3 of 3 vertices are not finite"),
        (np.ones((3, 3)), np.array([[0, 1, 3]]), r"faces name vertices 0\.\.3, the mesh has 3"),
    ],
)
def test_what_is_no_mesh_is_refused(vertices: np.ndarray, faces: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        render(vertices, faces, CAMERA, (16, 20))


def test_vertex_normals_of_a_sphere_point_outward() -> None:
    vertices, faces = sphere()
    assert np.allclose(vertex_normals(vertices, faces), vertices, atol=0.02)


def test_the_crop_camera_agrees_with_the_weak_perspective_one_far_away() -> None:
    weak = np.array([0.9, 0.1, -0.05])
    points = np.random.RandomState(1).uniform(-0.8, 0.8, (50, 3)) * [1, 1, 1e-4]
    for size in (224, 448):
        camera, translation = pinhole_of_crop(weak, size=size)
        expected = project_weak_perspective(torch.from_numpy(points[None]), torch.from_numpy(weak[None]))[0].numpy()
        assert np.allclose(camera.project(points + translation), (expected + 1) / 2 * size, atol=0.01 * size / 224)
    assert translation == pytest.approx([0.1, -0.05, 2000 / (224 * 0.9)], abs=1e-8)


def test_overlay_changes_the_mesh_pixels_alone() -> None:
    vertices, faces = sphere()
    crop = np.random.RandomState(2).randint(0, 256, (224, 224, 3)).astype(np.uint8)
    weak = np.array([0.5, 0.3, 0.0])
    drawn = overlay_crop(crop, vertices, faces, weak, samples=1)
    camera, translation = pinhole_of_crop(weak)
    mask = render(vertices + translation, faces, camera, (224, 224)).mask
    assert (drawn[~mask] == crop[~mask]).all() and (drawn[mask] != crop[mask]).any(1).mean() > 0.95
    # the ball's middle lies at s * (0 + t) of the [-1, 1] range
    y, x = np.nonzero(mask)
    assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx((112 + 112 * 0.15, 112), abs=0.6)
    half = overlay(crop, vertices + translation, faces, camera, opacity=0.5, samples=1)
    assert np.abs(half - (drawn / 2 + crop / 2)).max() <= 0.5
    with pytest.raises(ValueError, match="square crop"):
        overlay_crop(crop[:100], vertices, faces, weak)


def test_views_turn_the_mesh_and_frame_it() -> None:
    vertices, faces = sphere()
    long = vertices * [1.0, 0.2, 0.2] + [3, 4, 5]
    assert np.allclose(turned(turned(long, 70), -70), long)
    wide, side = (view(long, faces, degrees=degrees, size=64).mask for degrees in (0, 90))
    assert 58 <= wide.any(0).sum() <= 64 and wide.any(1).sum() < 16 and side.any(0).sum() < 16
    assert turned(np.array([[1.0, 0, 0], [-1, 0, 0]]), 90)[0] == pytest.approx([0, 0, -1])


def test_heatmap_is_brightest_where_the_weight_is() -> None:
    weights = np.zeros((3, 49))
    weights[0, 10], weights[1, 24], weights[2, 48] = 1, 1, 1
    crop = np.zeros((224, 224, 3), np.uint8)
    single = color_heatmap(crop, weights[0].reshape(7, 7)).astype(int)
    hottest = np.unravel_index((single[..., 0] - single[..., 2]).argmax(), (224, 224))
    assert hottest[0] // 32 == 1 and hottest[1] // 32 == 3
    assert (color_heatmap(crop, np.full((7, 7), 0.3)) == color_heatmap(crop, np.zeros((7, 7)))).all()
    assert mean_heatmap(crop, weights).shape == crop.shape
    assert token_sheet(crop, weights, cell=32).shape == contact_sheet([crop] * 4, ["a"] * 4, cell=32).shape
    with pytest.raises(ValueError, match="48 cells are no map"):
        mean_heatmap(crop, weights[:, :48])


def test_contact_sheet_places_images_in_rows() -> None:
    images = [np.full((20, 30, 3), shade, np.uint8) for shade in (10, 60, 110)]
    sheet = contact_sheet(images, ["one", "two", "a caption that is far too long for this"], columns=2, cell=48)
    pitch = 48 + CAPTION_HEIGHT + GAP
    assert sheet.shape == (2 * pitch + GAP, 2 * (48 + GAP) + GAP, 3)
    middle = CAPTION_HEIGHT + GAP + 24
    assert [sheet[middle, GAP + 24, 0], sheet[middle, 2 * GAP + 72, 0], sheet[pitch + middle, 28, 0]] == [10, 60, 110]
    with pytest.raises(ValueError, match="1 captions for 3 images"):
        contact_sheet(images, ["one"])
    with pytest.raises(ValueError, match="one image at least"):
        contact_sheet([])


@pytest.mark.parametrize("kind", ["obj", "ply", "glb"])
def test_mesh_files_open_again(kind: str, tmp_path: Path) -> None:
    vertices, faces = sphere()
    vertices = vertices * [0.3, 0.9, 0.2]
    colors = np.random.RandomState(4).randint(0, 256, (len(vertices), 3)).astype(np.uint8)
    path = save_mesh(tmp_path / f"out.{kind}", vertices, faces, name="person_1", colors=colors)
    scene = trimesh.load_scene(path, process=False, maintain_order=True)
    (mesh,) = scene.geometry.values()
    assert np.allclose(mesh.vertices, vertices * [1, -1, -1], atol=1e-5) and (mesh.faces == faces).all()
    assert np.allclose(mesh.vertex_normals, vertex_normals(vertices, faces) * [1, -1, -1], atol=1e-3)
    assert mesh.volume > 0
    assert np.abs(np.asarray(mesh.visual.vertex_colors)[:, :3].astype(int) - colors).max() <= 1
    content = path.read_bytes()
    assert b"person_1" in content and b"meters" in content
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    unturned = save_mesh(tmp_path / f"raw.{kind}", vertices, faces, frame="camera")
    (mesh,) = trimesh.load_scene(unturned, process=False, maintain_order=True).geometry.values()
    assert np.allclose(mesh.vertices, vertices, atol=1e-5)


def test_a_mesh_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    vertices, faces = sphere()
    with pytest.raises(ValueError, match="obj, ply, glb"):
        save_mesh(tmp_path / "out.stl", vertices, faces)
    with pytest.raises(ValueError, match="frame 'world'"):
        save_mesh(tmp_path / "out.obj", vertices, faces, frame="world")


def test_drawing_needs_no_further_package_and_mesh_files_ask_for_theirs_by_name() -> None:
    program = """
import sys
sys.modules["trimesh"] = sys.modules["embreex"] = sys.modules["matplotlib"] = None
import numpy as np
from tore.visualize import heatmap, mesh_files, overlay, renderer, sheet, skeleton
triangle, faces = np.array([[0, 0, 1.0], [1, 0, 1], [0, 1, 1]]), np.array([[0, 2, 1]])
print(renderer.render(triangle, faces, renderer.PinholeCamera(10.0, (5.0, 5.0)), (10, 10)).mask.sum())
try:
    mesh_files.save_mesh("never.obj", triangle, faces)
except ImportError as error:
    print(error)
"""
    root = Path(__file__).parents[2]
    search = {"PYTHONPATH": f"{root}:{root / 'manopth'}"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, env=search)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0] == "25" and "pip install trimesh" in lines[1]
