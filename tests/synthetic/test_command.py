"""`tore synth`: the files appear, are not replaced by accident, and faults are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tore import cli
from tore.paths import SYNTHETIC_HAND_FILES, find_body_files
from tore.synthetic.body_files import file_names


@pytest.mark.parametrize("choice", [[], ["--model", "synthetic"]])
def test_hand_is_written_and_found(
    choice: list[str], synthetic_body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["synth", "hand", "--out", str(tmp_path / "new"), *choice]) == 0
    said, files = capsys.readouterr(), SYNTHETIC_HAND_FILES
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(file_names(files))
    assert files.model in said.out and ("--model has no effect" in said.err) == bool(choice)
    for name in file_names(files):
        assert (tmp_path / "new" / name).read_bytes() == (synthetic_body_dir / name).read_bytes()
    assert find_body_files("hand", tmp_path / "new")[1] is files


def test_a_model_that_is_gone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["synth", "body", "--out", str(tmp_path / "new"), "--model", "capsules"])
    assert stop.value.code == 2 and not (tmp_path / "new").exists()
    assert "--model capsules cannot be: other models were the simple figures of version 0.1" in capsys.readouterr().err


def test_files_are_replaced_only_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / SYNTHETIC_HAND_FILES.mesh_levels
    old.write_text("old")
    assert cli.main(["synth", "hand", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(old) in error
    assert "--overwrite" in error
    assert error.count("\n") == 1
    assert old.read_text() == "old"
    assert cli.main(["synth", "hand", "--out", str(tmp_path), "--overwrite"]) == 0
    assert old.read_bytes() != b"old"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    assert cli.main(["synth", "hand", "--out", str(tmp_path / "file" / "inside")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["body"], ["foot", "--out", "x"]])
def test_wrong_calls_say_how(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["synth", *arguments])
    assert stop.value.code == 2
    assert "usage: tore synth" in capsys.readouterr().err
