"""Puts training together from the rooms: targets, measuring, batches, the network."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tore import paths
from tore.body import load_body
from tore.body.body_model import BodyModel
from tore.body.joints import HAND_NAMES, J14_NAMES, J24_TO_J14
from tore.body.topology import template_points
from tore.datasets.loader import begin_epoch, eval_loader, network_fills_cores, train_loader
from tore.datasets.mesh_dataset import MeshDataset
from tore.engine.distributed import Processes
from tore.engine.schedule import iterations_per_epoch
from tore.engine.step import Batch
from tore.engine.validation import Measure
from tore.evaluation.evaluator import SampleErrors, sample_errors
from tore.geometry.merging import merge_predictions
from tore.losses.total import Targets
from tore.modeling import create_model, load_model
from tore.modeling.build import add_smpl_regressor, describe
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO
from tore.modeling.starts import start_camera, start_from_template
from tore.modeling.warm_up import load_rooms
from tore.tools.checkpoint_flags import open_checkpoint
from tore.tools.flags import shown, typed_flags
from tore.tools.metro_arguments import COORDINATES

JOINT_NAMES = {"body": J14_NAMES, "hand": HAND_NAMES}
GENDERS = ("female", "male")
Network = FastMETRO | METRO


def labelled_joints(body: BodyModel, joints: Tensor) -> Tensor:
    """The network's joints (B, J, .) among the label's (B, 24, .)."""
    return joints[:, list(J24_TO_J14)] if body.kind == "body" else joints


def target_maker(body: BodyModel) -> Callable[[Batch], Targets]:
    """The function that turns a batch into `Targets`; a hand's joints come from its model, with confidence 1."""

    def make(batch: Batch) -> Targets:
        aim = body.targets(batch["pose"], batch["betas"])
        has_mesh = batch["has_smpl"]
        joints_3d, has_joints = labelled_joints(body, batch["joints_3d"]), batch["has_3d_joints"]
        if aim.joints is not None:
            joints_3d, has_joints = torch.cat((aim.joints, torch.ones_like(aim.joints[..., :1])), -1), has_mesh
        joints_2d = labelled_joints(body, batch["joints_2d"])
        return Targets(aim.vertices, joints_3d, joints_2d, has_mesh, has_joints, batch["pose"], batch["betas"])

    return make


def judged_targets(body: BodyModel, batch: Batch) -> Targets:
    """What an evaluation compares with: as in training, but a hand without pose keeps its label's joints (B, 21, 4).

    Published training has hands' joints from their model alone, and so leaves out a hand that has joints only.
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
    """True meshes minus their root; by the model of the label's gender where its file exists, as published."""

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
    centre: tuple[int, ...],
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
                centre=centre,
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


class LoaderBatches:
    """A training set's loader as the trainer wants it: the micro-batches of an epoch from an iteration on."""

    def __init__(
        self, dataset: MeshDataset, *, batch_size: int, accumulate: int, workers: int, processes: Processes
    ) -> None:
        if min(batch_size, accumulate) < 1:
            raise ValueError("--per_gpu_train_batch_size and --accumulate must be at least 1")
        self.dataset, self.accumulate = dataset, accumulate
        self.global_batch = batch_size * accumulate * processes.size
        self.per_epoch = iterations_per_epoch(len(dataset), self.global_batch)
        pin = processes.device.type == "cuda"
        self.loader, self.sampler = train_loader(
            dataset, batch_size, workers, processes.rank, processes.size, pin_memory=pin
        )

    def epoch(self, epoch: int, start: int) -> Iterator[dict[str, Any]]:
        """See `tore.engine.trainer.TrainingBatches`."""
        begin_epoch(self.dataset, self.sampler, epoch, start * self.accumulate)
        yield from self.loader


def validation_loader(dataset: MeshDataset, *, batch_size: int, workers: int, processes: Processes) -> Any:
    """This process's share of an evaluation set, read beside the network where cores are free, else in between."""
    device = processes.device
    threads = network_fills_cores(device, workers)
    pin = device.type == "cuda"
    return eval_loader(dataset, batch_size, workers, processes.rank, processes.size, pin_memory=pin, threads=threads)


def imagenet_file(arch: str, wanted: str | None) -> Path | None:
    """The backbone's ImageNet file, None for `--backbone_weights none`; FileNotFoundError when it is missing."""
    if wanted == "none":
        return None
    path = paths.backbone_weights(arch, wanted)
    if path is None or not path.is_file():
        name = path or paths.models_dir() / paths.BACKBONE_WEIGHTS.get(arch, "?")
        raise FileNotFoundError(
            f"ImageNet weights of {arch} are missing ({name}): get the file (docs/DOWNLOAD.md), name another with "
            "--backbone_weights PATH, or start from scratch with --backbone_weights none"
        )
    return path


def published_file(path: str) -> Path:
    """The state_dict.bin that a checkpoint file or folder means."""
    return Path(path) / "state_dict.bin" if Path(path).is_dir() else Path(path)


def start_network(model: Network, args: argparse.Namespace) -> None:
    """The departures from the published start that the flags ask for."""
    if args.warm_start:
        load_rooms(model, published_file(args.warm_start), args.warm_start_rooms)
    if args.template_start:
        start_from_template(model, template_points(model.config.body, args.body_dir)[1])
    if args.camera_start:
        start_camera(model, args.camera_start)


def build_network(
    args: argparse.Namespace, network: str, kind: str, options: dict[str, Any], *, fresh: bool
) -> tuple[Network, list[str]]:
    """The network of the flags and what there is to say about it; `fresh`: its backbone starts from ImageNet.

    With --resume_checkpoint it comes from that file, and typed flags about the network must say what the file holds;
    --smpl_regressor adds that room to it where it has none.
    """
    if args.resume_checkpoint is None:
        weights = imagenet_file(args.arch, args.backbone_weights) if fresh else None
        model = create_model(
            network, arch=args.arch, body=kind, data_dir=args.body_dir, backbone_weights=weights, **options
        )
        if fresh:
            start_network(model, args)
        return model, first_inputs(model, args)
    checkpoint, notes = open_checkpoint(args, published_file(args.resume_checkpoint))
    path, config = checkpoint.path, checkpoint.config
    if config.network != network or config.body != kind:
        raise ValueError(f"{path} holds a {config.network} of a {config.body}, not {network} of a {kind}")
    model = load_model(checkpoint, args.body_dir, "cpu")
    model.train()
    notes.append(f"weights from {path}: {describe(model.config)}")
    if args.smpl_regressor and not model.config.smpl_regressor:
        if args.run_eval_only:
            raise ValueError(f"{path} holds no SMPL parameter regressor; leave --smpl_regressor out")
        add_smpl_regressor(model)
        notes.append("the SMPL parameter regressor is new and starts at random")
    return model, notes


def first_inputs(model: Network, args: argparse.Namespace) -> list[str]:
    """A line where --input_feat_dim names another width of the first block than the backbone gives."""
    wanted = COORDINATES + model.backbone.channels
    if "input_feat_dim" not in typed_flags(args) or args.input_feat_dim[0] == wanted:
        return []
    return [f"{shown(args, 'input_feat_dim')}: with {args.arch} the first block takes {wanted} inputs"]
