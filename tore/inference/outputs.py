"""What inference writes for a picture, and under which names.

`<name>_tore_pred.jpg` is the crop and the overlay side by side; with boxes it is the whole picture and everyone
drawn into it, and each person has its own files, `<name>_person1_tore_pred.jpg` and so on.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tore.files import write_whole
from tore.inference import drawing
from tore.inference.names import readable
from tore.inference.recovery import Recovery
from tore.inference.results import save_result
from tore.visualize.mesh_files import save_mesh

JPEG_QUALITY = 95
JPEG_MAX_SIDE = 65_500
SUFFIX = "_tore_pred"


@dataclass(frozen=True)
class Wanted:
    """Which files are written for each person."""

    overlay: bool = True
    views: tuple[str, ...] = ()  # of `tore.inference.drawing.TURNS`
    tokens: bool = False
    mesh: str | None = None  # obj | ply | glb
    results: str | None = None  # npz | json

    @property
    def draws_meshes(self) -> bool:
        """Whether the renderer is needed."""
        return self.overlay or bool(self.views)

    def endings(self) -> list[str]:
        """What follows a person's stem in the names of its files."""
        chosen = {
            f"{SUFFIX}.jpg": self.overlay,
            f"{SUFFIX}_views.jpg": self.views,
            f"{SUFFIX}_tokens.jpg": self.tokens,
            f"{SUFFIX}.{self.mesh}": self.mesh,
            f"{SUFFIX}.{self.results}": self.results,
        }
        return [ending for ending, wanted in chosen.items() if wanted]


def planned_files(stem: Path, people: int | None, wanted: Wanted) -> list[Path]:
    """Every file that `write_outputs` will write; `people` is the number of boxes, None where there are none."""
    if people is None:
        return [_named(stem, ending) for ending in wanted.endings()]
    own = [_named(_person_stem(stem, person + 1), ending) for person in range(people) for ending in wanted.endings()]
    return ([_named(stem, f"{SUFFIX}.jpg")] if wanted.overlay else []) + own


def write_outputs(
    people: Sequence[Recovery], picture: np.ndarray | None, stem: Path, wanted: Wanted, faces: np.ndarray
) -> tuple[list[Path], float]:
    """Draws and writes one picture's files. picture: (H, W, 3) uint8 where people have boxes, else None.

    Returns the files and the seconds that encoding and writing took, drawing left out. ValueError or OSError where
    something cannot be drawn or written.
    """
    written: list[Path] = []
    seconds = 0.0

    def write(path: Path, save: Callable[[Path], object]) -> None:
        nonlocal seconds
        start = time.perf_counter()
        save(path)
        seconds += time.perf_counter() - start
        written.append(path)

    def draw(path: Path, pixels: np.ndarray) -> None:
        write(path, lambda target: write_whole(target, _jpeg(pixels)))

    if picture is not None and wanted.overlay:
        draw(_named(stem, f"{SUFFIX}.jpg"), _beside(picture, drawing.draw_people(picture, people, faces)))
    for person in people:
        own = stem if person.crop.box is None else _person_stem(stem, person.crop.person)
        if wanted.overlay:
            draw(_named(own, f"{SUFFIX}.jpg"), drawing.crop_and_overlay(person, faces))
        if wanted.views:
            draw(_named(own, f"{SUFFIX}_views.jpg"), drawing.other_views(person, faces, wanted.views))
        if wanted.tokens:
            draw(_named(own, f"{SUFFIX}_tokens.jpg"), drawing.tokens(person))
        if wanted.mesh:
            save = partial(save_mesh, vertices=person.vertices, faces=person.own_faces(faces), name=readable(own.name))
            write(_named(own, f"{SUFFIX}.{wanted.mesh}"), save)
        if wanted.results:
            write(_named(own, f"{SUFFIX}.{wanted.results}"), partial(save_result, recovery=person))
    return written, seconds


def _named(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _person_stem(stem: Path, person: int) -> Path:
    return stem.with_name(f"{stem.name}_person{person}")


def _beside(picture: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Both side by side, or one above the other where that would be wider than a JPEG can be."""
    if 2 * picture.shape[1] > JPEG_MAX_SIDE:
        return np.vstack([picture, drawn])
    return np.hstack([picture, drawn])


def _jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
