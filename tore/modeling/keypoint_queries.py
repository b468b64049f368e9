"""Queries that carry a pose network's keypoints, and joints that are corrections of them.

With `FastMETRO(keypoint_queries=True)` the backbone gives keypoints beside its feature map. They enter the network in
two places:

- the query of each joint gets an embedding of the matching keypoint, and the camera token one of all keypoints;
- behind the heads, joints and camera are corrected toward the keypoints. The scale and shift of the weak-perspective
  camera are those that bring the spread and the center of the predicted joints to those of the keypoints, in closed
  form, times and plus what the camera head predicts. A keypoint back-projected by this camera is about where its joint
  would have to be, and the joint moves there by a share. The mesh follows the corrected joints.

What a share is, and how the mesh follows, differ between bodies (`body_queries`) and hands (`hand_queries`). Joints
without a keypoint, and keypoints that are dropped in training, change nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from manopth.tensors import WithConstants, beside
from tore.body.joints import COCO_FLIP, COCO_NAMES

HIDDEN = 128  # width within the embedding
# What training does to keypoints, of which photographs have worse ones than the rendered images.
DROPPED, ALL_DROPPED = 0.1, 0.05  # shares of keypoints, and of images that lose all
JITTER = 0.008  # of the image's side
WRONG, WRONG_BY = 0.03, 0.1  # share of keypoints that are far off, and how far
SWAPPED = 0.02  # share of images whose left and right arms, or legs, are taken for each other
LEGS = tuple(int(name.endswith(("hip", "knee", "ankle"))) for name in COCO_NAMES)


class Hints(NamedTuple):
    """What the keypoints say, and the embeddings that carry it."""

    points: Tensor  # (B, J, 2) in [-1, 1] of the image, 0 where there is none
    there: Tensor  # (B, J, 1): 1 where a joint has a keypoint, else 0
    scores: Tensor  # (B, J, 1)
    of_joints: Tensor  # (B, J, width)
    of_camera: Tensor  # (B, 1, width)


class KeypointQueries(WithConstants, ABC):
    """Embeds keypoints; what corrects the heads' predictions is added by a class for each kind of body."""

    matching: Tensor

    def __init__(self, *, keypoints: int, numbers: int, matching: Sequence[int], width: int) -> None:
        """`keypoints`: how many the backbone finds. numbers: of each. matching: the keypoint of each joint."""
        super().__init__()
        self.keep_constant("matching", torch.tensor(matching, device="cpu"))
        self.embedding = nn.Sequential(nn.Linear(numbers, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width))
        self.camera_embedding = nn.Linear(numbers * keypoints, width)
        self.resting_joints = nn.Parameter(torch.zeros(len(matching), 3))

    def forward(self, keypoints: Tensor, features: Tensor) -> Hints:
        """keypoints (B, K, 3 or more): x, y in shares of the image's sides, score, what else is known of each.

        They are disturbed in training. features: (B, width, h, w) of the whole image.
        """
        if self.training:
            keypoints = disturbed(keypoints)
        found = keypoints[..., 2:3] > 0  # (B, K, 1)
        points = torch.where(found, 2 * keypoints[..., :2] - 1, 0)
        known = torch.cat((points, keypoints[..., 2:]), -1).to(self.camera_embedding.weight)  # (B, K, 3 or more)
        of_joint = self.with_centers(known)[:, beside(self.matching, keypoints)]  # (B, J, 3 or more)
        there = (of_joint[..., 2:3] > 0).to(known)  # (B, J, 1)
        return Hints(
            of_joint[..., :2],
            there,
            of_joint[..., 2:3],
            self.embedded(of_joint, features) * there,
            self.camera_embedding(known.flatten(1))[:, None],
        )

    def with_centers(self, known: Tensor) -> Tensor:
        """Keypoints (B, K, 3 or more), followed by what stands for joints that have none."""
        return known

    def embedded(self, of_joint: Tensor, features: Tensor) -> Tensor:
        """(B, J, width) of each joint's keypoint (B, J, 3 or more) and of the features (B, width, h, w)."""
        return self.embedding(of_joint)

    @abstractmethod
    def correct(
        self, hints: Hints, queries: Tensor, camera: Tensor, joints: Tensor, coarse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the heads predict, corrected.

        queries: (B, J, narrow) decoded joint queries. camera: (B, 3) log of a factor of the scale, shift in meters.
        joints, coarse: (B, J, 3) and (B, Vc, 3), of the heads.
        Returns the camera (B, 3) scale, tx, ty, joints (B, J, 3) and coarse vertices (B, Vc, 3).
        """


def fitted_camera(
    joints: Tensor, points: Tensor, weights: Tensor, *, usual: float, prior: float
) -> tuple[Tensor, Tensor]:
    """The weak-perspective camera, scale (B, 1) and shift (B, 2), that brings joints (B, J, 2) to points (B, J, 2).

    weights: (B, J, 1), not negative. Center and spread (root of the mean square about the center) agree after it; with
    few joints the scale goes to the `usual` one. prior: square meters, how much that counts beside the spread of the
    keypoints. Unlike least squares the scale is positive whatever the joints are.
    """
    total = weights.sum(1).clamp(min=prior)  # (B, 1)
    centers = [(weights * values).sum(1) / total for values in (joints, points)]  # (B, 2)
    spreads = [
        (weights * (values - center[:, None]).square()).sum((1, 2))[:, None]  # (B, 1)
        for values, center in zip((joints, points), centers, strict=True)
    ]
    scale = ((prior * usual**2 + spreads[1]) / (prior + spreads[0])).sqrt()
    return scale, centers[1] / scale - centers[0]


def disturbed(keypoints: Tensor) -> Tensor:
    """Keypoints (B, K, 3 or more) jittered, some far off, some dropped, in some images all: their score becomes 0.

    In some images of people left and right arms, or legs, change places.
    """
    if keypoints.shape[1] == len(COCO_FLIP):
        swapped = torch.rand_like(keypoints[:, :2, :1])[:, list(LEGS)] < SWAPPED  # (B, K, 1)
        keypoints = torch.where(swapped, keypoints[:, list(COCO_FLIP)], keypoints)
    places, scores, more = keypoints[..., :2], keypoints[..., 2:3], keypoints[..., 3:]
    wrong = torch.rand_like(scores) < WRONG
    places = places + torch.randn_like(places) * torch.where(wrong, WRONG_BY, JITTER)
    kept = (torch.rand_like(scores) >= DROPPED) & (torch.rand_like(scores[:, :1]) >= ALL_DROPPED)
    return torch.cat((places, scores * kept, more * kept), -1)
