"""Whole files or none, and sentences for what cannot be read or written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from tore.files import (
    OutputError,
    check_outputs,
    is_full_disk,
    parse_json,
    read_json,
    read_tensors,
    read_yaml,
    replacing,
    write_json,
    write_tensors,
    write_whole,
    writing,
)

AS_ROOT = os.geteuid() == 0


def test_a_file_appears_whole_with_the_usual_rights(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.txt", "größe \udcff")
    (tmp_path / "plain").touch()
    written = tmp_path / "new" / "a.txt"
    assert written.read_bytes() == "größe \\udcff".encode()
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    write_json(written, {"a": 1})
    assert read_json(written) == {"a": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin"])
def test_files_of_tensors_have_the_usual_rights(name: str, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    tensors = {"x": torch.arange(6.0).reshape(2, 3), "y": torch.tensor(True)}
    write_tensors(tensors, tmp_path / name)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    found = read_tensors(tmp_path / name)
    assert found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), RuntimeError("unexpected pos 3 vs 2"), KeyboardInterrupt(), KeyError("x")]
)
def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.bin"
    path.write_text("old")
    full = isinstance(error, OSError | RuntimeError)
    with pytest.raises(OutputError if full else type(error)) as raised, replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert not full or str(raised.value).startswith(f"{path} cannot be written: no space is left on the device; make")
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"] and path.read_text() == "old"


def test_a_device_or_a_pipe_stays_what_it_is(tmp_path: Path) -> None:
    pipe, full = tmp_path / "pipe", tmp_path / "full"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    full.symlink_to("/dev/full")
    check_outputs(pipe, full)
    write_whole(pipe, "content", sync=True)
    assert os.read(reader, 99) == b"content" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)
    with pytest.raises(OutputError, match="no space is left on the device"):
        write_whole(full, b"x")
    assert full.is_symlink() and stat.S_ISCHR(full.stat().st_mode)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["full", "pipe"]


def test_an_open_file_of_the_process_is_written_through(tmp_path: Path) -> None:
    with (tmp_path / "out.txt").open("w") as opened:
        write_whole(f"/proc/self/fd/{opened.fileno()}", "content")
    assert (tmp_path / "out.txt").read_text() == "content"


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ö" * 126 + "abc")  # 255 bytes
    write_whole(path, b"x")
    assert path.read_bytes() == b"x"
    with pytest.raises(OutputError, match="the name is too long"):
        write_whole(tmp_path / ("a" * 256), b"x")


def test_places_that_cannot_be_written_are_found_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    check_outputs(tmp_path / "new" / "deep" / "x.json", None, tmp_path / "file", folder=tmp_path / "more")
    assert not (tmp_path / "new").exists()
    for given, reason in (
        ({"folder": tmp_path / "file"}, "is a file, not a folder"),
        ({"folder": tmp_path / "file" / "below"}, "is a file, not a folder"),
        ({"folder": tmp_path / ("a" * 256)}, "the name is too long"),
    ):
        with pytest.raises(OutputError, match=reason):
            check_outputs(**given)
    for path, reason in (
        (tmp_path / "file" / "x.json", "is a file, not a folder"),
        (tmp_path / "folder", "it is a folder, not a file"),
        (tmp_path / ("a" * 256), "the name is too long"),
    ):
        with pytest.raises(OutputError, match=reason) as raised:
            check_outputs(path)
        assert raised.value.path == path
        with pytest.raises(OutputError):
            write_whole(path, b"x")


@pytest.mark.skipif(AS_ROOT, reason="root may write anywhere")
def test_a_folder_without_rights_is_found_beforehand(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="read-only, or this user may not write there"):
        check_outputs(folder=tmp_path / "closed" / "new")


def test_errors_of_other_files_are_not_renamed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised, writing(tmp_path / "out"):
        Path("/nowhere/at/all").read_bytes()
    assert not isinstance(raised.value, OutputError)


def test_a_fix_takes_the_place_of_another_place(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"; set TORE_CACHE_DIR$"), writing(tmp_path, fix="set TORE_CACHE_DIR"):
        (tmp_path / "a").touch()
        write_whole(tmp_path / "a" / "b", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_torch_raises_on_a_full_disk_is_known() -> None:
    with pytest.raises((RuntimeError, OSError)) as raised:
        torch.save({"a": torch.zeros(100_000)}, "/dev/full")
    assert is_full_disk(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 3000, "[" * 3000 + "]" * 3000, '{"a":' * 3000, "1" * 5000, b"\xff"])
def test_json_that_is_none_is_a_sentence(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^boxes.json is not JSON") as raised:
        parse_json(text, "boxes.json")
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "text",
    ["img: [", "[" * 3000, "{a: " * 3000, "- " * 3000, "a: !!int ''", "a: !!bool x", "a: !!timestamp x", "\x00",
     "? [a]: b\n: c", "a: &a [*a", "!!python/object:os.system x", "a: 2020-13-45", "x: " + "1" * 5000],
)  # fmt: skip
def test_yaml_that_is_none_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"set.yaml is not a yaml file") as raised:
        read_yaml(tmp_path / "set.yaml")
    assert len(str(raised.value)) < 500


def test_a_yaml_file_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "set.yaml").write_bytes("img: größe.tsv".encode("latin-1"))
    with pytest.raises(ValueError, match="is not a yaml file"):
        read_yaml(tmp_path / "set.yaml")
    (tmp_path / "set.yaml").write_text("img: größe.tsv", encoding="utf-8")
    assert read_yaml(tmp_path / "set.yaml") == {"img": "größe.tsv"}
