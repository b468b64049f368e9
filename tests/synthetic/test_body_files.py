"""How the files of the synthetic body and hand are made: once, whole, and by many processes at the same time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tore.files import OutputError
from tore.paths import SYNTHETIC_HAND_FILES, SYNTHETIC_VERSION, BodyFiles
from tore.synthetic import body_files, free_body
from tore_runtime.entry import entry_point


def test_made_again_gives_the_same_bytes(folder: Path, synthetic_body_dir: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in synthetic_body_dir.iterdir())
    for name in names:
        same = (folder / name).read_bytes() == (synthetic_body_dir / name).read_bytes()
        assert same, f"{name} differs from the cache: count up paths.SYNTHETIC_VERSION if the models changed"


def test_the_folder_is_made_once_and_only_when_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))
    made = []

    def pretend(files: BodyFiles, figure: object, folder: Path) -> None:
        made.append(files.kind)
        (folder / files.kind).write_text("whole")
        if len(made) == 2:  # another process is ready first
            other = tmp_path / f"free-v{SYNTHETIC_VERSION}"
            other.mkdir()
            (other / "first").write_text("first")

    monkeypatch.setattr(free_body, "build_free", lambda kind: None)
    monkeypatch.setattr(body_files, "write_files", pretend)
    folder = free_body.synthetic_body_dir()
    assert made == ["body", "hand"]
    assert [path.name for path in folder.iterdir()] == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "no temporary folder stays behind"
    assert free_body.synthetic_body_dir() == folder
    assert len(made) == 2


def test_a_failed_build_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))

    def fail(files: BodyFiles, figure: object, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(free_body, "build_free", lambda kind: None)
    monkeypatch.setattr(body_files, "write_files", fail)
    with pytest.raises(OSError, match="disk full"):
        free_body.synthetic_body_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_build_ended_by_a_signal_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))

    def end(files: BodyFiles, figure: object, folder: Path) -> None:
        (folder / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)

    @entry_point("tore try")
    def main(argv=None) -> int:
        free_body.synthetic_body_dir()
        return 0

    monkeypatch.setattr(free_body, "build_free", lambda kind: None)
    monkeypatch.setattr(body_files, "write_files", end)
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 143 and list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_removed_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path))
    old, new = (tmp_path / f".free-v{SYNTHETIC_VERSION}.{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "half").touch()
    os.utime(old, (1e9, 1e9))
    monkeypatch.setattr(free_body, "build_free", lambda kind: None)
    monkeypatch.setattr(body_files, "write_files", lambda files, figure, folder: (folder / files.kind).touch())
    made = free_body.synthetic_body_dir()
    assert sorted(tmp_path.iterdir()) == [new, made], "another process may still write into a new one"


def test_a_cache_that_cannot_be_made_names_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="is a file, not a folder; set TORE_CACHE_DIR to a folder that can be"):
        free_body.synthetic_body_dir()


def test_a_broken_write_keeps_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / SYNTHETIC_HAND_FILES.model
    old.write_text("old")

    def fail(*_: object, **__: object) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr(body_files.pickle, "dumps", fail)
    with pytest.raises(OSError, match="disk full"):
        free_body.write_synthetic("hand", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert old.read_text() == "old"
