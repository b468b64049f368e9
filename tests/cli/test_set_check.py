"""The quick look before training and evaluation: sets of the other kind, shifted rows, sets without a label of use."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.damages import read_rows, sound_set, write_rows
from tore.body import load_body
from tore.cli.data import main
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import BadSample, write_linelist
from tore.engine.distributed import Processes
from tore.losses.recipes import FASTMETRO_BODY, METRO_HAND
from tore.synthetic.writing import Recipe, write_images
from tore.training.set_check import check_before, trains

Person = dict[str, Any]


def changed_set(folder: Path, change: Callable[[int, Person], object]) -> Path:
    """The sound set with each person changed, without checksums."""
    yaml = sound_set(folder)
    rows = read_rows(folder)
    for place, columns in enumerate(rows["label"]):
        person = json.loads(columns[-1])[0]
        change(place, person)
        columns[-1] = json.dumps([person]).encode()
    write_rows(folder, rows)
    return yaml


def without_label(person: Person, *kinds: str) -> None:
    """Takes labels away as converters do: flags and confidences of 0."""
    for kind in kinds:
        person[f"has_{kind}"] = 0
        for row in person.get(kind, []):
            row[-1] = 0


def refusal(yaml: Path, kind: str = "body", train: bool = False, **more: Any) -> str | None:
    skip = {"on_bad_sample": more.pop("on_bad_sample")} if "on_bad_sample" in more else {}
    try:
        check_before(MeshDataset(yaml, train, kind, **skip), None, Processes(), SAID.append, **more)
    except ValueError as error:
        return str(error)
    return None


SAID: list[str] = []


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    SAID.clear()


def test_a_sound_set_passes_in_silence(tmp_path: Path) -> None:
    assert refusal(sound_set(tmp_path), usable=trains(FASTMETRO_BODY, "body"), train=True) is None and not SAID


def test_a_set_of_the_other_kind_is_refused_with_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml = sound_set(tmp_path)
    found = refusal(yaml, "hand", body_dir="the bodies")
    assert found and "describes a body, and a hand is expected" in found
    assert f"`tore data check {yaml} --body hand --body_dir 'the bodies'` shows more" in found

    def to_hand(_: int, person: Person) -> None:
        person |= {"3d_joints": person["3d_joints"][:21], "2d_joints": person["2d_joints"][:21]}
        person["pose"] = person["pose"][:48]

    hands = changed_set(tmp_path, to_hand)
    assert "describes a hand, and a body is expected" in str(refusal(hands))
    assert main(["check", str(hands), "--quiet"]) == 1 and "kind" in capsys.readouterr().out

    def padded(_: int, person: Person) -> None:
        person |= {"pose": [*person["pose"][:48], *[0.0] * 24], "3d_joints": person["3d_joints"][:21] + [[0] * 4] * 3}
        person["2d_joints"] = person["2d_joints"][:21] + [[0] * 3] * 3

    assert "describes a body" not in str(refusal(changed_set(tmp_path, padded), "hand"))


def shifted(folder: Path, table: str, keep_keys: bool, keep_checksums: bool = False) -> Path:
    yaml = sound_set(folder)
    rows = read_rows(folder)
    lines = rows[table]
    moved = lines[-1:] + lines[:-1]
    rows[table] = [[old[0], *new[1:]] for old, new in zip(lines, moved, strict=True)] if keep_keys else moved
    write_rows(folder, rows, keep_checksums)
    return yaml


@pytest.mark.parametrize("table", ["label", "img", "hw"])
def test_rows_shifted_by_one_are_refused_and_never_read(tmp_path: Path, table: str) -> None:
    yaml = shifted(tmp_path, table, keep_keys=False)
    assert "different keys" in str(refusal(yaml))
    with pytest.raises(BadSample, match=r"set\.label\.tsv row 1 .*has the key 'pictures/\d.png'.*different images"):
        MeshDataset(yaml, train=False)[1]


def test_shifted_labels_under_the_right_keys_are_found_as_far_as_they_can_be(tmp_path: Path) -> None:
    assert "not as it was written" in str(refusal(shifted(tmp_path, "label", keep_keys=True, keep_checksums=True)))
    assert "height and width are" in str(refusal(shifted(tmp_path, "img", keep_keys=True)))


def test_another_choice_of_rows_is_said_and_lost_rows_are_refused(tmp_path: Path) -> None:
    yaml = sound_set(tmp_path)
    write_linelist(tmp_path / "set.linelist.tsv", [0, 1, 2, 3])
    yaml.write_text(yaml.read_text() + "linelist: set.linelist.tsv\n")
    (tmp_path / "set.linelist.tsv").write_text("0\n2\n")
    assert refusal(yaml) is None and "it has 4 checksums" in SAID[0]
    rows = read_rows(tmp_path)
    write_rows(tmp_path, {table: lines[1:] for table, lines in rows.items()}, keep_checksums=True)
    assert "rows were lost or added" in str(refusal(yaml))


def test_single_broken_rows_are_passed_over_only_where_that_is_wanted(tmp_path: Path) -> None:
    def break_first(place: int, person: Person) -> None:
        if place == 0:
            del person["pose"]

    yaml = changed_set(tmp_path, break_first)
    assert "field 'pose' is missing" in str(refusal(yaml, train=True))
    assert refusal(yaml, train=True, on_bad_sample="skip") is None and "1 of 4 rows" in SAID[0]
    broken = changed_set(tmp_path, lambda place, person: person.pop("pose") if place else None)
    assert "3 of 4 rows" in str(refusal(broken, train=True, on_bad_sample="skip"))


def test_a_training_set_needs_a_label_that_a_loss_uses(tmp_path: Path) -> None:
    usable = trains(FASTMETRO_BODY, "body")
    nothing = changed_set(tmp_path, lambda _, person: without_label(person, "smpl", "3d_joints", "2d_joints"))
    assert "none of the 4 samples" in str(refusal(nothing, train=True, usable=usable))
    assert refusal(nothing) is None  # images to be predicted only may be evaluated

    def flat(_: int, person: Person) -> None:
        without_label(person, "smpl")
        person["has_3d_joints"] = 0

    assert refusal(changed_set(tmp_path, flat), train=True, usable=usable) is None
    assert any("2D joints alone" in line for line in SAID)


def test_a_hands_joints_alone_train_nothing_but_2d(tmp_path: Path) -> None:
    label = MeshDataset(sound_set(tmp_path), False).label(0)
    label.joints_2d[:, 2] = 0
    usable = trains(METRO_HAND, "hand")
    assert usable(label)
    assert not usable(replace(label, has_smpl=0))
    assert trains(FASTMETRO_BODY, "body")(replace(label, has_smpl=0))


def test_the_data_check_reports_what_is_unlabelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(place: int, person: Person) -> None:
        if place == 1:
            person["3d_joints"][12] = person["3d_joints"][18] = [0, 0, 0, 0]
        if place == 2:
            person["3d_joints"][5], person["2d_joints"][5][2] = [0, 0, 0, 1], 0  # no 2D joint that contradicts
        if place == 3:
            person |= {"pose": [0.0] * 72, "betas": [0.0] * 10}

    yaml = changed_set(tmp_path, change)
    assert main(["check", str(yaml), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "4 samples, 0 errors, 3 warnings" in out
    assert "row 1 (key 'pictures/1.png'): has_3d_joints is 1, but joints 12, 18 have confidence 0" in out
    assert "joints 5 lie at exactly (0, 0, 0)" in out and "all numbers of pose and betas are 0" in out
    assert "has_smpl 4 (100.0%)" in out and "1 leave some of them at confidence 0 (2.1% of" in out


def test_a_set_of_another_body_model_is_refused(
    synthetic_body_dir: Path, rule_body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tore synth images` records whose pose and shape its labels hold."""
    yaml = write_images(Recipe("hand", "val", 1, 64, str(synthetic_body_dir)), 2, tmp_path)
    dataset, mine = MeshDataset(yaml, False, "hand"), load_body("hand", synthetic_body_dir)
    assert dataset.rows.body_model == mine.identity
    check_before(dataset, mine, Processes(), SAID.append)
    with pytest.raises(ValueError, match=r"val\.yaml has labels of the body model 'synthetic' .*body_dir synthetic"):
        check_before(dataset, load_body("hand", rule_body_dir), Processes(), SAID.append)
    command = ["check", str(yaml), "--body", "hand", "--quiet"]
    assert main(command) == 0, "the body model is taken from the record"
    capsys.readouterr()
    assert main([*command, "--body_dir", str(rule_body_dir)]) == 2
    assert "the one in use is 'MANO'" in capsys.readouterr().err
    yaml.write_text(yaml.read_text().replace("synthetic", "capsules"))
    for more in ([], ["--body_dir", "synthetic"]):
        assert main([*command, *more]) == 2
        assert "val.yaml is of the body model 'capsules', one of the simple figures of ver" in capsys.readouterr().err
