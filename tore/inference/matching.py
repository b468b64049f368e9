"""Which image a name in a box file means: by its path, the end of its path, its stem, or COCO's number."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tore.inference.boxes import Detections, ImageName
from tore.inference.crops import Box
from tore.inference.names import short, some

COCO_STEM = re.compile(r"(?:COCO_[A-Za-z0-9]+_)?([0-9]+)")
MOST_DIGITS = 18
PathEnd = tuple[str, ...]


def boxes_for(images: Sequence[Path], detections: Detections) -> tuple[list[list[Box]], list[str]]:
    """Each image's boxes, and sentences about what was left out and what does not fit.

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
    boxes = [detections.boxes[owner[number]] if number in owner else [] for number in range(len(images))]
    return boxes, [f"{source}: {note}" for note in [*detections.notes, *_misfits(images, owner, strangers)]]


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
