"""`tore animate`: from files of poses to animation files, one sentence where that cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.motion.readers import Bvh, Glb
from tests.processes import ROOT
from tests.test_readme import commands_of
from tore import cli
from tore.body import load_body

POSES = np.random.default_rng(2).normal(0, 0.2, (5, 72))
TURNED = [1.0, -1.0, -1.0]  # from the camera's axes


def save_poses(path: Path, **more: Any) -> Path:
    held: dict[str, Any] = {
        "poses": POSES, "trans": np.tile([0.1, 0.2, 3.0], (5, 1)), "betas": np.zeros(10), "gender": "neutral",
        "frame": "the camera of each image", "mocap_framerate": 25.0,
    }  # fmt: skip
    np.savez(path, **held | more)
    return path


def animate(*arguments: str | Path, body_dir: str | Path = "synthetic") -> int:
    return cli.main(["animate", *map(str, arguments), "--body_dir", str(body_dir)])


def test_a_file_of_poses_becomes_glb_and_bvh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poses = POSES.copy()
    poses[2] = np.nan
    path = save_poses(tmp_path / "poses.npz", poses=poses)
    assert animate(path, "--save", tmp_path / "body.glb", tmp_path / "new" / "body.bvh") == 0
    told = capsys.readouterr()
    assert "poses: 5 frames, 25 a second, 0.20 s; 1 without a pose, interpolated (longest gap 0.04 s)" in told.out
    assert "mm off the body model on average" in told.out and "written: " in told.out and not told.err
    glb, bvh = Glb(tmp_path / "body.glb"), Bvh(tmp_path / "new" / "body.bvh")
    body = load_body("body", "synthetic")
    joints = body.skin(torch.from_numpy(poses[:2]).float(), torch.zeros(2, 10))[1]
    for frame in range(2):
        expected = (joints[frame].numpy() + [0.1, 0.2, 3.0]) * TURNED
        assert np.abs(np.stack(list(glb.joints(frame).values())) - expected).max() < 1e-4
        assert np.abs(bvh.joints(frame)["Head"] / 100 - expected[15]).max() < 1e-4


def test_the_body_stands_over_the_origin(tmp_path: Path) -> None:
    path = save_poses(tmp_path / "poses.npz")
    assert animate(path, "--save", tmp_path / "body.glb", "--at_origin") == 0
    glb = Glb(tmp_path / "body.glb")
    vertices, pelvis = glb.vertices(0), glb.joints(0)["Pelvis"]
    assert vertices[:, 1].min() == pytest.approx(0, abs=1e-5) and np.abs(pelvis[[0, 2]]).max() < 1e-6


def test_several_people_need_a_choice_for_bvh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_poses(tmp_path / "poses.npz", person=np.array([1, 2, 1, 2, 1]))
    assert animate(path, "--save", tmp_path / "a.bvh") == 2
    assert "these are poses_person1, poses_person2; choose with --person" in capsys.readouterr().err
    assert animate(path, "--save", tmp_path / "a.glb") == 0 and len(Glb(tmp_path / "a.glb").document["skins"]) == 2
    assert animate(path, "--save", tmp_path / "a.bvh", "--person", "2") == 0
    assert len(Bvh(tmp_path / "a.bvh").rows) == 2


@pytest.mark.parametrize(
    ("images", "numbers", "told"),
    [("aabbc", [1, 2, 1, 2, 1], True), ("abcde", [1, 1, 1, 1, 1], False), ("aaaaa", [1, 2, 3, 4, 5], False)],
)
def test_people_who_are_not_followed_are_told(
    images: str, numbers: list[int], told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where several people are in several images, also if one number is asked for."""
    more = {"picture": np.array(list(images)), "person": np.array(numbers)}
    path = save_poses(tmp_path / "poses.npz", **more)
    for choice in ((), ("--person", "1")):
        assert animate(path, "--save", tmp_path / "a.glb", "--overwrite", *choice) == 0
        assert ("poses.npz: people are numbered in each image by itself" in capsys.readouterr().err) == told


def test_one_hand_of_a_person_goes_into_a_bvh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = np.array(["left", "right", "left", "right", "left"])
    path = save_poses(tmp_path / "hands.npz", poses=POSES[:, :48], side=sides)
    assert animate(path, "--save", tmp_path / "a.bvh", "--person", "1") == 2
    assert "these are hands_left, hands_right; choose with --person and --side" in capsys.readouterr().err
    assert animate(path, "--save", tmp_path / "a.bvh", "--person", "1", "--side", "left") == 0


def test_another_body_models_shape_is_refused_or_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = json.dumps({"name": "SMPL", "mesh": "ab", "levels": "cd"})
    path = save_poses(tmp_path / "poses.npz", body_model=other, betas=np.ones(10))
    assert animate(path, "--save", tmp_path / "a.glb") == 2
    told = capsys.readouterr().err
    assert "poses.npz is of the body model 'SMPL' (ab-cd)" in told and "--mean_shape takes the poses alone" in told
    assert animate(path, "--save", tmp_path / "a.glb", "--mean_shape") == 0
    amass = save_poses(tmp_path / "amass.npz", gender="male", betas=np.ones(10))
    assert animate(amass, "--save", tmp_path / "b.glb") == 0
    assert "SMPL's male body, whose shape numbers mean nothing to 'synthetic': mean shape" in capsys.readouterr().err
    positions = [Glb(tmp_path / name).attributes()["POSITION"] for name in ("a.glb", "b.glb")]
    assert np.array_equal(*positions)
    unsaid = save_poses(tmp_path / "unsaid.npz", betas=np.ones(10))
    assert animate(unsaid, "--save", tmp_path / "c.glb") == 0
    assert "does not say of which body model its shape numbers are" in capsys.readouterr().err


def test_official_files_are_animated(rule_body_dir: Path, tmp_path: Path) -> None:
    path = save_poses(tmp_path / "poses.npz")
    assert animate(path, "--save", tmp_path / "a.glb", body_dir=rule_body_dir) == 0
    hands = save_poses(tmp_path / "hands.npz", poses=POSES[:, :48])
    assert animate(hands, "--save", tmp_path / "hand.glb", "--left", body_dir=rule_body_dir) == 0
    assert Glb(tmp_path / "hand.glb").joints(0).keys() >= {"Wrist", "Thumb_3"}


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The foot that bears the body stays, the other one swings; the written files say the same in both ways."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "ANIMATION.md").read_text(encoding="utf-8")
    pieces = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(pieces) == 2
    for piece in pieces:
        exec(piece, {})  # the page's own words
    by_python = Path("walk.glb").read_bytes()
    (command,) = [line for line in commands_of("docs/ANIMATION.md") if line.startswith("tore animate walk")]
    assert cli.main(command.split()[1:]) == 0 and Path("walk.glb").read_bytes() == by_python
    bvh = Bvh(Path("walk.bvh"))
    feet = np.array([[bvh.joints(t)[f"{side}_Foot"] for side in "LR"] for t in range(0, len(bvh.rows), 4)])
    steps = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=2).min(1)
    assert np.median(steps) < 0.01 and np.ptp(feet[..., 0]) > 100  # centimeters


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--save", "a.fbx"), "a.fbx: animations are written as .glb or .bvh"),
        (("--save", "there.glb"), "there.glb is there already; add --overwrite"),
        (("--save", "poses.npz/a.glb"), "cannot be written"),
        (("--save", "a.glb", "--mean_shape", "--gender", "male"), "--gender male: is of shape numbers"),
        (("--save", "a.glb", "--body_dir", "nowhere"), "is missing"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    options: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_poses(Path("poses.npz"))
    Path("there.glb").write_text("mine")
    assert cli.main(["animate", "poses.npz", *options]) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1 and told.startswith("tore animate: ")
    assert Path("there.glb").read_text() == "mine" and not Path("a.glb").exists()
