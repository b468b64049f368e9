"""Predicted hands as FreiHAND's submission, and its scores."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from tore import __version__
from tore.datasets.augmentation import Draw
from tore.datasets.convert.freihand import evaluation_truth
from tore.engine.distributed import Processes
from tore.engine.step import Batch
from tore.evaluation.evaluator import MILLIMETRES, EvaluationResult
from tore.evaluation.freihand import image_order, read_predictions, sanity_warnings, score, write_predictions
from tore.evaluation.metrics import CURVE_LIMIT, CURVE_STEPS
from tore.evaluation.protocol import HAND_WORDS, Protocol, summary, unit_of
from tore.files import write_json
from tore.visualize import report
from tore.visualize.report import Series, line_chart

NAME_WIDTH = 13  # characters of a protocol line's name


def score_file(path: Path, annotations: Path) -> tuple[EvaluationResult, Protocol]:
    """A submission's metrics against the annotations in a folder, and how they were measured."""
    truth = evaluation_truth(annotations)
    joints, vertices = read_predictions(path)
    with tqdm(total=len(joints), unit="hand", desc="score", leave=False, disable=None, file=sys.stderr) as bar:
        result = score(joints, vertices, *truth, bar.update)
    words = HAND_WORDS | {"joint_source": "as the file gives them", "box_source": "the file's own"}
    return result, Protocol(data=str(path), ground_truth=f"the released annotations in {annotations}", **words)


def save_scores(path: Path, result: EvaluationResult, protocol: Protocol) -> None:
    """Metrics, curves and protocol as JSON."""
    write_json(path, {**result.as_dict(), "protocol": vars(protocol)})


def page_of(result: EvaluationResult, protocol: Protocol) -> str:
    """The same as a page: figures, the curves, every joint, the protocol."""
    limits = np.linspace(0, CURVE_LIMIT * MILLIMETRES, CURVE_STEPS).tolist()
    shares = {name.split("_")[0]: [100 * share for share in curve] for name, curve in result.curves.items()}
    chart = line_chart(
        [Series(name, list(zip(limits, curve, strict=True))) for name, curve in shares.items()],
        label="share of aligned errors within a distance",
        x_label="mm",
        y_label="%",
    )
    tiles = [(f"{value:.3f} {unit_of(name)}".rstrip(), name) for name, value in result.metrics.items()]
    joints = [
        (name, *(f"{errors[key]:.2f}" if key in errors else "-" for key in ("mpjpe", "pa_mpjpe")))
        for name, errors in result.per_joint.items()
    ]
    facts = [(line[:NAME_WIDTH].strip(), line[NAME_WIDTH:]) for line in protocol.lines(result)]
    sections = [
        report.Section("Within how many millimetres", report.card(chart)),
        report.Section("Every joint", report.table(("joint", "MPJPE", "PA-MPJPE"), joints)),
        report.Section("How it was measured", report.words_table(facts)),
    ]
    title = "Hands against FreiHAND's annotations"
    return report.page(title, report.tiles(tiles), sections, report.paragraph(f"tore {__version__}", "soft"))


@dataclass
class KeptHands:
    """Joints and vertices of this process's samples, minus the wrist, in meters."""

    keys: list[str] = field(default_factory=list)
    joints: list[np.ndarray] = field(default_factory=list)  # (B, 21, 3) each
    vertices: list[np.ndarray] = field(default_factory=list)  # (B, 778, 3) each

    def add(self, batch: Batch, joints: Tensor, vertices: Tensor) -> None:
        """Keeps a batch's predictions."""
        self.keys += batch["key"]
        self.joints.append(joints.float().cpu().numpy())
        self.vertices.append(vertices.float().cpu().numpy())

    def write(self, path: Path, processes: Processes, say: Callable[[str], None]) -> None:
        """Writes all processes' hands in the order of their images and says what looks wrong about them."""
        parts = processes.gather(self)
        if not processes.is_main:
            return
        order = image_order([key for part in parts for key in part.keys])
        joints = np.concatenate([array for part in parts for array in part.joints])[order]
        vertices = np.concatenate([array for part in parts for array in part.vertices])[order]
        write_predictions(path, joints, vertices)
        say(f"{len(joints)} hands in {path}")
        for doubt in sanity_warnings(joints, vertices):
            say(f"{path}: {doubt}")


@dataclass(frozen=True)
class HandOptions:
    """What an evaluation of hands does besides: further views of each image, a submission, its scores."""

    views: tuple[Draw, ...] = ()
    pred_zip: Path | None = None
    annotations: Path | None = None
    required: bool = False  # an evaluation whose images are not FreiHAND's fails; else it runs without a file

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
