"""Reading, network and writing side by side: the reports keep their order, and the stages do overlap."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests import rules
from tore.inference.images import Photograph
from tore.inference.predictor import MeshRecovery
from tore_runtime import pipeline as run_module
from tore_runtime.crops import PersonCrop
from tore_runtime.outputs import Wanted
from tore_runtime.pipeline import Job, Run

PATIENCE = 20.0  # seconds after which a stage that should have run beside another has not


def jobs_in(folder: Path, count: int) -> list[Job]:
    for number in range(count):
        Image.fromarray(rules.photo(number, 60, 50)).save(folder / f"{number}.png")
    return [Job(folder / f"{number}.png", folder / f"out{number}") for number in range(count)]


def test_reports_come_in_batches_and_failures_as_they_are_met(recovery: MeshRecovery, tmp_path: Path) -> None:
    """Image 1 cannot be read, 4 has its result already; batches of two."""
    jobs = jobs_in(tmp_path, 8)
    jobs[1].image.write_text("no image")
    (tmp_path / "out4_tore_pred.json").write_text("{}")
    wanted = Wanted(overlay=False, results="json")
    found = list(Run(recovery, wanted, batch_size=2)(iter(jobs)))
    assert [jobs.index(report.job) for report in found] == [1, 0, 2, 4, 3, 5, 6, 7]
    assert [report.job.image.name for report in found if report.error] == ["1.png", "4.png"]
    assert [len(report.people) for report in found] == [0, 1, 1, 0, 1, 1, 1, 1]
    for report in found:
        if not report.error:
            (alone,) = recovery.predict(report.job.image)
            np.testing.assert_allclose(report.people[0].vertices, alone.vertices, atol=1e-5)
            assert report.written == [report.job.stem.with_name(report.job.stem.name + "_tore_pred.json")]
            assert report.written[0].is_file()


def test_the_stages_overlap(recovery: MeshRecovery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network waits until the next image is read; the pen waits until the network has begun the next batch."""
    jobs = jobs_in(tmp_path, 3)
    read = [threading.Event() for _ in jobs]
    begun = [threading.Event() for _ in jobs]
    plain_read, plain_write = run_module.read_photograph, run_module.write_outputs

    def read_photograph(path: Path) -> Photograph:
        read[int(path.stem)].set()
        return plain_read(path)

    def recover(crops: Sequence[PersonCrop], **options: object) -> list:
        number = sum(event.is_set() for event in begun)
        begun[number].set()
        assert number + 1 == len(jobs) or read[number + 1].wait(PATIENCE)
        return recovery.recover(crops, **options)

    def write_outputs(people: list, image: object, stem: Path, *others: object) -> object:
        number = int(stem.name[-1])
        assert number + 1 == len(jobs) or begun[number + 1].wait(PATIENCE)
        return plain_write(people, image, stem, *others)

    monkeypatch.setattr(run_module, "read_photograph", read_photograph)
    monkeypatch.setattr(run_module, "write_outputs", write_outputs)
    parts = {"faces": recovery.faces, "image_format": recovery.image_format, "upright": recovery.upright}
    stub = SimpleNamespace(recover=recover, **parts)
    found = list(Run(stub, Wanted(overlay=False, results="json"), batch_size=1)(jobs))
    assert [report.job for report in found] == jobs and not any(report.error for report in found)


def test_a_run_that_is_left_stops_its_threads(recovery: MeshRecovery, tmp_path: Path) -> None:
    before = threading.active_count()
    reports = Run(recovery, Wanted(overlay=False, results="json"), batch_size=1)(jobs_in(tmp_path, 6))
    assert not next(reports).error
    reports.close()
    assert threading.active_count() == before
    assert not (tmp_path / "out5_tore_pred.json").exists()
