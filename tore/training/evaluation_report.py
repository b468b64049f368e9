"""An evaluation with everything around its numbers: protocol, the paper's row, JSON, samples, the worst images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tore.body import load_body
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.evaluation.evaluator import CHOOSING, EvaluationResult, choosing_metric
from tore.evaluation.protocol import PaperRow, paper_row, summary
from tore.files import write_json, write_whole
from tore.modeling.build import CONFIGS, FastMETROConfig, ModelConfig, reduction_of
from tore.training.evaluate import Evaluation
from tore.training.hand_submission import HandOptions, KeptHands
from tore_runtime.drawing import contact_sheet, overlay_crop, save_image

SHAPE = ("layers", "widths", "hidden", "heads")  # in which a network must be the official one to have its row


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
    json_path: Path | None = None,
    samples_path: Path | None = None,
    worst: int = 0,
    worst_path: Path | None = None,
    hand: HandOptions | None = None,
) -> EvaluationResult:
    """Evaluates on all processes; the main one says the table and writes the files that are wanted.

    json_path: metrics, per joint, counts, protocol, the paper's row. samples_path: a JSON line per sample.
    worst_path: a contact sheet of the `worst` samples by PA-MPJPE. hand: what a hand's evaluation does besides.
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
        collect=samples_path is not None or worst_path is not None,
        keep=kept.add if hand.pred_zip is not None else None,
    )
    if processes.is_main:
        protocol, row = evaluation.protocol(model), row_of(model.config)
        say("\n" + summary(found.result, protocol, row))
        if json_path is not None:
            paper = asdict(row) if row is not None else None
            write_json(json_path, {**found.result.as_dict(), "protocol": asdict(protocol), "paper": paper})
        if samples_path is not None:
            write_lines(samples_path, found.rows)
        if worst_path is not None:
            write_worst(worst_path, model, evaluation, found.rows, worst)
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
