"""An image row's picture: base64 of an encoded file becomes pixels."""

from __future__ import annotations

import binascii

import cv2
import numpy as np

from tore.datasets.bad_samples import BadSample
from tore.datasets.base64_text import decode_base64
from tore.datasets.jpeg_rows import first_rows
from tore.datasets.sets import Place


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
    """(H, W, 3) uint8 BGR of an image row; grey, alpha, 16 bit and CMYK files become three colours as in OpenCV.

    `reduction` 1, 2, 4 or 8: the picture that many times smaller. `rows`: only the first so many of the whole picture,
    and perhaps some more, are needed. BadSample where the bytes cannot be decoded.
    """
    data = picture_bytes(columns, place)
    picture = None if rows is None else _decoded(first_rows(data, rows, reduction), reduction)
    if picture is None:  # also where damage hides the end of the part that was asked for
        picture = _decoded(data, reduction)
    if picture is None:
        raise BadSample.at(place, row_key(columns), f"its {len(data)} bytes are no picture that can be decoded")
    return picture


def _decoded(data: bytes | bytearray, reduction: int) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), DECODERS[reduction])
    except cv2.error:
        return None
