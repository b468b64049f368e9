"""The SMPL poses of many people in one file, under AMASS's names.

One row per person, in the order of the pictures: for a film's frames with one person that is a motion. SMPL with
`poses[i]` and `frame_betas[i]`, moved by `trans[i]`, stands before the camera of picture i (x right, y down, z away).
AMASS's own files differ in their frame (z up) and, made from SMPL+H, in hands behind the 24 joints; they have one
shape per motion, which `betas` is here too: the mean.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tore.inference.recovery import BodyParameters, Recovery
from tore.inference.results import write_whole

FRAME = "the camera of each picture: x right, y down, z away; metres and radians"


class PoseFile:
    """Gathers the body parameters of people, in the order in which they come, and writes them as one `.npz`."""

    def __init__(self, path: Path, *, frame_rate: float | None = None, overwrite: bool = False) -> None:
        """`frame_rate`: pictures per second, where they are a film's frames.

        Raises ValueError for another ending or no rate, FileExistsError where the file is there and may not be
        replaced.
        """
        if path.suffix != ".npz":
            raise ValueError(f"{path}: poses are written as .npz")
        if frame_rate is not None and not (np.isfinite(frame_rate) and frame_rate > 0):
            raise ValueError(f"frame rate {frame_rate:g}: give a positive number of pictures per second")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} is there already; add --overwrite or name another file")
        self.path, self.frame_rate = path, frame_rate
        self._parameters: list[BodyParameters] = []
        self._people: list[tuple[str, int]] = []

    def add(self, people: Iterable[Recovery]) -> None:
        """Takes the parameters of people of a network that regresses them."""
        for person in people:
            assert person.parameters is not None, "the network regresses no SMPL parameters"
            self._parameters.append(person.parameters)
            self._people.append((person.crop.source, person.crop.person))

    def write(self) -> Path | None:
        """Writes the file whole or not at all; None where nobody was recovered."""
        if not self._parameters:
            return None
        stream = io.BytesIO()
        np.savez_compressed(stream, **self._arrays())
        write_whole(self.path, stream.getvalue())
        return self.path

    def _arrays(self) -> dict[str, Any]:
        pose, betas, translation = (
            np.stack([getattr(parameters, name) for parameters in self._parameters]).astype(np.float64)
            for name in ("pose", "betas", "translation")
        )
        arrays: dict[str, Any] = {
            "poses": pose,  # (N, 72)
            "trans": translation,  # (N, 3)
            "betas": betas.mean(0),  # (10,)
            "frame_betas": betas,  # (N, 10)
            "gender": np.array("neutral"),
            "frame": np.array(FRAME),
            "picture": np.array([source for source, _ in self._people]),  # (N,)
            "person": np.array([number for _, number in self._people]),  # (N,), from 1
        }
        return arrays if self.frame_rate is None else arrays | {"mocap_framerate": np.array(self.frame_rate)}
