"""Streams a source's rows into one METRO TSV set; a run that is stopped at any moment is taken up where it was.

Four files grow side by side: images, sizes, labels, and a journal with one line per entry of the source that says
what became of it. After a stop each file ends somewhere; the journal's longest part that all of them cover is kept, the
rest is cut off, and the source continues after it. The report is counted from the journal alone, so it is the same too.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tore.datasets.convert.entries import NOT_FINITE, Entry, Source
from tore.datasets.images import decoded_size
from tore.datasets.sets import write_linelist, write_yaml
from tore.datasets.tsv import PARTIAL_SUFFIX, TSVWriter, checksum_path, index_path
from tore.files import parse_json, read_json, write_whole

TABLES = ("img", "hw", "label")
FLAGS = ("has_2d_joints", "has_3d_joints", "has_smpl", "gender")
EXAMPLES = 5
MISSING, UNREADABLE = "the image is missing", "the image's header cannot be read"
NO_BOX = "the box has no area"


@dataclass(frozen=True)
class SetFiles:
    """The paths of one set: `<name>.yaml` in `folder` and what it names."""

    folder: Path
    name: str

    def table(self, table: str) -> Path:
        """The TSV file of "img", "hw" or "label"."""
        return self.folder / f"{self.name}.{table}.tsv"

    @property
    def linelist(self) -> Path:
        """One row number per line."""
        return self.folder / f"{self.name}.linelist.tsv"

    @property
    def yaml(self) -> Path:
        """The file that training and evaluation are given."""
        return self.folder / f"{self.name}.yaml"

    @property
    def report(self) -> Path:
        """The counts; it is there only when the set is complete."""
        return self.folder / f"{self.name}.report.json"

    @property
    def journal(self) -> Path:
        """What became of each entry; there only while a conversion is under way."""
        return self.folder / f"{self.name}.journal.tsv"

    def finished(self) -> list[Path]:
        """Every file of a complete set, the report first."""
        tables = [self.table(table) for table in TABLES]
        return [self.report, *tables, *map(index_path, tables), self.linelist, self.yaml]

    def checksums(self) -> list[Path]:
        """Beside the tables and the line list; an older set is complete without them."""
        return [checksum_path(path) for path in (*map(self.table, TABLES), self.linelist)]

    def under_way(self) -> list[Path]:
        """What an earlier run left unfinished, the temporary files of atomic writes included."""
        streams = (*map(self.table, TABLES), self.journal)
        partial = [path.with_name(path.name + PARTIAL_SUFFIX) for path in streams]
        torn = [left for path in self.finished() for left in self.folder.glob(f".{escape(path.name)}.*")]
        return [*(path for path in partial if path.exists()), *torn]


@dataclass
class Tally:
    """What became of the entries so far, from their journal lines."""

    entries: int = 0
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)
    flags: Counter[str] = field(default_factory=Counter)

    def add(self, line: dict[str, Any]) -> None:
        """Counts one journal line."""
        self.entries += 1
        reason = line["left_out"]
        if reason:
            self.reasons[reason] += 1
            examples = self.first.setdefault(reason, [])
            if len(examples) < EXAMPLES:
                examples.append(line["key"])
        else:
            self.rows += 1
            self.flags.update({flag: line[flag] for flag in FLAGS})

    def report(self) -> dict[str, Any]:
        """Entries, rows, what was left out and why, and the shares of the rows that have each kind of label."""
        left_out = {r: {"count": self.reasons[r], "first": self.first[r]} for r in sorted(self.reasons)}
        shares = {flag: round(self.flags[flag] / self.rows, 6) for flag in FLAGS}
        return {"entries": self.entries, "rows": self.rows, "left_out": left_out, "shares": shares}


def convert(
    source: Source,
    images: str | Path,
    out: str | Path,
    name: str,
    skip_missing: bool = False,
    restart: bool = False,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Writes the set `<out>/<name>.yaml` of a source whose keys are paths below `images`; returns its report.

    Image bytes are copied as they are. A complete set of the same source is left alone; `restart` makes it anew.
    FileNotFoundError for an image that is missing and ValueError for one that cannot be read, unless `skip_missing`
    leaves such rows out; ValueError where `out` holds a set of another source.
    """
    if not name or Path(name).name != name:
        raise ValueError(f"name {name!r} does not name a set: use a plain file name such as train")
    files, root = SetFiles(Path(out), name), Path(images)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: name the one that the images' paths start from")
    if restart:
        for path in (*files.finished(), *files.checksums(), *files.under_way()):
            path.unlink(missing_ok=True)
    report = _finished_report(files, source)
    if report is None:
        report = _Conversion(files, source, root, skip_missing).run(show_progress)
    return report


class _Conversion:
    """One run of `convert` over a set that is not complete."""

    def __init__(self, files: SetFiles, source: Source, root: Path, skip_missing: bool) -> None:
        self.files, self.source, self.root, self.skip_missing = files, source, root, skip_missing
        self.tally = Tally()

    def run(self, show_progress: bool) -> dict[str, Any]:
        with ExitStack() as stack:
            self.journal = TSVWriter(self.files.journal, resume=True)
            stack.callback(self.journal.abandon)  # its content goes into the report, never under its name
            self.tables = {table: TSVWriter(self.files.table(table), resume=True) for table in TABLES}
            for writer in self.tables.values():
                stack.callback(writer.abandon)
            self._take_up()
            for entry in self._with_progress(show_progress):
                line = self._write(entry)
                self.journal.write([json.dumps(line)])
                self.tally.add(line)
            self._refuse_empty()
            for writer in self.tables.values():
                writer.close()
        return self._finish()

    def _take_up(self) -> None:
        """Cuts the files to the entries that all of them cover, and counts those."""
        header, *lines = self.journal.done_keys or [""]
        description = json.dumps(self.source.description)
        if header and header != description:
            raise ValueError(_other_source(self.files.journal))
        complete = min(len(writer) for writer in self.tables.values())
        for text in lines:
            try:
                line = parse_json(text, str(self.files.journal))
                if self.tally.rows == complete and not line["left_out"]:
                    break
                self.tally.add(line)
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{self.files.journal} is damaged: add --restart to convert anew") from None
        for writer in self.tables.values():
            writer.truncate(self.tally.rows)
        if header:
            self.journal.truncate(1 + self.tally.entries)
        else:
            self.journal.write([description])

    def _with_progress(self, show_progress: bool) -> Iterator[Entry]:
        start = self.tally.entries
        entries, total = self.source.entries(start), len(self.source)
        yield from tqdm(
            entries, self.files.name, total, initial=start, unit="row", dynamic_ncols=True, disable=not show_progress
        )

    def _write(self, entry: Entry) -> dict[str, Any]:
        """Writes an entry's three rows, or none; returns its line of the journal."""
        reason, label, image = entry.left_out, "", b""
        if entry.label is not None:
            reason, label = _encode(entry.label)
        if not reason:
            reason, image, size = self._read_image(entry.key)
        if reason:
            return {"key": entry.key, "left_out": reason}
        self.tables["img"].write([entry.key, base64.b64encode(image)])
        self.tables["hw"].write([entry.key, json.dumps([size])])
        self.tables["label"].write([entry.key, label])
        flags = {name: int(bool((entry.label or {}).get(name))) for name in FLAGS}
        return {"key": entry.key, "left_out": "", **flags}

    def _read_image(self, key: str) -> tuple[str, bytes, dict[str, int]]:
        """(reason to leave the image out or "", its bytes, its size after EXIF rotation)."""
        path = self.root / key.lstrip("/")
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if self.skip_missing:
                return MISSING, b"", {}
            raise FileNotFoundError(
                f"{path} is missing: put the images below {self.root}, or add --skip_missing to leave such rows out"
            ) from None
        try:
            height, width = decoded_size(data)
        except ValueError:
            if self.skip_missing:
                return UNREADABLE, b"", {}
            raise ValueError(
                f"{path} is not an image that can be read: get it again, or add --skip_missing to leave such rows out"
            ) from None
        return "", data, {"height": height, "width": width}

    def _refuse_empty(self) -> None:
        if not self.tally.rows:
            found = ", ".join(f"{count} times {reason}" for reason, count in self.tally.reasons.items())
            advice = f"mend that and add --restart to convert into {self.files.folder} anew"
            raise ValueError(f"nothing of {self.files.name} could be written: {found or 'it is empty'}; {advice}")

    def _finish(self) -> dict[str, Any]:
        """Writes the small files, the report last; then the journal is no longer needed."""
        report = {"set": self.files.name, "source": self.source.description, **self.tally.report()}
        names: dict[str, Any] = {table: self.files.table(table).name for table in TABLES}
        write_linelist(self.files.linelist, range(self.tally.rows))
        write_yaml(self.files.yaml, **names, linelist=self.files.linelist.name)
        write_whole(self.files.report, (json.dumps(report, indent=1) + "\n").encode())
        for path in self.files.under_way():
            path.unlink()
        return report


def _encode(label: dict[str, Any]) -> tuple[str, str]:
    """(reason to leave the label out or "", the JSON of its row)."""
    try:
        text = json.dumps([label], allow_nan=False)
    except ValueError:
        return NOT_FINITE, ""
    return ("", text) if label["scale"] > 0 else (NO_BOX, "")


def _finished_report(files: SetFiles, source: Source) -> dict[str, Any] | None:
    """The report of a set that is complete already, None where there is something to do."""
    there = [path for path in files.finished() if path.exists()]
    if files.report in there:
        report: dict[str, Any] = {}
        with suppress(ValueError, TypeError):
            report = dict(read_json(files.report))
        if report.get("source") != json.loads(json.dumps(source.description)):
            raise ValueError(_other_source(files.report))
        missing = [path for path in files.finished() if path not in there]
        if missing:
            raise ValueError(f"{missing[0]} is missing beside {files.report}: add --restart to convert anew")
        for path in files.under_way():
            path.unlink()
        return report
    if there and not files.journal.with_name(files.journal.name + PARTIAL_SUFFIX).is_file():
        raise ValueError(
            f"{there[0]} was not written by this converter: name another --output_dir or --name, or add --restart"
        )
    return None


def _other_source(path: Path) -> str:
    return (
        f"{path} is of a conversion from other files or options: name another --output_dir or --name, "
        "or add --restart to convert anew"
    )
