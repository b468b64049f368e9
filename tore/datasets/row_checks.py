"""Is a row whole? Its base64, its picture file to the last byte, and the size it claims."""

from __future__ import annotations

import json
import zlib

from tore.datasets.bad_samples import BadSample
from tore.datasets.base64_text import decode_pure_base64
from tore.datasets.picture import picture_bytes, row_key
from tore.datasets.sets import Place

PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def check_picture_file(columns: list[bytes], place: Place) -> None:
    """Raises BadSample for damage that some decoders pass over: stray characters, files cut short, wrong checksums."""
    data = picture_bytes(columns, place)
    finding = None
    if decode_pure_base64(columns[-1]) is None:
        finding = "the picture is not base64 (with foreign characters)"
    elif data.startswith(JPEG_START) and JPEG_END not in data[max(data.rfind(JPEG_SCAN), 0) :]:
        finding = "the JPEG file has no end: it was cut short"
    elif data.startswith(PNG_START):
        finding = _png_damage(data)
    if finding:
        raise BadSample.at(place, row_key(columns), finding)


def _png_damage(data: bytes) -> str | None:
    position = len(PNG_START)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name, end = data[position + 4 : position + 8], position + 8 + length
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"the PNG file's part {name!r} has a wrong checksum"
        if name == PNG_END:
            return None
        position = end + 4
    return "the PNG file has no end: it was cut short"


def parse_size(columns: list[bytes], place: Place) -> tuple[int, int]:
    """(height, width) of an hw row: JSON [{"height": h, "width": w}], or "h w". BadSample where it is neither."""
    text = columns[-1].decode(errors="replace")
    try:
        if text.lstrip().startswith(("[", "{")):
            value = json.loads(text)
            value = value[0] if isinstance(value, list) else value
            height, width = value["height"], value["width"]
        else:
            height, width = map(int, text.split())
        if type(height) is not int or type(width) is not int or min(height, width) < 1:
            raise ValueError
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        finding = f'the size is {text[:60]!r}, expected [{{"height": h, "width": w}}]'
        raise BadSample.at(place, row_key(columns), finding) from None
    return height, width
