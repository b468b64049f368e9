"""`tore synth`: the files appear, are not replaced by accident, and faults are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tore import cli
from tore.paths import CAPSULE_HAND_FILES, SYNTHETIC_HAND_FILES, BodyFiles, find_body_files
from tore.synthetic.body_files import file_names


@pytest.mark.parametrize(
    ("choice", "files", "kept"),
    [
        ([], SYNTHETIC_HAND_FILES, "synthetic_body_dir"),
        (["--model", "capsules"], CAPSULE_HAND_FILES, "capsule_body_dir"),
    ],
)
def test_hand_is_written_and_found(
    choice: list[str],
    files: BodyFiles,
    kept: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    assert cli.main(["synth", "hand", "--out", str(tmp_path / "new"), *choice]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(file_names(files))
    assert files.model in capsys.readouterr().out
    for name in file_names(files):
        assert (tmp_path / "new" / name).read_bytes() == (request.getfixturevalue(kept) / name).read_bytes()
    assert find_body_files("hand", tmp_path / "new")[1] is files


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
