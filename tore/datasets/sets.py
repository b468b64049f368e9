"""TSV data sets: the yaml that names their files, the rows of a sample, samples that cannot be used, joining sets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from tore.body.identity import BodyIdentity
from tore.datasets.tsv import TSVReader, write_with_checksums
from tore.files import read_yaml, write_whole

TABLES = ("img", "hw", "label")
BODY_MODEL = "body_model"  # the yaml file's record of whose pose and shape the labels hold
Names = str | Sequence[str]


class Place(NamedTuple):
    """Where a sample's row lies: the file and the row in it, for messages and lookups."""

    path: Path
    row: int

    def __str__(self) -> str:
        return f"{self.path} row {self.row}"


class TSVSet:
    """The rows of a data set: `place(table, index)` and `columns(table, index)` for the tables img, hw and label.

    `body_model` is the identity of the body model whose pose and shape the labels hold, None where it is not recorded.

    FileNotFoundError for a missing file; ValueError for a yaml file or a line list that does not follow the format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        settings = _load_settings(self.path)
        self.composite = bool(settings.get("composite", False))
        record = settings.get(BODY_MODEL)
        self.body_model = None if record is None else BodyIdentity.from_plain(record, self.path)
        self.tables: dict[str, list[TSVReader]] = {}
        for table in TABLES:
            if settings.get(table):
                files = _file_names(self.path, table, settings[table], self.composite)
                self.tables[table] = [TSVReader(self.path.parent / name) for name in files]
        for table in ("img", "label"):
            if table not in self.tables:
                raise ValueError(f"{self.path} names no {table!r} file: add a line `{table}: NAME.tsv`")
        linelist = settings.get("linelist")
        if self.composite and not linelist:
            raise ValueError(f"{self.path} is composite and needs a linelist of `source<TAB>row` lines")
        self.linelist_path = self.path.parent / str(linelist) if linelist else None
        self._picks = self._load_linelist() if self.linelist_path else None  # (n, 2) source, row
        self._check_sizes()

    def __len__(self) -> int:
        return len(self.tables["label"][0]) if self._picks is None else len(self._picks)

    @property
    def picks(self) -> np.ndarray:
        """(n, 2): for each sample the number of its file and the row in it."""
        if self._picks is not None:
            return self._picks
        return np.stack([np.zeros(len(self), np.int64), np.arange(len(self))], 1)

    def place(self, table: str, index: int) -> Place:
        """The file and row of sample `index` in a table."""
        source, row = (0, index) if self._picks is None else map(int, self._picks[index])
        return Place(self.tables[table][source].path, row)

    def columns(self, table: str, index: int) -> list[bytes]:
        """The columns of sample `index` in a table, as bytes."""
        source, row = (0, index) if self._picks is None else map(int, self._picks[index])
        return self.tables[table][source].columns(row)

    def close(self) -> None:
        """Gives every file handle back; the next read opens the file again."""
        for readers in self.tables.values():
            for reader in readers:
                reader.close()

    def _load_linelist(self) -> np.ndarray:
        path = self.linelist_path
        assert path is not None
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {self.path} names it as its linelist")
        width = 2 if self.composite else 1
        what = "`source<TAB>row`" if self.composite else "one row number"
        lines = [line.split() for line in path.read_bytes().splitlines() if line.strip()]
        for number, line in enumerate(lines, 1):
            if len(line) != width or not all(value.isdigit() for value in line):
                shown = b"\t".join(line).decode(errors="replace")
                raise ValueError(f"{path} line {number} is {shown[:60]!r}, expected {what}")
        picks = np.array(lines, dtype="S20").astype(np.int64).reshape(-1, width)
        return picks if self.composite else np.pad(picks, ((0, 0), (1, 0)))

    def _check_sizes(self) -> None:
        """Every table has the same number of files, and every pick lies inside its file."""
        counts = {table: len(readers) for table, readers in self.tables.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{self.path} lists different numbers of files: {counts}")
        if self._picks is None:
            rows = {str(readers[0].path): len(readers[0]) for readers in self.tables.values()}
            if len(set(rows.values())) > 1:
                raise ValueError(f"{self.path}: its files have different numbers of rows: {rows}")
            return
        if len(self._picks) and self._picks[:, 0].max() >= counts["img"]:
            raise ValueError(f"{self.linelist_path} names source {self._picks[:, 0].max()} of {counts['img']} files")
        for readers in self.tables.values():
            lengths = np.array([len(reader) for reader in readers])
            beyond = np.flatnonzero(self._picks[:, 1] >= lengths[self._picks[:, 0]])
            if len(beyond):
                source, row = map(int, self._picks[beyond[0]])
                found = f"picks row {row} of {readers[source].path}, which has {lengths[source]} rows"
                raise ValueError(f"{self.linelist_path} line {beyond[0] + 1} {found}")


def write_yaml(
    path: str | Path,
    img: Names,
    label: Names,
    hw: Names | None = None,
    linelist: str | None = None,
    body_model: BodyIdentity | None = None,
) -> Path:
    """Writes a set's yaml file, names relative to it; lists of files make it composite. Returns its path.

    body_model: whose pose and shape the labels hold, where it is known.
    """
    composite = not isinstance(img, str)
    settings: dict[str, object] = {"composite": True} if composite else {}
    for table, names in (("img", img), ("hw", hw), ("label", label)):
        if names is not None:
            settings[table] = names if isinstance(names, str) else list(names)
    if linelist is not None:
        settings["linelist"] = linelist
    if body_model is not None:
        settings[BODY_MODEL] = body_model.described()
    write_whole(path, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).encode())
    return Path(path)


def write_linelist(path: str | Path, rows: Sequence[int] | Sequence[tuple[int, int]]) -> Path:
    """Writes a line list and its checksums; returns its path.

    Row numbers, or (source, row) pairs for a composite set.
    """
    pairs = [(row,) if isinstance(row, int) else row for row in rows]
    write_with_checksums(path, ["\t".join(map(str, pair)).encode() for pair in pairs])
    return Path(path)


def _load_settings(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: name the yaml file of a data set")
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no `name: value` lines; expected img, label, hw, linelist")
    return settings


def _file_names(path: Path, table: str, value: object, composite: bool) -> list[str]:
    """The file names of one table: one for a plain set, many for a composite one."""
    if isinstance(value, list) and composite and all(isinstance(name, str) for name in value):
        return value
    if not isinstance(value, str):
        wanted = "a list of file names" if composite else "one file name (or add `composite: True`)"
        raise ValueError(f"{path}: {table!r} is {value!r}, expected {wanted}")
    if not composite:
        return [value]
    listing = path.parent / value
    if not listing.is_file():
        raise FileNotFoundError(f"{listing} is missing: {path} names it as the list of its {table!r} files")
    return [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]


SHOWN = 10


class BadSample(ValueError):
    """One row that cannot be used; the message names file, row, key and finding. Made with `BadSample.at`."""

    def __init__(self, message: str) -> None:
        # an error in a loader's worker arrives as the text of its traceback, which ends with the message
        super().__init__(message.rstrip().rsplit(f"{BadSample.__name__}: ", 1)[-1])

    @classmethod
    def at(cls, place: Place, key: str, finding: str) -> BadSample:
        """The error of one row."""
        return cls(f"{place} (key {key!r}): {finding}")


class BadSampleLog:
    """Which samples were passed over, in memory that loader workers share with the process that started them."""

    def __init__(self, size: int) -> None:
        self._marks = torch.zeros(size, dtype=torch.uint8, device="cpu").share_memory_()

    def mark(self, index: int) -> None:
        """Notes that sample `index` could not be used."""
        self._marks[index] = 1

    def indices(self) -> list[int]:
        """The samples passed over so far, each once, ascending."""
        return torch.nonzero(self._marks)[:, 0].tolist()

    def merge(self, largest_of_all: Callable[[Tensor], Tensor]) -> None:
        """Adds what other processes passed over; the function gives the entry-wise largest tensor of all processes."""
        self._marks.copy_(largest_of_all(self._marks))

    def summary(self, read: Callable[[int], object]) -> str:
        """A few lines for the end of a run: how many, and the first ones' findings, got by reading them again."""
        bad = self.indices()
        if not bad:
            return f"all {len(self._marks)} samples could be used"
        lines = [f"{len(bad)} of {len(self._marks)} samples could not be used and were replaced by the next one:"]
        for index in bad[:SHOWN]:
            try:
                read(index)
            except BadSample as error:
                lines.append(f"  {error}")
        if len(bad) > SHOWN:
            lines.append(f"  ... and {len(bad) - SHOWN} more")
        return "\n".join(lines)


def join_sets(yamls: Sequence[str | Path], out: str | Path, overwrite: bool = False) -> int:
    """Writes the yaml `out` and its line list: the samples of all sets, one after the other; returns how many.

    The table of sizes is left out where one of the sets has none, and so is the record of the body model. Raises
    ValueError where a file is there already, and for labels of two body models.
    """
    out = Path(out)
    linelist = out.with_name(f"{out.stem}.linelist.tsv")
    for path in (out, linelist):
        if path.exists() and not overwrite:
            raise ValueError(f"{path} is there already: name another --out, or add --overwrite")
    sets = [TSVSet(yaml) for yaml in yamls]
    body_model = _common_body(sets)
    shared = [table for table in TABLES if all(table in one.tables for one in sets)]
    names = {
        table: [os.path.relpath(reader.path, out.parent) for one in sets for reader in one.tables[table]]
        for table in shared
    }
    first = np.cumsum([0, *(len(one.tables["img"]) for one in sets)])  # number of each set's first file
    picks = np.concatenate([one.picks + [start, 0] for one, start in zip(sets, first, strict=False)])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_linelist(linelist, [(int(source), int(row)) for source, row in picks])
    write_yaml(out, **names, linelist=linelist.name, body_model=body_model)
    return len(picks)


def _common_body(sets: Sequence[TSVSet]) -> BodyIdentity | None:
    """The body model of all sets, None where one does not record it. ValueError where two record different ones."""
    recorded = [one for one in sets if one.body_model is not None]
    for one in recorded[1:]:
        first = recorded[0]
        assert first.body_model is not None and one.body_model is not None
        if not first.body_model.agrees_with(one.body_model):
            raise ValueError(
                f"{first.path} has labels of the body model {first.body_model}, and {one.path} of {one.body_model}: "
                "one set cannot hold both; join sets of one body model"
            )
    return recorded[0].body_model if recorded and len(recorded) == len(sets) else None


ROWS = {"label": 4096, "img": 32}  # at most so many of a table's rows are read, evenly spread


def set_identity(rows: TSVSet) -> dict[str, Any]:
    """{"samples": their number, "digest": of what they are}; the same wherever the files lie.

    Every row of a set of up to 4096 samples has its label in the digest, of a larger one 4096 rows; of the images
    the bytes of 32 rows and the size of the files.
    """
    digest = hashlib.sha256(rows.picks.tobytes())
    for table, most in ROWS.items():
        for reader in rows.tables[table]:
            digest.update(f"{table} {len(reader)} {reader.path.stat().st_size}\n".encode())
        for index in np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)):
            digest.update(b"\t".join(rows.columns(table, int(index))))
    return {"samples": len(rows), "digest": digest.hexdigest()[:16]}
