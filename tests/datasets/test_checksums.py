"""Checksums beside the tables: no change to a row passes the checker, whatever it looks like, and none stops a set."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.random import RandomState

from tests.datasets.damages import DAMAGES, QUIET_DAMAGES, index_damage, read_rows, sound_set, write_rows
from tore.cli.data import main
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import join_sets, write_linelist, write_yaml
from tore.datasets.tsv import TSVReader, TSVWriter, checksum_path, read_checksums

TABLES = ("img", "hw", "label")


@pytest.fixture
def jpegs(tmp_path: Path) -> Path:
    """A sound set of four JPEG images with a line list; its yaml file."""
    sound_set(tmp_path, ".jpg")
    write_linelist(tmp_path / "set.linelist.tsv", [2, 0, 3, 1])
    return write_yaml(tmp_path / "set.yaml", "set.img.tsv", "set.label.tsv", "set.hw.tsv", "set.linelist.tsv")


def check(yaml: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict, str]:
    """Exit code, the report (empty where the set cannot be opened), and what was said beside it."""
    code = main(["check", str(yaml), "--quiet", "--json", *options])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    return code, json.loads(printed.out) if code < 2 else {}, printed.err


def test_the_sums_are_those_of_the_rows_bytes(tmp_path: Path) -> None:
    rows = [["käse/😀\u2028.jpg", "[1]"], ["b", ""], ["", "x" * 100_000], ["alone"]]
    with TSVWriter(tmp_path / "a.tsv") as writer:
        for row in rows:
            writer.write(row)
    file = checksum_path(tmp_path / "a.tsv")
    lines = (tmp_path / "a.tsv").read_bytes().split(b"\n")[:-1]
    assert file.name == "a.tsv.crc32"
    assert file.read_text() == "".join(f"{zlib.crc32(line):08x}\n" for line in lines)
    sums = read_checksums(tmp_path / "a.tsv")
    assert sums is not None and sums.tolist() == [zlib.crc32(line) for line in lines]
    assert read_checksums(tmp_path / "b.tsv") is None


def test_200_random_damages_that_may_look_sound_are_found(jpegs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, passed_without = read_rows(jpegs.parent), 0
    sums = {path: path.read_bytes() for path in jpegs.parent.glob("*.crc32")}
    assert len(sums) == 4 and check(jpegs, capsys)[1]["findings"] == []
    for seed in range(200):
        rng, row = RandomState(seed), seed % 4
        changed = {table: [list(columns) for columns in lines] for table, lines in rows.items()}
        table = QUIET_DAMAGES[seed % len(QUIET_DAMAGES)](rng, changed, row)
        write_rows(jpegs.parent, changed, keep_checksums=True)
        code, report, _ = check(jpegs, capsys)
        found = {(finding["check"], finding["place"]) for finding in report["findings"]}
        assert code == 1 and ("checksum", f"{jpegs.parent / f'set.{table}.tsv'} row {row}") in found
        passed_without += all(name == "checksum" for name, _ in found)
    assert passed_without > 60  # which nothing but the checksums tells
    write_rows(jpegs.parent, rows, keep_checksums=True)
    assert check(jpegs, capsys)[1]["findings"] == [] and sums == {path: path.read_bytes() for path in sums}


def test_60_loud_damages_are_found_with_checksums_too(jpegs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(jpegs.parent)
    for seed in range(60):
        rng = RandomState(1000 + seed)
        changed = {table: [list(columns) for columns in lines] for table, lines in rows.items()}
        if seed % 10 < 9:
            DAMAGES[seed % len(DAMAGES)](rng, changed, int(rng.randint(4)))
        write_rows(jpegs.parent, changed, keep_checksums=True)
        if seed % 10 == 9:
            MeshDataset(jpegs, train=False)  # makes the indexes
            index_damage(rng, jpegs.parent)
        assert check(jpegs, capsys)[0] > 0


def test_a_changed_line_list_is_found(jpegs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jpegs.parent / "set.linelist.tsv"
    path.write_text("2\n0\n2\n1\n")
    code, report, _ = check(jpegs, capsys)
    (finding,) = report["findings"]
    assert (code, finding["check"], finding["place"]) == (1, "checksum", str(path))
    assert finding["text"].startswith("line 3 is not as it was written: checksum ")


def test_lost_and_added_rows_are_found_whatever_the_index_says(jpegs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(jpegs.parent)
    jpegs.write_text(jpegs.read_text().replace("linelist: set.linelist.tsv\n", ""))
    for change in (lambda lines: lines[:-1], lambda lines: [*lines, lines[0]]):
        changed = {table: change(lines) for table, lines in rows.items()}
        write_rows(jpegs.parent, changed, keep_checksums=True)
        code, report, _ = check(jpegs, capsys)
        assert code == 1 and [finding["check"] for finding in report["findings"]] == ["checksum"] * 3
        counts = f"it has 4 checksums, set.img.tsv has {len(changed['img'])} rows: rows were lost or added since; "
        assert report["findings"][0]["text"].startswith(counts)
        assert report["findings"][0]["place"] == str(checksum_path(jpegs.parent / "set.img.tsv"))


@pytest.mark.parametrize("text", ["zzzzzzzz\n", "123\n", "+1234567\n", "", "0" * 36 + "\n", "käse0000\n"])
def test_a_damaged_checksum_file_is_found(text: str, jpegs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = checksum_path(jpegs.parent / "set.hw.tsv")
    file.write_text(text)
    code, report, _ = check(jpegs, capsys)
    assert code == 1 and {(finding["check"], finding["place"]) for finding in report["findings"]} >= {
        ("checksum", str(file))
    }


def test_a_table_changed_on_purpose_is_told_apart(jpegs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(jpegs.parent)
    person = json.loads(rows["label"][1][1])
    person[0]["gender"] = "f"
    rows["label"][1][1] = json.dumps(person).encode()
    write_rows(jpegs.parent, rows, keep_checksums=True)
    table = jpegs.parent / "set.label.tsv"
    os.utime(table, ns=(0, checksum_path(table).stat().st_mtime_ns - 1))
    assert check(jpegs, capsys)[1]["notes"][:-1] == [
        "no body model at hand: its joints were not compared with the 3D joints"
    ]
    os.utime(table, ns=(0, checksum_path(table).stat().st_mtime_ns + 1))
    code, report, said = check(jpegs, capsys, "--write_checksums")
    assert code == 1 and "made no checksums, since the set has errors" in said
    note = f"{table} was changed after set.label.tsv.crc32 was made: if that was meant, delete the checksum file "
    assert report["notes"][1].startswith(note)
    checksum_path(table).unlink()
    code, report, said = check(jpegs, capsys, "--write_checksums")
    assert code == 0 and said.endswith(f"made {checksum_path(table)}\n")
    assert check(jpegs, capsys)[:2][1]["findings"] == []


def test_a_set_from_elsewhere_is_usable_and_gets_its_checksums(jpegs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = {path: path.read_bytes() for path in jpegs.parent.glob("*.crc32")}
    samples = [MeshDataset(jpegs, train=False).sample(index)["image"] for index in range(4)]
    for path in written:
        path.unlink()
    again = [MeshDataset(jpegs, train=False).sample(index)["image"] for index in range(4)]
    assert all(np.array_equal(one, other) for one, other in zip(samples, again, strict=True))
    assert not list(jpegs.parent.glob("*.crc32"))
    code, report, said = check(jpegs, capsys)
    assert code == 0 and report["findings"] == [] and "checksums" not in said
    names = ", ".join(str(jpegs.parent / f"set.{table}.tsv") for table in (*TABLES, "linelist"))
    assert report["notes"][1:-1] == [
        f"no checksums beside {names}: damage that looks sound is not found (see --write_checksums)"
    ]
    assert check(jpegs, capsys, "--write_checksums")[0] == 0
    assert written == {path: path.read_bytes() for path in jpegs.parent.glob("*.crc32")}
    assert check(jpegs, capsys, "--write_checksums")[2].endswith("the set has its checksums already\n")


def test_copied_moved_and_joined_sets_keep_their_checksums(
    jpegs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(jpegs.parent, tmp_path / "copy")) / jpegs.name
    moved = copy.parent.rename(tmp_path / "moved") / jpegs.name
    joined = tmp_path / "both.yaml"
    join_sets([jpegs, moved], joined)
    assert check(joined, capsys)[0] == 0
    rows = read_rows(moved.parent)
    bit = QUIET_DAMAGES[1](RandomState(0), rows, 3)
    write_rows(moved.parent, rows, keep_checksums=True)
    for yaml in (moved, joined):
        code, report, _ = check(yaml, capsys)
        places = [finding["place"] for finding in report["findings"] if finding["check"] == "checksum"]
        assert code == 1 and places == [f"{moved.parent / f'set.{bit}.tsv'} row 3"]
    (tmp_path / "both.linelist.tsv").write_text("0\t0\n" * 8)
    assert "line 1 is not as it was written" in check(joined, capsys)[1]["findings"][0]["text"]


def test_damage_gets_no_new_checksum_when_a_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    with TSVWriter(path) as writer:
        writer.write(["a", "1"])
        writer.write(["b", "2"])
    sound = path.read_bytes()
    for damaged, row in ((b"a\t1\nb\t3\n", 1), (b"a\t1\n", 1), (sound + b"c\t3\n", 2)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"a\.tsv: row {row} is not as it was written, as .*a\.tsv\.crc32 tells"):
            TSVWriter(path, resume=True)
        assert path.read_bytes() == damaged
    path.write_bytes(sound)
    with TSVWriter(path, resume=True) as writer:
        writer.write(["c", "3"])
    with TSVReader(path) as reader:
        assert [row[0] for row in reader] == ["a", "b", "c"]
    assert checksum_path(path).read_text().split() == [
        f"{zlib.crc32(line):08x}" for line in (b"a\t1", b"b\t2", b"c\t3")
    ]


def test_a_file_that_was_finished_without_checksums_is_continued_with_them(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    for columns in (["a", "1"], ["b", "2"]):
        with TSVWriter(path, resume=True) as writer:
            writer.write(columns)
        last = checksum_path(path).read_bytes()
        checksum_path(path).unlink()
    assert last.split() == [b"%08x" % zlib.crc32(line) for line in (b"a\t1", b"b\t2")]
