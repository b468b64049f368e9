"""The training step of a network on MoveNet whose backbone is trained with it.

Its own heads are trained too (`tore.losses.keypoint_maps`), so that its keypoints follow its features. The labels of
the limbs' keypoints are those of the nearest joints, moved by as much as the two lie apart in the true mesh. Keypoints
are those of one look at the whole image, not the surer ones of two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tore.body.joints import COCO_NAMES
from tore.engine.step import Batch, LossStep, StepResult, predicted
from tore.losses.criterion import Targets, weighted_sum
from tore.losses.keypoint_maps import keypoint_maps_loss
from tore.modeling.backbones import ImageFeatures
from tore.modeling.body_queries import MATCHING
from tore.modeling.checkpoint_contents import unwrapped
from tore.modeling.movenet import LIMBS, MoveNet, decode_keypoints

NEAREST = tuple(MATCHING.index(keypoint) for keypoint in range(LIMBS.start, len(COCO_NAMES)))  # the limbs' joints of 14
TINY = 1e-9


class PoseNetworkStep(LossStep):
    """From a batch of images to its loss, that of MoveNet's maps included. Autocast is the backbone's alone."""

    def __init__(self, *, before: MoveNet, rows: Tensor, **options: Any) -> None:
        """before: MoveNet as it was, on the run's device. rows: (17, V), COCO's keypoints of a mesh."""
        super().__init__(**options)
        self.before, self.rows = before, rows[LIMBS]

    def __call__(self, model: nn.Module, batch: Batch, progress: float) -> StepResult:
        """`progress`: epochs done, iteration / iterations per epoch."""
        targets, images = self.targets(batch), batch["image"]
        with torch.autocast(self.processes.device.type, self.amp, enabled=self.amp is not None):
            network: Any = unwrapped(model)
            features, said = network.backbone.trunk(images)
            with torch.no_grad():
                before = self.before.maps(self.before.features_of_normalized(images))
        said, before = ({name: value.float() for name, value in maps.items()} for maps in (said, before))
        seen = ImageFeatures(features.float(), decode_keypoints(said).detach())
        prediction = predicted(model, seen, processes=self.processes, amp=None)
        terms = self.losses(prediction, targets, batch)
        terms["keypoint_maps"] = keypoint_maps_loss(said, before, *self.labels(targets))
        weights = self.recipe.weights(progress)
        return StepResult(weighted_sum(terms, weights), terms, weights, prediction, targets)

    @torch.no_grad()
    def labels(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """The limbs' keypoints (B, 12, 2) in [-1, 1] of the image, and which are labeled and within it, (B, 12).

        Without a mesh nothing tells how far a keypoint lies from its joint: none is labeled.
        """
        mesh = targets.vertices[-1]
        joints, flat = self.regress_joints(mesh), targets.joints_2d[..., :2]
        weights = (targets.joints_2d[..., 2:] > 0).float()  # (B, 14, 1)
        count = weights.sum(1, keepdim=True).clamp(min=1)
        spread = [weights * (xy - (weights * xy).sum(1, keepdim=True) / count) for xy in (joints[..., :2], flat)]
        scale = (spread[0] * spread[1]).sum((1, 2)) / spread[0].square().sum((1, 2)).clamp(min=TINY)  # (B,)
        nearest = list(NEAREST)
        beside = (self.rows @ mesh - joints[:, nearest])[..., :2]
        points = flat[:, nearest] + scale[:, None, None] * beside
        labeled = (weights[:, nearest, 0] > 0) & (targets.has_mesh != 0)[:, None]
        return points, labeled & (points.abs() < 1).all(-1)
