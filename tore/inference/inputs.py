"""Which pictures a command line means, which boxes belong to them, and the names of what is written."""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tore.inference.crops import Box
from tore.inference.pairing import as_boxes

OWN_MARK = "pred"  # Published: files whose name holds it are taken for results and skipped
WILDCARDS = "*?["
# What is taken from a folder; HEIC too, so that it is named as unreadable and not passed over in silence.
PICTURE_ENDINGS = {
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip


def find_pictures(names: Sequence[str | Path]) -> list[Path]:
    """Files, folders and patterns as a list of paths, in order and without repeats.

    A folder gives what in it has a picture's ending, a pattern what it matches; files whose name holds `pred` are left
    out of both. A file that is named itself is always taken.

    Raises FileNotFoundError where a name means nothing at all.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = [item for item in sorted(path.iterdir()) if item.suffix.lower() in PICTURE_ENDINGS]
            found += _checked([item for item in inside if OWN_MARK not in item.name], f"folder {path} holds no picture")
        elif path.exists() or not any(sign in str(name) for sign in WILDCARDS):
            found += _checked([path] if path.exists() else [], f"{path} is missing")
        else:
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
            matches = [match for match in matches if OWN_MARK not in match.name]
            found += _checked(matches, f"the pattern {name} matches no picture")
    return list(dict.fromkeys(found))


def output_stems(pictures: Sequence[Path], folder: Path | None) -> list[Path]:
    """For each picture the path that its outputs' names begin with, `_tore_pred` not yet added, no two the same.

    `folder` None means beside the picture. Pictures that differ only in their ending keep it, others of the same
    name are numbered.
    """
    stems = [(folder or path.parent) / path.stem for path in pictures]
    shared = Counter(map(_plain, stems))
    taken: set[str] = set()
    unique = []
    for path, stem in zip(pictures, stems, strict=True):
        name = path.name if shared[_plain(stem)] > 1 else stem.name
        candidate, number = stem.with_name(name), 1
        while _plain(candidate) in taken or (number > 1 and _plain(candidate) in shared):
            number += 1
            candidate = stem.with_name(f"{name}_{number}")
        taken.add(_plain(candidate))
        unique.append(candidate)
    return unique


def read_boxes(path: str | Path) -> dict[str, list[Box]]:
    """Boxes by picture from a JSON file: {"name.jpg": [[x, y, width, height], ...], ...}.

    Raises FileNotFoundError, or ValueError naming the file and the entry that cannot be used.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(f"{path} is missing: give a JSON file of boxes")
    expected = '{"name.jpg": [[x, y, width, height], ...], ...}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); boxes are written as {expected}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; boxes are written as {expected}")
    boxes = {}
    for name, values in content.items():
        try:
            boxes[name] = as_boxes(values)
        except ValueError as error:
            raise ValueError(f"{path}, {name}: {error}") from None
    return boxes


def parse_box(text: str) -> Box:
    """`x,y,width,height` as four numbers. ValueError for other text."""
    try:
        x, y, width, height = (float(value) for value in text.split(","))
    except ValueError:
        raise ValueError(f"box {text!r}: give x,y,width,height in pixels, such as 120,40,200,380") from None
    return x, y, width, height


def boxes_for(pictures: Iterable[Path], named: dict[str, list[Box]], source: str) -> list[list[Box] | None]:
    """Each picture's boxes, looked up by its path, else by its file name; None for a picture that has none.

    Raises ValueError where none of the names in `source` is a picture's.
    """
    found = [named.get(str(path), named.get(path.as_posix(), named.get(path.name))) for path in pictures]
    if named and not any(found):
        raise ValueError(f"{source} names none of the pictures; its first name is {next(iter(named))!r}")
    return found


def _plain(path: Path) -> str:
    """The path as file systems that do not tell capitals apart see it."""
    return str(path).casefold()


def _checked(paths: list[Path], complaint: str) -> list[Path]:
    if not paths:
        raise FileNotFoundError(complaint)
    return paths
