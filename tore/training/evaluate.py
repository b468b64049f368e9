"""Evaluation of networks on a set: one object with the body, the ground truth, the protocol and the metrics.

Training's validation, `tore evaluate`, `tore bench`, the demo and through training the ablation measure with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from tore.body import load_body
from tore.body.body_model import BodyModel
from tore.body.fitting import NETWORK, fit_parameters
from tore.body.joints import JOINT_NAMES
from tore.datasets.loader import eval_loader, network_fills_cores
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.engine.step import Batch, target_maker, to_device
from tore.engine.trainer import untouched_random_state
from tore.evaluation.evaluator import EvaluationResult, Evaluator, SampleErrors, sample_errors
from tore.evaluation.protocol import HAND_WORDS, Protocol
from tore.export.loading import ExportedNetwork
from tore.export.networks import FastMETROForm, METROForm
from tore.geometry.alignment import merge_predictions
from tore.losses.criterion import Targets
from tore.losses.recipes import RECIPES
from tore.modeling.build import image_format_of
from tore.modeling.checkpoint_contents import unwrapped
from tore.modeling.evaluation_mode import evaluating
from tore.modeling.recorded_body import check_body
from tore.training.set_check import check_before

GENDERS = ("female", "male")
FAST = "the optimized graph, equal up to rounding (--fast)"
ORACLE = "predicted directly (--oracle true)"
LARGEST_MESH = 10.0  # meters; vertices beyond that are no body
Keep = Callable[[Batch, Tensor, Tensor], None]  # is given a batch, its joints (B, J, 3) and meshes (B, V, 3)


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

    def __init__(self, body: BodyModel, body_dir: str | Path | None, device: torch.device) -> None:
        self.neutral = body
        self.gendered: dict[str, BodyModel] = {}
        self.missing: list[str] = []
        for gender in GENDERS if body.kind == "body" else ():
            try:
                self.gendered[gender] = load_body(body.kind, body_dir, gender).to(device)
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


class Evaluated(NamedTuple):
    """What an evaluation found, on every process: means over the set, and each sample's own errors where collected."""

    result: EvaluationResult
    rows: list[dict[str, Any]]  # in the order of the set, see `SampleErrors.rows`


class Evaluation:
    """Measures networks of one kind of body on one set, over all processes.

    A network's joints are regressed from its mesh, or with `oracle` those that it predicts directly. Where the set has
    further views of its images their predictions are averaged. A network that regresses SMPL parameters has their
    mesh measured beside its own, and with `fit` that of the body model fitted to it.
    """

    def __init__(
        self,
        data: MeshDataset,
        body: BodyModel,
        *,
        network: str,
        body_dir: str | Path | None,
        processes: Processes,
        batch_size: int,
        workers: int,
        oracle: bool = False,
        fit: bool = False,
        channels_last: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        """`network`: whose protocol, "fastmetro" or "metro"; `body_dir`: where the gendered body models lie; `fit`:
        measure the body fitted to each mesh, too.

        Raises ValueError where a quick look at the set finds it unfit; `say` is told of single odd labels.
        """
        self.data, self.body, self.processes = data, body.to(processes.device), processes
        self.truth = GroundTruth(self.body, body_dir, processes.device)
        self.center = RECIPES[network, body.kind].center
        self.oracle, self.fit, self.channels_last = oracle, fit, channels_last
        check_before(data, self.body, processes, say, body_dir=body_dir)
        self.loader = validation_loader(data, batch_size=batch_size, workers=workers, processes=processes)

    def __call__(self, model: nn.Module, *, collect: bool = False, keep: Keep | None = None) -> Evaluated:
        """Means over the set, and with `collect` each sample's errors.

        `keep` is given each batch's joints and full meshes, minus the root. The model's modules are left in the modes
        they came in.
        """
        found = self._over_set(model, collect=collect, keep=keep)
        assert found is not None  # nobody gives up
        return found

    def validate(self, model: nn.Module, give_up: Callable[[], bool]) -> EvaluationResult | None:
        """Means over the set; None when `give_up` said so on any process before the end."""
        found = self._over_set(model, give_up=give_up)
        return None if found is None else found.result

    def protocol(self, model: nn.Module) -> Protocol:
        """How the model's numbers are measured."""
        words = dict(HAND_WORDS) if self.body.kind == "hand" else {}
        if isinstance(model, FastMETROForm | METROForm):
            words["network"] = FAST
        if isinstance(model, ExportedNetwork):
            words["network"] = f"the export {model.folder} in {model.session.runtime}, {model.session.precision}"
        if views := len(self.data.views):
            words["box_source"] = (
                f"the label's center and scale; the mean with {views} more crops, aligned to the first"
            )
        if self.oracle:
            words["joint_source"] = ORACLE
        return Protocol(data=str(self.data.rows.path), ground_truth=self.truth.describe(), **words)

    def _over_set(
        self,
        model: nn.Module,
        *,
        collect: bool = False,
        keep: Keep | None = None,
        give_up: Callable[[], bool] = lambda: False,
    ) -> Evaluated | None:
        """The loop. The loader gives this process's share; together the shares hold each sample once."""
        check_body(model, self.body)
        processes, wanted = self.processes, image_format_of(model)
        if self.data.image_format != wanted:
            found = f"{self.data.rows.path} is read as {self.data.image_format}, but the network takes {wanted}"
            raise ValueError(f"{found}; make the data set with image_format=model.config.image_format")
        processes.share_buffers(model)
        evaluator = self._evaluator(model)
        rows: list[dict[str, Any]] = []
        with evaluating(model), untouched_random_state(), torch.inference_mode():
            for batch in self._batches():
                if give_up():
                    break
                errors = self.measure(model, to_device(batch, processes.device), keep)
                evaluator.update(errors)
                if collect:
                    rows += errors.rows(batch["index"].tolist(), batch["key"])
        if any(processes.gather(give_up())):
            return None
        evaluator.reduce(processes.sum)
        if collect:
            rows = sorted((row for part in processes.gather(rows) for row in part), key=lambda row: row["index"])
        return Evaluated(evaluator.result(), rows)

    def _batches(self) -> Iterable[Batch]:
        hidden = None if self.processes.is_main else True
        return tqdm(self.loader, desc="evaluate", leave=False, disable=hidden, dynamic_ncols=True)

    def _evaluator(self, model: nn.Module) -> Evaluator:
        """The sums of the metrics that the model has."""
        parametric = getattr(getattr(unwrapped(model), "config", None), "smpl_regressor", False)
        kind = self.body.kind
        return Evaluator(JOINT_NAMES[kind], self.processes.device, parametric=parametric, fitted=self.fit, kind=kind)

    def measure(self, model: nn.Module, batch: Batch, keep: Keep | None = None) -> SampleErrors:
        """The errors of a model on a batch that lies on its device."""
        body = self.body
        prediction, points = self._points(model, batch["image"])
        if "views" in batch:
            others = [self._points(model, images)[1] for images in batch["views"].unbind(1)]
            points = merge_predictions(points, torch.stack(others, 1))
        joints, vertices = points.split([body.num_joints, points.shape[1] - body.num_joints], 1)
        self._check_meshes(vertices, batch)
        truth = self.truth(batch)
        if keep is not None:
            keep(batch, joints - body.root(vertices), vertices - body.root(vertices))
        found = self._errors(joints, vertices, *truth)
        if prediction.rotations is not None:
            mesh = body(prediction.rotations, prediction.betas)
            found.parametric = self._errors(body.regress_joints(mesh), mesh, *truth)
        if self.fit:
            fitted = fit_parameters(body, vertices, noise=NETWORK[body.kind], smooth=False)
            mesh = body(fitted.pose, fitted.betas)
            found.fitted = self._errors(body.regress_joints(mesh), mesh, *truth)
        return found

    def _check_meshes(self, vertices: Tensor, batch: Batch) -> None:
        """ValueError where a mesh (B, V, 3) is nothing that can be measured, or that a body can be fitted to."""
        most = vertices.abs().flatten(1).amax(1)  # (B,) NaN where a number is
        for row, size in enumerate(most.tolist()):
            if not isfinite(size):
                raise ValueError(
                    f"the network's mesh for {batch['key'][row]} has numbers that are not finite; "
                    "use another checkpoint"
                )
            if self.fit and size > LARGEST_MESH:
                raise ValueError(
                    f"the network's mesh for {batch['key'][row]} reaches {size:g} m from its root, so that no body "
                    "can be fitted to it; leave fit (--fit) out, or use another checkpoint"
                )

    def _points(self, model: nn.Module, images: Tensor) -> tuple[Any, Tensor]:
        """The model's prediction, and the joints to judge with the full mesh behind them (B, J + V, 3)."""
        images = images.contiguous(memory_format=torch.channels_last) if self.channels_last else images
        prediction = model(images)
        joints = prediction.joints if self.oracle else self.body.regress_joints(prediction.vertices)
        return prediction, torch.cat([joints, prediction.vertices], 1)

    def _errors(self, joints: Tensor, vertices: Tensor, targets: Targets, true_vertices: Tensor) -> SampleErrors:
        """Of joints (B, J, 3) and full meshes (B, V, 3), both with their root still in them."""
        root = self.body.root(vertices)
        return sample_errors(
            joints=joints - root,
            true_joints=targets.joints_3d[..., :3],
            vertices=vertices - root,
            true_vertices=true_vertices,
            has_joints_3d=targets.has_joints_3d,
            has_mesh=targets.has_mesh,
            center=self.center,
            kind=self.body.kind,
            joint_mask=targets.joints_3d[..., 3] > 0,
        )


def validation_loader(dataset: MeshDataset, *, batch_size: int, workers: int, processes: Processes) -> Any:
    """This process's share of an evaluation set, read beside the network where cores are free, else in between."""
    device = processes.device
    threads = network_fills_cores(device, workers)
    pin = device.type == "cuda"
    return eval_loader(dataset, batch_size, workers, processes.rank, processes.size, pin_memory=pin, threads=threads)
