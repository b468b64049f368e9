"""The checksums beside the files of one set: are its rows those that were written? And made for a set without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tore.datasets.inspection.rows import ERROR, Finding
from tore.datasets.sets import Place, TSVSet
from tore.datasets.tsv import checksum_bytes, checksum_path, line_checksums, read_checksums, row_checksum
from tore.files import write_whole

CHECK = "checksum"
RENEW = "if that was meant, delete the checksum file and make it anew with --write_checksums"
NAMED = 4


class SetChecksums:
    """Compares rows with them. `findings`: checksum files that do not fit, and changed lines of the line list."""

    def __init__(self, rows: TSVSet) -> None:
        self.findings: list[Finding] = []
        self._missing: list[Path] = []
        self._changed: dict[Path, None] = {}  # in the order of finding
        self._sums: dict[Path, np.ndarray] = {}
        for path, count in _files(rows).items():
            self._open(path, count)
        if rows.linelist_path in self._sums:
            self._check_lines(rows.linelist_path)

    def mismatch(self, place: Place, columns: list[bytes]) -> str | None:
        """What is wrong where a row of a table is not the one that was written."""
        if place.path not in self._sums:
            return None
        found, expected = row_checksum(columns), int(self._sums[place.path][place.row])
        if found == expected:
            return None
        self._changed[place.path] = None
        return f"the row is not as it was written: its checksum is {found:08x}, expected {expected:08x}"

    def notes(self) -> list[str]:
        """Which files have no checksums, and which were changed after theirs were made."""
        notes = []
        if self._missing:
            names = ", ".join(str(path) for path in self._missing[:NAMED])
            names += f" and {len(self._missing) - NAMED} more" if len(self._missing) > NAMED else ""
            notes.append(f"no checksums beside {names}: damage that looks sound is not found (see --write_checksums)")
        for path in self._changed:
            if path.stat().st_mtime_ns > checksum_path(path).stat().st_mtime_ns:
                notes.append(f"{path} was changed after {checksum_path(path).name} was made: {RENEW}")
        return notes

    def _open(self, path: Path, count: int) -> None:
        try:
            sums = read_checksums(path)
        except ValueError as error:
            self._find(checksum_path(path), str(error))
            return
        if sums is None:
            self._missing.append(path)
        elif len(sums) != count:
            found = (
                f"it has {len(sums)} checksums, {path.name} has {count} rows: rows were lost or added since; {RENEW}"
            )
            self._find(checksum_path(path), found)
        else:
            self._sums[path] = sums

    def _check_lines(self, path: Path) -> None:
        for line, (found, expected) in enumerate(zip(line_checksums(path), self._sums[path], strict=True), 1):
            if found != expected:
                self._changed[path] = None
                self._find(path, f"line {line} is not as it was written: checksum {found:08x}, expected {expected:08x}")

    def _find(self, path: Path, text: str) -> None:
        self.findings.append(Finding(ERROR, CHECK, str(path), "", text))


def write_missing(rows: TSVSet) -> list[Path]:
    """Makes the checksum files that a set lacks, of its files as they are; returns their paths."""
    made = []
    for path in _files(rows):
        if not checksum_path(path).is_file():
            write_whole(checksum_path(path), checksum_bytes(line_checksums(path)))
            made.append(checksum_path(path))
    return made


def _files(rows: TSVSet) -> dict[Path, int]:
    """The files of a set that hold rows, each once, and how many."""
    files = {reader.path: len(reader) for readers in rows.tables.values() for reader in readers}
    if rows.linelist_path is not None:
        files[rows.linelist_path] = len(line_checksums(rows.linelist_path))
    return files
