"""Readers of MakeHuman's clothes: `.mhclo` (how a mesh holds on to the body), `.obj` and `.mhmat` (its texture).

Every fault is a ValueError of one sentence that names the file and the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Words = list[str]

BASE_MESH = "hm08"  # MakeHuman's base mesh since 1.1
BASE_POINTS = 19158
BASE_SCALE = 0.1  # MakeHuman counts in decimeters
COMMENTS = ("#", "//")
AXES = ("x_scale", "y_scale", "z_scale")


@dataclass(frozen=True)
class Hold:
    """How the vertices of a piece of clothing hold on to the base points.

    A vertex lies at the mean of the base points `points (N, 3)` with the weights `shares (N, 3)`, plus `offsets (N, 3)`
    in decimeters. Along each axis with an entry (point, point, decimeters) in `scales (3)`, offsets grow with the
    distance of its two base points. `deleted (K,)`: base points that the piece hides.
    """

    points: Index
    shares: Array
    offsets: Array
    scales: tuple[tuple[int, int, float] | None, ...]
    deleted: Index

    def place(self, base: NDArray[np.floating]) -> Array:
        """The piece's vertices (N, 3) in meters on a body's base points (19158, 3) in meters."""
        grown = np.ones(3)
        for axis, scale in enumerate(self.scales):
            if scale is not None:
                first, second, reference = scale
                grown[axis] = abs(base[first, axis] - base[second, axis]) / (BASE_SCALE * reference)
        held = (base[self.points] * self.shares[:, :, None]).sum(1)
        return np.asarray(held + self.offsets * (grown * BASE_SCALE))


@dataclass(frozen=True)
class ClothesFile:
    """What a `.mhclo` file says: words for people, the files that it names, and its hold on the body."""

    path: Path
    name: str
    tags: tuple[str, ...]
    mesh: str
    material: str
    hold: Hold


@dataclass(frozen=True)
class ClothesMesh:
    """What an `.obj` file holds: triangles `faces (F, 3)` of `count` vertices, with texture coordinates.

    `places (T, 2)` are u to the right and v up, `face_places (F, 3)` the rows of each face's corners.
    """

    count: int
    faces: Index
    places: Array
    face_places: Index


@dataclass(frozen=True)
class Material:
    """What a `.mhmat` file says: the file name of the texture, "" for none."""

    path: Path
    texture: str


def parts_of(mesh: ClothesMesh) -> Index:
    """(count,) number of the connected part that each vertex of a mesh belongs to."""
    edges = np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:]])
    graph = sp.coo_matrix((np.ones(len(edges)), edges.T), (mesh.count, mesh.count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


class _Lines:
    """The words of a text file's lines, and the sentences about them."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0

    def __iter__(self) -> Iterator[Words]:
        text = self.path.read_bytes().decode("utf-8", "replace")
        for self.number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if words and not words[0].startswith(COMMENTS):
                yield words

    def fault(self, what: str) -> NoReturn:
        raise ValueError(f"{self.path}, line {self.number}: {what}")

    def floats(self, words: Words) -> list[float]:
        try:
            values = [float(word) for word in words]
        except ValueError:
            self.fault(f"{' '.join(words)!r} should be {len(words)} numbers")
        if not all(np.isfinite(values)):
            self.fault(f"{' '.join(words)!r} should be finite numbers")
        return values

    def base_point(self, word: str) -> int:
        if not word.isdecimal() or int(word) >= BASE_POINTS:
            self.fault(f"{word!r} is no point of MakeHuman's base mesh, which are numbered 0 to {BASE_POINTS - 1}")
        return int(word)


class _HoldReader:
    """Collects the rows of a `.mhclo` file."""

    def __init__(self, lines: _Lines) -> None:
        self.lines = lines
        self.points: list[list[int]] = []
        self.numbers: list[list[float]] = []
        self.scales: dict[str, tuple[int, int, float]] = {}
        self.deleted: list[int] = []

    def scale(self, words: Words) -> None:
        if len(words) != 4:
            self.lines.fault(f"{words[0]} needs two base points and a length")
        first, second = (self.lines.base_point(word) for word in words[1:3])
        (length,) = self.lines.floats(words[3:])
        if length <= 0:
            self.lines.fault(f"the length {words[3]} of {words[0]} must be above 0")
        self.scales[words[0]] = (first, second, length)

    def vertex(self, words: Words) -> None:
        if len(words) == 1:
            self.points.append([self.lines.base_point(words[0])] * 3)
            self.numbers.append([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        elif len(words) in (6, 9):
            self.points.append([self.lines.base_point(word) for word in words[:3]])
            self.numbers.append((self.lines.floats(words[3:]) + [0.0] * 3)[:6])
        else:
            self.lines.fault(f"a vertex has 1, 6 or 9 numbers, not {len(words)}")

    def delete(self, words: Words) -> None:
        """Base points, and ranges such as `20 - 29`."""
        at = 0
        while at < len(words):
            first = self.lines.base_point(words[at])
            last = first
            if words[at + 1 : at + 2] == ["-"]:
                if at + 2 == len(words):
                    self.lines.fault(f"the range '{first} -' has no end")
                last = self.lines.base_point(words[at + 2])
                if last < first:
                    self.lines.fault(f"the range '{first} - {last}' ends before it begins")
                at += 2
            self.deleted += range(first, last + 1)
            at += 1

    def hold(self) -> Hold:
        if not self.points:
            raise ValueError(f"{self.lines.path} has no line `verts` with vertices below it, so nothing can be fitted")
        numbers = np.array(self.numbers)
        return Hold(
            np.array(self.points, np.int64),
            numbers[:, :3],
            numbers[:, 3:],
            tuple(self.scales.get(axis) for axis in AXES),
            np.unique(np.array(self.deleted, np.int64)),
        )


def read_clothes(path: Path) -> ClothesFile:
    """Reads a `.mhclo` file. ValueError names file and line; OSError where it cannot be opened."""
    lines = _Lines(path)
    reader = _HoldReader(lines)
    said: dict[str, str] = {}
    tags: list[str] = []
    section = ""
    for words in lines:
        key, rest = words[0], " ".join(words[1:])
        if key in AXES:
            reader.scale(words)
        elif key in ("verts", "delete_verts"):
            section = key
        elif key == "tag":
            tags.append(rest)
        elif key[0].isalpha() or key[0] == "_":
            said[key] = rest
        elif section == "verts":
            reader.vertex(words)
        elif section == "delete_verts":
            reader.delete(words)
        else:
            lines.fault(f"{' '.join(words)!r} stands before `verts`, so its meaning is unknown")
    if said.get("basemesh", BASE_MESH) != BASE_MESH:
        raise ValueError(f"{path} is made for the base mesh {said['basemesh']!r}; only {BASE_MESH} can be dressed")
    if not said.get("obj_file"):
        raise ValueError(f"{path} has no line `obj_file`, so its mesh is unknown")
    return ClothesFile(
        path, said.get("name") or path.stem, tuple(tags), said["obj_file"], said.get("material", ""), reader.hold()
    )


def read_mesh(path: Path) -> ClothesMesh:
    """Reads the triangles of an `.obj` file; larger faces become fans.

    ValueError names file and line; OSError where it cannot be opened.
    """
    lines = _Lines(path)
    count = 0
    places: list[list[float]] = []
    corners: list[list[tuple[int, int]]] = []
    for words in lines:
        if words[0] == "v":
            count += 1
        elif words[0] == "vt":
            if len(words) < 3:
                lines.fault("`vt` needs two numbers")
            places.append(lines.floats(words[1:3]))
        elif words[0] == "f":
            if len(words) < 4:
                lines.fault("a face needs three corners")
            face = [_corner(lines, word, count, len(places)) for word in words[1:]]
            corners += [[face[0], face[k], face[k + 1]] for k in range(1, len(face) - 1)]
    if not corners:
        raise ValueError(f"{path} has no faces")
    table = np.array(corners, np.int64)
    return ClothesMesh(count, table[:, :, 0], np.array(places), table[:, :, 1])


def _corner(lines: _Lines, word: str, vertices: int, places: int) -> tuple[int, int]:
    """Rows of the vertex and of the texture coordinate of a face's corner such as `12/7`."""
    parts = word.split("/")
    if len(parts) < 2 or not parts[1]:
        lines.fault(f"the corner {word!r} has no texture coordinate")
    rows = []
    for part, length in zip(parts[:2], (vertices, places), strict=True):
        if not part.removeprefix("-").isdecimal():
            lines.fault(f"the corner {word!r} is not like 12/7")
        number = int(part)
        row = number - 1 if number > 0 else length + number
        if not 0 <= row < length:
            lines.fault(f"the corner {word!r} names a row that the lines above do not have")
        rows.append(row)
    return rows[0], rows[1]


def read_material(path: Path) -> Material:
    """Reads a `.mhmat` file. ValueError names file and line; OSError where it cannot be opened."""
    lines = _Lines(path)
    texture = ""
    for words in lines:
        if words[0] == "diffuseTexture":
            if len(words) < 2:
                lines.fault("diffuseTexture names no file")
            texture = " ".join(words[1:])
    return Material(path, texture)
