"""A scene of an image's people, opened again: its own camera sees them where they were drawn."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from tests import rules
from tests.inference.conftest import KnownNetwork
from tore import cli
from tore.body.body_model import BodyModel
from tore.geometry.camera import PinholeCamera
from tore.inference.predictor import MeshRecovery
from tore_runtime.mesh_files import PlacedMesh, save_scene
from tore_runtime.outputs import PEOPLE_COLORS, Wanted, planned_files, write_outputs
from tore_runtime.result import Recovery

Standing = tuple[np.ndarray, BodyModel]
HEIGHT, WIDTH = 240, 320


@pytest.fixture(scope="module")
def known(standing: Standing) -> MeshRecovery:
    return MeshRecovery(KnownNetwork(np.array([[0.9, 0, 0.1], [0.8, 0.1, 0], [-0.5, 0, 0]]), standing[0]), standing[1])


@pytest.fixture(scope="module")
def people(known: MeshRecovery) -> list[Recovery]:
    """Two before the camera, and one behind it, who is left out."""
    boxes = [(30, 20, 80, 200), (200, 60, 60, 120), (100, 60, 60, 120)]
    return known.predict(rules.photo(1, HEIGHT, WIDTH), boxes, fov=70)


def seen_by_the_files_camera(points: np.ndarray, yfov: float, aspect: float) -> np.ndarray:
    """glTF's own formula: (N, 3), camera at the origin, looking along -z with y up -> pixels."""
    up = points[:, 1] / -points[:, 2] / np.tan(yfov / 2)  # in [-1, 1]
    right = points[:, 0] / -points[:, 2] / (aspect * np.tan(yfov / 2))
    return np.stack([(1 + right) / 2 * WIDTH, (1 - up) / 2 * HEIGHT], 1)


def meshes_of(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Vertices (V, 3) and colors (V, 3) in [0, 1] of a scene file by name."""
    if path.suffix == ".obj":  # by hand: trimesh joins what has no materials
        found: dict[str, list] = {}
        for words in map(str.split, path.read_text().splitlines()):
            if words[:1] == ["o"]:
                found[words[1]] = []
            elif words[:1] == ["v"]:
                found[list(found)[-1]].append(words[1:])
        return {name: (np.array(rows, float)[:, :3], np.array(rows, float)[:, 3:]) for name, rows in found.items()}
    scene = trimesh.load(path, process=False, force="scene")
    assert all(np.array_equal(scene.graph.get(name)[0], np.eye(4)) for name in scene.geometry)
    return {name: (one.vertices, one.visual.vertex_colors[:, :3] / 255) for name, one in scene.geometry.items()}


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_the_files_camera_sees_the_people_where_they_are_drawn(
    kind: str, people: list[Recovery], known: MeshRecovery, tmp_path: Path
) -> None:
    wanted = Wanted(overlay=False, scene=kind)
    written, _ = write_outputs(people, None, tmp_path / "two", wanted, known.faces)
    assert written == planned_files(tmp_path / "two", 3, wanted) == [tmp_path / f"two_tore_pred_scene.{kind}"]
    content = written[0].read_bytes()
    if kind == "glb":
        (length,) = struct.unpack("<I", content[12:16])
        tree = json.loads(content[20 : 20 + length])
        (node,) = [node for node in tree["nodes"] if "camera" in node]
        assert set(node) == {"name", "camera"}, "at the origin of the scene"
        assert tree["nodes"].index(node) in tree["scenes"][tree.get("scene", 0)]["nodes"]
        lens = tree["cameras"][node["camera"]]["perspective"]
        yfov, aspect = lens["yfov"], lens["aspectRatio"]
    else:
        found = re.search(r"focal length ([\d.]+) pixels, image of (\d+) x (\d+) pixels", content.decode())
        focal, width, height = (float(value) for value in found.groups())
        yfov, aspect = 2 * np.arctan(height / 2 / focal), width / height
    held = meshes_of(written[0])
    assert sorted(held) == ["two_person1", "two_person2"]
    for person in people[:2]:
        vertices, colors = held[f"two_person{person.crop.person}"]
        seen = seen_by_the_files_camera(vertices, yfov, aspect)
        expected = person.image_camera.project(person.vertices + person.translation)
        np.testing.assert_allclose(seen, expected, atol=0.01)
        assert np.abs(colors - PEOPLE_COLORS[person.crop.person - 1]).max() < 0.01


@pytest.mark.parametrize("kind", ["obj", "ply", "glb"])
def test_a_mesh_file_says_where_its_person_stands(
    kind: str, people: list[Recovery], known: MeshRecovery, tmp_path: Path
) -> None:
    (path, *_), _ = write_outputs(people, None, tmp_path / "two", Wanted(False, mesh=kind), known.faces)
    content = path.read_bytes().decode("latin-1")
    number = r"(-?[\d.]+)"
    found = re.search(
        rf"add \({number}, {number}, {number}\) to stand .* length {number} pixels, fov \(70 deg", content
    )
    x, y, z, focal = (float(value) for value in found.groups())
    assert "looking along -z at the center of 320 x 240 pixels" in content
    assert "crop: center (70, 120), size 240, rotation 0 degrees" in content
    held = trimesh.load(path, process=False, force="mesh").vertices + [x, y, z]
    pixels = held[:, :2] / -held[:, 2:] * [focal, -focal] + [WIDTH / 2, HEIGHT / 2]
    expected = people[0].image_camera.project(people[0].vertices + people[0].translation)
    np.testing.assert_allclose(pixels, expected, atol=0.5)  # the focal length is rounded


def test_nobody_before_the_camera_is_no_scene(people: list[Recovery], known: MeshRecovery, tmp_path: Path) -> None:
    assert write_outputs(people[2:], None, tmp_path / "one", Wanted(False, scene="glb"), known.faces)[0] == []


def test_what_is_no_scene(tmp_path: Path) -> None:
    triangle = PlacedMesh("a", np.eye(3), np.array([[0, 1, 2]]), (1, 1, 1))
    with pytest.raises(ValueError, match="scenes are written as glb or obj"):
        save_scene(tmp_path / "a.ply", [triangle], PinholeCamera(1, (1, 1)), (2, 2))
    with pytest.raises(ValueError, match="needs one mesh"):
        save_scene(tmp_path / "a.obj", [], PinholeCamera(1, (1, 1)), (2, 2))


def test_the_command_writes_a_scene_of_each_image(small_checkpoint: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(rules.photo(1, 240, 320)).save(folder / name)
    call = ["infer", "--checkpoint", str(small_checkpoint), "--images", str(folder), "--no_overlay", "--device", "cpu"]
    call += ["--detector", "none"]
    assert cli.main([*call, "--save_scene", "obj", "--output_dir", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_tore_pred_scene.obj", "b_tore_pred_scene.obj",
    ]  # fmt: skip
