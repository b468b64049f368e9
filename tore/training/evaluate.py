"""Evaluation of a network on a set: ground truth, measuring, and the loop over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tore.body import load_body
from tore.body.body_model import BodyModel
from tore.body.joints import HAND_NAMES, J14_NAMES
from tore.datasets.loader import eval_loader, network_fills_cores
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.engine.state import untouched_random_state
from tore.engine.step import Batch, target_maker, to_device
from tore.evaluation.evaluator import EvaluationResult, Evaluator, SampleErrors, sample_errors
from tore.geometry.alignment import merge_predictions
from tore.losses.criterion import Targets

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


JOINT_NAMES = {"body": J14_NAMES, "hand": HAND_NAMES}
GENDERS = ("female", "male")


def judged_targets(body: BodyModel, batch: Batch) -> Targets:
    """What an evaluation compares with: as in training, but a hand without pose keeps its label's joints (B, 21, 4).

    Official training has hands' joints from their model alone, and so leaves out a hand that has joints only.
    """
    targets = target_maker(body)(batch)
    own = batch["joints_3d"]
    if body.kind != "hand" or own.shape != targets.joints_3d.shape:
        return targets
    has_mesh = targets.has_mesh != 0
    joints_alone = (batch["has_3d_joints"] != 0) & ~has_mesh
    joints = torch.where(joints_alone[:, None, None], own.to(targets.joints_3d), targets.joints_3d)
    return replace(targets, joints_3d=joints, has_joints_3d=has_mesh | joints_alone)


class GroundTruth:
    """True meshes minus their root; by the model of the label's gender where its file exists, as in the official
    code.
    """

    def __init__(self, body: BodyModel, data_dir: str | Path | None, device: torch.device) -> None:
        self.neutral = body
        self.gendered: dict[str, BodyModel] = {}
        self.missing: list[str] = []
        for gender in GENDERS if body.kind == "body" else ():
            try:
                self.gendered[gender] = load_body(body.kind, data_dir, gender).to(device)
            except FileNotFoundError:
                self.missing.append(gender)

    def describe(self) -> str:
        """One line for the protocol."""
        if self.neutral.kind == "hand":
            return (
                "mesh and 21 joints of the hand model, of the label's pose and betas; the label's own joints where it "
                "has no pose"
            )
        if not self.gendered:
            return "neutral body model for every sample (no gendered model file found)"
        absent = f"; no file for {', '.join(self.missing)}" if self.missing else ""
        return f"the label's gender where it has one ({', '.join(self.gendered)}), else neutral{absent}"

    def __call__(self, batch: Batch) -> tuple[Targets, Tensor]:
        """The batch's targets, and its full meshes (B, V, 3) by gender."""
        targets = judged_targets(self.neutral, batch)
        vertices = targets.vertices[-1]
        for gender, body in self.gendered.items():
            chosen = torch.tensor([g == gender for g in batch["gender"]], device=vertices.device)
            if any(g == gender for g in batch["gender"]):
                own = body.targets(batch["pose"][chosen], batch["betas"][chosen]).vertices[-1]
                vertices = vertices.masked_scatter(chosen[:, None, None], own)
        return targets, vertices


def measure_maker(
    body: BodyModel,
    truth: GroundTruth,
    *,
    center: tuple[int, ...],
    oracle: bool,
    channels_last: bool = False,
    keep: Callable[[Batch, Tensor, Tensor], None] | None = None,
) -> Measure:
    """The function that measures a model on a batch: mesh joints, or with `oracle` the directly predicted ones.

    Where the batch holds further `views` of its pictures their predictions are averaged. `keep` is given each batch's
    joints (B, J, 3) and full meshes (B, V, 3), minus the root. A network that regresses SMPL parameters has their mesh
    measured beside its own.
    """

    def points(model: nn.Module, images: Tensor) -> tuple[Any, Tensor]:
        """The model's prediction, and the joints to judge with the full mesh behind them (B, J + V, 3)."""
        images = images.contiguous(memory_format=torch.channels_last) if channels_last else images
        prediction = model(images)
        joints = prediction.joints if oracle else body.regress_joints(prediction.vertices)
        return prediction, torch.cat([joints, prediction.vertices], 1)

    def measure(model: nn.Module, batch: Batch) -> SampleErrors:
        prediction, seen = points(model, batch["image"])
        if "views" in batch:
            others = [points(model, images)[1] for images in batch["views"].unbind(1)]
            seen = merge_predictions(seen, torch.stack(others, 1))
        joints, vertices = seen.split([body.num_joints, seen.shape[1] - body.num_joints], 1)
        targets, true_vertices = truth(batch)

        def errors(vertices: Tensor, joints: Tensor) -> SampleErrors:
            root = body.root(vertices)
            return sample_errors(
                joints=joints - root,
                true_joints=targets.joints_3d[..., :3],
                vertices=vertices - root,
                true_vertices=true_vertices,
                has_joints_3d=targets.has_joints_3d,
                has_mesh=targets.has_mesh,
                center=center,
                kind=body.kind,
                joint_mask=targets.joints_3d[..., 3] > 0,
            )

        if keep is not None:
            keep(batch, joints - body.root(vertices), vertices - body.root(vertices))
        found = errors(vertices, joints)
        if prediction.rotations is not None:
            vertices = body(prediction.rotations, prediction.betas)
            found.parametric = errors(vertices, body.regress_joints(vertices))
        return found

    return measure


def validation_loader(dataset: MeshDataset, *, batch_size: int, workers: int, processes: Processes) -> Any:
    """This process's share of an evaluation set, read beside the network where cores are free, else in between."""
    device = processes.device
    threads = network_fills_cores(device, workers)
    pin = device.type == "cuda"
    return eval_loader(dataset, batch_size, workers, processes.rank, processes.size, pin_memory=pin, threads=threads)
