"""Writes synthetic images as a METRO TSV set, many processes side by side.

The set depends on its recipe alone, never on the number of processes, and the first N images of a larger set are
those of a smaller one. A run that is stopped leaves `.partial` files and no yaml file; the same command resumes there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import repeat
from math import ceil
from multiprocessing import get_context
from pathlib import Path

import cv2
import torch

from tore.datasets.sets import write_linelist, write_yaml
from tore.datasets.tsv import PARTIAL_SUFFIX, TSVReader, TSVWriter, companions
from tore.files import write_whole
from tore.paths import find_body_files
from tore.synthetic.image import BATCH, SPLITS, Sample, Studio
from tore.synthetic.scene import find_photographs

VERSION = 1  # counts up when the same recipe gives other images
TABLES = ("img", "hw", "label")
Row = tuple[str, str, str]  # one JSON or base64 column for each table


@dataclass(frozen=True)
class Recipe:
    """All that decides what the images of a set are."""

    kind: str  # "body" | "hand"
    split: str  # "train" | "val"
    seed: int
    size: int  # pixels
    body_dir: str  # of the body model
    backgrounds: str | None = None  # folder of photographs

    def described(self) -> dict[str, object]:
        """The recipe with the body model by its name in place of its folder."""
        fields = {"data_dir" if name == "body_dir" else name: value for name, value in asdict(self).items()}
        return fields | {"data_dir": find_body_files(self.kind, self.body_dir)[1].model}

    def key(self, index: int) -> str:
        """The key of an image's rows."""
        return f"synthetic_{self.kind}/{self.split}/{index:08d}.jpg"


def write_images(
    recipe: Recipe,
    count: int,
    folder: str | Path,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda done: None,
) -> Path:
    """Writes `<split>.yaml` and its tables into `folder` and returns its path.

    A set of the same recipe that is there is kept and continued to `count` images. progress is told how many more
    are done. Raises ValueError where another recipe's set is there, or a longer one.
    """
    _check(recipe, count)
    folder = Path(folder)
    yaml = folder / f"{recipe.split}.yaml"
    tables = [folder / f"{recipe.split}.{table}.tsv" for table in TABLES]
    _claim(recipe, folder, [yaml, *tables], overwrite)
    there = len(TSVReader(tables[0])) if yaml.is_file() else 0
    if there > count:
        raise ValueError(f"{yaml} has {there} images, {count} are requested: name another folder, or overwrite it")
    if there == count:
        progress(count)
        return yaml
    with ExitStack() as stack:
        writers = [stack.enter_context(TSVWriter(table, resume=True)) for table in tables]
        yaml.unlink(missing_ok=True)
        kept = min(count, *(len(writer) for writer in writers)) // BATCH * BATCH
        for writer in writers:
            writer.truncate(kept)
        progress(kept)
        for rows in _made(recipe, count, kept // BATCH, workers):
            for row in rows:
                key = recipe.key(len(writers[0]))
                for writer, column in zip(writers, row, strict=True):
                    writer.write([key, column])
            progress(len(rows))
    write_linelist(folder / f"{recipe.split}.linelist.tsv", list(range(count)))
    names = {table: f"{recipe.split}.{table}.tsv" for table in TABLES}
    return write_yaml(yaml, linelist=f"{recipe.split}.linelist.tsv", **names)


def _check(recipe: Recipe, count: int) -> None:
    if recipe.split not in SPLITS:
        raise ValueError(f"split {recipe.split!r} is not known; use {' or '.join(SPLITS)}")
    if count < 1:
        raise ValueError(f"{count} images make no set; ask for 1 at least")
    if not 32 <= recipe.size <= 4096:
        raise ValueError(f"images of {recipe.size} pixels are not made; ask for a side from 32 to 4096")
    if not 0 <= recipe.seed < 2**32:
        raise ValueError(f"seed {recipe.seed} is not between 0 and 2^32 - 1")


def _claim(recipe: Recipe, folder: Path, paths: list[Path], overwrite: bool) -> None:
    """Leaves the recipe beside the set; refuses a folder whose set is another's, or clears it."""
    note = folder / f"{recipe.split}.recipe.json"
    content = json.dumps({"version": VERSION, **recipe.described()}, indent=1).encode()
    if overwrite:
        for path in paths:
            for leftover in (path, *companions(path), path.with_name(path.name + PARTIAL_SUFFIX)):
                leftover.unlink(missing_ok=True)
    elif note.is_file() and note.read_bytes() != content:
        raise ValueError(f"{note} tells of a set made otherwise: name another folder, or overwrite it")
    elif not note.is_file() and any(path.exists() for path in paths):
        raise ValueError(f"{folder} holds a {recipe.split} set that was not made here: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(note, content)


def _made(recipe: Recipe, count: int, first: int, workers: int) -> Iterator[list[Row]]:
    """The rows of every batch from batch `first` on, in order."""
    numbers = range(first, ceil(count / BATCH))
    wanted = [min(BATCH, count - number * BATCH) for number in numbers]
    if workers <= 1 or len(numbers) <= 1:
        yield from map(_make_batch, repeat(recipe), numbers, wanted)
        return
    # started afresh, not forked: a fork would copy the threads' locks of torch and OpenCV
    pool = ProcessPoolExecutor(min(workers, len(numbers)), mp_context=get_context("spawn"))
    try:
        yield from pool.map(_make_batch, repeat(recipe), numbers, wanted)
    finally:
        pool.shutdown(cancel_futures=True)


def _make_batch(recipe: Recipe, number: int, wanted: int) -> list[Row]:
    with _one_thread():
        studio = _open_studio(recipe.kind, recipe.size, recipe.body_dir, recipe.backgrounds)
        return [_row(sample, recipe.size) for sample in studio.batch(recipe.seed, recipe.split, number, wanted)]


@lru_cache(maxsize=1)
def _open_studio(kind: str, size: int, body_dir: str, backgrounds: str | None) -> Studio:
    """One for each process: reading the body model takes longer than a batch."""
    return Studio(kind, size, body_dir, find_photographs(Path(backgrounds)) if backgrounds else ())


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread in torch and OpenCV: processes do not get into each other's way, and sums keep their order."""
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


def _row(sample: Sample, size: int) -> Row:
    image = base64.b64encode(sample.jpeg).decode()
    return image, json.dumps([{"height": size, "width": size}]), json.dumps([sample.label])
