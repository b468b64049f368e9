"""Seeded damage to the bytes of any file: cut, flipped, inserted, deleted, repeated, nested, exchanged words."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

from numpy.random import RandomState

WORDS = (b"[", b"]", b"{", b'"', b"null", b"-1e999", b"NaN", b"9" * 5000, b"\x00", b"\xff\xfe", b"\t", b"\n",
         b"!!int ''", b"\\ud800", b"1e400", b"true", b": ", b",,")  # fmt: skip
DEPTHS = (200, 900, 3000)


def cut(r: RandomState, data: bytes) -> bytes:
    return data[: r.randint(len(data))]


def behead(r: RandomState, data: bytes) -> bytes:
    return data[1 + r.randint(len(data)) :]


def flip(r: RandomState, data: bytes) -> bytes:
    out = bytearray(data)
    for place in r.randint(len(out), size=1 + r.randint(8)):
        out[place] ^= 1 << r.randint(8)
    return bytes(out)


def insert(r: RandomState, data: bytes) -> bytes:
    place = r.randint(len(data))
    return data[:place] + WORDS[r.randint(len(WORDS))] + data[place:]


def replace(r: RandomState, data: bytes) -> bytes:
    place, length = r.randint(len(data)), 1 + r.randint(40)
    return data[:place] + WORDS[r.randint(len(WORDS))] + data[place + length :]


def delete(r: RandomState, data: bytes) -> bytes:
    first, last = sorted(r.randint(len(data), size=2))
    return data[:first] + data[last + 1 :]


def repeat(r: RandomState, data: bytes) -> bytes:
    first, last = sorted(r.randint(len(data), size=2))
    return data[:last] + data[first:last] + data[last:]


def nest(r: RandomState, data: bytes) -> bytes:
    """Brackets of some depth around everything, or in place of a number."""
    depth = DEPTHS[r.randint(len(DEPTHS))]
    opening, closing = ((b"[", b"]"), (b'{"a":', b"}"), (b"- ", b""), (b"{a: ", b"}"))[r.randint(4)]
    if r.randint(2):
        return opening * depth + (data.strip() or b"1") + closing * depth
    digits = [place for place, letter in enumerate(data) if 48 <= letter < 58]
    place = digits[r.randint(len(digits))] if digits else r.randint(len(data))
    return data[:place] + opening * depth + b"1" + closing * depth + data[place + 1 :]


MUTATIONS: tuple[Callable[[RandomState, bytes], bytes], ...] = (
    cut, behead, flip, insert, replace, delete, repeat, nest
)  # fmt: skip


def mutated(seed: int, data: bytes) -> bytes:
    """The data after one mutation that the seed chooses; of a zip, now and then, of what one of its entries holds."""
    r = RandomState(seed)
    mutate = MUTATIONS[seed % len(MUTATIONS)]
    if data[:2] == b"PK" and r.randint(2):
        return _inside(r, data, mutate)
    return mutate(r, data)


def _inside(r: RandomState, data: bytes, mutate: Callable[[RandomState, bytes], bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        names = old.namelist()
        chosen = names[r.randint(len(names))]
        for name in names:
            content = old.read(name)
            new.writestr(old.getinfo(name), mutate(r, content) if name == chosen and content else content)
    return stream.getvalue()
