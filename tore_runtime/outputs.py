"""What inference writes of an image: drawings, meshes, results, pose files."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tore_runtime.drawing import contact_sheet, overlay, token_sheet, view
from tore_runtime.files import write_whole
from tore_runtime.joints import SKELETON_NAMES
from tore_runtime.mesh_files import TO_VIEWER, PlacedMesh, save_mesh, save_scene
from tore_runtime.names import readable
from tore_runtime.parameters import PREFIXES, BodyParameters, parameter_schema
from tore_runtime.renderer import MESH_COLOR
from tore_runtime.result import Recovery, save_result

TURNS = {"front": 0.0, "side": 90.0, "back": 180.0}
PEOPLE_COLORS = (
    MESH_COLOR, (0.90, 0.66, 0.52), (0.62, 0.80, 0.60), (0.82, 0.66, 0.84), (0.90, 0.82, 0.52), (0.56, 0.80, 0.80),
)  # fmt: skip


def crop_overlay(recovery: Recovery, faces: np.ndarray) -> np.ndarray:
    """The mesh drawn over the crop by the image's camera: (n, n, 3) uint8. Behind the camera it is not drawn."""
    crop = recovery.crop.pixels
    if not recovery.in_front:
        return crop.copy()
    return overlay(crop, recovery.crop_vertices, recovery.own_faces(faces), recovery.crop_view)


def crop_and_overlay(recovery: Recovery, faces: np.ndarray) -> np.ndarray:
    """The crop and, to its right, the mesh over it: (n, 2n, 3) uint8, as in the official code."""
    return np.hstack([recovery.crop.pixels, crop_overlay(recovery, faces)])


def color_of(person: Recovery) -> tuple[float, float, float]:
    """In which a person is drawn among the others of the image."""
    return PEOPLE_COLORS[(person.crop.person - 1) % len(PEOPLE_COLORS)]


def draw_people(image: np.ndarray, people: Sequence[Recovery], faces: np.ndarray) -> np.ndarray:
    """The whole image (H, W, 3) uint8 with every person at its place, nearer ones before farther ones.

    All people are of this image and so share its camera. A person behind the camera is not drawn.
    """
    shown = [person for person in people if person.in_front]
    if not shown:
        return image.copy()
    vertices = np.concatenate([person.vertices + person.translation for person in shown])  # (N V, 3)
    count = len(shown[0].vertices)
    scene = np.concatenate([person.own_faces(faces) + index * count for index, person in enumerate(shown)])  # (N F, 3)
    colors = [color_of(person) for person in shown]
    return overlay(image, vertices, scene, shown[0].image_camera, color=np.repeat(colors, count, axis=0))


def other_views(recovery: Recovery, faces: np.ndarray, names: Sequence[str] = ("side", "back")) -> np.ndarray:
    """A sheet: crop, overlay, and the mesh alone from the named sides ("front", "side", "back")."""
    crop = recovery.crop.pixels
    own = recovery.own_faces(faces)
    drawn = [view(recovery.vertices, own, degrees=TURNS[name], size=crop.shape[0]).color for name in names]
    cells = [crop, crop_overlay(recovery, faces), *drawn]
    return contact_sheet(cells, ["crop", "overlay", *names], columns=len(cells), cell=crop.shape[0])


def tokens(recovery: Recovery) -> np.ndarray:
    """A sheet of where the kept image tokens looked: their mean, then each.

    Raises ValueError for a network without image token pruning.
    """
    if recovery.heatmap is None:
        raise ValueError(f"{recovery.checkpoint or 'this network'} prunes no image tokens, so there are none to show")
    return token_sheet(recovery.crop.pixels, recovery.heatmap)


SIDES = ("right", "left")  # by whether a hand is a left one
FRAME = "the camera of each image: x right, y down, z away; meters and radians; principal point in its center"


class PoseFile:
    """Gathers the body parameters of people, in whatever order images are done, and writes them as one `.npz`."""

    def __init__(
        self,
        path: Path,
        images: Iterable[str | Path] = (),
        *,
        frame_rate: float | None = None,
        overwrite: bool = False,
    ) -> None:
        """`images`: all of them, in the order of their rows. `frame_rate`: images per second, where they are frames.

        Raises ValueError for another ending or no rate, FileExistsError where the file is there and may not be
        replaced.
        """
        if path.suffix != ".npz":
            raise ValueError(f"{path}: poses are written as .npz")
        if frame_rate is not None and not (np.isfinite(frame_rate) and frame_rate > 0):
            raise ValueError(f"frame rate {frame_rate:g}: give a positive number of images per second")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} is there already; add --overwrite or name another file")
        self.path, self.frame_rate = path, frame_rate
        self._people: dict[str, dict[int, BodyParameters]] = {str(image): {} for image in images}
        self._focal_lengths: dict[str, float] = {}
        self._kind = "body"
        self._sides: dict[tuple[str, int], str] = {}  # of each image's people, where they are hands

    def add(self, image: str | Path, people: Iterable[Recovery]) -> None:
        """Takes the parameters of an image's people, regressed or fitted; none where it failed."""
        own = self._people.setdefault(str(image), {})
        for person in people:
            assert person.parameters is not None, "the parameters are neither regressed nor fitted"
            own[person.crop.person] = person.parameters
            self._kind = person.kind
            self._sides[str(image), person.crop.person] = SIDES[person.crop.left]
            self._focal_lengths[str(image)] = person.image_camera.focal_length

    @property
    def failed(self) -> int:
        """The number of images without anybody, whose rows are NaN."""
        return sum(not people for people in self._people.values())

    def write(self) -> Path | None:
        """Writes the file whole or not at all; None where nobody was recovered."""
        if not any(self._people.values()):
            return None
        stream = io.BytesIO()
        np.savez_compressed(stream, **self._arrays())
        write_whole(self.path, stream.getvalue())
        return self.path

    def _arrays(self) -> dict[str, Any]:
        images = list(self._people)
        most = max(max(people, default=0) for people in self._people.values())
        rows = [people.get(number + 1) for people in self._people.values() for number in range(most)]
        valid = np.array([row is not None for row in rows])
        first = next(row for row in rows if row is not None)
        values = {}
        for name in ("pose", "betas", "translation", "residual_mm", *(["pca"] if self._kind == "hand" else [])):
            blank = np.full(np.shape(getattr(first, name)), np.nan)
            found = [blank if row is None or getattr(row, name) is None else getattr(row, name) for row in rows]
            values[name] = np.stack(found).astype(np.float64)
        focal = [self._focal_lengths.get(image, np.nan) for image in images]
        arrays: dict[str, Any] = {
            "poses": values["pose"],  # (N, 72), of hands (N, 48), N = images * most
            "trans": values["translation"],  # (N, 3)
            "betas": values["betas"][valid].mean(0),  # (10,)
            "frame_betas": values["betas"],  # (N, 10)
            "valid": valid,  # (N,) bool
            "gender": np.array("neutral"),
            "frame": np.array(FRAME),
            "focal_length": np.repeat(focal, most),  # (N,) pixels, of the camera before which `trans` places bodies
            "picture": np.repeat(np.array(images), most),  # (N,)
            "picture_index": np.repeat(np.arange(len(images)), most),  # (N,), from 0: over the frame rate it is seconds
            "person": np.tile(np.arange(1, most + 1), len(images)),  # (N,), from 1
            "residual_mm": values["residual_mm"],  # (N,) NaN where the network regressed the parameters
            "joint_names": np.array(SKELETON_NAMES[self._kind]),  # (24,) or (16,)
            "schema": np.array(json.dumps(pose_file_schema(self._kind))),
        }
        if first.body_model is not None:
            arrays["body_model"] = np.array(json.dumps(first.body_model.described()))
        if self._kind == "hand":
            numbers = [(image, number + 1) for image in images for number in range(most)]
            arrays["side"] = np.array([self._sides.get(who, SIDES[False]) for who in numbers])  # (N,)
            arrays["pca"] = values["pca"]  # (N, 45)
        return arrays if self.frame_rate is None else arrays | {"mocap_framerate": np.array(self.frame_rate)}


def pose_file_schema(kind: str) -> dict[str, str]:
    """What the entries of a file of poses of a "body" or "hand" are: units, frame, order."""
    words = {name.removeprefix(PREFIXES[kind]): text for name, text in parameter_schema(kind).items()}
    more = {
        "poses": words["pose"].replace(PREFIXES[kind], ""),
        "trans": words["translation"],
        "betas": "the mean of frame_betas over the valid rows",
        "frame_betas": "the shape of each row",
        "valid": "false where a row has nobody: its numbers are NaN",
        "focal_length": "pixels, of the camera before which trans places bodies",
        "picture_index": "from 0: over mocap_framerate it is seconds",
        "person": "of the image, from 1",
        "mocap_framerate": "images per second; absent unless the images are a film's frames",
    }
    if kind == "hand":
        more |= {"side": "right or left, of each row", "pca": words["pca"]}
    return {**more, **{name: words[name] for name in ("residual_mm", "joint_names", "body_model")}}


JPEG_QUALITY = 95
JPEG_MAX_SIDE = 65_500
SUFFIX = "_tore_pred"


@dataclass(frozen=True)
class Wanted:
    """Which files are written for each person."""

    overlay: bool = True
    views: tuple[str, ...] = ()  # of `tore_runtime.outputs.TURNS`
    tokens: bool = False
    mesh: str | None = None  # obj | ply | glb
    results: str | None = None  # npz | json
    scene: str | None = None  # glb | obj, one of all people of an image

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

    def scene_ending(self) -> list[str]:
        """What follows an image's stem in the name of its scene, where there is one."""
        return [f"{SUFFIX}_scene.{self.scene}"] if self.scene else []


def planned_files(stem: Path, people: int | None, wanted: Wanted) -> list[Path]:
    """Every file that `write_outputs` will write; `people` is the number of boxes, None where there are none."""
    if people is None:
        return [_named(stem, ending) for ending in [*wanted.endings(), *wanted.scene_ending()]]
    own = [_named(_person_stem(stem, person + 1), ending) for person in range(people) for ending in wanted.endings()]
    whole = [f"{SUFFIX}.jpg"] if wanted.overlay else []
    return [_named(stem, ending) for ending in [*whole, *wanted.scene_ending()]] + own


def write_outputs(
    people: Sequence[Recovery], image: np.ndarray | None, stem: Path, wanted: Wanted, faces: np.ndarray
) -> tuple[list[Path], float]:
    """Draws and writes one image's files. image: (H, W, 3) uint8 where people have boxes, else None.

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

    if image is not None and wanted.overlay:
        draw(_named(stem, f"{SUFFIX}.jpg"), _beside(image, draw_people(image, people, faces)))
    shown = [person for person in people if person.in_front]
    for ending in wanted.scene_ending() if shown else ():
        write(_named(stem, ending), partial(save_scene_of, people=shown, stem=stem, faces=faces))
    for person in people:
        own = stem if person.crop.origin == "center" else _person_stem(stem, person.crop.person)
        if wanted.overlay:
            draw(_named(own, f"{SUFFIX}.jpg"), crop_and_overlay(person, faces))
        if wanted.views:
            draw(_named(own, f"{SUFFIX}_views.jpg"), other_views(person, faces, wanted.views))
        if wanted.tokens:
            draw(_named(own, f"{SUFFIX}_tokens.jpg"), tokens(person))
        if wanted.mesh:
            save = partial(save_mesh_of, person=person, name=readable(own.name), faces=faces)
            write(_named(own, f"{SUFFIX}.{wanted.mesh}"), save)
        if wanted.results:
            write(_named(own, f"{SUFFIX}.{wanted.results}"), partial(save_result, recovery=person))
    return written, seconds


def save_mesh_of(path: Path, person: Recovery, name: str, faces: np.ndarray) -> Path:
    """Writes a person's mesh around its own origin, and where that stands as a remark."""
    return save_mesh(path, person.vertices, person.own_faces(faces), name=name, remark=placement(person))


def placement(person: Recovery) -> str:
    """How a mesh in the axes of its file comes before the image's camera, and what the network was shown."""
    x, y, z = person.translation * TO_VIEWER
    (height, width), region = person.crop.image_size, person.crop.region
    camera = f"focal length {person.focal_length}, looking along -z at the center of {width} x {height} pixels"
    crop = f"center ({region.center[0]:g}, {region.center[1]:g}), size {region.size:g}, rotation {region.rotation:g}"
    return f"add ({x:.6f}, {y:.6f}, {z:.6f}) to stand before the image's camera ({camera}); crop: {crop} degrees"


def save_scene_of(path: Path, people: Sequence[Recovery], stem: Path, faces: np.ndarray) -> Path:
    """Writes an image's people before its camera, in the colors in which they are drawn."""
    first = people[0]
    meshes = [
        PlacedMesh(
            readable(_person_stem(stem, person.crop.person).name),
            person.vertices + person.translation,
            person.own_faces(faces),
            color_of(person),
        )
        for person in people
    ]
    return save_scene(path, meshes, first.image_camera, first.crop.image_size)


def _named(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _person_stem(stem: Path, person: int) -> Path:
    return stem.with_name(f"{stem.name}_person{person}")


def _beside(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Both side by side, or one above the other where that would be wider than a JPEG can be."""
    if 2 * image.shape[1] > JPEG_MAX_SIDE:
        return np.vstack([image, drawn])
    return np.hstack([image, drawn])


def _jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
