"""Result and mesh files opened again: names, units, numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tore.body.joints import J14_NAMES
from tore.inference.predictor import MeshRecovery
from tore_runtime.mesh_files import save_mesh
from tore_runtime.result import UNITS, Recovery, as_plain, save_result

JOINTS = ("joints", "joints_2d", "mesh_joints", "mesh_joints_2d")


@pytest.fixture(scope="module")
def person(recovery: MeshRecovery, photo: np.ndarray) -> Recovery:
    return recovery.predict(photo, [(30, 20, 120, 200)])[0]


def test_npz(person: Recovery, tmp_path: Path) -> None:
    path = save_result(tmp_path / "new" / "person.npz", person)
    with np.load(path) as held:  # refuses pickles by itself
        assert held["joint_names"].tolist() == list(J14_NAMES)
        for name in (*JOINTS, "vertices", "translation"):
            assert np.array_equal(held[name], getattr(person, name))
        assert json.loads(str(held["units"])) == UNITS and set(UNITS) <= set(held.files)
        assert held["box"].tolist() == [30, 20, 120, 200] and held["crop_center"].tolist() == [90, 120]
        assert held["crop_size"] == 240 and held["crop_rotation"] == 0 and held["crop_origin"] == "box"
        assert held["image_size"].tolist() == [240, 320] and held["principal_point"].tolist() == [160, 120]
        placed = held["vertices"] + held["translation"]
        pixels = placed[:, :2] / placed[:, 2:] * held["focal_length"] + held["principal_point"]
        assert np.allclose(pixels, person.image_camera.project(placed), atol=1e-6)
        scale, *shift = held["crop_camera"]
        inside = scale * (held["joints"][:, :2] + shift)
        assert np.allclose(held["crop_center"] + held["crop_size"] / 2 * inside, held["joints_2d"], atol=1e-3)
        assert str(held["checkpoint"]) == person.checkpoint and str(held["kind"]) == "body" and held["person"] == 1


def test_json(person: Recovery, tmp_path: Path) -> None:
    held = json.loads(save_result(tmp_path / "person.json", person).read_text(encoding="utf-8"))
    assert list(held["joints"]) == list(J14_NAMES) and held["units"] == UNITS
    for name in JOINTS:
        assert np.allclose([held[name][joint] for joint in J14_NAMES], getattr(person, name), atol=1e-6)
    assert np.allclose(held["vertices"], person.vertices) and held["box"] == [30, 20, 120, 200]
    assert as_plain(person) == {k: v for k, v in held.items() if k not in ("vertices", "units", "joint_names")} | {
        "box": (30.0, 20.0, 120.0, 200.0),
        "crop_center": (90.0, 120.0),
        "image_size": (240, 320),
        "principal_point": (160.0, 120.0),
    }


def test_no_box_is_none(recovery: MeshRecovery, photo: np.ndarray, tmp_path: Path) -> None:
    (person,) = recovery.predict(photo)
    assert json.loads(save_result(tmp_path / "person.json", person).read_text())["box"] is None
    with np.load(save_result(tmp_path / "person.npz", person)) as held:
        assert held["box"].shape == (0,)


@pytest.mark.parametrize("kind", ["obj", "ply", "glb"])
def test_meshes(kind: str, person: Recovery, recovery: MeshRecovery, tmp_path: Path) -> None:
    path = save_mesh(tmp_path / f"mesh.{kind}", person.vertices, recovery.faces, name="person")
    mesh = trimesh.load(path, process=False, force="mesh")
    assert np.allclose(mesh.vertices, person.vertices * (1, -1, -1), atol=1e-5)
    assert np.array_equal(mesh.faces, recovery.faces)


def test_what_is_not_written(person: Recovery, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="npz or json"):
        save_result(tmp_path / "person.pkl", person)
    broken = replace(person, vertices=np.full_like(person.vertices, np.nan))
    with pytest.raises(ValueError, match=r"image 1: .*not finite"):
        save_result(tmp_path / "person.json", broken)
    assert list(tmp_path.iterdir()) == []
