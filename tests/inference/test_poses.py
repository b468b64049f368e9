"""SMPL parameters of people: where the body stands, and the file of poses that `tore infer` writes."""

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
from tore.body.body_model import load_body
from tore.body.joints import SMPL_NAMES
from tore.inference.predictor import MeshRecovery
from tore_runtime.outputs import PoseFile
from tore_runtime.result import as_plain, as_values, save_result


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, synthetic_body_dir: Path) -> Path:
    """A small network with the SMPL parameter regressor over TORE."""
    path = tmp_path_factory.mktemp("checkpoints") / "posed.pt"
    torch.manual_seed(0)
    model = tore.create_model(body_dir=synthetic_body_dir, smpl_regressor=True, **SMALL)
    with torch.no_grad():
        model.camera_head.bias.copy_(torch.tensor([0.9, 0.1, 0.0]))
    tore.save_model(model, path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, seed in (("b.png", 1), ("a.png", 2)):
        Image.fromarray(rules.photo(seed, 240, 320)).save(folder / name)
    (folder / "broken.png").write_text("no image")
    return folder


def infer(checkpoint: Path, images: Path, *options: str | Path) -> int:
    command = ["infer", "--resume_checkpoint", checkpoint, "--image_file_or_path", images, "--device", "cpu"]
    command += ["--detector", "none"]
    return cli.main([str(part) for part in (*command, "--no_overlay", *options)])


def test_poses_put_the_body_where_the_mesh_stands(
    checkpoint: Path, images: Path, tmp_path: Path, synthetic_body_dir: Path
) -> None:
    """The file's body, posed by the model, has the network's rotations and the mesh's pelvis before the camera."""
    path = tmp_path / "new" / "poses.npz"
    assert infer(checkpoint, images, "--save_poses", path, "--frame_rate", "25") == 1  # one image is broken
    recovery = MeshRecovery.from_checkpoint(checkpoint, device="cpu")
    body = load_body("body", synthetic_body_dir)
    with np.load(path, allow_pickle=False) as held:
        assert set(held.files) == {
            "poses", "trans", "betas", "frame_betas", "gender", "mocap_framerate", "picture", "person", "frame",
            "picture_index", "valid", "focal_length", "residual_mm", "joint_names", "schema", "body_model",
        }  # fmt: skip
        poses, trans, shapes = held["poses"], held["trans"], held["frame_betas"]
        assert poses.shape == (3, 72) and trans.shape == (3, 3) and shapes.shape == (3, 10)
        assert held["valid"].tolist() == [True, True, False] and held["picture_index"].tolist() == [0, 1, 2]
        assert all(np.isnan(values[2]).all() for values in (poses, trans, shapes))
        assert np.allclose(held["betas"], shapes[:2].mean(0)) and held["betas"].shape == (10,)
        assert str(held["gender"]) == "neutral" and held["mocap_framerate"] == 25
        assert np.allclose(held["focal_length"][:2], 400) and np.isnan(held["focal_length"][2])
        assert held["person"].tolist() == [1, 1, 1]
        assert [Path(name).name for name in held["picture"]] == ["a.png", "b.png", "broken.png"]
    for row, name in enumerate(("a.png", "b.png")):
        (person,) = recovery.predict(images / name)
        with torch.no_grad():
            said = recovery.model(torch.from_numpy(person.crop.image)[None])
            pose, betas = (
                torch.from_numpy(poses[row : row + 1]).float(),
                torch.from_numpy(shapes[row : row + 1]).float(),
            )
            vertices = body(pose, betas)
        torch.testing.assert_close(body.rotations(pose), said.rotations, rtol=0, atol=1e-4)
        torch.testing.assert_close(betas, said.betas, rtol=0, atol=1e-5)
        there = body.root(torch.from_numpy(person.vertices)[None])[0, 0].numpy() + person.translation
        assert np.allclose(body.root(vertices)[0, 0].numpy() + trans[row], there, atol=1e-4)


def test_results_hold_the_parameters(checkpoint: Path, tmp_path: Path) -> None:
    (person,) = MeshRecovery.from_checkpoint(checkpoint, device="cpu").predict(rules.photo(3, 200, 200))
    with np.load(save_result(tmp_path / "person.npz", person)) as held:
        for name in ("pose", "betas", "translation"):
            assert np.array_equal(held[f"smpl_{name}"], getattr(person.parameters, name))
        assert "smpl_pose" in str(held["units"]) and "smpl_residual_mm" not in held
        assert str(held["smpl_source"]) == "regressor" and tuple(held["smpl_joint_names"]) == SMPL_NAMES
    assert len(as_plain(person)["smpl_betas"]) == 10


def test_a_network_without_the_regressor(small_checkpoint: Path, images: Path, tmp_path: Path, capsys) -> None:
    """Its meshes are fitted for a file of poses, which is said; a prediction without `fit` has no parameters."""
    path = tmp_path / "poses.npz"
    assert infer(small_checkpoint, images, "--save_poses", path) == 1  # one image is broken
    told = capsys.readouterr()
    assert "fitted to its meshes, as with --fit" in told.err and "fit: vertices lie" in told.out
    with np.load(path, allow_pickle=False) as held:
        assert np.isfinite(held["residual_mm"]).tolist() == [True, True, False]
        assert "radians" in json.loads(str(held["schema"]))["poses"]
    (person,) = MeshRecovery.from_checkpoint(small_checkpoint, device="cpu").predict(rules.photo(3, 200, 200))
    assert person.parameters is None and not any(name.startswith("smpl_") for name in as_values(person))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--save_poses", "poses.json"), "poses are written as .npz"),
        (("--save_poses", "there.npz"), "is there already; add --overwrite"),
        (("--save_poses", "poses.npz", "--frame_rate", "0"), "--frame_rate 0: give a number above 0"),
        (("--save_results", "json", "--frame_rate", "25"), "add --save_poses"),
        (("--save_mesh", "obj", "--fit"), "--fit: the parameters would be written nowhere"),
    ],
)
def test_what_cannot_be_written(
    options: tuple[str, ...], sentence: str, checkpoint: Path, images: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.npz").write_text("precious")
    assert infer(checkpoint, images, *options) == 2
    assert sentence in capsys.readouterr().err
    assert Path("there.npz").read_text() == "precious"


def test_nobody_is_no_file(tmp_path: Path) -> None:
    poses = PoseFile(tmp_path / "poses.npz")
    assert poses.write() is None and not list(tmp_path.iterdir())


def test_gaps_in_time_stay_gaps(checkpoint: Path, tmp_path: Path) -> None:
    """Frames 1, 2, 9, 10: the second cannot be read, in the third is nobody, one has a person more."""
    recovery = MeshRecovery.from_checkpoint(checkpoint, device="cpu")
    photo = rules.photo(3, 200, 200)
    one, two = ([(20, 20, 100, 150)], [(20, 20, 100, 150), (80, 30, 90, 120)])
    frames = [f"{number}.png" for number in (1, 2, 9, 10)]
    poses = PoseFile(tmp_path / "poses.npz", frames, frame_rate=10)
    poses.add("10.png", recovery.predict(photo, one))  # images need not come in order
    poses.add("2.png", [])
    poses.add("1.png", recovery.predict(photo, two))
    assert poses.write() == tmp_path / "poses.npz" and poses.failed == 2
    with np.load(tmp_path / "poses.npz", allow_pickle=False) as held:
        assert held["picture"].reshape(4, 2).tolist() == [[frame] * 2 for frame in frames]
        assert held["person"].reshape(4, 2).tolist() == [[1, 2]] * 4
        assert held["valid"].reshape(4, 2).tolist() == [[True, True], [False, False], [False, False], [True, False]]
        for name in ("poses", "trans", "frame_betas"):
            assert np.array_equal(np.isfinite(held[name]).all(1), held["valid"])
            assert np.array_equal(np.isnan(held[name]).all(1), ~held["valid"])
        first, last = held["poses"][held["person"] == 1][[0, 3]]
        assert np.allclose(first, last, atol=1e-4) and np.isfinite(held["betas"]).all()
