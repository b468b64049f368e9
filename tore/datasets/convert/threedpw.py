"""3DPW's annotations, as its site gives them and as Pose2Mesh gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from manopth.files import load_pickle
from tore.datasets.convert.entries import CHUNK, BodyModels, Entry, entry
from tore.datasets.convert.reading import array, field, file_stamp, gender_name, items, load_json, require, skip_to
from tore.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from tore.paths import takes_data_dir
from tore_runtime.crop import BOX_MARGIN, PIXELS_PER_SCALE

TABLES = ("images", "annotations")


class Posed(NamedTuple):
    """One annotation: image, SMPL parameters and pinhole camera."""

    key: str
    box: tuple[np.ndarray, float]  # center (2,), scale
    pose: np.ndarray  # (72,)
    betas: np.ndarray  # (10,)
    translation: np.ndarray  # (3,) meters, camera frame
    intrinsics: np.ndarray  # (3,3)
    gender: str | None


class Pose2MeshAnnotations:
    """The annotations of one JSON file, in the file's order; the box is the annotation's.

    Official: joints are the neutral model's 24 train joints whatever the person's gender.
    """

    @takes_data_dir
    def __init__(self, path: str | Path, body_dir: str | Path | None = None) -> None:
        self.path = Path(path)
        record = load_json(self.path)
        tables = {name: items(field(record, name, str(self.path)), f"{self.path}: {name}") for name in TABLES}
        self._images = {str(field(image, "id", f"{self.path}: an image")): image for image in tables["images"]}
        self._annotations = tables["annotations"]
        self._bodies = BodyModels({"neutral"}, body_dir)
        self.description: dict[str, Any] = {
            "source": "3dpw-pose2mesh",
            "annotations": file_stamp(self.path),
            "body_models": self._bodies.description,
        }

    def __len__(self) -> int:
        return len(self._annotations)

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """The entries from number `start` on, whole chunks going through the body model together."""
        for first in range(start - start % CHUNK, len(self), CHUNK):
            people = [self._posed(row) for row in range(first, min(first + CHUNK, len(self)))]
            poses, betas = np.stack([p.pose for p in people]), np.stack([p.betas for p in people])
            joints = self._bodies.joints24("neutral", poses, betas)
            for person, points in list(zip(people, joints, strict=True))[max(0, start - first) :]:
                known = (person.translation, person.intrinsics, person.pose, person.betas, person.gender, person.box)
                yield entry(person.key, points, *known)

    def _posed(self, row: int) -> Posed:
        where = f"{self.path} annotation {row}"
        annotation = self._annotations[row]
        image_id = str(field(annotation, "image_id", where))
        if image_id not in self._images:
            raise ValueError(f"{where} names image {image_id}, which the file does not list")
        image, at = self._images[image_id], f"{self.path} image {image_id}"
        smpl = field(annotation, "smpl_param", where)
        camera = field(image, "cam_param", at)
        x, y, width, height = array(field(annotation, "bbox", where), (4,), f"{where}: bbox")
        (fx, fy), (cx, cy) = (array(field(camera, name, at), (2,), f"{at}: {name}") for name in ("focal", "princpt"))
        return Posed(
            key=f"imageFiles/{field(image, 'sequence', at)}/{field(image, 'file_name', at)}",
            box=(np.array([x + width / 2, y + height / 2]), BOX_MARGIN * max(width, height) / PIXELS_PER_SCALE),
            pose=array(field(smpl, "pose", where), (72,), f"{where}: pose", flat=True),
            betas=array(field(smpl, "shape", where), (10,), f"{where}: shape", flat=True),
            translation=array(field(smpl, "trans", where), (3,), f"{where}: trans", flat=True),
            intrinsics=np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
            gender=gender_name(smpl.get("gender", "")),
        )


SPLITS = ("train", "validation", "test")
NO_CAMERA = "the frame's camera pose is not valid"


class Track(NamedTuple):
    """One person of one sequence over its F frames, in the world frame; a frame's camera takes world to camera."""

    sequence: str
    poses: np.ndarray  # (F,72)
    betas: np.ndarray  # (10,)
    translations: np.ndarray  # (F,3) meters
    valid: np.ndarray  # (F,) bool
    gender: str
    cameras: np.ndarray  # (F,4,4)
    intrinsics: np.ndarray  # (3,3)


class ThreeDPWSequences:
    """Every person and frame of one split: sequences by file name, then people, then frames."""

    @takes_data_dir
    def __init__(self, root: str | Path, split: str, body_dir: str | Path | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} of 3DPW is not known; use one of {', '.join(SPLITS)}")
        folder = require(Path(root) / "sequenceFiles" / split)
        self._files = sorted(folder.glob("*.pkl"))
        if not self._files:
            raise FileNotFoundError(f"{folder} holds no .pkl file: put the split's sequence files there")
        self._frames: list[list[int]] = []  # per file, per person
        genders: set[str] = set()
        for path in self._files:
            tracks = load_tracks(path)
            self._frames.append([len(track.poses) for track in tracks])
            genders |= {track.gender for track in tracks}
        self._bodies = BodyModels(genders, body_dir)
        self.description: dict[str, Any] = {
            "source": "3dpw",
            "split": split,
            "annotations": [file_stamp(path) for path in self._files],
            "body_models": self._bodies.description,
        }

    def __len__(self) -> int:
        return sum(map(sum, self._frames))

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """The entries from number `start` on, whole chunks of frames going through the body model together."""
        for skip, (path, frames) in skip_to(start, ((sum(f), (p, f)) for p, f in self._pairs())):
            tracks = zip(frames, load_tracks(path), strict=True)
            for skip_frames, track in skip_to(skip, tracks):
                for first in range(skip_frames - skip_frames % CHUNK, len(track.poses), CHUNK):
                    yield from self._chunk(track, slice(first, first + CHUNK), max(skip_frames, first))

    def _pairs(self) -> Iterator[tuple[Path, list[int]]]:
        return zip(self._files, self._frames, strict=True)

    def _chunk(self, track: Track, frames: slice, start: int) -> Iterator[Entry]:
        """The entries of one chunk of a track's frames, from frame `start` on."""
        kept = np.flatnonzero(track.valid[frames]) + frames.start
        betas = np.broadcast_to(track.betas, (len(kept), 10)).copy()
        pelvis = self._bodies.rest_pelvis(track.gender, track.betas)
        poses, translations = to_camera(track.poses[kept], track.translations[kept], track.cameras[kept], pelvis)
        joints = self._bodies.joints24(track.gender, poses, betas)
        row_of = {int(frame): row for row, frame in enumerate(kept)}
        for frame in range(start, min(frames.stop, len(track.poses))):
            key = f"imageFiles/{track.sequence}/image_{frame:05d}.jpg"
            if frame not in row_of:
                yield Entry(key, None, NO_CAMERA)
                continue
            row = row_of[frame]
            known = (track.intrinsics, poses[row], track.betas, track.gender)
            yield entry(key, joints[row], translations[row], *known)


def to_camera(
    poses: np.ndarray, translations: np.ndarray, cameras: np.ndarray, pelvis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """SMPL poses (F,72) and translations (F,3) of a world frame in the camera frames (F,4,4), meters.

    SMPL turns the body about its rest pelvis (3,), not about the origin. A world point x = Q (v - pelvis) + pelvis + t
    becomes R x + T = R Q (v - pelvis) + pelvis + t' with t' = R (pelvis + t) + T - pelvis.
    """
    rotation, offset = cameras[:, :3, :3], cameras[:, :3, 3]
    root = torch.from_numpy(rotation) @ axis_angle_to_matrix(torch.from_numpy(poses[:, :3]))
    turned = np.concatenate([matrix_to_axis_angle(root).numpy(), poses[:, 3:]], 1)
    return turned, np.einsum("fij,fj->fi", rotation, pelvis + translations) + offset - pelvis


def load_tracks(path: Path) -> list[Track]:
    """The people of one sequence file. ValueError names the file and the field that is missing or misshapen."""
    record = load_pickle(path)
    sequence = str(field(record, "sequence", str(path)))
    cameras = array(field(record, "cam_poses", str(path)), (-1, 4, 4), f"{path}: cam_poses")
    intrinsics = array(field(record, "cam_intrinsics", str(path)), (3, 3), f"{path}: cam_intrinsics")
    names = ("poses", "betas", "trans", "campose_valid", "genders")
    people = {name: items(field(record, name, str(path)), f"{path}: {name}") for name in names}
    counts = {name: len(values) for name, values in people.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{path}: its per-person lists have different lengths: {counts}")
    return [
        _track(path, sequence, person, {name: values[person] for name, values in people.items()}, cameras, intrinsics)
        for person in range(counts["poses"])
    ]


def _track(
    path: Path, sequence: str, person: int, given: dict[str, Any], cameras: np.ndarray, intrinsics: np.ndarray
) -> Track:
    where, frames = f"{path} person {person}", len(cameras)
    gender = gender_name(given["genders"])
    if gender is None:
        raise ValueError(f"{where}: gender {given['genders']!r} is not known; expected 'm' or 'f'")
    betas = array(given["betas"], (-1,), f"{where}: betas", flat=True)
    if len(betas) < 10:
        raise ValueError(f"{where}: betas has {len(betas)} numbers, expected 10 or more")
    return Track(
        sequence=sequence,
        poses=array(given["poses"], (frames, 72), f"{where}: poses"),
        betas=betas[:10],
        translations=array(given["trans"], (frames, 3), f"{where}: trans"),
        valid=array(given["campose_valid"], (frames,), f"{where}: campose_valid") > 0,
        gender=gender,
        cameras=cameras,
        intrinsics=intrinsics,
    )
