"""Predicted hands kept during an evaluation, written as FreiHAND's submission and scored where labels are at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from tore.datasets.augmentation import Draw
from tore.engine.distributed import Processes
from tore.engine.step import Batch
from tore.evaluation.freihand import doubts, picture_order, write_predictions
from tore.evaluation.protocol import summary
from tore.tools.freihand import save_scores, score_file


@dataclass
class KeptHands:
    """Joints and vertices of this process's samples, minus the wrist, in metres."""

    keys: list[str] = field(default_factory=list)
    joints: list[np.ndarray] = field(default_factory=list)  # (B, 21, 3) each
    vertices: list[np.ndarray] = field(default_factory=list)  # (B, 778, 3) each

    def add(self, batch: Batch, joints: Tensor, vertices: Tensor) -> None:
        """Keeps a batch's predictions."""
        self.keys += batch["key"]
        self.joints.append(joints.float().cpu().numpy())
        self.vertices.append(vertices.float().cpu().numpy())

    def write(self, path: Path, processes: Processes, say: Callable[[str], None]) -> None:
        """Writes all processes' hands in the order of their pictures and says what looks wrong about them."""
        parts = processes.gather(self)
        if not processes.is_main:
            return
        order = picture_order([key for part in parts for key in part.keys])
        joints = np.concatenate([array for part in parts for array in part.joints])[order]
        vertices = np.concatenate([array for part in parts for array in part.vertices])[order]
        write_predictions(path, joints, vertices)
        say(f"{len(joints)} hands in {path}")
        for doubt in doubts(joints, vertices):
            say(f"{path}: {doubt}")


@dataclass(frozen=True)
class HandWishes:
    """What an evaluation of hands does besides: further views of each picture, a submission, its scores."""

    views: tuple[Draw, ...] = ()
    pred_zip: Path | None = None
    annotations: Path | None = None
    required: bool = False  # an evaluation whose pictures are not FreiHAND's fails; else it goes on without a file

    def fulfil(self, kept: KeptHands, processes: Processes, say: Callable[[str], None]) -> None:
        """Writes and scores what is wished for, on the main process."""
        if self.pred_zip is None:
            return
        try:
            kept.write(self.pred_zip, processes, say)
        except ValueError as error:
            if self.required or self.annotations is not None:
                raise
            say(f"no {self.pred_zip.name}: {error}")
            return
        if self.annotations is not None and processes.is_main:
            found = score_file(self.pred_zip, self.annotations)
            save_scores(self.pred_zip.with_name(f"{self.pred_zip.stem}_scores.json"), *found)
            say("\n" + summary(*found, None))
