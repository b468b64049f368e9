"""One training step up to its loss: targets, forward pass, terms, weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tore.body.body_model import BodyModel
from tore.body.joints import J24_TO_J14
from tore.engine.distributed import Processes
from tore.image_format import STRIDE
from tore.losses.criterion import LabelCounts, Targets, loss_terms, weighted_sum
from tore.losses.recipes import LossRecipe
from tore.modeling.backbones import ImageFeatures

Batch = Mapping[str, Any]
AMP_TYPES = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}
HALVES = (torch.bfloat16, torch.float16)


def to_device(batch: Batch, device: torch.device, channels_last: bool = False) -> dict[str, Any]:
    """The batch with its tensors on `device`; lists of keys and the like stay as they are."""
    moved = {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
    if channels_last and "image" in moved:
        moved["image"] = moved["image"].contiguous(memory_format=torch.channels_last)
    return moved


def shown_to(batch: Batch) -> Tensor | ImageFeatures:
    """What the network is given of a batch: images, or the stored features of its frozen backbone."""
    if "features" not in batch:
        return batch["image"]
    return ImageFeatures(batch["features"].float(), batch.get("keypoints"))


def predicted(model: nn.Module, *inputs: Any, processes: Processes, amp: torch.dtype | None) -> Any:
    """A network's prediction, in full precision whatever ran inside. amp: the dtype of autocast, None for none."""
    with torch.autocast(processes.device.type, amp, enabled=amp is not None):
        prediction = model(*inputs)
    return type(prediction)(*(_full(value) for value in prediction))


def _full(value: Tensor | None) -> Tensor | None:
    return value.float() if value is not None and value.dtype in HALVES else value


@dataclass(frozen=True)
class StepResult:
    """`total` carries the gradient; `terms` are the unweighted terms by name."""

    total: Tensor
    terms: dict[str, Tensor]
    weights: dict[str, float]
    prediction: Any
    targets: Any  # `Targets`; None in pre-training


class LossStep:
    """From a batch to its loss."""

    def __init__(
        self,
        *,
        recipe: LossRecipe,
        make_targets: Callable[[Batch], Targets],
        regress_joints: Callable[[Tensor], Tensor],
        faces: Tensor,
        masks_joints: bool,
        masks_vertices: bool = False,
        stride: int,
        processes: Processes,
        amp: str = "none",
    ) -> None:
        """`regress_joints` turns the full mesh (B, V, 3) into joints (B, J, 3); `stride`: of the feature map.

        faces: (F, 3) of the mesh level that the recipe's surface terms look at. `masks_joints`: the network takes the
        batch's joint mask (masked joint modelling, METRO); `masks_vertices`: and behind it the vertex mask.
        """
        self.recipe = recipe
        self.make_targets = make_targets
        self.regress_joints = regress_joints
        self.faces = faces
        self.masks = ("joint_mask",) * masks_joints + ("vertex_mask",) * masks_vertices
        self.stride = stride
        self.processes = processes
        self.amp = AMP_TYPES[amp]

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """What the batch should have been predicted as."""
        return self.make_targets(batch)

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        """The network's prediction, see `predicted`."""
        masks = [torch.cat([batch[name] for name in self.masks], dim=1)] if self.masks else []
        return predicted(model, shown_to(batch), *masks, processes=self.processes, amp=self.amp)

    def counts(self, targets: Targets) -> LabelCounts | None:
        """Labeled samples per process, so that averaged gradients are those of the whole batch; None when alone."""
        if self.processes.size == 1:
            return None
        both = torch.stack([(targets.has_mesh != 0).sum(), (targets.has_joints_3d != 0).sum()])
        mesh, joints = self.processes.mean(both.double()).unbind()
        return LabelCounts(mesh, joints)

    def losses(self, prediction: Any, targets: Targets, batch: Batch) -> dict[str, Tensor]:
        """The unweighted terms."""
        seen = batch["features"] if "features" in batch else batch["image"]
        times = 1 if "features" in batch else self.stride
        height, width = seen.shape[-2:]
        return loss_terms(
            prediction,
            self.regress_joints(prediction.vertices),
            targets,
            self.recipe,
            faces=self.faces,
            grid=(height // times, width // times),
            counts=self.counts(targets),
        )

    def __call__(self, model: nn.Module, batch: Batch, progress: float) -> StepResult:
        """`progress`: epochs done, iteration / iterations per epoch."""
        targets = self.targets(batch)
        prediction = self.forward(model, batch)
        terms = self.losses(prediction, targets, batch)
        weights = self.recipe.weights(progress)
        return StepResult(weighted_sum(terms, weights), terms, weights, prediction, targets)


def step_of(
    model: nn.Module,
    body: BodyModel,
    recipe: LossRecipe,
    *,
    processes: Processes,
    amp: str = "none",
    faces: Tensor | None = None,
    make_step: Callable[..., LossStep] = LossStep,
) -> LossStep:
    """The step of a network made by `create_model` or `load_model`; METRO takes the batch's masks.

    faces: (F, 3) of the mesh level that the recipe's surface terms look at; those of the full mesh if not given.
    make_step: takes what `LossStep` takes.
    """
    config: Any = model.config
    masked = config.network == "metro"
    return make_step(
        recipe=recipe,
        make_targets=target_maker(body),
        regress_joints=body.regress_joints,
        faces=body.faces if faces is None else faces,
        masks_joints=masked,
        masks_vertices=masked and not config.geometry_reduction,
        stride=STRIDE,
        processes=processes,
        amp=amp,
    )


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
