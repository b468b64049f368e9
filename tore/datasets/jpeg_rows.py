"""A JPEG file made to end early: the same pixels, as far down as a crop reads them.

Decoding reads a file from its top and cannot leave rows out there, but it can stop. OpenCV has no call for that; so the
height in a copy's header is lowered, and the end marker cut off so that the decoder does not look for it in vain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

START, END = b"\xff\xd8", b"\xff\xd9"
SEQUENTIAL = (0xC0, 0xC1)  # one scan holds all of a row; progressive files have many
OTHER_FRAMES = {*range(0xC2, 0xD0)} - {0xC4, 0xC8, 0xCC}  # without tables, which share these numbers
SCAN, RESTART_INTERVAL = 0xDA, 0xDD
EXIF = b"Exif\0"
BLOCK = 8  # pixels
CONTEXT = 2  # rows of subsampled colour that the decoder's smoothing reads


class Frame(NamedTuple):
    """What the header says of a sequential file with one scan."""

    height: int
    height_at: int  # place of the height's two bytes
    vertical: int  # largest vertical sampling factor
    coded_at: int  # place of the coded pixels


def first_rows(data: bytes, rows: int, reduction: int = 1) -> bytes | bytearray:
    """`data` cut so that its picture has `rows` rows, or some more, when decoded `reduction` times smaller or whole.

    `rows` counts whole pixels. A file that cannot be cut, or whose picture is no higher, comes back as it is.
    """
    frame = _read_frame(data)
    if frame is None:
        return data
    block_row = BLOCK * frame.vertical
    kept = -(-(max(rows, 1) + CONTEXT * frame.vertical * reduction) // block_row) * block_row
    if kept >= frame.height or not data.endswith(END) or not _one_stretch(data, frame.coded_at):
        return data
    cut = bytearray(data)
    del cut[-len(END) :]
    cut[frame.height_at : frame.height_at + 2] = kept.to_bytes(2, "big")
    return cut


def _read_frame(data: bytes) -> Frame | None:
    """None for a file that is progressive, has restarts or Exif data (which may turn it), more scans, or damage."""
    if not data.startswith(START):
        return None
    position, frame = len(START), b""
    while position + 4 < len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        content = data[position + 4 : position + 2 + length]
        if marker in SEQUENTIAL and len(content) > 6:  # bits, height, width, number of components, three bytes of each
            frame, height_at = content, position + 5
        elif marker == SCAN:
            vertical = max((factors & 15 for factors in frame[7::3]), default=0)
            if not vertical or content[:1] != frame[5:6]:
                return None
            return Frame(int.from_bytes(frame[1:3], "big"), height_at, vertical, position + 2 + length)
        elif marker in OTHER_FRAMES or marker == RESTART_INTERVAL or content.startswith(EXIF):
            return None
        position += 2 + length
    return None


def _one_stretch(data: bytes, start: int) -> bool:
    """True where from `start` to the end marker no other marker comes."""
    coded = np.frombuffer(data, np.uint8)[start : 1 - len(END)]  # and the end marker's first byte, no zero
    marked = coded[:-1] == 0xFF
    marked &= coded[1:] != 0
    return not marked.any()
