"""The SMPL poses of many people in one file, under AMASS's names.

One row for each image and person number, images in the order in which they were given: for a film's frames that is a
motion without gaps. With P the most people in any image there are P rows per image, `(images * P, ...)`; where an image
has no such person, or failed, the row is NaN and `valid` is False. SMPL with `poses[i]` and `frame_betas[i]`, moved by
`trans[i]`, stands before the camera of the row's image (x right, y down, z away).
AMASS's own files differ in their frame (z up) and, made from SMPL+H, in hands behind the 24 joints; they have one
shape per motion, which `betas` is here too: the mean of the valid rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tore.files import write_whole
from tore.inference.recovery import BodyParameters, Recovery

FRAME = "the camera of each picture: x right, y down, z away; metres and radians"


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

    def add(self, image: str | Path, people: Iterable[Recovery]) -> None:
        """Takes the parameters of an image's people, from a network that regresses them; none where it failed."""
        own = self._people.setdefault(str(image), {})
        for person in people:
            assert person.parameters is not None, "the network regresses no SMPL parameters"
            own[person.crop.person] = person.parameters

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
        for name in ("pose", "betas", "translation"):
            blank = np.full(getattr(first, name).shape, np.nan)
            values[name] = np.stack([blank if row is None else getattr(row, name) for row in rows]).astype(np.float64)
        arrays: dict[str, Any] = {
            "poses": values["pose"],  # (N, 72), N = images * most
            "trans": values["translation"],  # (N, 3)
            "betas": values["betas"][valid].mean(0),  # (10,)
            "frame_betas": values["betas"],  # (N, 10)
            "valid": valid,  # (N,) bool
            "gender": np.array("neutral"),
            "frame": np.array(FRAME),
            "picture": np.repeat(np.array(images), most),  # (N,)
            "picture_index": np.repeat(np.arange(len(images)), most),  # (N,), from 0: over the frame rate it is seconds
            "person": np.tile(np.arange(1, most + 1), len(images)),  # (N,), from 1
        }
        return arrays if self.frame_rate is None else arrays | {"mocap_framerate": np.array(self.frame_rate)}
