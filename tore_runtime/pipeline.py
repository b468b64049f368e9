"""Many images through the network in batches, one report for each; an image that fails does not stop the others.

Three stages run side by side: a thread reads the next images, the caller's own runs the network, a third draws and
writes what the network is done with.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tore_runtime.crops import PersonCrop, Place, crops_of, lies_outside
from tore_runtime.detector import Detection
from tore_runtime.files import OutputError, check_output_file
from tore_runtime.focal_length import FocalChoice, Lens
from tore_runtime.image_files import frame_count
from tore_runtime.image_format import ImageFormat
from tore_runtime.images import read_photograph
from tore_runtime.outputs import Wanted, planned_files, write_outputs
from tore_runtime.result import NOT_FINITE, Recovery

BATCH_SIZE = 8
BATCHES_WRITTEN = 2  # at most that many are queued for writing, so that memory stays bounded


class Recoverer(Protocol):
    """What recovers people of crops, such as `tore.MeshRecovery` and `tore_runtime.predictor.ExportedRecovery`."""

    faces: np.ndarray  # (F, 3)

    @property
    def kind(self) -> str:
        """Whom it recovers: "body" or "hand"."""

    @property
    def image_format(self) -> ImageFormat:
        """What the network is shown."""

    def upright(
        self, image: np.ndarray, places: Sequence[Place] | None, left: bool | Sequence[bool] | None
    ) -> tuple[list[Place] | None, bool | list[bool]]:
        """Boxes and sides as `crops_of` takes them; left: None where it is not said."""

    @property
    def recover(self) -> Callable[..., list[Recovery]]:
        """From crops to a result for each; options: `focal_length`, `fov`, and what else it knows."""


@dataclass(frozen=True)
class Job:
    """One image: where it lies, what its outputs' names begin with, its people's boxes, and which are left hands.

    boxes: None is the center of the image, or whom a run's `finder` finds. left: None where it is not said.
    """

    image: Path
    stem: Path
    boxes: list[Place] | None = None
    left: bool | list[bool] | None = None


@dataclass(frozen=True)
class Report:
    """What became of one image."""

    job: Job
    people: list[Recovery]
    written: list[Path]
    error: str | None = None  # one sentence that names the image
    outside: int = 0  # boxes that were left out, since no part of them lies in the image
    frames: int = 1  # images that the file holds; the first one is taken


@dataclass(frozen=True)
class _Waiting:
    job: Job
    image: np.ndarray | None  # kept only where the whole image is drawn
    crops: list[PersonCrop]
    frames: int

    @property
    def outside(self) -> int:
        """Boxes without a crop."""
        return len(self.job.boxes) - len(self.crops) if self.job.boxes is not None else 0


class Run:
    """Reads, crops, recovers, draws and writes; `seconds` counts how long each took, at the same time or not.

    batch_size: most crops in one forward pass. focal_length, fov: of the camera, as for `tore.MeshRecovery.predict`.
    overwrite: replace files that are there; else such an image fails. finder: from an image (H, W, 3) uint8 to its
    people, for jobs without boxes. options: of `recovery.recover`.
    """

    def __init__(
        self,
        recovery: Recoverer,
        wanted: Wanted,
        *,
        batch_size: int = BATCH_SIZE,
        focal_length: float | str | None = None,
        fov: float | None = None,
        overwrite: bool = False,
        finder: Callable[[np.ndarray], list[Detection]] | None = None,
        **options: Any,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size}: give 1 or more")
        self.recovery, self.wanted, self.batch_size = recovery, wanted, batch_size
        FocalChoice(focal_length, fov)  # one that cannot be is told before anything is read
        self.overwrite, self.finder = overwrite, finder
        self.options: dict[str, Any] = {"focal_length": focal_length, "fov": fov, **options}
        stages = ("reading", *(["finding"] if finder else []), "cropping", "network", "drawing", "writing")
        self.seconds = dict.fromkeys(stages, 0.0)
        self._planned: set[Path] = set()

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Report]:
        """One report per job; failures come as they are met, the rest in order, batch by batch."""
        reader, writer = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "write")
        waiting: list[_Waiting] = []
        reports: deque[Future[list[Report]]] = deque()
        try:
            for opened in self._opened(reader, jobs):
                if isinstance(opened, Report):
                    reports.append(_done([opened]))
                else:
                    waiting.append(opened)
                if sum(len(item.crops) for item in waiting) >= self.batch_size:
                    reports.append(writer.submit(self._finish, waiting, self._recover(waiting)))
                    waiting = []
                while reports and (reports[0].done() or len(reports) > BATCHES_WRITTEN):
                    yield from reports.popleft().result()
            reports.append(writer.submit(self._finish, waiting, self._recover(waiting)))
            while reports:
                yield from reports.popleft().result()
        finally:
            for pool in (reader, writer):
                pool.shutdown(cancel_futures=True)

    def _opened(self, reader: ThreadPoolExecutor, jobs: Iterable[Job]) -> Iterator[_Waiting | Report]:
        """The jobs' images in order, or what is wrong with them; a batch is read ahead."""
        ahead: deque[Future[_Waiting | Report]] = deque()
        for job in jobs:
            ahead.append(reader.submit(self._open, job))
            if len(ahead) > self.batch_size:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _open(self, job: Job) -> _Waiting | Report:
        try:
            if job.boxes is not None or self.finder is None:
                self._check_outputs(job)
            return self._read(job)
        except (ValueError, OSError) as error:
            return Report(job, [], [], _sentence(job, error))

    def _check_outputs(self, job: Job) -> None:
        files = planned_files(job.stem, None if job.boxes is None else len(job.boxes), self.wanted)
        for path in files[:1]:
            check_output_file(path)
        for path in files:
            if path in self._planned:
                raise ValueError(f"{path} is another image's result already; rename one of the two")
            if path.exists() and not self.overwrite:
                raise FileExistsError(f"{path} is there already; add --overwrite or name another --output_dir")
        self._planned.update(files)

    def _read(self, job: Job) -> _Waiting:
        with self._timed("reading"):
            (image, lens), frames = read_photograph(job.image), frame_count(job.image)
        if job.boxes is None and self.finder is not None:
            with self._timed("finding"):
                people = self.finder(image)
            job = replace(job, boxes=list(people))
            self._check_outputs(job)
        with self._timed("cropping"):
            crops = self._crops(image, lens, job)
        return _Waiting(job, image if job.boxes is not None and self.wanted.overlay else None, crops, frames)

    def _crops(self, image: np.ndarray, lens: Lens, job: Job) -> list[PersonCrop]:
        """Of the job's people, without those whose box lies wholly outside; the others keep their numbers."""
        name, shown = str(job.image), self.recovery.image_format
        if job.boxes is None:
            places, left = self.recovery.upright(image, None, job.left)
            return crops_of(image, places, name, left, shown, lens=lens)
        size = (image.shape[0], image.shape[1])
        kept = [index for index, box in enumerate(job.boxes) if not lies_outside(box, size)]
        sides = [job.left[index] for index in kept] if isinstance(job.left, list) else job.left
        boxes, numbers = [job.boxes[index] for index in kept], [index + 1 for index in kept]
        places, left = self.recovery.upright(image, boxes, sides)
        return crops_of(image, places, name, left, shown, numbers, lens)

    def _recover(self, waiting: Sequence[_Waiting]) -> list[Recovery]:
        crops = [crop for item in waiting for crop in item.crops]
        people: list[Recovery] = []
        with self._timed("network"):
            for start in range(0, len(crops), self.batch_size):
                part = crops[start : start + self.batch_size]
                people += self.recovery.recover(part, **self.options)
        return people

    def _finish(self, waiting: Sequence[_Waiting], people: list[Recovery]) -> list[Report]:
        reports = []
        for item in waiting:
            own, people = people[: len(item.crops)], people[len(item.crops) :]
            try:
                written = self._write(item, own)
                reports.append(Report(item.job, own, written, outside=item.outside, frames=item.frames))
            except (ValueError, OSError) as error:
                reports.append(Report(item.job, [], [], _sentence(item.job, error)))
        return reports

    def _write(self, item: _Waiting, people: list[Recovery]) -> list[Path]:
        if not all(person.finite for person in people):
            raise ValueError(NOT_FINITE)
        start = time.perf_counter()
        written, writing = write_outputs(people, item.image, item.job.stem, self.wanted, self.recovery.faces)
        self.seconds["writing"] += writing
        self.seconds["drawing"] += time.perf_counter() - start - writing
        return written

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


def _done(reports: list[Report]) -> Future[list[Report]]:
    future: Future[list[Report]] = Future()
    future.set_result(reports)
    return future


def _sentence(job: Job, error: Exception) -> str:
    """The error on one line, with the image's name."""
    told = error.sentence("another --output_dir") if isinstance(error, OutputError) else str(error)
    text = " ".join(told.split()) or type(error).__name__
    return text if str(job.image) in text else f"{job.image}: {text}"
