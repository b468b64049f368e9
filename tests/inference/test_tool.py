"""`tore infer`: the images of a command line, and a heap of odd ones."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tore
from tests import rules
from tests.conftest import assert_agrees
from tests.exports import without_onnx
from tests.inference.conftest import SMALL
from tore import cli
from tore.cli import infer as infer_module
from tore.inference.predictor import MeshRecovery
from tore_runtime.parameters import REFINED
from tore_runtime.pipeline import Job, Report
from tore_runtime.reports import row_of, table_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two images, an earlier result, and a note."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, seed in (("one.png", 1), ("two.png", 2), ("old_pred.png", 3)):
        Image.fromarray(rules.photo(seed, 240, 320)).save(folder / name)
    (folder / "note.txt").write_text("no image")
    return folder


def infer(checkpoint: Path, images: Path, *options: str | Path) -> int:
    """The tool's exit code; without an option about people it takes the center of the images."""
    command = ["infer", "--resume_checkpoint", checkpoint, "--image_file_or_path", images, "--device", "cpu", *options]
    center = [] if {"--box", "--boxes", "--detector"} & set(options) else ["--detector", "none"]
    return cli.main([str(part) for part in (*command, *center)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_as_official(small_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer(small_checkpoint, images) == 0
    assert names(images) == [
        "note.txt", "old_pred.png", "one.png", "one_tore_pred.jpg", "two.png", "two_tore_pred.jpg",
    ]  # fmt: skip
    drawn = np.array(Image.open(images / "one_tore_pred.jpg"))
    (person,) = MeshRecovery.from_checkpoint(small_checkpoint, device="cpu").predict(images / "one.png")
    assert drawn.shape == (224, 448, 3) and np.abs(drawn[:, :224].astype(int) - person.crop.pixels).mean() < 3
    out = capsys.readouterr().out
    assert "one_tore_pred.jpg" in out and "2 images, 0 failed, 2 people; reading" in out


def test_all_outputs_and_the_library_calls_numbers(small_checkpoint: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    options = ("--save_mesh", "ply", "--save_results", "npz", "--views", "--show_tokens", "--batch_size", "1")
    assert infer(small_checkpoint, images / "one.png", "--output_dir", out, *options) == 0
    endings = (".jpg", ".npz", ".ply", "_tokens.jpg", "_views.jpg")
    assert names(out) == [f"one_tore_pred{ending}" for ending in endings]
    (person,) = MeshRecovery.from_checkpoint(small_checkpoint, device="cpu").predict(images / "one.png")
    with np.load(out / "one_tore_pred.npz") as held:
        assert np.array_equal(held["vertices"], person.vertices) and str(held["picture"]) == str(images / "one.png")


def test_people_by_boxes(small_checkpoint: Path, images: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"one.png": [[10, 10, 100, 200], [150, 20, 90, 90]]}))
    assert infer(small_checkpoint, images, "--boxes", boxes, "--output_dir", tmp_path / "out") == 0
    assert names(tmp_path / "out") == [
        "one_person1_tore_pred.jpg", "one_person2_tore_pred.jpg", "one_tore_pred.jpg", "two_tore_pred.jpg",
    ]  # fmt: skip
    assert Image.open(tmp_path / "out" / "two_tore_pred.jpg").size == (640, 240)  # the whole image, nobody in it
    assert Image.open(tmp_path / "out" / "one_tore_pred.jpg").size == (640, 240)
    assert Image.open(tmp_path / "out" / "one_person2_tore_pred.jpg").size == (448, 224)


def test_json_lines(small_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--box", "150,20,90,90", "--json_lines", "--no_overlay", "--focal_length", "700")
    assert infer(small_checkpoint, images, *options) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["picture"]).name for line in lines] == ["one.png", "two.png"]
    (person,) = lines[0]["people"]
    assert person["box"] == [150, 20, 90, 90] and person["focal_length"] == 700 and len(person["joints_2d"]) == 14
    assert names(images) == ["note.txt", "old_pred.png", "one.png", "two.png"]


def test_boxes_that_begin_before_the_image(
    small_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--box", "-1e1,-5,100,100", "-3,", "4,", "90,", "80", "--box", "-.5,2,60,50")
    assert infer(small_checkpoint, images / "one.png", *given, "--json_lines", "--no_overlay") == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    found = [person["box"] for person in line["people"]]
    assert found == [[-10, -5, 100, 100], [-3, 4, 90, 80], [-0.5, 2, 60, 50]]


def test_a_box_file_without_people(
    small_checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (boxes := tmp_path / "boxes.json").write_text('{"one.png": [], "none.png": []}')
    assert infer(small_checkpoint, images, "--boxes", boxes, "--no_overlay", "--save_results", "json") == 0
    said = capsys.readouterr()
    assert "2 images, 0 failed, 0 people" in said.out and len(said.err.splitlines()) == 3
    assert "1 of its names are no image's: 'none.png'" in said.err and "nobody was recovered" in said.err
    assert "1 of 2 images are not in it and have nobody" in said.err


def test_corners_that_were_taken_for_sizes_are_doubted(
    small_checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (boxes := tmp_path / "boxes.json").write_text('{"one.png": [[150, 60, 290, 230]]}')
    options = ("--boxes", boxes, "--no_overlay", "--json_lines")
    assert infer(small_checkpoint, images / "one.png", *options) == 0
    assert "1 of 1 boxes reach beyond their image" in capsys.readouterr().err
    assert infer(small_checkpoint, images / "one.png", *options, "--box_format", "xyxy") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["people"][0]["box"] == [150, 60, 140, 170] and not said.err


def test_boxes_wholly_outside_are_left_out_and_counted(
    small_checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others of the image come through under their own numbers, and an image of such boxes alone has nobody."""
    boxes = {"one.png": [[2000, 10, 40, 50], [30, 20, 90, 120], [-60, 10, 40, 50]], "two.png": [[0, 3000, 20, 20]]}
    (path := tmp_path / "boxes.json").write_text(json.dumps(boxes))
    out, options = tmp_path / "out", ("--boxes", path, "--no_overlay", "--save_results", "json", "--box_format", "xywh")
    assert infer(small_checkpoint, images, *options, "--output_dir", out) == 0
    said = capsys.readouterr()
    assert names(out) == ["one_person2_tore_pred.json"]
    held = json.loads((out / "one_person2_tore_pred.json").read_text())
    assert (held["person"], held["box"]) == (2, [30, 20, 90, 120])
    assert "one.png: 2 people (first box 2000, 10, 40, 50) left out: no part of the box lies in the image" in said.err
    assert "two.png: person 1 (box 0, 3000, 20, 20) left out" in said.err
    assert "3 of 4 boxes lie outside of their image and were left out" in said.err
    assert "2 images, 0 failed, 1 person" in said.out


@pytest.mark.parametrize(("kind", "one", "many"), [("body", "1 person", "2 people"), ("hand", "1 hand", "2 hands")])
def test_the_table_counts_in_words(small_checkpoint: Path, tmp_path: Path, kind: str, one: str, many: str) -> None:
    """And says how far fitted bodies are from their meshes, not that refined people are their own bodies."""
    recovery = MeshRecovery.from_checkpoint(small_checkpoint, device="cpu")
    (fitted,) = recovery.predict(rules.photo(1, 120, 160), fit=True)
    assert fitted.parameters is not None
    refined = replace(fitted, parameters=replace(fitted.parameters, source=REFINED, residual_mm=0.0))
    job = Job(tmp_path / "a.png", tmp_path / "a")
    (alone, both) = (row_of(Report(job, people, [])) for people in ([refined], [refined, fitted]))
    table = table_of([alone], {"reading": 1.0}, kind)
    assert table[-1] == f"1 image, 0 failed, {one}; reading 1.00 s" and not any("fit:" in line for line in table)
    assert f" {many.split()[1]}  written" in table[0]
    table = table_of([both, both], {}, kind)
    assert table[-1].startswith(f"2 images, 0 failed, {many.replace('2', '4')};")
    far = f"{fitted.parameters.residual_mm:.1f}"
    assert table[-2] == f"fit: vertices lie {far} mm beside those of the fitted body on average, at most {far}"


def test_files_of_several_images_are_told(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first image is recovered, as if it were alone; the second one of a phone's file is a preview and not told."""
    first, second = (Image.fromarray(rules.photo(seed, 120, 160)) for seed in (1, 2))
    first.save(tmp_path / "alone.tif")
    first.save(tmp_path / "pages.tif", save_all=True, append_images=[second, second])
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    assert infer(small_checkpoint, tmp_path, "--json_lines", "--no_overlay") == 0
    said = capsys.readouterr()
    lines = {Path(line["picture"]).name: line["people"][0] for line in map(json.loads, said.out.splitlines())}
    assert lines["pages.tif"]["joints_2d"] == lines["alone.tif"]["joints_2d"]
    told = [line for line in said.err.splitlines() if "holds" in line]
    assert told == [f"tore infer: {tmp_path / 'pages.tif'} holds 3 images, of which the first one is taken"]


def test_names_that_are_not_utf_8(small_checkpoint: Path, tmp_path: Path) -> None:
    """Outputs carry the same bytes, and all that is printed and written can be decoded."""
    name = os.fsdecode(b"gr\xf6\xdfe")
    (folder := tmp_path / "in").mkdir()
    Image.fromarray(rules.photo(1, 60, 80)).save(stream := io.BytesIO(), "PNG")
    (folder / f"{name}.png").write_bytes(stream.getvalue())
    (tmp_path / "boxes.json").write_text(json.dumps({f"{name}.png": [[5, 5, 40, 50]]}))
    command = [sys.executable, "-m", "tore.cli", "infer", "--resume_checkpoint", str(small_checkpoint)]
    command += ["--device", "cpu"]
    command += ["--image_file_or_path", str(folder), "--boxes", str(tmp_path / "boxes.json"), "--overwrite"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for options in (["--save_results", "json", "--save_mesh", "obj"], ["--no_overlay", "--json_lines"]):
        done = subprocess.run([*command, *options], capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        shown = done.stdout.decode()
        assert "gr\\udcf6\\udcdfe.png" in shown
    assert json.loads(shown)["picture"] == str(folder / f"{name}.png")
    assert {f"{name}_person1_tore_pred.json", f"{name}_person1_tore_pred.obj"} < set(names(folder))
    held = json.loads((folder / f"{name}_person1_tore_pred.json").read_bytes())
    assert os.fsencode(held["picture"]) == os.fsencode(folder / f"{name}.png")


def test_nothing_is_overwritten_unless_told(
    small_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = images / "one_tore_pred.jpg"
    there.write_text("precious")
    assert infer(small_checkpoint, images) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(there) in error and "--overwrite" in error
    assert there.read_text() == "precious" and (images / "two_tore_pred.jpg").is_file()
    assert infer(small_checkpoint, images, "--overwrite") == 0
    assert Image.open(there).size == (448, 224)


def make_heap(folder: Path) -> dict[str, str | None]:
    """Odd files, by name, with a word of the complaint; None for images that must work."""
    photo = Image.fromarray(rules.photo(1, 120, 160))
    (folder / "zero bytes.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / "folder.jpg").mkdir()
    photo.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:1500])
    Image.new("RGB", (1, 1), "red").save(folder / "1x1.png")
    Image.new("RGB", (1, 5000), "red").save(folder / "1x5000.png")
    Image.new("RGB", (5000, 1), "red").save(folder / "5000x1.png")
    Image.new("1", (12000, 9000)).save(folder / "12000x9000.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.full((50, 60), 40000, np.uint16)).save(folder / "deep.png")
    photo.save(folder / "moving.gif", save_all=True, append_images=[photo])
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    photo.save(folder / "Ünïcode 名前 with spaces.jpg")
    bad = {"zero bytes.jpg": "0 bytes", "text.jpg": "kind", "folder.jpg": "folder", "cut.jpg": "truncated"}
    return {name: bad.get(name) for name in names(folder)}


def test_a_heap_of_odd_files(small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "heap").mkdir()
    heap = make_heap(tmp_path / "heap")
    assert infer(small_checkpoint, tmp_path / "heap", "--output_dir", tmp_path / "out") == 1
    captured = capsys.readouterr()
    complaints = captured.err.splitlines()
    wrong = {name: word for name, word in heap.items() if word}
    assert len(complaints) == len(wrong) == 4
    for name, word in wrong.items():
        assert sum(name in line and word in line for line in complaints) == 1, name
    assert names(tmp_path / "out") == sorted(f"{Path(name).stem}_tore_pred.jpg" for name in heap if name not in wrong)
    table = captured.out.splitlines()
    assert all(sum(line.startswith(f"{name} ") for line in table) == 1 for name in heap)
    assert "13 images, 4 failed, 9 people" in table[-1]


def test_numbers_that_are_not_finite_are_named(
    tmp_path: Path, synthetic_body_dir: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tore.create_model(body_dir=synthetic_body_dir, **SMALL)
    with torch.no_grad():
        model.camera_head.weight.fill_(3e38)  # finite, its products are not
    tore.save_model(model, tmp_path / "broken.pt")
    assert infer(tmp_path / "broken.pt", images) == 1
    assert capsys.readouterr().err.count("not finite") == 2
    assert names(images) == ["note.txt", "old_pred.png", "one.png", "two.png"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--resume_checkpoint", "none.bin"), "none.bin is missing"),
        (("--image_file_or_path", "nowhere.jpg"), "nowhere.jpg is missing"),
        (("--box", "1,2,3"), "give four numbers x,y,width,height"),
        (("--box", "-.1,0,.5,1"), "is normalized"),
        (("--box_threshold", "0.5"), "--box_threshold 0.5: nobody is looked for"),
        (("--box", "1,2,30,40", "--people", "2"), "--people 2: the boxes are given"),
        (("--detector_weights", "x.pth"), "--detector_weights x.pth: no detector is at work"),
        (("--detector", "yolo"), "detector 'yolo' is not known: use movenet, mediapipe, torchvision, none"),
        (("--detector", "movenet", "--detector_weights", "none.pth"), "none.pth is missing"),
        (("--detector", "movenet", "--box_threshold", "7"), "--box_threshold 7: give a score from 0 to 1"),
        (("--box_format", "xyxy"), "goes with a file of boxes, --box and --left_box"),
        (("--boxes", "none.json"), "none.json is missing"),
        (("--device", "toaster"), "toaster"),
        (("--batch_size", "0"), "--batch_size 0: give 1 or more"),
        (("--focal_length", "-3"), "focal length -3"),
        (("--no_overlay",), "nothing to write"),
    ],
)
def test_what_cannot_start_is_one_line(
    options: tuple[str, ...],
    sentence: str,
    small_checkpoint: Path,
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert infer(small_checkpoint, images, *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and sentence in error and error.startswith("tore infer: ")


NARROW_METRO = {"arch": "resnet10t", "widths": (64, 32, 16), "hidden": 64, "regressor_heads": 4, "regressor_hidden": 64}


@pytest.mark.parametrize("options", [{"network": "metro", **NARROW_METRO}, {"token_reduction": "none", **SMALL}])
def test_tokens_of_a_network_that_prunes_none(
    options: dict, tmp_path: Path, synthetic_body_dir: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tore.save_model(tore.create_model(body_dir=synthetic_body_dir, **options), tmp_path / "m.pt")
    assert infer(tmp_path / "m.pt", images, "--show_tokens") == 2
    assert "leave --show_tokens out" in capsys.readouterr().err
    assert infer(tmp_path / "m.pt", images) == 0


def test_only_mesh_files_need_a_further_package(small_checkpoint: Path, images: Path, tmp_path: Path) -> None:
    """In a process that cannot import trimesh or embreex: inference draws, mesh files ask for theirs by name."""
    script = f"""
import sys
for name in ("trimesh", "embreex"):
    sys.modules[name] = None
import tore
from tore import cli
recovery = tore.MeshRecovery.from_checkpoint({str(small_checkpoint)!r}, device="cpu")
people = recovery.predict({str(images / "one.png")!r})
assert people[0].vertices.shape == (6890, 3)
call = ["infer", "--resume_checkpoint", {str(small_checkpoint)!r}, "--image_file_or_path", {str(images)!r}]
call += ["--detector", "none"]
print(cli.main(call), cli.main([*call, "--no_overlay", "--save_mesh", "obj"]))
print(cli.main([*call, "--no_overlay", "--save_results", "json", "--show_tokens"]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "manopth")])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line in ("0", "0 2")] == ["0 2", "0"]
    assert "trimesh" in done.stderr.splitlines()[-1] and "one_tore_pred.jpg" in names(images)
    assert "one_tore_pred.json" in names(images) and "one_tore_pred_tokens.jpg" in names(images)


def test_the_shell_script(small_checkpoint: Path, images: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "manopth")])}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    script = ["bash", str(ROOT / "inference_tore_fm.sh")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
    call = [*script, small_checkpoint, "in/one.png", "in/two.png", "--output_dir", "out", "--device", "cpu"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == ["one_tore_pred.jpg", "two_tore_pred.jpg"]


def test_an_export_recovers_the_same(
    small_checkpoint: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By --fast, which keeps it, and by its folder; on many images a line says that there is a faster way."""
    without_onnx(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr(infer_module, "MANY", 2)

    def run(checkpoint: Path, folder: str, *options: str) -> str:
        results = ("--no_overlay", "--save_results", "npz", "--output_dir", tmp_path / folder)
        assert infer(checkpoint, images, *options, *results) == 0
        return capsys.readouterr().err

    assert "--fast runs the network faster" in run(small_checkpoint, "plain")
    assert "exporting" in run(small_checkpoint, "fast", "--fast")
    assert "export" not in run(small_checkpoint, "again", "--fast", "--runtime", "openvino")
    (kept,) = (tmp_path / "cache" / "exports").iterdir()
    assert "faster" not in run(kept, "folder", "--show_tokens", "--amp")
    for name in ("one_tore_pred.npz", "two_tore_pred.npz"):
        with np.load(tmp_path / "plain" / name) as plain:
            for form in ("fast", "again", "folder"):
                with np.load(tmp_path / form / name) as fast:
                    for part in ("vertices", "joints", "mesh_joints", "joints_2d"):
                        assert_agrees(fast[part], plain[part], 2e-5)


def test_flags_of_exports(small_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer(small_checkpoint, images, "--runtime", "onnxruntime") == infer_module.EXIT_NOT_STARTED
    assert "--runtime onnxruntime: goes with --fast, or with an export" in capsys.readouterr().err
    assert infer(small_checkpoint, images, "--compile", "--plain", "--no_overlay", "--json_lines") == 0
    said = capsys.readouterr().err
    assert "--compile has no effect: the network is compiled no more" in said and "--plain has no effect" in said
