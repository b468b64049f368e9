"""Finds what people wear, MakeHuman's clothes and skins, and panoramas, in a folder of any layout.

`find_assets(folder)` searches the folder for `.mhclo`, `.mhmat` and `.hdr` files. What each file is for follows from
its folder (`hair/`, `skins/` ...), its name or the part of the body that it holds on to. docs/DATA.md says where such
files are to be had.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from tore.synthetic.clothes_files import ClothesMesh, Hold, parts_of, read_clothes, read_material, read_mesh
from tore.synthetic.free_body import attachments, build_free

PARTS = ("train", "heldout")
HELD_OUT_SHARE = 5  # one in five is held out of training
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
AGES = ("child", "young", "middleage", "old")
SKIN_NAME = re.compile(r"(baby|child|young|middleage|old)\w*skinned_(fe)?male")
# A word of a file's name or folder -> what it is; the first that fits counts. None: nothing that is used here.
WORDS: tuple[tuple[str, str | None], ...] = (
    (r"eye-?brow", "eyebrows"),
    (r"eye-?lash", "eyelashes"),
    (r"(\beyes?\b|low-poly|high-poly|teeth|tongue|genital)", None),
    (r"(fedora|\bhats?\b|\bcaps?\b|helmet|glasses|mask|beard|mustache|moustache)", None),
    (r"(shoe|boot|sneaker|sandal)", "shoes"),
    (r"\bhair\b", "hair"),
)
LEAST_PART = 30  # vertices of a part of hair on average; smaller ones are cut out of a texture by its alpha
HEAD, HEAD_TOP, CHEST, HIP, ANKLE = 0.2, 0.5, 0.25, -0.3, -0.8  # heights on the mean person, meters

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Piece:
    """Something to wear: a mesh, its hold on the body, and its texture.

    Where `texture` is None, colors are made by code.
    Pieces are compared by identity, so that what is computed for one can be kept.
    """

    name: str
    path: Path
    kind: str
    gender: str  # "female", "male", or "" for anyone
    hold: Hold
    mesh: ClothesMesh
    texture: Path | None


@dataclass(frozen=True)
class Skin:
    """A skin texture on MakeHuman's layout; `age` is one of AGES or "" where the name does not say it."""

    name: str
    path: Path
    gender: str
    age: str
    texture: Path


@dataclass(frozen=True)
class Panorama:
    """An equirectangular image in linear light, read by `read_panorama`."""

    name: str
    path: Path


Entry = TypeVar("Entry", Piece, Skin, Panorama)
Worn = TypeVar("Worn", Piece, Skin)


@dataclass(frozen=True)
class Assets:
    """What a folder holds, each kind sorted by name; `notes` are lines about files that are left out."""

    folder: Path
    skins: tuple[Skin, ...]
    suits: tuple[Piece, ...]
    shoes: tuple[Piece, ...]
    hair: tuple[Piece, ...]
    eyebrows: tuple[Piece, ...]
    eyelashes: tuple[Piece, ...]
    panoramas: tuple[Panorama, ...]
    notes: tuple[str, ...] = ()

    def part(self, name: str) -> Assets:
        """The "train" or the "heldout" part: one in five pieces of each kind and gender is held out, by its name.

        A kind with one piece has it in both parts, which a line of `notes` says. Raises ValueError for another name.
        """
        if name not in PARTS:
            raise ValueError(f"part {name!r} is not known; use {' or '.join(map(repr, PARTS))}")
        notes = list(self.notes)
        kinds: dict[str, Any] = {}
        for kind in ("skins", "suits", "shoes", "hair", "eyebrows", "eyelashes", "panoramas"):
            entries = getattr(self, kind)
            if len(entries) == 1:
                notes.append(f"{kind}: only {entries[0].name} is there, so both parts use it")
            kinds[kind] = _part(entries, name)
        return replace(self, notes=tuple(notes), **kinds)


def _part(entries: Sequence[Entry], part: str) -> tuple[Entry, ...]:
    """The entries of one part. The order of the names' hashes decides who is held out."""
    if len(entries) < 2:
        return tuple(entries)
    groups: dict[str, list[str]] = {}
    for entry in entries:
        gender = "" if isinstance(entry, Panorama) else entry.gender
        groups.setdefault(gender, []).append(entry.name)
    held = set()
    for names in groups.values():
        ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        held |= set(ranked[: -(-len(names) // HELD_OUT_SHARE) if len(names) > 1 else 0])
    return tuple(entry for entry in entries if (entry.name in held) == (part == "heldout"))


def find_assets(folder: Path) -> Assets:
    """Searches a folder and all folders in it.

    A broken or incomplete file is left out with a line in `notes`. Raises ValueError, with the first of these lines,
    where no skin or no suit remains, and where the folder is missing.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the folder that MakeHuman's clothes and skins lie in")
    search = _Search(folder)
    pieces = search.pieces()
    skins = search.skins()
    panoramas = tuple(
        Panorama(path.stem, path) for path in search.having(".hdr") if search.usable(check_panorama, path) is not None
    )
    search.notes += [f"{path}: .exr is not read; convert it to .hdr" for path in search.having(".exr")]
    kinds = {
        kind: tuple(sorted((piece for piece in pieces if piece.kind == kind), key=lambda piece: piece.name))
        for kind in ("suits", "shoes", "hair", "eyebrows", "eyelashes")
    }
    for word, found in (("skin (.mhmat)", skins), ("suit (.mhclo)", kinds["suits"])):
        if not found:
            raise ValueError(_nothing(search, word))
    return Assets(folder, skins, panoramas=panoramas, notes=tuple(search.notes), **kinds)


def _nothing(search: _Search, word: str) -> str:
    zips = search.having(".zip")
    if zips:
        return f"{search.folder} holds no usable {word}, but {zips[0].name}: unzip it there"
    because = f"; the first file left out: {search.notes[0]}" if search.notes else ""
    return f"{search.folder} holds no usable {word} of MakeHuman{because}"


class _Search:
    """The files of a folder, and lines about those that cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = sorted(path for path in folder.rglob("*") if path.is_file())
        self.notes: list[str] = []
        self.by_name: dict[str, Path] = {}
        for path in reversed(self.files):  # the first of equal names counts
            self.by_name[path.name.lower()] = path

    @cached_property
    def heights(self) -> NDArray[np.float64]:
        """(19158,) heights of the base points on the mean person."""
        body = build_free("body").model["v_template"]
        return np.asarray(attachments().points(body, np.zeros(10))[:, 1])

    def having(self, ending: str) -> list[Path]:
        return [path for path in self.files if path.suffix.lower() == ending]

    def usable(self, read: Callable[[Path], T], path: Path) -> T | None:
        """What `read` makes of a file, or None and a line in `notes`."""
        try:
            return read(path)
        except (ValueError, OSError) as error:
            self.notes.append(f"left out: {error}")
            return None

    def named(self, name: str, beside: Path) -> Path | None:
        """The file that another file names: relative to it, else one with the same last name anywhere."""
        if not name:
            return None
        inside = beside.parent / name.replace("\\", "/")
        return inside if inside.is_file() else self.by_name.get(inside.name.lower())

    def pieces(self) -> list[Piece]:
        found = [self.usable(self._piece, path) for path in self.having(".mhclo")]
        return [piece for piece in found if piece is not None]

    def _piece(self, path: Path) -> Piece | None:
        clothes = read_clothes(path)
        kind = self._kind(path, clothes.hold)
        if kind is None:
            return None
        where = self.named(clothes.mesh, path)
        if where is None:
            raise ValueError(f"{path} names the mesh {clothes.mesh!r}, which is nowhere in {self.folder}")
        mesh = read_mesh(where)
        if mesh.count != len(clothes.hold.points):
            raise ValueError(f"{path} holds {len(clothes.hold.points)} vertices, but {where} has {mesh.count}")
        made = kind == "suits" or (kind == "hair" and mesh.count > LEAST_PART * (parts_of(mesh).max() + 1))
        texture = self._texture(path, clothes.material, made)
        words = " ".join((*clothes.tags, path.stem, clothes.name))
        return Piece(path.stem, path, kind, _gender(words), clothes.hold, mesh, texture)

    def _kind(self, path: Path, hold: Hold) -> str | None:
        """What a piece is; None, with a line where it could be clothes, for what is not used."""
        words = "/".join(path.relative_to(self.folder).parts).lower()
        for pattern, kind in WORDS:
            if re.search(pattern, words):
                return kind
        heights = self.heights[hold.points[:, 0]]
        if heights.max() > HEAD_TOP and heights.mean() > HEAD:
            return "hair"
        if heights.max() < ANKLE:
            return "shoes"
        if heights.max() > CHEST and heights.min() < HIP:
            return "suits"
        self.notes.append(f"left out: {path} covers only a part of the body; suits from chest to thighs are used")
        return None

    def _texture(self, path: Path, material: str, made: bool) -> Path | None:
        """The texture of a piece. What can be made by code may be missing, which a line says."""
        where = self.named(material, path)
        if where is None:
            raise ValueError(f"{path} names the material {material!r}, which is nowhere in {self.folder}")
        content = read_material(where)
        texture = self.named(content.texture, where)
        if texture is None and not made:
            raise ValueError(f"{where} names the texture {content.texture!r}, which is nowhere in {self.folder}")
        if texture is None:
            self.notes.append(f"{where} names the texture {content.texture!r}, which is missing: one is made")
        else:
            check_image(texture)
        return texture

    def skins(self) -> tuple[Skin, ...]:
        """Skins by their materials, and textures of skins that have none."""
        found: dict[Path, Skin] = {}
        for path in self.having(".mhmat"):
            skin = self.usable(self._skin, path)
            if skin is not None:
                found.setdefault(skin.texture, skin)
        for path in self.files:
            named = path.suffix.lower() in IMAGES and path not in found and _is_skin(path.stem)
            if named and self.usable(check_image, path) is not None:
                found[path] = _skin(path, path)
        return tuple(sorted(found.values(), key=lambda skin: skin.name))

    def _skin(self, path: Path) -> Skin | None:
        in_skins = "skins" in (part.lower() for part in path.relative_to(self.folder).parts)
        if "suit" in path.stem.lower() or not (in_skins or _is_skin(path.stem)):
            return None
        content = read_material(path)
        texture = self.named(content.texture, path)
        if texture is None:
            raise ValueError(f"{path} names the texture {content.texture!r}, which is nowhere in {self.folder}")
        if "suit" in texture.stem.lower():
            return None
        check_image(texture)
        return _skin(path, texture)


def _is_skin(name: str) -> bool:
    return "suit" not in name.lower() and SKIN_NAME.search(name.lower()) is not None


def _skin(path: Path, texture: Path) -> Skin:
    words = f"{path.stem} {texture.stem}".lower()
    age = next((age for age in reversed(AGES) if age in words), "child" if "baby" in words else "")
    return Skin(path.stem, path, _gender(words), age, texture)


def _gender(words: str) -> str:
    """Whom a name means: "female", "male", or "" where it says neither."""
    words = words.lower()
    return "female" if "female" in words else "male" if "male" in words else ""


def check_image(path: Path) -> Path:
    """Raises ValueError where an image file cannot be read."""
    read_texture(path)
    return path


def check_panorama(path: Path) -> Path:
    """Raises ValueError where a panorama cannot be read."""
    read_panorama(path)
    return path


@lru_cache(maxsize=256)
def read_texture(path: Path, size: int = 512) -> NDArray[np.uint8]:
    """An image as RGBA (size, size, 4), read once and kept. It is shared: copy it before writing.

    Raises ValueError for a file that holds no image.
    """
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if path.stat().st_size else None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path} is not an image that can be read; get it again")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    code = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return np.ascontiguousarray(cv2.cvtColor(image, code))


def read_panorama(path: Path) -> NDArray[np.float32]:
    """A panorama (H, W, 3) in linear RGB, as it is in the file. Raises ValueError for a file that holds none."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if path.stat().st_size else None
    if image is None or image.ndim != 3 or image.dtype != np.float32 or not np.isfinite(image).all():
        raise ValueError(f"{path} is not a Radiance .hdr image that can be read; get it again")
    return np.ascontiguousarray(image[:, :, 2::-1])


def fitting(entries: Iterable[Worn], gender: str) -> list[Worn]:
    """The entries that a person of this gender ("female", "male") wears: those made for it, and those for anyone."""
    return [entry for entry in entries if entry.gender in ("", gender)]
