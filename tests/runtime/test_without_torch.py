"""The whole way from a photograph to files in a process that cannot import torch, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.export.conftest import exported, needs_runtimes, network
from tests.exports import without_onnx
from tests.inference.conftest import drawn_hand
from tests.processes import environment
from tore import cli
from tore.detection import MoveNetDetector, PalmDetector
from tore.export.detectors import export_networks
from tore.inference.predictor import MeshRecovery
from tore.paths import default_checkpoint, example_photograph
from tore_runtime import cli as runtime_cli
from tore_runtime.predictor import ExportedRecovery, hand_finder, networks_folder
from tore_runtime.sessions import RUNTIMES

__all__ = ["drawn_hand", "exported", "network"]  # fixtures
BLOCKED = ("torch", "torchvision", "timm", "safetensors", "scipy", "tore", "manopth", "tqdm", "yaml", "openvino")
PROGRAM = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from tore_runtime.cli import main
sys.exit(main(sys.argv[1:]))
"""
BOX = (150.0, 20.0, 260.0, 480.0)


def without_torch(*arguments: object, blocked: Iterable[str] = BLOCKED) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PROGRAM, ",".join(blocked), *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)


def assert_same(
    results: Path, expected: list, *, meters: float = 1e-5, camera: float = 1e-5, pixels: float = 0.01
) -> None:
    """Every number of the meshes in meters, the cameras, and where the meshes lie in the image in pixels."""
    files = sorted(results.glob("*.npz"))
    assert len(files) == len(expected) > 0
    for file, person in zip(files, expected, strict=True):
        with np.load(file) as found:
            for name in ("vertices", "joints", "mesh_joints", "translation"):
                np.testing.assert_allclose(found[name], getattr(person, name), rtol=meters, atol=meters)
            np.testing.assert_allclose(found["crop_camera"], person.camera, rtol=camera, atol=camera)
            np.testing.assert_allclose(found["joints_2d"], person.joints_2d, atol=pixels)


def test_a_box_of_a_photograph(network: torch.nn.Module, exported: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    box = ",".join(map(str, BOX))
    flags = ["--checkpoint", exported, "--output_dir", tmp_path, "--box", box]
    done = without_torch(example_photograph(), *flags, "--save_mesh", "obj", "--save_results", "npz", "--views")
    assert done.returncode == 0, done.stderr
    assert "1 image, 0 failed, 1 person" in done.stdout
    written = {path.suffix for path in tmp_path.iterdir()}
    assert written == {".jpg", ".npz", ".obj"} and (tmp_path / "astronaut_tore_pred.jpg").is_file()
    recovery = MeshRecovery.from_checkpoint(exported, rule_body_dir, runtime="onnxruntime")
    assert_same(tmp_path, recovery.predict(example_photograph(), [BOX]))
    recovery.model = network
    assert_same(tmp_path, recovery.predict(example_photograph(), [BOX]))


def test_python(exported: Path, rule_body_dir: Path) -> None:
    recovery = ExportedRecovery(exported)
    (found,) = recovery.predict(example_photograph())
    plain = MeshRecovery.from_checkpoint(exported, rule_body_dir, runtime="onnxruntime")
    (expected,) = plain.predict(example_photograph())
    np.testing.assert_allclose(found.vertices, expected.vertices, atol=1e-6)
    np.testing.assert_allclose(found.mesh_joints, expected.mesh_joints, atol=1e-6)
    assert found.crop.origin == "center" and recovery.kind == "body" and recovery.prunes_tokens


@pytest.mark.slow
def test_the_people_of_a_photograph(tmp_path: Path) -> None:
    """By the exports of the network and the detector that ship."""
    needs_runtimes()
    assert cli.main(["export", "people", "--output_dir", str(tmp_path / "networks"), "--runtime", "onnxruntime"]) == 0
    flags = ("--networks", tmp_path / "networks", "--output_dir", tmp_path / "out", "--save_results", "npz")
    done = without_torch(example_photograph(), *flags)
    assert done.returncode == 0, done.stderr
    recovery = MeshRecovery.from_checkpoint(default_checkpoint("body"), device="cpu")
    assert_same(tmp_path / "out", recovery.predict(example_photograph(), detector=MoveNetDetector()))


@pytest.fixture(scope="module")
def hands(drawn_hand: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of a right and a left hand, the latter turned."""
    image, path = drawn_hand[0], tmp_path_factory.mktemp("hands") / "hands.png"
    Image.fromarray(np.concatenate([image, np.rot90(image)[:, ::-1]], 1)).save(path)
    return path


RIGHT, LEFT = (20.0, 20.0, 200.0, 200.0), (260.0, 20.0, 200.0, 200.0)  # of that image


def test_hands(
    hands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way of hands through the runtime, which torch runs here: found, in boxes, with sides that are told."""
    without_onnx(monkeypatch, tmp_path / "cache")
    networks = tmp_path / "networks"
    export_networks("hands", networks, runtimes=["onnxruntime"])
    plain, recovery = MeshRecovery.from_checkpoint(default_checkpoint("hand")), ExportedRecovery(networks / "hands")
    ways: tuple[tuple[dict, dict], ...] = (
        ({"detector": hand_finder(networks)}, {"detector": PalmDetector()}),
        ({"boxes": [RIGHT, LEFT]},) * 2,
        ({"boxes": [RIGHT, LEFT], "left": True},) * 2,
        ({},) * 2,
    )
    for here, there in ways:
        found, expected = recovery.predict(hands, **here), plain.predict(hands, **there)
        assert [person.crop.left for person in found] == [person.crop.left for person in expected] and found
        for person, other in zip(found, expected, strict=True):
            assert person.crop.region == other.crop.region
            np.testing.assert_allclose(person.vertices, other.vertices, atol=1e-5)
            np.testing.assert_allclose(person.joints_2d, other.joints_2d, atol=0.01)
    flags = [str(hands), "--networks", str(networks), "--output_dir", str(tmp_path / "out"), "--save_results", "npz"]
    assert runtime_cli.main([*flags, "--body", "hand"]) == 0
    assert_same(tmp_path / "out", plain.predict(hands, detector=PalmDetector()))
    boxes = [",".join(map(str, box)) for box in (RIGHT, LEFT)]
    sides = ["--box", boxes[0], "--left_box", boxes[1], "--overwrite"]
    assert runtime_cli.main([*flags, "--body", "hand", *sides]) == 0
    assert_same(tmp_path / "out", plain.predict(hands, [RIGHT, LEFT], left=[False, True]))
    capsys.readouterr()
    for more, sentence in (
        ([], "holds no export in network; make one with `tore export people"),
        (["--body", "hand", "--detector", "movenet"], "holds no export in movenet-multipose"),
        (["--body", "hand", "--left"], "the detector mediapipe tells which hands are left ones"),
        (["--checkpoint", str(networks / "hands"), "--body", "body"], "recovers hands; leave --body out"),
    ):
        assert runtime_cli.main([*flags, *more]) == 2
        told = capsys.readouterr().err
        assert sentence in told and told.count("\n") == 1, told


@pytest.mark.slow
def test_the_hands_of_an_image(hands: Path, tmp_path: Path) -> None:
    """By the exports of the network and the detectors that ship, in each runtime.

    Each look tells the next one's crop, and OpenCV cuts crops at 32nds of a pixel: rounding may choose another one,
    with a camera of its own.
    """
    needs_runtimes()
    assert cli.main(["export", "hands", "--output_dir", str(tmp_path / "networks")]) == 0
    recovery = MeshRecovery.from_checkpoint(default_checkpoint("hand"), device="cpu")
    expected = recovery.predict(hands, detector=PalmDetector())
    for runtime in RUNTIMES:
        flags = ("--body", "hand", "--networks", tmp_path / "networks", "--output_dir", tmp_path / runtime)
        named = () if runtime == "onnxruntime" else ("--runtime", runtime)
        done = without_torch(hands, *flags, "--save_results", "npz", *named, blocked=set(BLOCKED) - {runtime})
        assert done.returncode == 0, done.stderr
        assert_same(tmp_path / runtime, expected, meters=1e-3, camera=5e-3, pixels=0.5)


def test_what_cannot_be_is_refused_in_a_sentence(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("TORE_RUNTIME_DIR", raising=False)
    photograph, there = str(example_photograph()), ["--checkpoint", str(exported), "--output_dir", str(tmp_path)]
    (damaged := tmp_path / "damaged").mkdir()
    for file in exported.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes() + (b"\0" if file.suffix == ".onnx" else b""))
    for arguments, sentence in (
        (["none.jpg", *there], "none.jpg is missing"),
        ([photograph, "--networks", str(tmp_path)], "holds no export in network"),
        ([photograph, *there], "no networks came with the package"),
        ([photograph, "--checkpoint", str(damaged), "--detector", "none"], "its checksum is another one"),
        ([photograph, *there, "--left", "--detector", "none"], "recovers people; leave --left and --left_box out"),
        ([photograph, *there, "--detector", "mediapipe"], "--detector mediapipe finds hands"),
        (
            [photograph, *there, "--save_poses", "a.npz"],
            "poses are fitted by the body model's solver, which needs torch",
        ),
        ([photograph, *there, "--fit"], "use `tore infer` of the package tore"),
        ([photograph, *there, "--refine"], "people are moved by the body model's solver"),
        ([photograph, *there, "--detector", "torchvision"], "--detector torchvision is not known here"),
        ([photograph, *there, "--detector", "none", "--people", "2"], "--people: nobody is looked for"),
        ([photograph, *there, "--no_overlay"], "--no_overlay leaves nothing to write"),
        ([photograph, *there, "--precision", "bfloat16", "--detector", "none"], "onnxruntime computes in float32"),
        ([photograph, *there, "--threads", "0"], "--threads 0: give 1 or more"),
        ([photograph, *there, "--box_threshold", "2"], "give a score from 0 to 1"),
    ):
        assert runtime_cli.main(arguments) == 2, arguments
        told = capsys.readouterr().err
        assert sentence in told and told.count("\n") == 1 and told.startswith("tore-infer: "), told
    with pytest.raises(FileNotFoundError, match="export people"):
        networks_folder(tmp_path)


def test_one_image_that_fails_leaves_the_others(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (bad := tmp_path / "bad.jpg").write_bytes(b"no image")
    flags = ["--checkpoint", str(exported), "--output_dir", str(tmp_path), "--detector", "none", "--json_lines"]
    assert runtime_cli.main([str(bad), str(example_photograph()), *flags, "--no_overlay"]) == 1
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    assert "bad.jpg" in output.err and sorted(bool(line["error"]) for line in lines) == [False, True]
    (person,) = next(line["people"] for line in lines if not line["error"])
    assert np.isfinite(list(person["joints"].values())).all()
