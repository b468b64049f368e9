"""An evaluation with everything around its numbers: protocol, the paper's row, JSON, samples, the worst images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tore.body import load_body
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.evaluation.evaluator import CHOOSING, EvaluationResult, choosing_metric
from tore.evaluation.protocol import PaperRow, Protocol, paper_row, summary
from tore.files import write_json, write_whole
from tore.modeling.build import CONFIGS, FastMETROConfig, ModelConfig, reduction_of
from tore.training.evaluate import Evaluated, Evaluation
from tore.training.hand_submission import HandOptions, KeptHands
from tore_runtime.drawing import contact_sheet, overlay_crop, save_image

SHAPE = ("layers", "widths", "hidden", "heads")  # in which a network must be the official one to have its row


@dataclass(frozen=True)
class ReportFiles:
    """The files that an evaluation writes; None for none."""

    metrics: Path | None = None  # JSON: metrics, per joint, counts, protocol, the paper's row
    samples: Path | None = None  # every sample's errors, one JSON object a line
    worst_sheet: Path | None = None  # a contact sheet of the `worst` samples, see `write_worst`
    worst: int = 0

    @property
    def need_samples(self) -> bool:
        """Whether every sample's own errors are needed."""
        return self.samples is not None or self.worst_sheet is not None

    def write(
        self, found: Evaluated, model: nn.Module, evaluation: Evaluation, protocol: Protocol, row: PaperRow | None
    ) -> None:
        """Writes those that are wanted."""
        if self.metrics is not None:
            paper = asdict(row) if row is not None else None
            write_json(self.metrics, {**found.result.as_dict(), "protocol": asdict(protocol), "paper": paper})
        if self.samples is not None:
            write_lines(self.samples, found.rows)
        if self.worst_sheet is not None:
            write_worst(self.worst_sheet, model, evaluation, found.rows, self.worst)


def report(
    model: Any,
    yaml: Path,
    *,
    body_dir: str | Path | None,
    oracle: bool,
    fit: bool = False,
    batch_size: int,
    workers: int,
    processes: Processes,
    say: Callable[[str], None],
    files: ReportFiles = ReportFiles(),
    hand: HandOptions | None = None,
) -> EvaluationResult:
    """Evaluates on all processes; the main one says the table and writes the files that are wanted.

    hand: what a hand's evaluation does besides.
    """
    kind = model.config.body
    hand, kept = hand or HandOptions(), KeptHands()
    evaluation = Evaluation(
        MeshDataset(yaml, False, kind, views=hand.views, image_format=model.config.image_format),
        load_body(kind, body_dir),
        network=model.config.network,
        body_dir=body_dir,
        processes=processes,
        batch_size=batch_size,
        workers=workers,
        oracle=oracle,
        fit=fit,
        say=say,
    )
    found = evaluation(
        model.to(processes.device),
        collect=files.need_samples,
        keep=kept.add if hand.pred_zip is not None else None,
    )
    if processes.is_main:
        protocol, row = evaluation.protocol(model), row_of(model.config)
        say("\n" + summary(found.result, protocol, row))
        files.write(found, model, evaluation, protocol, row)
    hand.fulfil(kept, processes, say)
    return found.result


def row_of(config: ModelConfig) -> PaperRow | None:
    """The paper's row of this network, if it has one: bodies with TORE, its geometry half alone, or no reduction.

    A network of another depth or width, or of other images, has none.
    """
    official = CONFIGS[config.network]()
    if any(getattr(config, name) != getattr(official, name) for name in SHAPE):
        return None
    if config.image_format != official.image_format:
        return None
    if config.body != "body" or reduction_of(config) not in ("tore", "none+gtr", "none"):
        return None
    kept = config.kept_tokens if isinstance(config, FastMETROConfig) else None
    return paper_row(config.network, config.arch, kept_share(kept, config.image_positions), config.geometry_reduction)


def kept_share(kept_tokens: int | None, positions: int) -> float | None:
    """The keep ratio of the paper's rows that gives this many tokens of a feature map's positions, or None."""
    ratios = {int(positions * ratio): ratio for ratio in (1.0, 0.8)}
    return ratios.get(kept_tokens, -1.0) if kept_tokens is not None else None


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@torch.inference_mode()
def write_worst(path: Path, model: nn.Module, evaluation: Evaluation, rows: list[dict[str, Any]], count: int) -> None:
    """A contact sheet of the samples with the largest error: the crop, and the prediction over it.

    The error is PA-MPJPE; where no sample has it the first of `CHOOSING` that one has.
    """
    data, faces = evaluation.data, evaluation.body.faces.cpu().numpy()
    metric = choosing_metric({name: next((r[name] for r in rows if r[name] is not None), None) for name in CHOOSING})
    if metric is None:
        raise ValueError(f"{path} would show nothing: no sample of {data.rows.path} has a label to compare with")
    judged = [row for row in rows if row[metric] is not None]
    chosen = sorted(judged, key=lambda row: -row[metric])[:count]
    images, captions = [], []
    device = evaluation.processes.device
    for row in chosen:
        image = data[row["index"]]["image"]
        prediction = model.eval()(image[None].to(device))
        crop = data.image_format.pixels(image.float().cpu().numpy())
        vertices, camera = prediction.vertices[0].cpu().numpy(), prediction.camera[0].cpu().numpy()
        images += [crop, overlay_crop(crop, vertices, faces, camera, samples=1)]
        captions += [f"{row['index']} {row['key']}", f"{metric.upper().replace('_', '-')} {row[metric]:.1f} mm"]
    save_image(path, contact_sheet(images, captions, columns=6 if count > 2 else 2))
