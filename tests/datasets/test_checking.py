"""The checker accepts a sound set and finds every kind of damage, 200 random ones included, without a traceback."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.random import RandomState

from tests import rules
from tests.datasets.data_sets import consistent_person, encode, picture_row, write_set
from tore.body import SMPL
from tore.datasets.checking import check_set
from tore.datasets.label_checks import fit_weak_perspective
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.statistics import set_statistics
from tore.datasets.tsv import TSVReader, TSVWriter, index_path
from tore.tools.data import main

SOURCES = ((1, 96, 128), (2, 120, 90), (3, 100, 100), (4, 80, 120))
Rows = dict[str, list[list[bytes]]]


def sound_set(folder: Path, suffix: str = ".png") -> Path:
    return write_set(folder, SOURCES, [[consistent_person(*source)] for source in SOURCES], suffix)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_sound_set_has_no_findings(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(sound_set(tmp_path, suffix)), "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["samples"], report["findings"]) == (4, [])
    assert "going on without a body model" in captured.err


def read_rows(folder: Path) -> Rows:
    tables = {}
    for table in ("img", "hw", "label"):
        with TSVReader(folder / f"set.{table}.tsv") as reader:
            tables[table] = [reader.columns(row) for row in range(len(reader))]
    return tables


def write_rows(folder: Path, rows: Rows) -> None:
    for table, lines in rows.items():
        path = folder / f"set.{table}.tsv"
        path.write_bytes(b"".join(b"\t".join(columns) + b"\n" for columns in lines))
        index_path(path).unlink(missing_ok=True)


def text_damage(rng: RandomState, rows: Rows, row: int) -> None:
    """Damage to the lines themselves."""
    table = str(rng.choice(list(rows)))
    lines = rows[table]
    kind = rng.randint(6)
    if kind == 0:
        lines[row] = lines[row][:1]
    elif kind == 1:
        lines[row][0] = bytes(rng.randint(128, 192, 4).tolist())  # bare continuation bytes are never UTF-8
    elif kind == 2:
        lines[row][0] += b"x"
    elif kind == 3:
        del lines[row]
    elif kind == 4:
        lines[row], lines[row - 1] = lines[row - 1], lines[row]
    else:
        lines[row][-1] = lines[row][-1][: rng.randint(len(lines[row][-1]))]


def picture_damage(rng: RandomState, rows: Rows, row: int) -> None:
    """Damage to an encoded picture that a decoder may pass over."""
    columns = rows["img"][row]
    text, data = columns[-1], bytearray(base64.b64decode(columns[-1]))
    kind, at = rng.randint(6), rng.randint(len(columns[-1]) - 4)
    if kind == 0:
        columns[-1] = text[:at] + bytes([rng.choice([0, 32, 33, 95, 200])]) + text[at + 1 :]
        return
    if kind == 1:
        columns[-1] = text[:at] + text[at + 1 :]
        return
    at = rng.randint(len(data))
    if kind == 2:
        data[at] ^= 1 << rng.randint(8)
    elif kind == 3:
        data = data[:at]
    elif kind == 4:
        data = bytearray(rng.bytes(200))
    else:
        data = bytearray(encode(rules.photo(9, 33, 44)))
    columns[-1] = base64.b64encode(data)


def label_damage(rng: RandomState, rows: Rows, row: int) -> None:
    """A label that is not JSON, lacks a field, has wrong lengths, or holds numbers that cannot be."""
    columns = rows["label"][row]
    person = json.loads(columns[-1])[0]
    field = str(rng.choice(sorted(person)))
    array = str(rng.choice(["2d_joints", "3d_joints", "pose", "betas", "center"]))
    flag = str(rng.choice(["has_smpl", "has_3d_joints", "has_2d_joints"]))
    changes: list[Callable[[], object]] = [
        lambda: person.pop(field),
        lambda: person.update({field: str(rng.choice(["", "text", "1"]))}),
        lambda: person.update({field: None}),
        lambda: person.update({field: float(rng.choice([np.nan, np.inf, -np.inf]))}),
        lambda: person[array].pop(rng.randint(len(person[array]))),
        lambda: person.update({array: [person[array]] * 2}),
        lambda: person.update({flag: int(rng.randint(2, 9))}),
        lambda: person.update({"scale": float(rng.choice([0, -1, 1e-3, 1e3, 1e9]))}),
        lambda: person.update({"center": [float(rng.choice([-1e4, 1e5, 1e30])), 50.0]}),
        lambda: person.update({"pose": [value * 180 / np.pi for value in person["pose"]]}),
        lambda: person.update({"betas": [100.0] * 10}),
        lambda: person.update({"3d_joints": [[1000 * x, 1000 * y, 1000 * z, c] for x, y, z, c in person["3d_joints"]]}),
        lambda: person.update({"3d_joints": [[x, -y, z, c] for x, y, z, c in person["3d_joints"]]}),
        lambda: person.update({"2d_joints": [[x + 5000, y, c] for x, y, c in person["2d_joints"]]}),
        lambda: person.update({"2d_joints": [[y, x, c] for x, y, c in person["2d_joints"]]}),
        lambda: person.update({"2d_joints": [[x, y, -c] for x, y, c in person["2d_joints"]]}),
    ]
    changes[rng.randint(len(changes))]()
    columns[-1] = json.dumps([person]).encode()
    if rng.rand() < 0.15:
        text = columns[-1]
        columns[-1] = [text[1:], b"[]", b"{}", b"[[]]", b"null", text[:-1], b"[" * 9999, b"\xff"][rng.randint(8)]


def size_damage(rng: RandomState, rows: Rows, row: int) -> None:
    """A size that cannot be read or is not the picture's."""
    texts = [b"", b"[]", b"[{}]", b"7", b"1 2 3", b"-96 128", b'[{"height": 0, "width": 5}]', b'[{"height": 1, "width"']
    texts += [b'[{"height": 97, "width": 128}]', b'[{"height": "a", "width": 2}]', b"NaN NaN", b"[" * 9999]
    rows["hw"][row][-1] = texts[rng.randint(len(texts))]


def index_damage(rng: RandomState, folder: Path) -> None:
    """An index that belongs to another file."""
    path = folder / f"set.{rng.choice(['img', 'hw', 'label'])}.tsv"
    offsets = [int(value) for value in index_path(path).read_text().split()]
    at = rng.randint(1, len(offsets))
    offsets[at] += int(rng.choice([-2, -1, 1, 2, 10**6]))
    if rng.rand() < 0.3:
        del offsets[at]
    index_path(path).write_text("".join(f"{value}\n" for value in offsets))


DAMAGES = (text_damage, picture_damage, label_damage, label_damage, size_damage)


def test_200_random_damages_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert "set.hw.tsv row 1 (key 'pictures/1.png'): height and width are (120, 91), the picture's are (120, 90)" in out


def test_a_jpeg_without_its_end_is_found_whatever_the_decoder_says(tmp_path: Path) -> None:
    yaml = sound_set(tmp_path, ".jpg")
    data = encode(rules.photo(2, 120, 90), ".jpg")[:-2]
    rows = read_rows(tmp_path)
    rows["img"][1] = [column.encode() for column in picture_row("pictures/1.png", data)]
    write_rows(tmp_path, rows)
    report = check_set(MeshDataset(yaml, train=False))
    assert [finding.text for finding in report.findings] == ["the JPEG file has no end: it was cut short"]


@pytest.mark.parametrize("place", [0.4, 0.8])
def test_a_jpeg_damaged_inside_is_found_though_it_decodes(place: float, tmp_path: Path) -> None:
    """A JPEG file carries no checksum; what its decoder says on the error stream is all there is to go by."""
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
    pytest.importorskip("embreex")
    options = ["--data_dir", str(rule_body_dir), "--augment"]
    assert main(["show", str(yaml), "--out", str(out), "--count", "3", "--cell", "100", *options]) == 0
    assert cv2.imread(str(out)).shape != plain.shape


def test_joints_are_drawn_where_the_crop_shows_them(tmp_path: Path) -> None:
    """Bright dots at the labelled joints lie under the joints of the sample, flips and turns included."""
    height, width = 300, 400
    person = consistent_person(5, height, width)
    picture = np.zeros((height, width, 3), np.uint8)
    for x, y, _ in person["2d_joints"]:
        cv2.circle(picture, (round(x), round(y)), 4, (255, 255, 255), -1)
    yaml = write_set(tmp_path, [(1, height, width)], [[person]])
    with TSVWriter(tmp_path / "set.img.tsv") as writer:
        writer.write(picture_row("pictures/0.png", encode(picture)))
    dataset = MeshDataset(yaml, train=True)
    for seed in range(6):
        sample = dataset.sample(0, RandomState(seed))
        joints = sample["joints_2d"].numpy()
        inside = (np.abs(joints[:, :2]) < 0.95).all(1)
        columns, rows = ((joints[inside, :2] + 1) * 112).round().astype(int).T
        bright = cv2.dilate(sample["image"].numpy().max(0), np.ones((5, 5)))
        assert inside.sum() > 8
        assert (bright[rows, columns] > 0).all()
