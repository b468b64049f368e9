"""A checksum of every row of a file, in a small file beside it: what its rows were when they were written.

`x.tsv.crc32` holds for each line of `x.tsv` the CRC-32 of its bytes without the line end, as eight hexadecimal digits
and a line end of its own, so that the sum of row i begins at byte 9 i. Reading a set never needs it; a check does.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

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
