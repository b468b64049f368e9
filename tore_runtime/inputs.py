"""Which images a command line means, what they are called, and whose boxes are whose."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from tore_runtime.boxes import Detections, ImageName
from tore_runtime.detector import Detection
from tore_runtime.images import URL
from tore_runtime.names import natural_key, short, some

COCO_STEM = re.compile(r"(?:COCO_[A-Za-z0-9]+_)?([0-9]+)")
MOST_DIGITS = 18
PathEnd = tuple[str, ...]


def detections_for(images: Sequence[Path], detections: Detections) -> tuple[list[list[Detection]], list[str]]:
    """Each image's people by a file of boxes, and sentences about what was left out and what does not fit.

    An image that the file does not name has nobody. Raises ValueError where a name fits several images, several names
    fit one image, or none of the names is an image's.
    """
    index, source = _Index(images), detections.source
    owner: dict[int, ImageName] = {}
    strangers: list[ImageName] = []
    for name in detections.boxes:
        found = index.find(name, Path(source).parent)
        if len(found) > 1:
            shown = some(str(images[number]) for number in found)
            raise ValueError(f"{source}: the name {short(name)} fits several images ({shown}); write more of its path")
        if not found:
            strangers.append(name)
        elif (other := owner.setdefault(found[0], name)) != name:
            both = f"{short(other)} and {short(name)}"
            raise ValueError(f"{source}: the names {both} both mean {images[found[0]]}; keep one of them")
    if strangers and not owner:
        first = short(str(images[0]))
        raise ValueError(f"{source} names none of the images: its first name is {short(strangers[0])}, theirs {first}")
    people = [detections.of(owner[number]) if number in owner else [] for number in range(len(images))]
    return people, [f"{source}: {note}" for note in [*detections.notes, *_misfits(images, owner, strangers)]]


def _misfits(images: Sequence[Path], owner: dict[int, ImageName], strangers: list[ImageName]) -> list[str]:
    notes = []
    if strangers:
        notes.append(f"{len(strangers)} of its names are no image's: {some(strangers)}")
    if len(owner) < len(images):
        unnamed = [str(path) for number, path in enumerate(images) if number not in owner]
        notes.append(f"{len(unnamed)} of {len(images)} images are not in it and have nobody: {some(unnamed)}")
    return notes


class _Index:
    """The images by every end of their absolute paths, with their endings and without, and by number."""

    def __init__(self, images: Sequence[Path]) -> None:
        self.whole: dict[PathEnd, list[int]] = defaultdict(list)
        self.stems: dict[PathEnd, list[int]] = defaultdict(list)
        self.numbers: dict[int, list[int]] = defaultdict(list)
        for number, path in enumerate(images):
            parts = _parts(os.path.abspath(path))  # noqa: PTH100 - links stay as they are named
            for start in range(len(parts)):
                self.whole[parts[start:]].append(number)
                self.stems[(*parts[start:-1], PurePosixPath(parts[-1]).stem)].append(number)
            if (match := COCO_STEM.fullmatch(path.stem)) and len(match[1]) <= MOST_DIGITS:
                self.numbers[int(match[1])].append(number)

    def find(self, name: ImageName, folder: Path) -> list[int]:
        """The images that a name may mean, at the first way of reading it by which it means any."""
        if isinstance(name, int):
            return self.numbers.get(name, [])
        for text in dict.fromkeys((name, name.replace("\\", "/"))):
            absolute = [_parts(os.path.abspath(base / text)) for base in (Path(), folder)]  # noqa: PTH100
            for table in (self.whole, self.stems):
                for parts in (*absolute, _parts(text)):
                    if parts in table:
                        return table[parts]
        return self.numbers.get(int(name), []) if name.isdecimal() and len(name) <= MOST_DIGITS else []


def _parts(path: str) -> PathEnd:
    """Letters with accents written in one way, whichever the file system has."""
    return PurePosixPath(unicodedata.normalize("NFC", path)).parts


OWN_MARK = "pred"  # Official: files whose name holds it are taken for results and skipped
RESULT_NAME = re.compile(r"_pred(_|\.|$)")  # one that is certainly a result's
WILDCARDS = "*?["
# What is taken from a folder; HEIC too, so that it is named as unreadable and not passed over in silence.
IMAGE_ENDINGS = {
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip


def find_images(names: Sequence[str | Path], tell: Callable[[str], object] | None = None) -> list[Path]:
    """Files, folders and patterns as a list of paths without repeats, what a name stands for in natural order.

    Names keep the order in which they are given, unless it is the one in which a shell lists files (1, 10, 2).

    A folder gives what in it has an image's ending, a pattern what it matches; files whose name holds `pred` are left
    out of both, and `tell` is given a sentence about those that may be no results. A file that is named itself is
    always taken.

    Raises FileNotFoundError where a name means nothing at all.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = [item for item in path.iterdir() if item.suffix.lower() in IMAGE_ENDINGS]
            found += _not_results(inside, f"folder {path}", tell)
        elif path.exists():
            found.append(path)
        elif URL.match(str(name)):
            raise ValueError(f"{name} is a URL; fetch it and name the file")
        elif not any(sign in str(name) for sign in WILDCARDS):
            raise FileNotFoundError(f"{path} is missing")
        else:
            matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207
            found += _not_results(matches, f"pattern {name}", tell)
    found = list(dict.fromkeys(found))
    if _as_a_shell_lists(names, found) and found != (ordered := sorted(found, key=natural_key)):
        if tell is not None:
            tell(f"the {len(found)} images are taken in natural order, {ordered[1].name} after {ordered[0].name}")
        return ordered
    return found


def _as_a_shell_lists(names: Sequence[str | Path], found: list[Path]) -> bool:
    """Whether files are named in the plain order of their letters, as an unquoted pattern becomes them."""
    given = [str(name) for name in names]
    return [Path(name) for name in given] == found and given in (sorted(given), sorted(given, key=str.casefold))


def _not_results(paths: list[Path], where: str, tell: Callable[[str], object] | None) -> list[Path]:
    """Those whose name does not hold OWN_MARK, in natural order. FileNotFoundError where there is none."""
    paths = sorted(paths, key=natural_key)
    taken = [path for path in paths if OWN_MARK not in path.name]
    doubtful = [path.name for path in paths if OWN_MARK in path.name and not RESULT_NAME.search(path.name)]
    left_out = f"{len(doubtful) or len(paths)} with {OWN_MARK!r} in the name, as results have it"
    named = f"{some(doubtful or [path.name for path in paths])}; name such a file itself to use it"
    if not taken:
        raise FileNotFoundError(f"{where} holds no image" + (f" but {left_out}: {named}" if paths else ""))
    if doubtful and tell is not None:
        tell(f"{where}: left out {left_out}: {named}")
    return taken


def output_stems(images: Sequence[Path], folder: Path | None) -> list[Path]:
    """For each image the path that its outputs' names begin with, `_tore_pred` not yet added, no two the same.

    `folder` None means beside the image. Images that differ only in their ending keep it, others of the same
    name are numbered.
    """
    stems = [(folder or path.parent) / path.stem for path in images]
    shared = Counter(map(_plain, stems))
    taken: set[str] = set()
    unique = []
    for path, stem in zip(images, stems, strict=True):
        name = path.name if shared[_plain(stem)] > 1 else stem.name
        candidate, number = stem.with_name(name), 1
        while _plain(candidate) in taken or (number > 1 and _plain(candidate) in shared):
            number += 1
            candidate = stem.with_name(f"{name}_{number}")
        taken.add(_plain(candidate))
        unique.append(candidate)
    return unique


def _plain(path: Path) -> str:
    """The path as file systems that do not tell capitals apart see it."""
    return str(path).casefold()
