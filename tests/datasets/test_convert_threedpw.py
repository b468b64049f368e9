"""3DPW by both routes, against each other and against the definition of its world and camera frames."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests import rules
from tests.datasets import sources
from tore import cli
from tore.body import load_body
from tore.datasets.convert import threedpw
from tore.datasets.convert.entries import BEHIND, NOT_FINITE, BodyModels, Entry
from tore.datasets.convert.threedpw import NO_CAMERA, Pose2MeshAnnotations, ThreeDPWSequences
from tore.datasets.convert.writing import convert
from tore.datasets.sets import TSVSet
from tore.paths import SMPL_GENDERED

FRAMES = 5
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def body_dir(rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rule-made body files; the male model is another body, the female one is the neutral one."""
    folder = tmp_path_factory.mktemp("gendered")
    for path in rule_body_dir.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / SMPL_GENDERED["male"]).write_bytes(pickle.dumps(rules.smpl_model(70), protocol=2))
    (folder / SMPL_GENDERED["female"]).symlink_to(rule_body_dir / "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl")
    return folder


@pytest.fixture
def record() -> dict:
    return sources.threedpw_sequence(3, FRAMES, "fm")


@pytest.fixture
def root(tmp_path: Path, record: dict) -> Path:
    sources.write_threedpw(tmp_path / "3dpw", "test", [record])
    return tmp_path / "3dpw"


def camera_parameters(record: dict, person: int, frame: int, model: dict) -> tuple[np.ndarray, np.ndarray]:
    """Pose (72,) and translation (3,) in the camera frame, written out with numpy and scipy."""
    betas = record["betas"][person][:10]
    pelvis = (model["J_regressor"] @ (model["v_template"] + model["shapedirs"] @ betas))[0]
    turn, offset = record["cam_poses"][frame, :3, :3], record["cam_poses"][frame, :3, 3]
    pose = record["poses"][person][frame].copy()
    pose[:3] = (Rotation.from_matrix(turn) * Rotation.from_rotvec(pose[:3])).as_rotvec()
    return pose, turn @ (pelvis + record["trans"][person][frame]) + offset - pelvis


def pose2mesh_json(record: dict, labels: dict[tuple[int, int], dict], model: dict) -> dict:
    """The record's valid frames as Pose2Mesh lists them, boxes taken from the labels of the other route."""
    focal, center = record["cam_intrinsics"][[0, 1], [0, 1]], record["cam_intrinsics"][:2, 2]
    camera = {"focal": focal.tolist(), "princpt": center.tolist()}
    images = [
        {"id": 900 + frame, "sequence": record["sequence"], "file_name": f"image_{frame:05d}.jpg"}
        | {"width": 64, "height": 80, "cam_param": camera}
        for frame in range(FRAMES)
    ]
    annotations = []
    for (person, frame), label in labels.items():
        pose, translation = camera_parameters(record, person, frame, model)
        side = label["scale"] * 200 / 1.2
        x, y = np.array(label["center"]) - side / 2
        smpl = {"pose": pose.tolist(), "shape": record["betas"][person][:10].tolist(), "trans": translation.tolist()}
        smpl |= {"gender": {"m": "male", "f": "female"}[record["genders"][person]]}
        annotations.append(
            {"id": len(annotations), "image_id": 900 + frame, "bbox": [x, y, side, side], "smpl_param": smpl}
        )
    return {"images": images[::-1], "annotations": annotations}


def by_person_and_frame(entries: list[Entry]) -> dict[tuple[int, int], dict]:
    return {divmod(number, FRAMES): entry.label for number, entry in enumerate(entries) if entry.label}


def test_site_labels_are_the_world_seen_by_the_camera(root: Path, record: dict, body_dir: Path) -> None:
    entries = list(ThreeDPWSequences(root, "test", body_dir=body_dir).entries())
    assert len(entries) == 2 * FRAMES
    assert [entry.left_out for entry in entries] == [NO_CAMERA if i == 1 else "" for i in range(2 * FRAMES)]
    for (person, frame), label in by_person_and_frame(entries).items():
        gender = {"m": "male", "f": "female"}[record["genders"][person]]
        body = load_body("body", body_dir, gender=gender).double()
        pose, betas = record["poses"][person][frame], record["betas"][person][:10]
        world, _ = body.skin(torch.from_numpy(pose[None]), torch.from_numpy(betas[None]))
        joints = body.joints24(world)[0].numpy() + record["trans"][person][frame]
        camera = record["cam_poses"][frame]
        seen = joints @ camera[:3, :3].T + camera[:3, 3]  # (24,3) meters, camera frame
        joints_3d, joints_2d = np.array(label["3d_joints"]), np.array(label["2d_joints"])
        np.testing.assert_allclose(joints_3d[:, :3] - joints_3d[0, :3], seen - seen[0], atol=1e-6)
        pixels = seen @ record["cam_intrinsics"].T
        pixels = pixels[:, :2] / pixels[:, 2:]
        np.testing.assert_allclose(joints_2d[:, :2], pixels, atol=1e-4)
        assert (joints_2d[:, 2] == 1).all()
        assert (joints_3d[:, 3] == 1).all()
        low, high = pixels.min(0), pixels.max(0)
        np.testing.assert_allclose(label["center"], (low + high) / 2, atol=1e-4)
        np.testing.assert_allclose(label["scale"], 1.2 * (high - low).max() / 200, atol=1e-6)
        assert label["gender"] == record["genders"][person]
        assert label["betas"] == betas.tolist()
        assert label["pose"][3:] == pose[3:].tolist()
        assert [label[name] for name in ("has_smpl", "has_2d_joints", "has_3d_joints")] == [1, 1, 1]


def test_the_two_routes_agree(tmp_path: Path, body_dir: Path) -> None:
    """On people whose gender's model is the neutral one, every number of every label."""
    record = sources.threedpw_sequence(5, FRAMES, "ff")
    root = tmp_path / "3dpw"
    sources.write_threedpw(root, "test", [record])
    site = ThreeDPWSequences(root, "test", body_dir=body_dir)
    labels = by_person_and_frame(list(site.entries()))
    path = tmp_path / "3DPW_test.json"
    path.write_text(json.dumps(pose2mesh_json(record, labels, rules.smpl_model())))
    for source, out in ((site, "a"), (Pose2MeshAnnotations(path, body_dir=body_dir), "b")):
        convert(source, root, tmp_path / out, "test_has_gender", show_progress=False)
    ours, official = (TSVSet(tmp_path / out / "test_has_gender.yaml") for out in "ab")
    assert len(ours) == len(official) == 2 * FRAMES - 1
    for index in range(len(ours)):
        for table in ("img", "hw"):
            assert ours.columns(table, index) == official.columns(table, index)
        (key, text), (other_key, other_text) = (table.columns("label", index) for table in (ours, official))
        (label,), (other,) = json.loads(text), json.loads(other_text)
        assert key == other_key
        assert label.keys() == other.keys()
        assert label.pop("gender") == other.pop("gender") == "f"
        for name, value in label.items():
            np.testing.assert_allclose(value, other[name], rtol=0, atol=1e-4, err_msg=name)


def test_pose2mesh_joints_are_the_neutral_models(root: Path, record: dict, body_dir: Path, tmp_path: Path) -> None:
    labels = by_person_and_frame(list(ThreeDPWSequences(root, "test", body_dir=body_dir).entries()))
    path = tmp_path / "3DPW_test.json"
    path.write_text(json.dumps(pose2mesh_json(record, labels, rules.smpl_model())))
    male = next(e.label for e in Pose2MeshAnnotations(path, body_dir=body_dir).entries() if e.label["gender"] == "m")
    neutral = load_body("body", body_dir).double()
    pose, betas = (torch.tensor(male[name])[None].double() for name in ("pose", "betas"))
    joints = neutral.joints24(neutral.skin(pose, betas)[0])[0].numpy()
    np.testing.assert_allclose(np.array(male["3d_joints"])[:, :3], joints, atol=1e-6)
    assert np.abs(np.array(labels[1, 0]["3d_joints"])[:, :3] - joints).max() > 0.01


def test_every_start_gives_the_same_bits(
    root: Path, record: dict, body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels may round by batch, made visible here: whatever the start, the same people must go through together."""
    exact = BodyModels.joints24

    def by_batch(self: BodyModels, gender: str, poses: np.ndarray, betas: np.ndarray) -> np.ndarray:
        return exact(self, gender, poses, betas) + poses.sum()

    monkeypatch.setattr(BodyModels, "joints24", by_batch)
    for module in (threedpw, threedpw):
        monkeypatch.setattr(module, "CHUNK", 3)
    sources.write_threedpw(root, "test", [sources.threedpw_sequence(4, 4, "m", name="a_first_sequence")])
    site = ThreeDPWSequences(root, "test", body_dir=body_dir)
    whole = list(site.entries())
    assert len(whole) == len(site) == 4 + 2 * FRAMES
    assert whole[0].key == "imageFiles/a_first_sequence/image_00000.jpg"
    for start in range(len(whole) + 1):
        assert list(site.entries(start)) == whole[start:]
    labels = by_person_and_frame(whole[4:])
    path = tmp_path / "3DPW_test.json"
    path.write_text(json.dumps(pose2mesh_json(record, labels, rules.smpl_model())))
    json_route = Pose2MeshAnnotations(path, body_dir=body_dir)
    whole = list(json_route.entries())
    for start in range(len(whole) + 1):
        assert list(json_route.entries(start)) == whole[start:]


def test_people_who_cannot_be_labelled(root: Path, record: dict, body_dir: Path) -> None:
    record["cam_poses"][2, :3, 3] = [0, 0, -9]
    record["betas"][0] = record["betas"][0][:, None]  # a column, as some files hold it
    record["poses"][0][3, 7] = np.nan
    sources.write_threedpw(root, "test", [record])
    entries = list(ThreeDPWSequences(root, "test", body_dir=body_dir).entries())
    assert [number for number, entry in enumerate(entries) if entry.left_out == BEHIND] == [2, 2 + FRAMES]
    assert [number for number, entry in enumerate(entries) if entry.left_out == NOT_FINITE] == [3]


def test_errors_name_file_and_field(root: Path, record: dict, body_dir: Path) -> None:
    wrong = {
        "has no field 'cam_poses'": {name: value for name, value in record.items() if name != "cam_poses"},
        r"person 1: poses has shape \(5, 69\), expected \(5, 72\)": record
        | {"poses": [record["poses"][0], record["poses"][1][:, :69]]},
        "gender 'x' is not known": record | {"genders": ["x", "m"]},
        "per-person lists have different lengths": record | {"trans": record["trans"][:1]},
        "betas has 9 numbers": record | {"betas": [np.zeros(9), np.zeros(10)]},
    }
    path = root / "sequenceFiles" / "test" / f"{record['sequence']}.pkl"
    for message, given in wrong.items():
        path.write_bytes(sources.python2_pickle(given))
        with pytest.raises(ValueError, match=message) as error:
            ThreeDPWSequences(root, "test", body_dir=body_dir)
        assert str(path) in str(error.value)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no .pkl file"):
        ThreeDPWSequences(root, "test", body_dir=body_dir)
    with pytest.raises(FileNotFoundError, match=r"sequenceFiles/train is missing"):
        ThreeDPWSequences(root, "train", body_dir=body_dir)


class Harmful:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_tampered_pickle_is_refused(
    root: Path, record: dict, body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "sequenceFiles" / "test" / f"{record['sequence']}.pkl"
    path.write_bytes(pickle.dumps(record | {"texture_maps": Harmful(tmp_path / "harm")}, protocol=2))
    options = ["--root", str(root), "--split", "test", "--data_dir", str(body_dir), "--out", str(tmp_path / "out")]
    assert cli.main(["convert", "3dpw", *options]) == 2
    printed = capsys.readouterr()
    assert "mkdir" in printed.err
    assert str(path) in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "harm").exists()


def test_pose2mesh_errors(tmp_path: Path, body_dir: Path, record: dict, root: Path) -> None:
    labels = by_person_and_frame(list(ThreeDPWSequences(root, "test", body_dir=body_dir).entries()))
    good = pose2mesh_json(record, labels, rules.smpl_model())
    path = tmp_path / "3DPW_test.json"

    def changed(table: str, name: str) -> dict:
        copy = json.loads(json.dumps(good))
        del copy[table][1][name]
        return copy

    wrong = {
        "annotation 1 has no field 'smpl_param'": changed("annotations", "smpl_param"),
        "has no field 'sequence'": changed("images", "sequence"),
        "names image 904, which the file does not list": good | {"images": good["images"][1:]},
        "has no field 'annotations'": {"images": good["images"]},
    }
    for message, given in wrong.items():
        path.write_text(json.dumps(given))
        with pytest.raises(ValueError, match=message):
            list(Pose2MeshAnnotations(path, body_dir=body_dir).entries())


def test_the_command_killed_and_run_again(root: Path, body_dir: Path, tmp_path: Path) -> None:
    arguments = ["convert", "3dpw", "--root", str(root), "--split", "test", "--data_dir", str(body_dir), "--quiet"]
    assert cli.main([*arguments, "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "out"
    command = [sys.executable, "-c", "import sys; from tore.cli import main; sys.exit(main(sys.argv[1:]))"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, *arguments, "--out", str(out)], env=environment)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not list(out.glob("*.partial")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert cli.main([*arguments, "--out", str(out)]) == 0
    whole, again = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (tmp_path / "whole", out))
    assert whole == again
    assert "test_has_gender.yaml" in whole
