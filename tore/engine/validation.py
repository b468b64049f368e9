"""Evaluation over a loader: every sample once, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from tore.engine.distributed import Processes
from tore.engine.random_state import untouched_random_state
from tore.engine.step import Batch, to_device
from tore.evaluation.evaluator import EvaluationResult, Evaluator, SampleErrors

Measure = Callable[[nn.Module, Batch], SampleErrors]


def evaluate(
    model: nn.Module,
    loader: Iterable[Batch],
    measure: Measure,
    *,
    joint_names: Sequence[str],
    processes: Processes,
    collect: bool = False,
    parametric: bool = False,
    kind: str = "body",
    give_up: Callable[[], bool] = lambda: False,
) -> tuple[EvaluationResult, list[dict[str, Any]]] | None:
    """Means over all processes' samples, and with `collect` every sample's own errors in the order of the set.

    `parametric`: the network regresses SMPL parameters too, and `measure` measures their mesh. `kind`: "body" | "hand".

    `loader` gives this process's share; together the shares hold each sample once. The model is left in the mode
    it came in, and torch's generator untouched. None when `give_up` said so on any process before the end.
    """
    was_training = model.training
    model.eval()
    processes.share_buffers(model)
    evaluator = Evaluator(joint_names, processes.device, parametric=parametric, kind=kind)
    rows: list[dict[str, Any]] = []
    hidden = None if processes.is_main else True
    with untouched_random_state(), torch.inference_mode():
        for batch in tqdm(loader, desc="evaluate", leave=False, disable=hidden, dynamic_ncols=True):
            if give_up():
                break
            moved = to_device(batch, processes.device)
            errors = measure(model, moved)
            evaluator.update(errors)
            if collect:
                rows += errors.rows(batch["index"].tolist(), batch["key"])
    model.train(was_training)
    if any(processes.gather(give_up())):
        return None
    evaluator.reduce(processes.sum)
    if collect:
        rows = sorted((row for part in processes.gather(rows) for row in part), key=lambda row: row["index"])
    return evaluator.result(), rows
