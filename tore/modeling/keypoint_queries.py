"""Queries that carry a pose network's keypoints, and points and camera predicted as corrections of them.

With `FastMETRO(keypoint_queries=True)` the backbone gives keypoints beside its feature map. They enter the network in
two places:

- the query of each joint gets an embedding of position and score of the matching keypoint, and the camera token one of
  all keypoints;
- behind the heads, joints and camera are corrected toward the keypoints. The scale and shift of the weak-perspective
  camera are those that bring the spread and the center of the predicted joints to those of the keypoints, in closed
  form, times and plus what the camera head predicts. A keypoint back-projected by this camera is where its joint would
  have to be; each joint moves there by a share that the network predicts, beside a shift. The coarse mesh is a learned
  mixture of the corrected joints plus what the shape regressor predicts, so that it follows them.

Joints without a keypoint, and keypoints that are dropped in training, change nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from manopth.tensors import WithConstants, beside, full_precision
from tore.body.joints import COCO_TO_J24, J24_TO_J14, NUM_JOINTS

MATCHING = tuple(COCO_TO_J24.index(joint) if joint in COCO_TO_J24 else -1 for joint in J24_TO_J14)
HIDDEN = 128  # width within the embedding
USUAL_SCALE = 0.9  # of the camera, where no keypoint tells: a person who fills most of the crop
PRIOR = 0.05  # square meters; how much that counts beside the spread of the keypoints, about 1
FULL_TRUST = 2.0  # the start of what a sigmoid makes the share by which a joint moves to its keypoint
NEARNESS = 0.01  # square meters; how fast a joint's share in a vertex falls with the distance, at the start
# What training does to keypoints, of which photographs have worse ones than the rendered images.
DROPPED, ALL_DROPPED = 0.1, 0.05  # shares of keypoints, and of images that lose all
JITTER = 0.008  # of the image's side
WRONG, WRONG_BY = 0.03, 0.1  # share of keypoints that are far off, and how far


class Hints(NamedTuple):
    """What the keypoints say, and the embeddings that carry it."""

    points: Tensor  # (B, J, 2) in [-1, 1] of the image, 0 where there is none
    there: Tensor  # (B, J, 1): 1 where a joint has a keypoint, else 0
    scores: Tensor  # (B, J, 1)
    of_joints: Tensor  # (B, J, width)
    of_camera: Tensor  # (B, 1, width)


class KeypointQueries(WithConstants):
    """Embeds keypoints, and corrects what the heads predict; see the module's text."""

    matching: Tensor

    def __init__(self, *, keypoints: int, vertices: int, width: int, narrow: int) -> None:
        """`keypoints`: how many the backbone finds. vertices: of the coarse mesh. width, narrow: of the tokens."""
        super().__init__()
        joints = NUM_JOINTS["body"]
        self.keep_constant("matching", torch.tensor(MATCHING))
        self.embedding = nn.Sequential(nn.Linear(3, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width))
        self.camera_embedding = nn.Linear(3 * keypoints, width)
        self.correction = nn.Linear(narrow, 3)  # shift x, y; what a sigmoid makes the share
        self.resting_joints = nn.Parameter(torch.zeros(joints, 3))
        self.mixture = nn.Parameter(torch.zeros(vertices, joints))  # what a softmax makes the joints' shares
        with torch.no_grad():
            self.correction.weight.zero_()
            self.correction.bias.copy_(torch.tensor([0.0, 0.0, FULL_TRUST]))

    def forward(self, keypoints: Tensor) -> Hints:
        """keypoints (B, 17, 3): x, y in shares of the image's sides, score; disturbed in training."""
        if self.training:
            keypoints = disturbed(keypoints)
        there = keypoints[..., 2:] > 0  # (B, K, 1)
        points = torch.where(there, 2 * keypoints[..., :2] - 1, 0)
        known = torch.cat((points, keypoints[..., 2:]), -1).to(self.camera_embedding.weight)  # (B, K, 3)
        matching = beside(self.matching, keypoints)
        has = (there[:, matching] & (matching >= 0)[:, None]).to(known)  # (B, J, 1)
        of_joint = known[:, matching] * has  # (B, J, 3)
        return Hints(
            of_joint[..., :2],
            has,
            of_joint[..., 2:],
            self.embedding(of_joint) * has,
            self.camera_embedding(known.flatten(1))[:, None],
        )

    @full_precision
    def correct(
        self, hints: Hints, queries: Tensor, camera: Tensor, joints: Tensor, coarse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the heads predict, corrected.

        queries: (B, J, narrow) decoded joint queries. camera: (B, 3) log of a factor of the scale, shift in meters.
        joints, coarse: (B, J, 3) and (B, Vc, 3), of the heads.
        Returns the camera (B, 3) scale, tx, ty, joints (B, J, 3) and coarse vertices (B, Vc, 3).
        """
        joints = joints + self.resting_joints
        scale, shift = fitted_camera(joints[..., :2], hints.points, hints.there * hints.scores)
        scale, shift = scale * camera[:, :1].exp(), shift + camera[:, 1:]  # (B, 1), (B, 2)
        moved, share = self.correction(queries).split((2, 1), -1)
        wanted = hints.points / scale[:, None] - shift[:, None]  # (B, J, 2) meters
        step = hints.there * share.sigmoid() * (wanted + moved - joints[..., :2])
        joints = torch.cat((joints[..., :2] + step, joints[..., 2:]), -1)
        return torch.cat((scale, shift), -1), joints, coarse + self.mixture.softmax(-1) @ joints

    def start_from(self, joints: Tensor, vertices: Tensor) -> Tensor:
        """Starts at resting joints (J, 3), each vertex (Vc, 3) a mixture of near ones; returns the mixtures (Vc, 3)."""
        distances = torch.cdist(vertices.double(), joints.double()).square()
        with torch.no_grad():
            self.resting_joints.copy_(joints)
            self.mixture.copy_(-distances / NEARNESS)
            return self.mixture.softmax(-1) @ self.resting_joints


def fitted_camera(joints: Tensor, points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weak-perspective camera, scale (B, 1) and shift (B, 2), that brings joints (B, J, 2) to points (B, J, 2).

    weights: (B, J, 1), not negative. Center and spread (root of the mean square about the center) agree after it; with
    few joints the scale goes to `USUAL_SCALE`. Unlike least squares it is positive whatever the joints are.
    """
    total = weights.sum(1).clamp(min=PRIOR)  # (B, 1)
    centers = [(weights * values).sum(1) / total for values in (joints, points)]  # (B, 2)
    spreads = [
        (weights * (values - center[:, None]).square()).sum((1, 2))[:, None]  # (B, 1)
        for values, center in zip((joints, points), centers, strict=True)
    ]
    scale = ((PRIOR * USUAL_SCALE**2 + spreads[1]) / (PRIOR + spreads[0])).sqrt()
    return scale, centers[1] / scale - centers[0]


def disturbed(keypoints: Tensor) -> Tensor:
    """Keypoints (B, K, 3) jittered, some far off, some and in some images all dropped: their score becomes 0."""
    places, scores = keypoints.split((2, 1), -1)
    wrong = torch.rand_like(scores) < WRONG
    places = places + torch.randn_like(places) * torch.where(wrong, WRONG_BY, JITTER)
    kept = (torch.rand_like(scores) >= DROPPED) & (torch.rand_like(scores[:, :1]) >= ALL_DROPPED)
    return torch.cat((places, scores * kept), -1)
