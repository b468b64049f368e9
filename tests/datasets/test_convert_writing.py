"""The converters' writer: stopped at any moment and started again it gives the same bytes."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import sources
from tore.datasets.convert import writing
from tore.datasets.convert.entries import NOT_FINITE
from tore.datasets.convert.spin import SpinAnnotations
from tore.datasets.convert.writing import convert
from tore.datasets.sets import TSVSet
from tore.datasets.tsv import TSVReader


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def spin(tmp_path: Path) -> SpinAnnotations:
    """20 rows over three images, with left-out rows at the start, in the middle and at the end."""
    arrays = sources.spin_arrays(20)
    arrays["scale"][[0, 7, 8, 19]] = 0
    arrays["part"][11, 3, 0] = np.nan
    return SpinAnnotations(sources.write_spin(tmp_path / "source", arrays))


@pytest.fixture
def images(spin: SpinAnnotations) -> Path:
    return spin.path.parent / "images"


def run(spin: SpinAnnotations, out: Path, **options) -> dict:
    return convert(spin, spin.path.parent / "images", out, "train", show_progress=False, **options)


def test_the_set_reads_back(spin: SpinAnnotations, images: Path, tmp_path: Path) -> None:
    report = run(spin, tmp_path / "out")
    kept = [row for row in range(20) if row not in (0, 7, 8, 11, 19)]
    table = TSVSet(tmp_path / "out" / "train.yaml")
    assert len(table) == len(kept) == report["rows"]
    for index, row in enumerate(kept):
        name = f"S1/Images/walk.{row % 3:06d}.jpg"
        key, image = table.columns("img", index)
        assert key.decode() == name
        assert base64.b64decode(image) == (images / name).read_bytes()
        size = json.loads(table.columns("hw", index)[1])
        assert size == [{"height": 48 + 8 * (row % 3), "width": 64}]
    assert set(contents(tmp_path / "out")) == {
        *(f"train.{table}.{suffix}" for table in ("img", "hw", "label") for suffix in ("tsv", "tsv.crc32", "lineidx")),
        "train.linelist.tsv",
        "train.linelist.tsv.crc32",
        "train.yaml",
        "train.report.json",
    }


def test_the_report_counts(spin: SpinAnnotations, tmp_path: Path) -> None:
    report = run(spin, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "train.report.json").read_text()) == report
    assert (report["entries"], report["rows"]) == (20, 15)
    counts = {reason: found["count"] for reason, found in report["left_out"].items()}
    assert counts == {writing.NO_BOX: 4, NOT_FINITE: 1}
    assert report["left_out"][NOT_FINITE]["first"] == ["S1/Images/walk.000002.jpg"]
    kept = [row for row in range(20) if row not in (0, 7, 8, 11, 19)]
    assert report["shares"]["has_smpl"] == round(sum(row % 2 == 0 for row in kept) / 15, 6)
    assert report["shares"]["gender"] == round(sum(row % 3 != 2 for row in kept) / 15, 6)
    assert report["shares"]["has_2d_joints"] == 1


def test_files_cut_anywhere_are_taken_up(
    spin: SpinAnnotations, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop after a random entry, and each file without a random share of its last bytes, as buffers leave it."""
    run(spin, tmp_path / "whole")
    expected, r = contents(tmp_path / "whole"), np.random.RandomState(0)
    read = writing._Conversion._read_image
    for trial in range(40):
        out, left = tmp_path / f"out{trial}", [r.randint(0, 16)]

        def stop(self, key, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return read(self, key)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(writing._Conversion, "_read_image", stop)
            left[0] = min(left[0], 14)
            run(spin, out)
        for path in out.glob("*.partial"):
            os.truncate(path, int(path.stat().st_size * r.choice([0, 1, r.random_sample()])))
        run(spin, out)
        assert contents(out) == expected


@pytest.mark.parametrize("stage", ["write_linelist", "write_yaml", "write_whole", "close 1", "close 2", "unlink"])
def test_a_stop_while_the_files_get_their_names(
    spin: SpinAnnotations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    run(spin, tmp_path / "whole")
    out = tmp_path / "out"

    def stop(*given, **named):
        raise KeyboardInterrupt

    calls = []

    def close(self, original=writing.TSVWriter.close):
        calls.append(self)
        if len(calls) > int(stage.split()[1]):
            raise KeyboardInterrupt
        original(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if stage.startswith("close"):
            patch.setattr(writing.TSVWriter, "close", close)
        elif stage == "unlink":
            patch.setattr(writing.SetFiles, "under_way", stop)
        else:
            patch.setattr(writing, stage, stop)
        run(spin, out)
    (out / ".train.yaml.torn").write_text("left by a kill while a file was written")
    run(spin, out)
    assert contents(out) == contents(tmp_path / "whole")


def test_killed_again_and_again(tmp_path: Path) -> None:
    """SIGKILL at random moments while rows are written, until a run gets through."""
    arrays = sources.spin_arrays(3000)
    arrays["scale"][::7] = 0
    spin = SpinAnnotations(sources.write_spin(tmp_path / "source", arrays))
    run(spin, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    out, r = tmp_path / "out", np.random.RandomState(1)
    whole = len(expected["train.img.tsv"])
    partial = out / "train.img.tsv.partial"
    kills = 0
    for share in np.sort(r.uniform(0.05, 0.95, 6)):
        process = multiprocessing.get_context("fork").Process(target=run, args=(spin, out))
        process.start()
        deadline = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < deadline:
            if partial.exists() and partial.stat().st_size >= share * whole:
                break
            time.sleep(0.001)
        if process.pid and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        if not (out / "train.report.json").exists():
            assert len(TSVReader(partial)) < 3000
            partial.with_suffix(".lineidx").unlink()
    assert kills >= 3
    run(spin, out)
    assert contents(out) == expected


def test_a_complete_set_is_left_alone(spin: SpinAnnotations, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run(spin, out)
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run(spin, out) == report
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == stamps
    before = contents(out)
    run(spin, out, restart=True)
    assert contents(out) == before
    assert any(path.stat().st_mtime_ns != stamps[path] for path in out.iterdir())


def test_another_source_is_refused(spin: SpinAnnotations, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(spin, out)
    other = SpinAnnotations(sources.write_spin(tmp_path / "other", sources.spin_arrays(4)))
    with pytest.raises(ValueError, match=r"report.json is of a conversion from other files.*--restart"):
        run(other, out)
    (out / "train.report.json").unlink()
    with pytest.raises(ValueError, match="was not written by this converter"):
        run(other, out)
    assert run(other, out, restart=True)["rows"] == 4


def test_a_stopped_run_of_another_source_is_refused(spin: SpinAnnotations, images: Path, tmp_path: Path) -> None:
    missing = images / "S1/Images/walk.000002.jpg"
    kept = missing.read_bytes()
    missing.unlink()
    with pytest.raises(FileNotFoundError, match=r"walk.000002.jpg is missing.*--skip_missing"):
        run(spin, tmp_path / "out")
    missing.write_bytes(kept)
    other = SpinAnnotations(sources.write_spin(tmp_path / "other", sources.spin_arrays(4)))
    with pytest.raises(ValueError, match=r"journal.tsv is of a conversion from other files"):
        run(other, tmp_path / "out")
    assert run(spin, tmp_path / "out")["rows"] == 15


def test_missing_and_unreadable_images(spin: SpinAnnotations, images: Path, tmp_path: Path) -> None:
    (images / "S1/Images/walk.000002.jpg").unlink()
    (images / "S1/Images/walk.000001.jpg").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"walk.000001.jpg is not an image"):
        run(spin, tmp_path / "out")
    report = run(spin, tmp_path / "out", skip_missing=True)
    assert report["left_out"][writing.MISSING]["count"] == 4
    assert report["left_out"][writing.UNREADABLE]["count"] == 5
    assert report["entries"] == report["rows"] + sum(found["count"] for found in report["left_out"].values())


def test_nothing_to_write_is_an_error(spin: SpinAnnotations, images: Path, tmp_path: Path) -> None:
    for path in images.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(ValueError, match=r"nothing of train could be written: .*15 times the image is missing"):
        run(spin, tmp_path / "out", skip_missing=True)
    assert not (tmp_path / "out" / "train.yaml").exists()


def test_damage_to_a_set_is_noticed(spin: SpinAnnotations, tmp_path: Path) -> None:
    run(spin, tmp_path / "out")
    (tmp_path / "out" / "train.label.tsv").unlink()
    with pytest.raises(ValueError, match=r"train.label.tsv is missing beside .*--restart"):
        run(spin, tmp_path / "out")


@pytest.mark.parametrize("name", ["", "a/b", "../train"])
def test_set_names_are_file_names(spin: SpinAnnotations, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="does not name a set"):
        convert(spin, tmp_path, tmp_path / "out", name)
