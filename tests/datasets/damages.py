"""A small sound set, its rows in memory, and many ways to damage it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import RandomState

from tests import rules
from tests.datasets.data_sets import consistent_person, encode, write_set
from tore.datasets.tsv import TSVReader, checksum_path, index_path

SOURCES = ((1, 96, 128), (2, 120, 90), (3, 100, 100), (4, 80, 120))
Rows = dict[str, list[list[bytes]]]


def sound_set(folder: Path, suffix: str = ".png") -> Path:
    return write_set(folder, SOURCES, [[consistent_person(*source)] for source in SOURCES], suffix)


def read_rows(folder: Path) -> Rows:
    tables = {}
    for table in ("img", "hw", "label"):
        with TSVReader(folder / f"set.{table}.tsv") as reader:
            tables[table] = [reader.columns(row) for row in range(len(reader))]
    return tables


def write_rows(folder: Path, rows: Rows, keep_checksums: bool = False) -> None:
    """Behind the writer's back; without its checksums the set is as one from elsewhere."""
    for table, lines in rows.items():
        path = folder / f"set.{table}.tsv"
        path.write_bytes(b"".join(b"\t".join(columns) + b"\n" for columns in lines))
        index_path(path).unlink(missing_ok=True)
        if not keep_checksums:
            checksum_path(path).unlink(missing_ok=True)


def text_damage(rng: RandomState, rows: Rows, row: int) -> None:
    """Damage to the lines themselves."""
    table = str(rng.choice(list(rows)))
    lines = rows[table]
    kind = rng.randint(6)
    if kind == 0:
        lines[row] = lines[row][:1]
    elif kind == 1:
        lines[row][0] = bytes(rng.randint(128, 192, 4).tolist())  # bare continuation bytes are never UTF-8
    elif kind == 2:
        lines[row][0] += b"x"
    elif kind == 3:
        del lines[row]
    elif kind == 4:
        lines[row], lines[row - 1] = lines[row - 1], lines[row]
    else:
        lines[row][-1] = lines[row][-1][: rng.randint(len(lines[row][-1]))]


def image_damage(rng: RandomState, rows: Rows, row: int) -> None:
    """Damage to an encoded image that a decoder may pass over."""
    columns = rows["img"][row]
    text, data = columns[-1], bytearray(base64.b64decode(columns[-1]))
    kind, at = rng.randint(6), rng.randint(len(columns[-1]) - 4)
    if kind == 0:
        columns[-1] = text[:at] + bytes([rng.choice([0, 32, 33, 95, 200])]) + text[at + 1 :]
        return
    if kind == 1:
        columns[-1] = text[:at] + text[at + 1 :]
        return
    at = rng.randint(len(data))
    if kind == 2:
        data[at] ^= 1 << rng.randint(8)
    elif kind == 3:
        data = data[:at]
    elif kind == 4:
        data = bytearray(rng.bytes(200))
    else:
        data = bytearray(encode(rules.photo(9, 33, 44)))
    columns[-1] = base64.b64encode(data)


def label_damage(rng: RandomState, rows: Rows, row: int) -> None:
    """A label that is not JSON, lacks a field, has wrong lengths, or holds numbers that cannot be."""
    columns = rows["label"][row]
    person = json.loads(columns[-1])[0]
    field = str(rng.choice(sorted(person)))
    array = str(rng.choice(["2d_joints", "3d_joints", "pose", "betas", "center"]))
    flag = str(rng.choice(["has_smpl", "has_3d_joints", "has_2d_joints"]))
    changes: list[Callable[[], object]] = [
        lambda: person.pop(field),
        lambda: person.update({field: str(rng.choice(["", "text", "1"]))}),
        lambda: person.update({field: None}),
        lambda: person.update({field: float(rng.choice([np.nan, np.inf, -np.inf]))}),
        lambda: person[array].pop(rng.randint(len(person[array]))),
        lambda: person.update({array: [person[array]] * 2}),
        lambda: person.update({flag: int(rng.randint(2, 9))}),
        lambda: person.update({"scale": float(rng.choice([0, -1, 1e-3, 1e3, 1e9]))}),
        lambda: person.update({"center": [float(rng.choice([-1e4, 1e5, 1e30])), 50.0]}),
        lambda: person.update({"pose": [value * 180 / np.pi for value in person["pose"]]}),
        lambda: person.update({"betas": [100.0] * 10}),
        lambda: person.update({"3d_joints": [[1000 * x, 1000 * y, 1000 * z, c] for x, y, z, c in person["3d_joints"]]}),
        lambda: person.update({"3d_joints": [[x, -y, z, c] for x, y, z, c in person["3d_joints"]]}),
        lambda: person.update({"2d_joints": [[x + 5000, y, c] for x, y, c in person["2d_joints"]]}),
        lambda: person.update({"2d_joints": [[y, x, c] for x, y, c in person["2d_joints"]]}),
        lambda: person.update({"2d_joints": [[x, y, -c] for x, y, c in person["2d_joints"]]}),
    ]
    changes[rng.randint(len(changes))]()
    columns[-1] = json.dumps([person]).encode()
    if rng.rand() < 0.15:
        text = columns[-1]
        columns[-1] = [text[1:], b"[]", b"{}", b"[[]]", b"null", text[:-1], b"[" * 9999, b"\xff"][rng.randint(8)]


def size_damage(rng: RandomState, rows: Rows, row: int) -> None:
    """A size that cannot be read or is not the image's."""
    texts = [b"", b"[]", b"[{}]", b"7", b"1 2 3", b"-96 128", b'[{"height": 0, "width": 5}]', b'[{"height": 1, "width"']
    texts += [b'[{"height": 97, "width": 128}]', b'[{"height": "a", "width": 2}]', b"NaN NaN", b"[" * 9999]
    rows["hw"][row][-1] = texts[rng.randint(len(texts))]


def index_damage(rng: RandomState, folder: Path) -> None:
    """An index that belongs to another file."""
    path = folder / f"set.{rng.choice(['img', 'hw', 'label'])}.tsv"
    offsets = [int(value) for value in index_path(path).read_text().split()]
    at = rng.randint(1, len(offsets))
    offsets[at] += int(rng.choice([-2, -1, 1, 2, 10**6]))
    if rng.rand() < 0.3:
        del offsets[at]
    index_path(path).write_text("".join(f"{value}\n" for value in offsets))


DAMAGES = (text_damage, image_damage, label_damage, label_damage, size_damage)


def inner_bytes_damage(rng: RandomState, rows: Rows, row: int) -> str:
    """50 bytes inside the coded image."""
    data = bytearray(base64.b64decode(rows["img"][row][-1]))
    at = rng.randint(len(data) // 2, len(data) - 60)
    data[at : at + 50] = rng.bytes(50)
    rows["img"][row][-1] = base64.b64encode(data)
    return "img"


def bit_damage(rng: RandomState, rows: Rows, row: int) -> str:
    """One bit of the coded image."""
    data = bytearray(base64.b64decode(rows["img"][row][-1]))
    data[rng.randint(len(data) // 2, len(data) - 10)] ^= 1 << rng.randint(8)
    rows["img"][row][-1] = base64.b64encode(data)
    return "img"


def digit_damage(rng: RandomState, rows: Rows, row: int) -> str:
    """One digit of a label or of a size becomes another."""
    table = str(rng.choice(["label", "label", "hw"]))
    text = bytearray(rows[table][row][-1])
    at = int(rng.choice([place for place, value in enumerate(text) if chr(value).isdigit()]))
    text[at] = ord(str((int(chr(text[at])) + rng.randint(1, 10)) % 10))
    rows[table][row][-1] = bytes(text)
    return table


def torn_damage(rng: RandomState, rows: Rows, row: int) -> str:
    """A row that ends early, the last column's last character at least."""
    table = str(rng.choice(list(rows)))
    column = rows[table][row][-1]
    rows[table][row][-1] = column[: rng.randint(len(column))]
    return table


def exchange_damage(rng: RandomState, rows: Rows, row: int) -> str:
    """Two rows change places in every table, so that the tables still agree."""
    for lines in rows.values():
        lines[row], lines[row - 1] = lines[row - 1], lines[row]
    return str(rng.choice(list(rows)))


QUIET_DAMAGES = (inner_bytes_damage, bit_damage, digit_damage, torn_damage, exchange_damage)
