"""Images of TSV rows: base64, the rows of a JPEG that a crop needs, decoding, what the decoder complains of."""

from __future__ import annotations

import base64
import binascii
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from tore.datasets.sets import BadSample, Place
from tore_runtime.image_files import DECODING_ERRORS, UnknownKind, open_image

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
FOREIGN = 255
SIX_BITS = np.full(256, FOREIGN, np.uint8)
SIX_BITS[np.frombuffer(ALPHABET, np.uint8)] = np.arange(64)


def decode_base64(text: bytes) -> bytes:
    """What `base64.b64decode` gives, which passes over foreign characters and raises binascii.Error for torn text."""
    data = decode_pure_base64(text)
    return base64.b64decode(text) if data is None else data


def decode_pure_base64(text: bytes) -> bytes | None:
    """The bytes of a text that is nothing but base64; None where it is empty, torn or holds other characters."""
    if not text or len(text) % 4:
        return None
    try:
        end = base64.b64decode(text[-4:], validate=True)  # alone in having padding
    except binascii.Error:
        return None
    if len(text) == 4:
        return end
    letters = np.frombuffer(text, np.uint8, len(text) - 4)
    sextets = cv2.LUT(letters[None], SIX_BITS)
    if sextets.max() == FOREIGN:
        return None
    words = sextets[0].view("<u4")  # a | b << 8 | c << 16 | d << 24
    pairs = words & 0x003F003F
    pairs <<= 6
    words >>= 8  # two blocks serve for all, so that they stay in the cache
    words &= 0x003F003F
    pairs |= words  # a b | c d << 16, twelve bits each
    np.left_shift(pairs, 12, out=words)
    pairs >>= 16
    words |= pairs  # a b c d in the lower 24 bits
    return cv2.cvtColor(words.view(np.uint8).reshape(1, -1, 4), cv2.COLOR_BGRA2RGB).tobytes() + end


START, END = b"\xff\xd8", b"\xff\xd9"
SEQUENTIAL = (0xC0, 0xC1)  # one scan holds all of a row; progressive files have many
OTHER_FRAMES = {*range(0xC2, 0xD0)} - {0xC4, 0xC8, 0xCC}  # without tables, which share these numbers
SCAN, RESTART_INTERVAL = 0xDA, 0xDD
EXIF_MARK = b"Exif\0"
BLOCK = 8  # pixels
CONTEXT = 2  # rows of subsampled color that the decoder's smoothing reads


class Frame(NamedTuple):
    """What the header says of a sequential file with one scan."""

    height: int
    height_at: int  # place of the height's two bytes
    vertical: int  # largest vertical sampling factor
    coded_at: int  # place of the coded pixels


def first_rows(data: bytes, rows: int, reduction: int = 1) -> bytes | bytearray:
    """`data` cut so that its image has `rows` rows, or some more, when decoded `reduction` times smaller or whole.

    `rows` counts whole pixels. A file that cannot be cut, or whose image is no higher, comes back as it is.
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
        elif marker in OTHER_FRAMES or marker == RESTART_INTERVAL or content.startswith(EXIF_MARK):
            return None
        position += 2 + length
    return None


def _one_stretch(data: bytes, start: int) -> bool:
    """True where from `start` to the end marker no other marker comes."""
    coded = np.frombuffer(data, np.uint8)[start : 1 - len(END)]  # and the end marker's first byte, no zero
    marked = coded[:-1] == 0xFF
    marked &= coded[1:] != 0
    return not marked.any()


ERROR_STREAM = 2  # the process's, below Python's sys.stderr
_lock = threading.Lock()


@contextmanager
def decoder_complaints() -> Iterator[list[str]]:
    """Gives a list that holds, after the block, the lines that were written to the process's error stream inside.

    OpenCV's JPEG library repairs damage inside a file as it can and says so there, and nowhere else. Blocks of several
    threads wait for one another, so that the stream is afterwards what it was, closed ones too; what others write
    meanwhile is taken for a complaint. For commands: a library has no business with its process's streams.
    """
    complaints: list[str] = []
    with _lock, tempfile.TemporaryFile() as said:
        with suppress(AttributeError, OSError, ValueError):  # there is none, or nobody reads it
            sys.stderr.flush()
        kept = _copy_of_stream(said.fileno())
        try:
            os.dup2(said.fileno(), ERROR_STREAM)
            yield complaints
        finally:
            if kept is None:
                if said.fileno() != ERROR_STREAM:
                    os.close(ERROR_STREAM)
            else:
                os.dup2(kept, ERROR_STREAM)
                os.close(kept)
        said.seek(0)
        complaints += said.read().decode(errors="replace").splitlines()


def _copy_of_stream(taken: int) -> int | None:
    """None where the stream is closed: its number is free, or was given to the file that shall stand in for it."""
    if taken == ERROR_STREAM:
        return None
    try:
        return os.dup(ERROR_STREAM)
    except OSError:
        return None


JPEG_START, PNG_START, PNG_HEADER = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", 29
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # without tables, which share these numbers
CMYK_COMPONENTS = 4
EXIF, XMP_ORIENTATION = b"Exif\0", b"tiff:Orientation"
OPAQUE_PNG = (0, 2, 3)  # color types: gray, RGB, palette
ORIENTATION, NOT_BY_A_QUARTER = 0x0112, (1, 2, 3, 4)


def row_key(columns: list[bytes]) -> str:
    """The key of a row, for messages as well as for matching."""
    return columns[0].decode(errors="replace")


def image_bytes(columns: list[bytes], place: Place) -> bytes:
    """The encoded image of an image row, from its last column. BadSample where that is not whole base64."""
    if len(columns) < 2:
        raise BadSample.at(place, row_key(columns), "the row has no image column")
    text = columns[-1]
    try:
        data = decode_base64(text)
    except binascii.Error as error:
        raise BadSample.at(place, row_key(columns), f"the image is not base64 ({error})") from None
    padding = 2 if text.endswith(b"==") else int(text.endswith(b"="))
    if len(data) != len(text) // 4 * 3 - padding or not data:  # b64decode passes over foreign characters
        raise BadSample.at(place, row_key(columns), "the image is not base64 (empty, or with foreign characters)")
    return data


DECODERS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def decode_image(columns: list[bytes], place: Place) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image row. BadSample where the bytes cannot be decoded."""
    return cv2.cvtColor(decode_bgr(columns, place), cv2.COLOR_BGR2RGB)


def decode_bgr(columns: list[bytes], place: Place, reduction: int = 1, rows: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 BGR of an image row, upright by its EXIF orientation.

    What OpenCV reads as it looks is read by it; the rest (transparent, 16-bit, CMYK and other files) as in inference.
    `reduction` 1, 2, 4 or 8: the image that many times smaller. `rows`: only the first so many of the whole image,
    and perhaps some more, are needed. BadSample where the bytes cannot be decoded.
    """
    data = image_bytes(columns, place)
    try:
        return _decode(data, reduction, rows)
    except ValueError as error:
        raise BadSample.at(place, row_key(columns), str(error)) from None


def decoded_size(data: bytes) -> tuple[int, int]:
    """(height, width) of an image file as `decode_bgr` gives it: after EXIF rotation. ValueError where it is none.

    Only the header is read, unless it says that the image is turned by a quarter.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.height, image.width
            turned = image.getexif().get(ORIENTATION, 1) not in NOT_BY_A_QUARTER
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None
    except DECODING_ERRORS:
        turned = True
    if not turned:
        return size
    height, width = _decode(data).shape[:2]
    return height, width


def _decode(data: bytes, reduction: int = 1, rows: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 BGR. ValueError says what is wrong."""
    if not _read_alike(data):
        try:
            return _reduced(open_image(io.BytesIO(data), "its image")[:, :, ::-1], reduction)
        except UnknownKind:
            pass  # OpenCV reads some kinds that Pillow does not
    image = None if rows is None else _decoded(first_rows(data, rows, reduction), reduction)
    if image is None:  # also where damage hides the end of the requested part
        image = _decoded(data, reduction)
    if image is None:
        raise ValueError(f"its {len(data)} bytes are no image that can be decoded")
    return image


def _read_alike(data: bytes) -> bool:
    """Whether OpenCV reads the file as inference does: JPEG in gray or color, PNG of 8 bits without transparency."""
    if data.startswith(JPEG_START):
        header, components = _jpeg_header(data)
        turned_elsewhere = XMP_ORIENTATION in header and EXIF not in header  # where OpenCV does not look
        return components != CMYK_COMPONENTS and not turned_elsewhere
    if not data.startswith(PNG_START) or len(data) < PNG_HEADER:
        return False
    depth, color = data[24], data[25]
    chunks = data[: data.find(b"IDAT")]
    return depth <= 8 and color in OPAQUE_PNG and b"tRNS" not in chunks and b"eXIf" not in chunks


def _jpeg_header(data: bytes) -> tuple[bytes, int]:
    """All before the frame header, and its number of color components, 0 where none is found."""
    position = len(JPEG_START)
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in JPEG_FRAMES:
            return data[:position], data[position + 9]
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return data[:position], 0


def _reduced(image: np.ndarray, reduction: int) -> np.ndarray:
    """A whole image as many times smaller as OpenCV makes it where the file's decoder cannot."""
    height, width = (max(1, side // reduction) for side in image.shape[:2])
    if reduction == 1:
        return np.ascontiguousarray(image)
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def _decoded(data: bytes | bytearray, reduction: int) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR by OpenCV."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), DECODERS[reduction])
    except cv2.error:
        return None
