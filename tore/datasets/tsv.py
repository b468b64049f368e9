"""TSV files with an index of row offsets and a checksum per row: reading, and writing that survives being killed."""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tore.files import write_whole, writing

SUFFIX = ".crc32"
DIGITS = 8


def checksum_path(path: str | Path) -> Path:
    """`x.tsv.crc32` of `x.tsv`."""
    return Path(f"{path}{SUFFIX}")


def row_checksum(columns: Sequence[bytes]) -> int:
    """CRC-32 of the row of these columns, the tabs between them included, without a copy of it."""
    total = zlib.crc32(columns[0])
    for column in columns[1:]:
        total = zlib.crc32(column, zlib.crc32(b"\t", total))
    return total


def line_checksums(path: str | Path) -> list[int]:
    """The checksum of each line of a file, by reading it once."""
    with Path(path).open("rb") as file:
        return [zlib.crc32(line.removesuffix(b"\n").removesuffix(b"\r")) for line in file]


def checksum_bytes(sums: Iterable[int]) -> bytes:
    """The content of a checksum file."""
    return "".join(f"{total:0{DIGITS}x}\n" for total in sums).encode()


def read_checksums(path: str | Path) -> np.ndarray | None:
    """(rows,) uint32 of the rows of `path`; None without a checksum file, ValueError where that holds other things."""
    file = checksum_path(path)
    if not file.is_file():
        return None
    lines = file.read_bytes().split()
    try:
        if any(len(line) != DIGITS for line in lines):
            raise ValueError
        return np.array([int(line, 16) for line in lines], np.uint32)
    except (ValueError, OverflowError):
        raise ValueError(f"{file} holds something other than {DIGITS} hexadecimal digits a line: delete it") from None


def first_difference(sums: Sequence[int], expected: Sequence[int] | np.ndarray) -> int | None:
    """The first row whose checksum is not the expected one, or that only one of the two has; None where all agree."""
    for row, (found, wanted) in enumerate(zip(sums, expected, strict=False)):
        if found != wanted:
            return row
    return None if len(sums) == len(expected) else min(len(sums), len(expected))


INDEX_SUFFIX = ".lineidx"
PARTIAL_SUFFIX = ".partial"
SCAN_BYTES = 1 << 22


def index_path(path: str | Path) -> Path:
    """`x.lineidx` of `x.tsv`."""
    return Path(path).with_suffix(INDEX_SUFFIX)


def companions(path: str | Path) -> list[Path]:
    """What the writer leaves beside `path`: its index and its checksums."""
    return [index_path(path), checksum_path(path)]


def scan_offsets(path: str | Path) -> np.ndarray:
    """(rows,) int64 byte offset of each row, by reading the whole file once."""
    starts, position = [np.zeros(1, np.int64)], 0
    with Path(path).open("rb") as file:
        while chunk := file.read(SCAN_BYTES):
            newlines = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
            starts.append(newlines + position + 1)
            position += len(chunk)
    offsets = np.concatenate(starts)
    return offsets[offsets < position]


def write_with_checksums(path: str | Path, lines: Sequence[bytes]) -> None:
    """Writes a small file of lines and its checksums, each atomically."""
    checksum_path(path).unlink(missing_ok=True)  # never an old one beside a new file
    write_whole(path, b"".join(line + b"\n" for line in lines))
    write_whole(checksum_path(path), checksum_bytes(row_checksum([line]) for line in lines))


def _index_bytes(offsets: Sequence[int] | np.ndarray) -> bytes:
    return "".join(f"{int(offset)}\n" for offset in offsets).encode()


class TSVReader:
    """Rows of one TSV file by number.

    Reading goes through `pread`, which shares no file position: forked workers and threads may use one reader.
    A pickled reader carries the index but no open handle and opens the file again at its first read.

    An index that is missing is made (and kept in memory only where the folder cannot be written). One that does not
    belong to the file is noticed: at opening where its first or last offset or its order is wrong, else at the row
    that it misplaces. ValueError then names both files.
    """

    _opening = threading.Lock()  # of the class, because readers are pickled

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} is missing: name a TSV file, or the yaml file that lists it")
        self._descriptor: int | None = None
        self._size = self.path.stat().st_size
        self._offsets = self._load_index()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, row: int) -> list[str]:
        """The columns of a row as text. ValueError where they are not UTF-8 or the index is wrong."""
        try:
            return [column.decode() for column in self.columns(row)]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} row {row}: the text is not UTF-8 ({error.reason})") from None

    def __iter__(self) -> Iterator[list[str]]:
        return (self[row] for row in range(len(self)))

    def columns(self, row: int) -> list[bytes]:
        """The columns of a row as bytes, which saves decoding an image's long base64 column."""
        count = len(self._offsets)
        if not -count <= row < count:
            raise IndexError(f"{self.path} has {count} rows, row {row} is not among them")
        row %= count
        start = int(self._offsets[row])
        end = int(self._offsets[row + 1]) if row + 1 < count else self._size
        first = min(start, 1)  # the byte before the row, which ends the row before, is read along
        data = self._read(start - first, end)
        last = len(data) - data.endswith(b"\n")
        unfinished = last == len(data) and row + 1 < count
        if (first and data[0] != ord("\n")) or data.find(b"\n", first, last) >= 0 or unfinished:
            raise ValueError(self._stale(f"row {row} does not start at byte {start} and end at byte {end}"))
        last -= data.endswith(b"\r", first, last)
        return _split(data, first, last)

    def close(self) -> None:
        """Gives the file handle back; the next read opens the file again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> TSVReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_descriptor": None}

    def _read(self, start: int, end: int) -> bytes:
        if self._descriptor is None:
            with self._opening:
                if self._descriptor is None:
                    self._descriptor = os.open(self.path, os.O_RDONLY)
        parts = []
        while start < end:
            part = os.pread(self._descriptor, end - start, start)
            if not part:
                raise ValueError(f"{self.path} became shorter than {end} bytes while it was read: open it again")
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _load_index(self) -> np.ndarray:
        path = index_path(self.path)
        if not path.is_file():
            offsets = scan_offsets(self.path)
            with contextlib.suppress(OSError):
                write_whole(path, _index_bytes(offsets))
            return offsets
        try:
            offsets = np.array(path.read_bytes().split(), dtype="S20").astype(np.int64)
        except (ValueError, OverflowError):
            raise ValueError(self._stale("it holds something other than byte offsets")) from None
        if len(offsets) == 0:
            if self._size:
                raise ValueError(self._stale("it is empty"))
            return offsets
        if offsets[0] != 0 or (np.diff(offsets) <= 0).any():
            raise ValueError(self._stale("its offsets do not rise from 0"))
        if offsets[-1] >= self._size:
            raise ValueError(self._stale(f"its last offset {offsets[-1]} lies behind the file's {self._size} bytes"))
        self._check_last_row(int(offsets[-1]))
        return offsets

    def _check_last_row(self, start: int) -> None:
        """Rows appended after the index was made show as a line end before the last byte."""
        position = start
        try:
            while position < self._size - 1:
                end = min(position + SCAN_BYTES, self._size - 1)
                if b"\n" in self._read(position, end):
                    raise ValueError(self._stale("the file has more rows than the index"))
                position = end
        finally:
            self.close()

    def _stale(self, finding: str) -> str:
        index = index_path(self.path)
        return f"{index} does not belong to {self.path}: {finding}; delete it and it will be made again"


def _split(data: bytes, first: int, last: int) -> list[bytes]:
    """`data[first:last].split(b"\\t")` with one copy of a long column less."""
    columns = []
    while (tab := data.find(b"\t", first, last)) >= 0:
        columns.append(data[first:tab])
        first = tab + 1
    return [*columns, data[first:last]]


class TSVWriter:
    """Streams rows to a TSV file, its index and its checksums; they appear only when the writer is closed.

    As a context manager it renames the file on success and removes what it wrote on an error. With `resume=True` the
    rows go to `<path>.partial`, which an error or a kill leaves behind: the next writer with `resume=True` cuts off
    a torn last row and continues after it. A finished file is taken up again in the same way; ValueError where its rows
    are not those of its checksums. `done_keys` then lists the first column of every row that is already there;
    `truncate` makes files that belong together agree.
    """

    def __init__(self, path: str | Path, resume: bool = False) -> None:
        self.path, self.resume = Path(path), resume
        self.path.parent.mkdir(parents=True, exist_ok=True)
        suffix = PARTIAL_SUFFIX if resume else f"{PARTIAL_SUFFIX}.{os.getpid()}"
        self._partial = self.path.with_name(self.path.name + suffix)
        self._offsets, self._sums = array("q"), array("L")
        self.done_keys: list[str] = []
        if resume and self.path.is_file() and not self._partial.is_file():
            _refuse_damage(self.path)
            self._remove_companions()
            self.path.replace(self._partial)
        self._file = self._partial.open("r+b" if resume and self._partial.is_file() else "w+b")
        self._position = self._take_up()

    def __len__(self) -> int:
        """Rows written so far, the resumed ones included."""
        return len(self._offsets)

    def write(self, columns: Sequence[str | bytes]) -> int:
        """Appends one row and returns its number. ValueError where a column holds a tab or a line end."""
        encoded = [column.encode() if isinstance(column, str) else bytes(column) for column in columns]
        for column in encoded:
            if b"\t" in column or b"\n" in column or b"\r" in column:
                raise ValueError(f"{self.path} row {len(self)}: column {column[:80]!r} holds a tab or a line end")
        line = b"\t".join(encoded) + b"\n"
        self._offsets.append(self._position)
        self._sums.append(row_checksum(encoded))
        with writing(self.path):
            self._file.write(line)
        self._position += len(line)
        return len(self._offsets) - 1

    def truncate(self, rows: int) -> None:
        """Keeps the first `rows` rows only. ValueError where there are fewer."""
        if rows > len(self):
            raise ValueError(f"{self.path} has {len(self)} rows and cannot be cut to {rows}")
        if rows < len(self):
            self._position = self._offsets[rows]
            del self._offsets[rows:]
            del self._sums[rows:]
            del self.done_keys[rows:]
            self._file.flush()
            self._file.seek(self._position)
            self._file.truncate()

    def close(self) -> None:
        """Gives the file its name and writes its index and checksums."""
        if self._file.closed:
            return
        with writing(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self._remove_companions()  # never old ones beside a new file
        self._partial.replace(self.path)
        write_whole(checksum_path(self.path), checksum_bytes(self._sums))
        write_whole(index_path(self.path), _index_bytes(self._offsets))

    def abandon(self) -> None:
        """Stops without giving the files their names: keeps the partial file for a resume, else removes it."""
        try:
            with writing(self.path):
                self._file.close()
        finally:
            if not self.resume:
                self._partial.unlink(missing_ok=True)

    def __enter__(self) -> TSVWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _take_up(self) -> int:
        """Reads the rows of the partial file, cuts off a torn last one, and returns where the next row starts."""
        position = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            self._offsets.append(position)
            self._sums.append(row_checksum([line[:-1]]))
            self.done_keys.append(line.split(b"\t", 1)[0].rstrip(b"\n").decode(errors="replace"))
            position += len(line)
        self._file.seek(position)
        self._file.truncate()
        return position

    def _remove_companions(self) -> None:
        for path in companions(self.path):
            path.unlink(missing_ok=True)


def _refuse_damage(path: Path) -> None:
    """Rows that changed since they were written must not get new checksums."""
    expected = read_checksums(path)
    row = None if expected is None else first_difference(line_checksums(path), expected)
    if row is not None:
        found = f"row {row} is not as it was written, as {checksum_path(path)} tells"
        raise ValueError(f"{path}: {found}; make the file anew, or delete its checksums if the change was meant")
