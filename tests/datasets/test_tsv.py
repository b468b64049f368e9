"""TSV files: round trips, indexes that are missing or wrong, forks and pickles, atomic and resumed writing."""

from __future__ import annotations

import base64
import multiprocessing
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tore.datasets.sets import TSVSet, write_linelist, write_yaml
from tore.datasets.tsv import TSVReader, TSVWriter, checksum_path, index_path, scan_offsets

ROWS = [["käse/😀\u2028.jpg", "[1]"], ["b", ""], ["", "x" * 5_000_000], ["last", "z"]]


def write(path: Path, rows: list[list[str]]) -> Path:
    with TSVWriter(path) as writer:
        assert [writer.write(row) for row in rows] == list(range(len(rows)))
    return path


def test_round_trip_of_any_key_and_size(tmp_path: Path) -> None:
    path = write(tmp_path / "set.img.tsv", ROWS)
    assert index_path(path).name == "set.img.lineidx"
    with TSVReader(path) as reader:
        assert list(reader) == ROWS
        assert reader[-1] == ROWS[-1]
        assert reader.columns(0)[0] == ROWS[0][0].encode()
        with pytest.raises(IndexError, match="4 rows"):
            reader[4]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set.img.lineidx", "set.img.tsv", "set.img.tsv.crc32"]


def test_index_equals_a_naive_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tore.datasets.tsv.SCAN_BYTES", 7)
    path = write(tmp_path / "a.tsv", ROWS[:2] + ROWS[3:])
    naive, position = [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        naive.append(position)
        position += len(line)
    assert scan_offsets(path).tolist() == naive == [int(v) for v in index_path(path).read_text().split()]


def test_missing_index_is_made_and_empty_files_have_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", ROWS)
    kept = index_path(path).read_bytes()
    index_path(path).unlink()
    assert list(TSVReader(path)) == ROWS
    assert index_path(path).read_bytes() == kept
    empty = write(tmp_path / "empty.tsv", [])
    assert len(TSVReader(empty)) == 0
    with pytest.raises(FileNotFoundError, match=r"absent\.tsv is missing"):
        TSVReader(tmp_path / "absent.tsv")


def test_missing_index_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tsv", ROWS)
    index_path(path).unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("tore.datasets.tsv.write_whole", refuse)
    assert list(TSVReader(path)) == ROWS
    assert not index_path(path).exists()


def test_lines_of_other_writers(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"a\t1\r\nb\t2")
    assert list(TSVReader(path)) == [["a", "1"], ["b", "2"]]


@pytest.mark.parametrize(
    "index",
    ["0\n9\n4\n", "3\n9\n", "", "0\nx\n", "0\n4\n900\n", "0\n4\n", "-1\n4\n8\n", "0\n4\n99999999999999999999999\n"],
)
def test_wrong_index_is_noticed_at_opening(tmp_path: Path, index: str) -> None:
    path = write(tmp_path / "a.tsv", [["a", "1"], ["b", "2"], ["c", "3"]])
    index_path(path).write_text(index)
    with pytest.raises(ValueError, match=r"a\.lineidx does not belong to .*a\.tsv: .*; delete it"):
        TSVReader(path)


@pytest.mark.parametrize("index", ["0\n3\n8\n", "0\n5\n8\n", "0\n8\n"])
def test_wrong_index_is_noticed_at_the_row(tmp_path: Path, index: str) -> None:
    path = write(tmp_path / "a.tsv", [["a", "1"], ["b", "2"], ["c", "3"]])
    index_path(path).write_text(index)
    reader = TSVReader(path)
    with pytest.raises(ValueError, match=r"a\.lineidx does not belong to"):
        list(reader)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"a\t1\n\xff\xfe\t2\n")
    with pytest.raises(ValueError, match=r"a\.tsv row 1: the text is not UTF-8"):
        TSVReader(path)[1]


def test_pickle_and_close_leave_no_handle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", ROWS)

    def handles() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = handles()
    reader = TSVReader(path)
    assert handles() == before
    assert reader[1] == ROWS[1]
    assert handles() == before + 1
    copy = pickle.loads(pickle.dumps(reader))
    assert handles() == before + 1
    assert copy[0] == ROWS[0]
    reader.close()
    assert reader[3] == ROWS[3]
    del reader, copy
    assert handles() == before


def _digest(reader: TSVReader, turns: int, out: multiprocessing.SimpleQueue) -> None:
    out.put(all(reader[i % 50] == [str(i % 50), "x" * (i % 50) * 100] for i in range(turns)))


def test_forked_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", [[str(i), "x" * i * 100] for i in range(50)])
    reader = TSVReader(path)
    assert reader[7][0] == "7"  # the handle is open before the fork
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    workers = [context.Process(target=_digest, args=(reader, 1000, out)) for _ in range(3)]
    for worker in workers:
        worker.start()
    _digest(reader, 1000, out)
    for worker in workers:
        worker.join()
    assert [out.get() for _ in range(4)] == [True] * 4


def test_threads_open_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, really_open, together = [], os.open, threading.Barrier(2)

    def slow_open(*arguments: Any) -> int:
        opened.append(arguments)
        time.sleep(0.05)
        return really_open(*arguments)

    def read(row: int) -> list[str]:
        together.wait(10)
        return reader[row]

    with TSVReader(write(tmp_path / "set.tsv", ROWS)) as reader:
        monkeypatch.setattr(os, "open", slow_open)
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(read, (0, 3))) == [ROWS[0], ROWS[3]]
        assert len(opened) == 1


def test_writer_is_atomic_and_refuses_tabs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", [["old", "1"]])
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for bad in ("a\tb", "a\nb", "a\r"):
        with pytest.raises(ValueError, match=r"a\.tsv row 1: column .* holds a tab"), TSVWriter(path) as writer:
            writer.write(["fine", "1"])
            writer.write(["bad", bad])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("torn", [b"", b"c", b"c\t3333"])
def test_resume_gives_the_same_bytes(tmp_path: Path, torn: bytes) -> None:
    rows = [["a", "1"], ["ä\u2028", "22"], ["c", "333"], ["d", "4"]]
    whole = write(tmp_path / "whole.tsv", rows)
    path = tmp_path / "cut.tsv"
    with pytest.raises(KeyboardInterrupt), TSVWriter(path, resume=True) as writer:
        writer.write(rows[0])
        writer.write(rows[1])
        raise KeyboardInterrupt
    assert not path.exists()
    with (tmp_path / "cut.tsv.partial").open("ab") as file:
        file.write(torn)
    with TSVWriter(path, resume=True) as writer:
        assert (len(writer), writer.done_keys) == (2, ["a", "ä\u2028"])
        writer.truncate(1)
        assert writer.done_keys == ["a"]
        with pytest.raises(ValueError, match="has 1 rows"):
            writer.truncate(2)
        for row in rows[1:3]:
            writer.write(row)
    with TSVWriter(path, resume=True) as writer:  # a finished file is taken up again
        assert len(writer) == 3
        writer.write(rows[3])
    assert path.read_bytes() == whole.read_bytes()
    assert index_path(path).read_bytes() == index_path(whole).read_bytes()
    assert checksum_path(path).read_bytes() == checksum_path(whole).read_bytes()
    assert len(list(tmp_path.iterdir())) == 6


def two_sources(folder: Path) -> None:
    for source, count in (("one", 3), ("two", 2)):
        for table in ("img", "hw", "label"):
            write(folder / f"{source}.{table}.tsv", [[f"{source}{i}", table] for i in range(count)])


def test_plain_set_with_linelist(tmp_path: Path) -> None:
    two_sources(tmp_path)
    write_linelist(tmp_path / "pick.linelist.tsv", [2, 0, 2, 1])
    path = write_yaml(tmp_path / "a.yaml", "one.img.tsv", "one.label.tsv", "one.hw.tsv", "pick.linelist.tsv")
    plain = TSVSet(path)
    assert [plain.columns("label", i)[0] for i in range(len(plain))] == [b"one2", b"one0", b"one2", b"one1"]
    assert str(plain.place("img", 3)) == f"{tmp_path / 'one.img.tsv'} row 1"
    whole = TSVSet(write_yaml(tmp_path / "b.yaml", "one.img.tsv", "one.label.tsv"))
    assert [whole.columns("img", i)[0] for i in range(len(whole))] == [b"one0", b"one1", b"one2"]


@pytest.mark.parametrize("listed_in_a_file", [False, True])
def test_composite_set(tmp_path: Path, listed_in_a_file: bool) -> None:
    two_sources(tmp_path)
    order = [(1, 1), (0, 2), (1, 0)]
    write_linelist(tmp_path / "pick.tsv", order)
    names = {table: [f"{source}.{table}.tsv" for source in ("one", "two")] for table in ("img", "hw", "label")}
    path = write_yaml(tmp_path / "a.yaml", names["img"], names["label"], names["hw"], "pick.tsv")
    if listed_in_a_file:
        for table in names:
            (tmp_path / f"{table}.txt").write_text("\n".join(names[table]) + "\n")
        path.write_text("composite: True\nimg: img.txt\nhw: hw.txt\nlabel: label.txt\nlinelist: pick.tsv\n")
    composite = TSVSet(path)
    for table in ("img", "hw", "label"):
        rows = [composite.columns(table, i) for i in range(len(composite))]
        assert rows == [[key, table.encode()] for key in (b"two1", b"one2", b"two0")]


@pytest.mark.parametrize(
    ("text", "linelist", "error", "message"),
    [
        ("img: [", None, ValueError, "is not a yaml file"),
        ("just words", None, ValueError, "holds no `name: value` lines"),
        ("label: one.label.tsv", None, ValueError, "names no 'img' file"),
        ("img: nope.tsv\nlabel: one.label.tsv", None, FileNotFoundError, "nope.tsv is missing"),
        ("img: [one.img.tsv]\nlabel: one.label.tsv", None, ValueError, "'img' is"),
        ("img: one.img.tsv\nlabel: two.label.tsv", None, ValueError, "different numbers of rows"),
        (
            "img: one.img.tsv\nlabel: one.label.tsv\nlinelist: l.tsv",
            None,
            FileNotFoundError,
            "names it as its linelist",
        ),
        ("img: one.img.tsv\nlabel: one.label.tsv\nlinelist: l.tsv", "0\n3\n", ValueError, "line 2 picks row 3 of"),
        ("img: one.img.tsv\nlabel: one.label.tsv\nlinelist: l.tsv", "0\n-1\n", ValueError, "line 2 is '-1'"),
        ("composite: True\nimg: [one.img.tsv]\nlabel: [one.label.tsv]", None, ValueError, "needs a linelist"),
        (
            "composite: True\nimg: [one.img.tsv]\nlabel: [one.label.tsv]\nlinelist: l.tsv",
            "1\t0\n",
            ValueError,
            "source 1 of 1 files",
        ),
    ],
)
def test_sets_that_do_not_follow_the_format(
    tmp_path: Path, text: str, linelist: str | None, error: type[Exception], message: str
) -> None:
    two_sources(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    if linelist is not None:
        (tmp_path / "l.tsv").write_text(linelist)
    with pytest.raises(error, match=message):
        TSVSet(tmp_path / "a.yaml")


def test_image_bytes_survive(tmp_path: Path) -> None:
    data = np.random.RandomState(0).bytes(10_000)
    path = write(tmp_path / "a.tsv", [["key", base64.b64encode(data).decode()]])
    assert base64.b64decode(TSVReader(path).columns(0)[-1]) == data
