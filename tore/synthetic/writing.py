"""Writes synthetic images as a METRO TSV set, many processes side by side.

The set depends on its recipe alone, never on the number of processes, and the first N images of a larger set are those
of a smaller one. Its tables are cut into parts of `PART_ROWS` rows, so that a run that is stopped leaves the parts that
it completed as a set, and `.partial` files of the next one; the same command resumes there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import chain, count, repeat
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import torch

from tore.body.identity import body_identity
from tore.datasets.sets import TSVSet, write_linelist, write_yaml
from tore.datasets.tsv import PARTIAL_SUFFIX, TSVWriter, companions
from tore.files import write_whole
from tore.paths import SYNTHETIC, SYNTHETIC_FILES, find_body_files
from tore.synthetic.hand_scenes import HandStudio
from tore.synthetic.look import VERSION as LOOK_VERSION
from tore.synthetic.look import asset_names, open_look
from tore.synthetic.people import BATCH, SPLITS, Sample
from tore.synthetic.scenes import PeopleStudio

VERSION = 1  # counts up when the same recipe gives other images
TABLES = ("img", "hw", "label")
PART_ROWS = 64 * BATCH  # of each file but the last one
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
    assets: str | None = None  # folder of skins, clothes and panoramas; for the synthetic body and hand

    def described(self) -> dict[str, object]:
        """The recipe with the body model and the assets by their names in place of their folders."""
        model = find_body_files(self.kind, self.body_dir)[1].model
        fields = {"data_dir" if name == "body_dir" else name: value for name, value in asdict(self).items()}
        fields |= {"data_dir": model}  # its name in the sets of version 0.1
        return fields | {"assets": asset_names(self.assets), "look": LOOK_VERSION}

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
    _claim(recipe, folder, overwrite)
    there = len(TSVSet(yaml)) if yaml.is_file() else 0
    if there > count:
        raise ValueError(f"{yaml} has {there} images, {count} are requested: name another folder, or overwrite it")
    if there == count:
        progress(count)
        return yaml
    full = there // PART_ROWS  # parts
    _write_list(recipe, folder, full * PART_ROWS)
    progress(full * PART_ROWS)
    rows: Iterator[Row] | None = None
    for number in range(full, ceil(count / PART_ROWS)):
        first, end = number * PART_ROWS, min((number + 1) * PART_ROWS, count)
        with ExitStack() as stack:
            tables = _tables(recipe, folder, number)
            writers = [stack.enter_context(TSVWriter(table, resume=True)) for table in tables]
            kept = min(end - first, *(len(writer) for writer in writers)) // BATCH * BATCH
            for writer in writers:
                writer.truncate(kept)
            progress(kept)
            rows = rows or _made(recipe, count, (first + kept) // BATCH, workers)
            for index in range(first + kept, end):
                for writer, column in zip(writers, next(rows), strict=True):
                    writer.write([recipe.key(index), column])
                if (index + 1) % BATCH == 0 or index + 1 == end:
                    progress(index % BATCH + 1)
        _write_list(recipe, folder, end)
    return yaml


def _tables(recipe: Recipe, folder: Path, part: int) -> list[Path]:
    """The files of one part of the set."""
    number = f".{part:03d}" if part else ""
    return [folder / f"{recipe.split}{number}.{table}.tsv" for table in TABLES]


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL_SUFFIX)


def _write_list(recipe: Recipe, folder: Path, count: int) -> None:
    """The yaml file and the line list of the first `count` rows; neither where there is none."""
    yaml, linelist = folder / f"{recipe.split}.yaml", folder / f"{recipe.split}.linelist.tsv"
    yaml.unlink(missing_ok=True)
    if not count:
        return
    parts = [[path.name for path in _tables(recipe, folder, part)] for part in range(ceil(count / PART_ROWS))]
    names: dict[str, Any] = dict(zip(TABLES, parts[0], strict=True))
    if len(parts) == 1:
        write_linelist(linelist, list(range(count)))
    else:
        write_linelist(linelist, [divmod(index, PART_ROWS) for index in range(count)])
        names = {table: [files[column] for files in parts] for column, table in enumerate(TABLES)}
    write_yaml(yaml, **names, linelist=linelist.name, body_model=body_identity(recipe.kind, recipe.body_dir))


def _check(recipe: Recipe, count: int) -> None:
    if recipe.split not in SPLITS:
        raise ValueError(f"split {recipe.split!r} is not known; use {' or '.join(SPLITS)}")
    if count < 1:
        raise ValueError(f"{count} images make no set; ask for 1 at least")
    if not 32 <= recipe.size <= 4096:
        raise ValueError(f"images of {recipe.size} pixels are not made; ask for a side from 32 to 4096")
    if not 0 <= recipe.seed < 2**32:
        raise ValueError(f"seed {recipe.seed} is not between 0 and 2^32 - 1")
    files = find_body_files(recipe.kind, recipe.body_dir)[1]
    if files not in SYNTHETIC_FILES.values():
        raise ValueError(
            f"images are made of the synthetic body and hand alone, and {recipe.body_dir} is the folder of "
            f"{files.name}: use --body_dir {SYNTHETIC} (in Python body_dir={SYNTHETIC!r})"
        )


def _claim(recipe: Recipe, folder: Path, overwrite: bool) -> None:
    """Leaves the recipe beside the set; refuses a folder whose set is another's, or clears it."""
    note = folder / f"{recipe.split}.recipe.json"
    content = json.dumps({"version": VERSION, **recipe.described()}, indent=1).encode()
    found = [folder / f"{recipe.split}.yaml"]
    for number in count():
        tables = [table for table in _tables(recipe, folder, number) if table.exists() or _partial(table).exists()]
        found += tables
        if not tables:
            break
    if overwrite:
        for path in found:
            for leftover in (path, *companions(path), _partial(path)):
                leftover.unlink(missing_ok=True)
    elif note.is_file() and note.read_bytes() != content:
        raise ValueError(f"{note} tells of a set made otherwise: name another folder, or overwrite it")
    elif not note.is_file() and any(path.exists() for path in found):
        raise ValueError(f"{folder} holds a {recipe.split} set that was not made here: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(note, content)


def _made(recipe: Recipe, count: int, first: int, workers: int) -> Iterator[Row]:
    """The rows of every batch from batch `first` on, in order."""
    numbers = range(first, ceil(count / BATCH))
    wanted = [min(BATCH, count - number * BATCH) for number in numbers]
    if workers <= 1 or len(numbers) <= 1:
        yield from chain.from_iterable(map(_make_batch, repeat(recipe), numbers, wanted))
        return
    # started afresh, not forked: a fork would copy the threads' locks of torch and OpenCV
    pool = ProcessPoolExecutor(min(workers, len(numbers)), mp_context=get_context("spawn"))
    try:
        yield from chain.from_iterable(pool.map(_make_batch, repeat(recipe), numbers, wanted))
    finally:
        pool.shutdown(cancel_futures=True)


def _make_batch(recipe: Recipe, number: int, wanted: int) -> list[Row]:
    with _one_thread():
        studio = _open_studio(replace(recipe, seed=0))
        return [_row(sample, recipe.size) for sample in studio.batch(recipe.seed, recipe.split, number, wanted)]


@lru_cache(maxsize=2)
def _open_studio(recipe: Recipe) -> PeopleStudio | HandStudio:
    """What makes the recipe's images; one for each process, since reading the body model takes longer than a batch."""
    look = open_look(recipe.assets, recipe.backgrounds, recipe.split)
    studio = PeopleStudio if recipe.kind == "body" else HandStudio
    return studio(recipe.size, recipe.body_dir, look)


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
