"""Several sets as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.data_sets import write_set
from tore.body.identity import BodyIdentity
from tore.cli.data import main
from tore.datasets.sets import TSVSet, write_linelist, write_yaml


def rows_of(yaml: Path) -> list[dict[str, list[bytes]]]:
    one = TSVSet(yaml)
    return [{table: one.columns(table, index) for table in one.tables} for index in range(len(one))]


def test_a_joined_set_is_its_parts_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, picked = tmp_path / "a", tmp_path / "b"
    whole.mkdir(), picked.mkdir()
    first = write_set(whole, [(seed, 20, 24) for seed in range(3)])
    write_set(picked, [(seed, 24, 20) for seed in range(10, 15)])
    write_linelist(picked / "pick.tsv", [4, 1])
    second = write_yaml(picked / "set.yaml", "set.img.tsv", "set.label.tsv", "set.hw.tsv", "pick.tsv")
    mixed = tmp_path / "mixed" / "train.yaml"
    assert main(["join", str(first), str(second), "--out", str(mixed)]) == 0
    assert "5 samples of 2 sets" in capsys.readouterr().out
    assert rows_of(mixed) == rows_of(first) + rows_of(second)
    again = tmp_path / "again.yaml"
    assert main(["join", str(mixed), str(first), "--out", str(again)]) == 0
    assert rows_of(again) == rows_of(mixed) + rows_of(first)
    capsys.readouterr()
    assert main(["join", str(first), "--out", str(mixed)]) == 2
    assert "train.yaml is there already" in capsys.readouterr().err
    assert main(["join", str(first), "--out", str(mixed), "--overwrite"]) == 0
    assert rows_of(mixed) == rows_of(first)


def test_sizes_are_left_out_where_one_set_has_none(tmp_path: Path) -> None:
    full = write_set(tmp_path, [(1, 20, 24)])
    bare = write_yaml(tmp_path / "bare.yaml", "set.img.tsv", "set.label.tsv")
    assert main(["join", str(full), str(bare), "--out", str(tmp_path / "mixed.yaml")]) == 0
    assert [sorted(row) for row in rows_of(tmp_path / "mixed.yaml")] == [["img", "label"]] * 2


def test_a_joined_set_records_the_one_body_model_of_its_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def recorded(name: str, body_model: BodyIdentity | None) -> str:
        tables = ("../set.img.tsv", "../set.label.tsv", "../set.hw.tsv")
        return str(write_yaml(tmp_path / name / "set.yaml", *tables, body_model=body_model))

    write_set(tmp_path, [(1, 20, 24)])
    mine, other = BodyIdentity("synthetic", "0a", "0b"), BodyIdentity("SMPL", "1a", "1b")
    first, second, third = recorded("a", mine), recorded("b", mine), recorded("c", other)
    assert TSVSet(first).body_model == mine
    bare = recorded("d", None)
    for number, (parts, common) in enumerate((((first, second), mine), ((first, bare), None))):
        out = tmp_path / f"mixed{number}.yaml"
        assert main(["join", *parts, "--out", str(out)]) == 0
        assert TSVSet(out).body_model == common
    capsys.readouterr()
    assert main(["join", first, third, "--out", str(tmp_path / "none.yaml")]) == 2
    said = capsys.readouterr().err
    assert "'synthetic' (0a-0b)" in said and "'SMPL' (1a-1b): one set cannot hold both" in said
    assert not list(tmp_path.glob("none*"))
    (tmp_path / "a" / "set.yaml").write_text((tmp_path / "a" / "set.yaml").read_text().replace("synthetic", "[3]"))
    with pytest.raises(ValueError, match=r"set\.yaml is damaged: its record of the body model"):
        TSVSet(first)
