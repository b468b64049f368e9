"""The checker accepts a sound set and finds every kind of damage, 200 random ones included, without a traceback."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.random import RandomState

from tests import rules
from tests.datasets.damages import DAMAGES, SOURCES, index_damage, read_rows, sound_set, write_rows
from tests.datasets.data_sets import consistent_person, encode, image_row, write_set
from tore.body import SMPL
from tore.cli.data import main
from tore.datasets.inspection.checking import check_set
from tore.datasets.inspection.statistics import set_statistics
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.tsv import TSVReader, TSVWriter
from tore.geometry.alignment import fit_weak_perspective


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_sound_set_has_no_findings(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sound_set(tmp_path, suffix)), "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["samples"], report["findings"]) == (4, [])
    assert "continuing without a body model" in captured.err


def test_200_random_damages_are_found_without_checksums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = sound_set(tmp_path)
    rows, accepted = read_rows(tmp_path), []
    for seed in range(200):
        rng = RandomState(seed)
        changed = {table: [list(columns) for columns in lines] for table, lines in rows.items()}
        if seed % 10 == 9:
            write_rows(tmp_path, changed)
            for table in rows:
                TSVReader(tmp_path / f"set.{table}.tsv")
            index_damage(rng, tmp_path)
            kind = "index"
        else:
            damage = DAMAGES[seed % len(DAMAGES)]
            damage(rng, changed, int(rng.randint(4)))
            write_rows(tmp_path, changed)
            kind = damage.__name__
        code = main(["check", str(yaml), "--quiet"])  # an exception here fails the test
        printed = capsys.readouterr()
        if code == 0:
            accepted.append((seed, kind))
        assert "Traceback" not in printed.out + printed.err
    assert not accepted


def test_findings_name_place_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = sound_set(tmp_path)
    rows = read_rows(tmp_path)
    person = json.loads(rows["label"][2][1])[0]
    person["betas"][3] = 9.0
    rows["label"][2][1] = json.dumps([person]).encode()
    rows["hw"][1][1] = b"120 91"
    write_rows(tmp_path, rows)
    assert main(["check", str(yaml), "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "4 samples, 1 errors, 1 warnings" in out
    assert "set.label.tsv row 2 (key 'pictures/2.png'): a shape coefficient is 9" in out
    assert "set.hw.tsv row 1 (key 'pictures/1.png'): height and width are (120, 91), the image's are (120, 90)" in out


def test_a_jpeg_without_its_end_is_found_whatever_the_decoder_says(tmp_path: Path) -> None:
    yaml = sound_set(tmp_path, ".jpg")
    data = encode(rules.photo(2, 120, 90), ".jpg")[:-2]
    rows = read_rows(tmp_path)
    rows["img"][1] = [column.encode() for column in image_row("pictures/1.png", data)]
    write_rows(tmp_path, rows)
    report = check_set(MeshDataset(yaml, train=False))
    assert [finding.text for finding in report.findings] == ["the JPEG file has no end: it was cut short"]


@pytest.mark.parametrize("place", [0.4, 0.8])
def test_a_jpeg_damaged_inside_is_found_though_it_decodes(place: float, tmp_path: Path) -> None:
    """Without a checksum file what the decoder says on the error stream is all there is to go by."""
    yaml = sound_set(tmp_path, ".jpg")
    assert not check_set(MeshDataset(yaml, train=False)).findings
    rows = read_rows(tmp_path)
    data = bytearray(base64.b64decode(rows["img"][2][-1]))
    start = int(len(data) * place)
    data[start : start + 50] = bytes(50)
    rows["img"][2][-1] = base64.b64encode(data)
    write_rows(tmp_path, rows)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    (finding,) = check_set(MeshDataset(yaml, train=False)).findings
    assert finding.severity == "error" and "row 2" in finding.place and "damaged inside" in finding.text


def test_model_joints_are_compared(tmp_path: Path, rule_body_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, people = SMPL(rule_body_dir), []
    for source in SOURCES:
        person = consistent_person(*source)
        pose, betas = torch.tensor([person["pose"]]), torch.tensor([person["betas"]])
        joints = body.joints24(body(pose, betas))[0].numpy().astype(float)
        joints -= joints.mean(0)
        ones, pixels = np.ones((24, 1)), joints[:, :2] * 20 + [source[2] / 2, source[1] / 2]
        person |= {"3d_joints": np.hstack([joints, ones]).tolist(), "2d_joints": np.hstack([pixels, ones]).tolist()}
        people.append([person])
    yaml = write_set(tmp_path, SOURCES, people)
    assert main(["check", str(yaml), "--quiet", "--data_dir", str(rule_body_dir)]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    people[1][0]["pose"] = people[0][0]["pose"][::-1]
    yaml = write_set(tmp_path, SOURCES, people)
    assert main(["check", str(yaml), "--quiet", "--data_dir", str(rule_body_dir)]) in (0, 1)
    out = capsys.readouterr().out
    assert "model against 3D" in out
    assert "set.label.tsv row 1 (key 'pictures/1.png'): the model's joints are" in out


def test_sets_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["check"], ["stats"], ["show", "--out", str(tmp_path / "sheet.png")]):
        assert main([command[0], str(tmp_path / "absent.yaml"), *command[1:]]) == 2
        assert "absent.yaml is missing" in capsys.readouterr().err
    empty = write_set(tmp_path, [])
    assert main(["check", str(empty), "--quiet"]) == 1
    assert "the set has no samples" in capsys.readouterr().out
    assert main(["show", str(empty), "--out", str(tmp_path / "sheet.png")]) == 2


def test_a_sheet_of_no_known_kind_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["show", str(sound_set(tmp_path)), "--out", str(tmp_path / "sheet.xyz")])
    assert stop.value.code == 2 and "sheet.xyz' does not end in .png, .jpg" in capsys.readouterr().err


def test_weak_perspective_fit_undoes_the_projection() -> None:
    rng = RandomState(0)
    joints = np.hstack([rng.standard_normal((24, 3)), np.ones((24, 1))])
    pixels = np.hstack([joints[:, :2] * 37 + [12, -5], np.ones((24, 1))])
    joints[3, 3], pixels[3, :2], pixels[5, 2], pixels[5, :2] = 0, 999, 0, -999
    fit = fit_weak_perspective(joints, pixels)
    assert fit is not None
    np.testing.assert_allclose([fit.scale, *fit.shift, fit.residual], [37, 12, -5, 0], atol=1e-9)
    pixels[6:, 2] = 0
    assert fit_weak_perspective(joints, pixels) is None


def test_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = [[consistent_person(*source)] for source in SOURCES]
    people[0][0] |= {"has_smpl": 0, "gender": "f"}
    del people[3][0]["pose"]
    yaml = write_set(tmp_path, SOURCES, people)
    stats = set_statistics(MeshDataset(yaml, train=False))
    assert (stats["samples"], stats["unreadable"], stats["keys"]) == (4, 1, 3)
    assert stats["has_smpl"] == pytest.approx(2 / 3)
    assert stats["genders"] == {"female": 1, "neutral": 2}
    assert {(size["height"], size["width"]) for size in stats["picture_sizes"]} == {(96, 128), (120, 90), (100, 100)}
    assert stats["box_side_pixels"]["100%"] == 120
    np.testing.assert_allclose(stats["betas_mean"], np.mean([p[0]["betas"] for p in people[1:3]], 0), atol=1e-4)
    assert main(["stats", str(yaml), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == stats
    assert main(["stats", str(yaml), "--quiet"]) == 0
    assert "has smpl                  66.7%" in capsys.readouterr().out
    without_sizes = tmp_path / "plain.yaml"
    without_sizes.write_text("img: set.img.tsv\nlabel: set.label.tsv\n")
    assert set_statistics(MeshDataset(without_sizes, train=False))["picture_sizes"] == stats["picture_sizes"]


def test_contact_sheet(tmp_path: Path, rule_body_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml, out = sound_set(tmp_path), tmp_path / "sheets" / "sheet.png"
    assert main(["show", str(yaml), "--out", str(out), "--count", "3", "--cell", "100"]) == 0
    assert "3 of 4 samples" in capsys.readouterr().out
    plain = cv2.imread(str(out))
    assert plain.shape[1] in (2 * 104 + 4, 3 * 104 + 4)
    options = ["--data_dir", str(rule_body_dir), "--augment"]
    assert main(["show", str(yaml), "--out", str(out), "--count", "3", "--cell", "100", *options]) == 0
    assert cv2.imread(str(out)).shape != plain.shape


def test_joints_are_drawn_where_the_crop_shows_them(tmp_path: Path) -> None:
    """Bright dots at the labeled joints lie under the joints of the sample, flips and turns included."""
    height, width = 300, 400
    person = consistent_person(5, height, width)
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, _ in person["2d_joints"]:
        cv2.circle(image, (round(x), round(y)), 4, (255, 255, 255), -1)
    yaml = write_set(tmp_path, [(1, height, width)], [[person]])
    with TSVWriter(tmp_path / "set.img.tsv") as writer:
        writer.write(image_row("pictures/0.png", encode(image)))
    dataset = MeshDataset(yaml, train=True)
    for seed in range(6):
        sample = dataset.sample(0, RandomState(seed))
        joints = sample["joints_2d"].numpy()
        inside = (np.abs(joints[:, :2]) < 0.95).all(1)
        columns, rows = ((joints[inside, :2] + 1) * 112).round().astype(int).T
        bright = cv2.dilate(sample["image"].numpy().max(0), np.ones((5, 5)))
        assert inside.sum() > 8
        assert (bright[rows, columns] > 0).all()
