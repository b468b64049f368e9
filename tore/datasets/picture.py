"""An image row's picture: base64 of an encoded file becomes pixels."""

from __future__ import annotations

import binascii
import io

import cv2
import numpy as np
from PIL import Image

from tore.datasets.bad_samples import BadSample
from tore.datasets.base64_text import decode_base64
from tore.datasets.image_files import DECODING_ERRORS, UnknownKind, open_image
from tore.datasets.jpeg_rows import first_rows
from tore.datasets.sets import Place

JPEG_START, PNG_START, PNG_HEADER = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", 29
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # without tables, which share these numbers
CMYK_COMPONENTS = 4
EXIF, XMP_ORIENTATION = b"Exif\0", b"tiff:Orientation"
OPAQUE_PNG = (0, 2, 3)  # color types: gray, RGB, palette
ORIENTATION, NOT_BY_A_QUARTER = 0x0112, (1, 2, 3, 4)


def row_key(columns: list[bytes]) -> str:
    """The key of a row, for messages as well as for matching."""
    return columns[0].decode(errors="replace")


def picture_bytes(columns: list[bytes], place: Place) -> bytes:
    """The encoded picture of an image row, from its last column. BadSample where that is not whole base64."""
    if len(columns) < 2:
        raise BadSample.at(place, row_key(columns), "the row has no picture column")
    text = columns[-1]
    try:
        data = decode_base64(text)
    except binascii.Error as error:
        raise BadSample.at(place, row_key(columns), f"the picture is not base64 ({error})") from None
    padding = 2 if text.endswith(b"==") else int(text.endswith(b"="))
    if len(data) != len(text) // 4 * 3 - padding or not data:  # b64decode passes over foreign characters
        raise BadSample.at(place, row_key(columns), "the picture is not base64 (empty, or with foreign characters)")
    return data


DECODERS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def decode_picture(columns: list[bytes], place: Place) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image row. BadSample where the bytes cannot be decoded."""
    return cv2.cvtColor(decode_bgr(columns, place), cv2.COLOR_BGR2RGB)


def decode_bgr(columns: list[bytes], place: Place, reduction: int = 1, rows: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 BGR of an image row, upright by its EXIF orientation.

    What OpenCV reads as it looks is read by it; the rest (transparent, 16-bit, CMYK and other files) as in inference.
    `reduction` 1, 2, 4 or 8: the picture that many times smaller. `rows`: only the first so many of the whole picture,
    and perhaps some more, are needed. BadSample where the bytes cannot be decoded.
    """
    data = picture_bytes(columns, place)
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
            return _reduced(open_image(io.BytesIO(data), "its picture")[:, :, ::-1], reduction)
        except UnknownKind:
            pass  # OpenCV reads some kinds that Pillow does not
    picture = None if rows is None else _decoded(first_rows(data, rows, reduction), reduction)
    if picture is None:  # also where damage hides the end of the part that was asked for
        picture = _decoded(data, reduction)
    if picture is None:
        raise ValueError(f"its {len(data)} bytes are no picture that can be decoded")
    return picture


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


def _reduced(picture: np.ndarray, reduction: int) -> np.ndarray:
    """A whole picture as many times smaller as OpenCV makes it where the file's decoder cannot."""
    height, width = (max(1, side // reduction) for side in picture.shape[:2])
    if reduction == 1:
        return np.ascontiguousarray(picture)
    return cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def _decoded(data: bytes | bytearray, reduction: int) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR by OpenCV."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), DECODERS[reduction])
    except cv2.error:
        return None
