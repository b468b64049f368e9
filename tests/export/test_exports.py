"""Exports against the networks that they are of, in the runtimes that run them."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import tore
from tests.conftest import assert_agrees
from tests.export.conftest import QUICK, model_of, needs_runtimes
from tests.export.test_optimized_form import NETWORKS, SIDE, lived_in
from tests.exports import TorchSession, without_onnx
from tests.modeling.test_networks import small
from tore import cli
from tore.export import exporting, loading
from tore.export.detector_graphs import DETECTORS, detector_graph
from tore.export.detectors import export_detector, kept_detector
from tore.export.exporting import export_model, sample_images
from tore.export.loading import ExportedNetwork, load_network
from tore.export.onnx_files import write_onnx
from tore.inference.images import read_image
from tore.modeling.movenet import decode_keypoints, load_movenet
from tore.paths import SYNTHETIC, example_photograph
from tore_runtime.predictor import open_export
from tore_runtime.record import is_export, read_record
from tore_runtime.sessions import RUNTIMES, Session

TOLERANCE = 2e-5


@torch.no_grad()
def check(model: torch.nn.Module, folder: Path) -> None:
    """Batches 1, 2, 5 and 8, three calls each with images of their own, on one session of each runtime."""
    sessions = [ExportedNetwork(folder, runtime=runtime, threads=2) for runtime in RUNTIMES]
    generator = torch.Generator().manual_seed(3)
    for batch in (1, 2, 5, 8) * 3:
        images = torch.randn(batch, 3, SIDE, SIDE, generator=generator)
        expected = model(images)._asdict()
        for found in sessions:
            said = found(images)
            for name, value in expected.items():
                actual = getattr(said, name)
                assert (actual is None) == (value is None), name
                if (
                    value is not None and name != "rotations"
                ):  # of fresh weights, whose matrices may be near to singular
                    assert_agrees(actual, value.numpy(), TOLERANCE)


def test_an_export_is_the_network(network: torch.nn.Module, exported: Path) -> None:
    check(network, exported)


@pytest.mark.parametrize("which", ["network", "export"])
def test_numbers_that_are_none_are_no_agreement(which: str) -> None:
    """Wherever they are, and though they come last: a comparison with one is false, and so is no difference."""
    numbers = {"network": np.zeros((2, 3), np.float32), "export": np.zeros((2, 3), np.float32)}
    numbers[which][1, 1] = np.nan
    images = np.zeros((2, 3, 4, 4), np.float32)
    for good_first in (False, True):
        answers = [{"vertices": numbers["export"]}, {"vertices": np.zeros((2, 3), np.float32)}]
        wanted = [(images, {"vertices": numbers["network"]}), (images, {"vertices": np.zeros((2, 3), np.float32)})]
        calls = iter(answers[::-1] if good_first else answers)
        with pytest.raises(ValueError, match="refused: in test its output vertices"):
            exporting.verified(lambda _, calls=calls: next(calls), wanted[::-1] if good_first else wanted, "in test")


SORTED = ("topk", "tome", "dpc_knn")  # token reductions that ONNX does not know


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in (QUICK, *SORTED)])
def test_every_network(name: str, rule_body_dir: Path, tmp_path: Path) -> None:
    needs_runtimes()
    model = model_of(name, rule_body_dir)
    export_model(model, tmp_path, body_dir=rule_body_dir)
    check(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch", ["resnet50", "efficientnet-b0", "hrnet-w64", "mobilenetv3_small_050", "movenet-thunder"]
)
def test_every_backbone(arch: str, tmp_path: Path) -> None:
    """Whole, the largest one on smaller images; keypoints are found within the graph."""
    needs_runtimes()
    options = {"image_size": 96} if arch == "hrnet-w64" else {}
    model = lived_in(tore.create_model("fastmetro", arch=arch, size="S", body_dir=SYNTHETIC, **options))
    export_model(model, tmp_path, body_dir=SYNTHETIC)
    images = torch.randn(3, 3, model.config.image_size, model.config.image_size)
    with torch.no_grad():
        expected = model(images)
    for runtime in RUNTIMES:
        found = ExportedNetwork(tmp_path, runtime=runtime)(images)
        assert_agrees(found.vertices, expected.vertices.numpy(), TOLERANCE)
        if arch != "movenet-thunder":
            assert found.keypoints is None
        else:  # for --refine
            assert_agrees(found.keypoints, expected.keypoints.numpy(), TOLERANCE)


def test_what_an_export_tells(network: torch.nn.Module, exported: Path) -> None:
    found = read_record(exported)
    assert found.network["arch"] == network.config.arch and found.image["size"] == SIDE
    assert found.outputs["vertices"]["shape"] == ["batch", 6890, 3] and "meters" in found.outputs["joints"]["unit"]
    assert "SMPL" in found.body["rights"] and "license" in found.body["rights"]
    assert set(found.differences) == set(RUNTIMES) and max(found.differences["openvino"].values()) < 1e-4
    with np.load(exported / "body.npz") as body:
        assert body["faces"].shape[1] == 3 and body["joint_regressor"].shape == (14, 6890)
    assert ExportedNetwork(exported).config == network.config


def test_weights_in_sixteen_bits(network: torch.nn.Module, exported: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    full = (exported / "network.onnx").stat().st_size
    for dtype, least, most in (("float16", 1e-7, 1e-2), ("bfloat16", 1e-6, 1e-1)):
        folder = tmp_path / dtype
        found = export_model(
            network, folder, weights=dtype, output="mesh", runtimes=["openvino"], body_dir=rule_body_dir
        )
        assert (folder / "network.onnx").stat().st_size < 0.62 * full
        assert least < found.rounding["vertices"] < most and list(found.outputs) == ["camera", "joints", "vertices"]


def test_a_program_of_torch_export(network: torch.nn.Module, rule_body_dir: Path, tmp_path: Path) -> None:
    found = export_model(network, tmp_path, format="torch", output="joints", body_dir=rule_body_dir)
    assert list(found.outputs) == ["camera", "joints"] and list(found.differences) == ["torch"]
    images = torch.randn(4, 3, SIDE, SIDE)
    with torch.no_grad():
        camera, joints = torch.export.load(tmp_path / "network.pt2").module()(images)
        expected = network(images)
    assert_agrees(joints, expected.joints.numpy(), TOLERANCE)
    assert_agrees(camera, expected.camera.numpy(), TOLERANCE)
    with pytest.raises(ValueError, match=r"for programs that use torch\.export"):
        ExportedNetwork(tmp_path)


class Forgetful(TorchSession):
    """A runtime that is right in its first call alone."""

    calls = 0

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.calls += 1
        return {name: value + 0.001 * (self.calls > 1) for name, value in super().__call__(images).items()}


class Fixed(TorchSession):
    """A runtime of a graph whose batch is fixed."""

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return super().__call__(np.resize(images, (1, *images.shape[1:])))


@pytest.mark.parametrize("runtime", [Forgetful, Fixed])
def test_a_wrong_export_is_refused(
    network: torch.nn.Module, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: type
) -> None:
    without_onnx(monkeypatch, tmp_path, runtime)
    with pytest.raises(ValueError, match="the export is refused: in openvino its output camera differs"):
        export_model(network, tmp_path / "out", body_dir=rule_body_dir)
    assert not list((tmp_path / "out").iterdir())


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    needs_runtimes()

    class Specialized(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (images.mean((1, 2, 3)) + torch.zeros(len(images)),)

    with pytest.raises(ValueError, match=r"images has a batch of fixed size; use \.shape\[0\], not len\(\)"):
        write_onnx(Specialized().eval(), tmp_path / "a.onnx", torch.zeros(2, 3, 8, 8), ["mean"])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_reductions_of_three_axes_meet_constants(tmp_path: Path, runtime: str) -> None:
    """OpenVINO 2026.4 gets all samples but the first wrong, by tenths, where they are exported as they are."""
    needs_runtimes()
    factors = torch.tensor([0.3, 0.5, 0.7])

    class Reduced(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            rows = images.flatten(2)  # (B, 3, 64)
            kept = rows.mean(2, keepdim=True) * factors[:, None]
            return rows.norm(dim=-1) / factors, rows.sum(2).sqrt() * factors, kept

    graph, names = Reduced().eval(), ["divided", "root", "kept"]
    write_onnx(graph, tmp_path / "a.onnx", torch.zeros(2, 3, 8, 8), names)
    images = torch.rand(4, 3, 8, 8)
    found = Session(tmp_path / "a.onnx", runtime)(images.numpy())
    for name, expected in zip(names, graph(images), strict=True):
        np.testing.assert_allclose(found[name], expected.numpy(), rtol=1e-5)


def test_unfit_wishes_are_refused(
    network: torch.nn.Module, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_onnx(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match="a Linear cannot be exported"):
        export_model(torch.nn.Linear(2, 2), tmp_path)
    wishes = (
        ({"format": "tflite"}, "onnx, torch"),
        ({"weights": "int8"}, "float32, float16, bfloat16"),
        ({"output": "hands"}, "all, joints, mesh"),
        ({"runtimes": []}, "no runtime is named"),
    )
    for wish, said in wishes:
        with pytest.raises(ValueError, match=said):
            export_model(network, tmp_path, **wish)
    with pytest.raises(ValueError, match="weights float16 are for the format onnx"):
        export_model(network, tmp_path, format="torch", weights="float16")
    export_model(network, tmp_path / "out", output="joints", runtimes=["openvino"], body_dir=rule_body_dir)
    with pytest.raises(FileExistsError, match="holds an export; add --overwrite"):
        export_model(network, tmp_path / "out", body_dir=rule_body_dir)
    with pytest.raises(ValueError, match="leaves out vertices; export the network with --output mesh"):
        ExportedNetwork(tmp_path / "out")
    export_model(network, tmp_path / "out", runtimes=["openvino"], body_dir=rule_body_dir, overwrite=True)
    with pytest.raises(ValueError, match="was verified in openvino alone"):
        ExportedNetwork(tmp_path / "out", runtime="onnxruntime")
    found = ExportedNetwork(tmp_path / "out")
    with pytest.raises(ValueError, match=r"images \(1, 3, 8, 8\) do not fit the export's \(B, 3, 96, 96\)"):
        found(torch.zeros(1, 3, 8, 8))
    diverged = copy.deepcopy(network)
    torch.nn.init.constant_(diverged.camera_token, torch.nan)
    with pytest.raises(ValueError, match="not finite, such as in camera_token"):
        export_model(diverged, tmp_path)


def test_damaged_exports_are_refused(
    network: torch.nn.Module, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_onnx(monkeypatch, tmp_path)
    folder = tmp_path / "out"
    export_model(network, folder, runtimes=["openvino"], body_dir=rule_body_dir)
    assert is_export(folder) and is_export(folder / "export.json") and not is_export(tmp_path)
    text = (folder / "export.json").read_text()
    for damaged, said in (("{", "is damaged"), (json.dumps({"version": 9}), "no record of this version"),
                          (text.replace('"network.onnx"', '"../network.onnx"'), "outside of its folder")):  # fmt: skip
        (folder / "export.json").write_text(damaged)
        with pytest.raises(ValueError, match=said):
            read_record(folder)
    (folder / "export.json").write_text(text)
    with (folder / "network.onnx").open("ab") as stream:
        stream.write(b"1")
    with pytest.raises(ValueError, match="its checksum is another one"):
        read_record(folder)
    (folder / "network.onnx").unlink()
    with pytest.raises(FileNotFoundError, match=r"network\.onnx is missing"):
        read_record(folder)


def test_sessions_refuse_what_cannot_be(exported: Path) -> None:
    file = exported / "network.onnx"
    with pytest.raises(ValueError, match="runtime 'tflite' is not known; use openvino or onnxruntime"):
        Session(file, "tflite")
    with pytest.raises(ValueError, match="precision 'int8' is not known"):
        Session(file, precision="int8")
    with pytest.raises(ValueError, match="onnxruntime computes in float32, not in bfloat16"):
        Session(file, "onnxruntime", precision="bfloat16")


def test_networks_with_keypoints_refuse_half_precision(exported: Path, tmp_path: Path) -> None:
    """bfloat16 moves the maxima of heat maps, and with them meshes, by centimeters."""
    folder = tmp_path / "exported"
    shutil.copytree(exported, folder)
    record = json.loads((folder / "export.json").read_text())
    record["network"]["keypoint_queries"] = True
    (folder / "export.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="takes keypoints from its backbone, which bfloat16 moves"):
        open_export(folder, "openvino", threads=1, precision="bfloat16")
    open_export(folder, "openvino", threads=1)


def test_a_kept_export_is_made_once(rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_onnx(monkeypatch, tmp_path / "cache")
    model = small("fastmetro", rule_body_dir, size="S", image_size=SIDE)
    tore.save_model(model, tmp_path / "a.bin")
    told: list[str] = []

    def load() -> torch.nn.Module:
        return load_network(tmp_path / "a.bin", rule_body_dir, "cpu", fast=True, tell=told.append)

    (first, second), (line,) = (load(), load()), told
    assert first.folder == second.folder and "once" in line and str(first.folder) in line
    (first.folder / "network.onnx").write_bytes(b"damaged")
    assert load().folder == first.folder and len(told) == 2, "made again"
    with torch.no_grad():
        next(model.parameters()).add_(1)
    tore.save_model(model, tmp_path / "a.bin")
    assert load().folder != first.folder and len(told) == 3, "another network"
    monkeypatch.setattr(loading, "graph_code", lambda: "of a later commit")
    load()
    assert len(told) == 4, "other code"
    assert not [path for path in (tmp_path / "cache" / "exports").iterdir() if path.name.startswith(".")]
    with pytest.raises(ValueError, match="half precision and runtimes are an export's, on a CPU; add --fast"):
        load_network(tmp_path / "a.bin", rule_body_dir, "cpu", half=True)


def test_the_command(
    rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_onnx(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr(
        exporting, "with_stored_weights", lambda file, rounded, dtype: rounded.write_bytes(file.read_bytes())
    )
    tore.save_model(small("fastmetro", rule_body_dir, size="S", image_size=SIDE), tmp_path / "a.bin")
    flags = ["export", str(tmp_path / "a.bin"), "--body_dir", str(rule_body_dir), "--out", str(tmp_path / "out")]
    assert cli.main([*flags, "--weights", "float16"]) == 0
    said = capsys.readouterr().out
    assert "equal to rounding in openvino" in said and "what float16 weights change" in said and "license" in said
    wishes = (
        ([], "holds an export; add --overwrite"),
        (["--size", "L"], "unrecognized"),
        (["--format", "torch", "--weights", "float16"], "--weights float16: is for --format onnx"),
        (["--keep_ratio", "0.4"], "--keep_ratio 0.4, but the file has"),
    )
    for more, sentence in wishes:
        try:
            code = cli.main([*flags, *more])
        except SystemExit as stop:
            code = stop.code
        assert code == 2 and sentence in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "out"), "--output_dir", str(tmp_path / "again")]) == 2
    assert "is an export already" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_the_detectors_networks(name: str, tmp_path: Path) -> None:
    """On a photograph of one person, whole and the square about the person."""
    needs_runtimes()
    assert cli.main(["export", name, "--output_dir", str(tmp_path)]) == 0
    record, graph = read_record(tmp_path), detector_graph(name)
    names = list(graph.outputs)
    assert list(record.outputs) == names
    side = record.image["size"] or 192
    image = cv2.resize(read_image(example_photograph()), (side, side), interpolation=cv2.INTER_AREA)
    images = image.transpose(2, 0, 1)[None].astype(np.float32)
    with torch.no_grad():
        expected = dict(zip(names, map(torch.Tensor.numpy, graph(torch.from_numpy(images))), strict=True))
    for output, value in expected.items():
        shape = record.outputs[output]["shape"][1:]
        assert list(value.shape[1:]) == shape or "8 h" in shape
    free = graph.size is None  # candidates that are nobody may be anything
    assert not free or (expected["scores"] > 0.1).sum() == 1
    for runtime in RUNTIMES:
        found = Session(tmp_path / "network.onnx", runtime)(images)
        for part in graph.decoded:
            mask = expected["scores"] > 0.1 if free else slice(None)
            wanted = expected[part][mask]  # numbers of a hand are tiny where there is none
            assert np.abs(found[part][mask] - wanted).max() <= TOLERANCE * max(1, np.abs(wanted).max()), part


def test_the_detectors_exports_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_onnx(monkeypatch, tmp_path)
    network, told = load_movenet("thunder"), []
    first, second = (kept_detector("movenet-thunder", network, tell=told.append) for _ in range(2))
    assert first.path == second.path and len(told) == 1
    images = 255 * torch.rand(1, 3, 256, 256)
    assert np.array_equal(first(images.numpy())["map_center"], network(images)["center"].numpy())


def test_detectors_are_exported_in_one_form(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    without_onnx(monkeypatch, tmp_path / "cache")
    flags = ["export", "movenet-thunder", "--output_dir", str(tmp_path / "placer")]
    for more in (["--format", "torch"], ["--weights", "float16"], ["--output", "mesh"], ["--arch", "resnet50"]):
        assert cli.main([*flags, *more]) == 2
        assert f"{' '.join(more)}: movenet-thunder is exported in one form alone" in capsys.readouterr().err
    assert cli.main(flags) == 0 and cli.main(flags) == 2
    assert "holds an export; add --overwrite" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is the export of movenet-thunder, a detector; name a network's"):
        load_network(tmp_path / "placer")
    with pytest.raises(ValueError, match="use movenet-multipose, movenet-thunder, mediapipe-palm, mediapipe-hand"):
        export_detector("yolo", tmp_path)


def test_a_detector_that_tells_other_people_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps are right, and what is decoded of them is not."""

    class Shifted(TorchSession):
        def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
            found = super().__call__(images)
            return found | {"keypoints": found["keypoints"] + 0.001}

    without_onnx(monkeypatch, tmp_path / "cache", Shifted)
    with pytest.raises(ValueError, match="its output keypoints differs"):
        export_detector("movenet-thunder", tmp_path / "placer")
    assert not (tmp_path / "placer" / "export.json").exists()


def test_images_of_the_verification_show_somebody() -> None:
    """What a pose network's keypoints decide would not be tried in noise."""
    images = sample_images(4, 256, torch.Generator().manual_seed(0))
    with torch.no_grad():
        keypoints = decode_keypoints(load_movenet("thunder")((images + 1) * 127.5))
    assert images.shape == (4, 3, 256, 256) and images.abs().max() < 1.5
    assert keypoints[:, 5:7, 2].mean() > 0.5  # shoulders
    assert not torch.equal(images[0], images[1])
