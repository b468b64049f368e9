"""Queries that carry a pose network's keypoints, and a mesh whose joints are corrections of them.

With `FastMETRO(keypoint_queries=True)` the backbone gives keypoints beside its feature map. They enter the network in
two places:

- the query of each joint gets an embedding of position and score of the matching keypoint and of the image's features
  there, and the camera token one of all keypoints;
- behind the heads, joints and camera are corrected toward the keypoints. The scale and shift of the weak-perspective
  camera are those that bring the spread and the center of the predicted joints to those of the keypoints, in closed
  form, times and plus what the camera head predicts. A keypoint back-projected by this camera is about where its joint
  would have to be: beside it by a small shift, which the joint's query predicts. Each joint moves there by a share that
  rises with the keypoint's score. It is not learned, since the joints that the heads predict are better in rendered
  images than in photographs, where the scores mean the same. The coarse mesh of the shape regressor is then displaced,
  as smoothly as can be, so that its joints are the corrected ones.

Joints without a keypoint, and keypoints that are dropped in training, change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manopth.tensors import WithConstants, beside, full_precision
from tore.body.joints import COCO_FLIP, COCO_NAMES, COCO_TO_J24, J24_TO_J14

MATCHING = tuple(COCO_TO_J24.index(joint) if joint in COCO_TO_J24 else -1 for joint in J24_TO_J14)
HIDDEN = 128  # width within the embedding
USUAL_SCALE = 0.9  # of the camera, where no keypoint tells: a person who fills most of the crop
PRIOR = 0.05  # square meters; how much that counts beside the spread of the keypoints, about 1
TRUST_OFFSET, TRUST_FACTOR = -2.0, 12.0  # a joint moves to its keypoint by the sigmoid of offset + factor * score
REACH = 0.02  # meters; how far a joint may lie beside its keypoint: hips and shoulders are not the same points
SMALL = 1e-9  # beside the smoothness of a displacement: one of all vertices alike costs something too
# What training does to keypoints, of which photographs have worse ones than the rendered images.
DROPPED, ALL_DROPPED = 0.1, 0.05  # shares of keypoints, and of images that lose all
JITTER = 0.008  # of the image's side
WRONG, WRONG_BY = 0.03, 0.1  # share of keypoints that are far off, and how far
HELD = 0.3  # share of joints that do not move in training, so that the heads' own joints are trained too
SWAPPED = 0.02  # share of images whose left and right arms, or legs, are taken for each other
LEGS = tuple(int(name.endswith(("hip", "knee", "ankle"))) for name in COCO_NAMES)


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
    joint_rows: Tensor
    displacements: Tensor

    def __init__(
        self,
        *,
        keypoints: int,
        joint_rows: Tensor,
        adjacency: Tensor,
        width: int,
        narrow: int,
        numbers: int = 3,
        matching: Sequence[int] = MATCHING,
    ) -> None:
        """`keypoints`: how many the backbone finds. joint_rows, adjacency: of the coarse mesh, as in `Topology`.

        width, narrow: of the tokens. numbers: of each keypoint. matching: the keypoint of each joint, -1 where it has
        none.
        """
        super().__init__()
        joints = len(joint_rows)
        self.keep_constant("joint_rows", joint_rows.float())
        self.keep_constant("displacements", smooth_displacements(joint_rows, adjacency).float())
        self.keep_constant("matching", torch.tensor(matching))
        self.embedding = nn.Sequential(nn.Linear(numbers, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width))
        self.local = nn.Linear(width, width)  # of the features at a keypoint
        self.camera_embedding = nn.Linear(numbers * keypoints, width)
        self.shift = nn.Linear(narrow, 2)  # x, y; what tanh makes a part of `REACH`
        self.resting_joints = nn.Parameter(torch.zeros(joints, 3))
        with torch.no_grad():
            self.shift.weight.zero_()
            self.shift.bias.zero_()

    def forward(self, keypoints: Tensor, features: Tensor) -> Hints:
        """keypoints (B, K, 3 or more): x, y in shares of the image's sides, score, what else is known of each.

        They are disturbed in training. features: (B, width, h, w) of the whole image.
        """
        if self.training:
            keypoints = disturbed(keypoints)
        found = keypoints[..., 2:3] > 0  # (B, K, 1)
        points = torch.where(found, 2 * keypoints[..., :2] - 1, 0)
        known = torch.cat((points, keypoints[..., 2:]), -1).to(self.camera_embedding.weight)  # (B, K, 3 or more)
        matching = beside(self.matching, keypoints)
        has = (found[:, matching] & (matching >= 0)[:, None]).to(known)  # (B, J, 1)
        of_joint = known[:, matching] * has  # (B, J, 3 or more)
        return Hints(
            of_joint[..., :2],
            has,
            of_joint[..., 2:3],
            self.embedded(of_joint, features) * has,
            self.camera_embedding(known.flatten(1))[:, None],
        )

    def embedded(self, of_joint: Tensor, features: Tensor) -> Tensor:
        """(B, J, width) of each joint's keypoint (B, J, 3) and of the features (B, width, h, w) there."""
        places = of_joint[:, :, None, :2].to(features)
        near = F.grid_sample(features, places, align_corners=False)[..., 0].mT  # (B, J, width)
        return self.embedding(of_joint) + self.local(near)

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
        share = hints.there * (TRUST_OFFSET + TRUST_FACTOR * hints.scores).sigmoid()  # (B, J, 1)
        scale, shift = fitted_camera(joints[..., :2], hints.points, hints.there * hints.scores.square())
        scale, shift = scale * camera[:, :1].exp(), shift + camera[:, 1:]  # (B, 1), (B, 2)
        wanted = hints.points / scale[:, None] - shift[:, None] + REACH * self.shift(queries).tanh()  # (B, J, 2) meters
        if self.training:
            share = share * (torch.rand_like(share) >= HELD)
        step = share * (wanted - joints[..., :2])
        joints = torch.cat((joints[..., :2] + step, joints[..., 2:]), -1)
        rows, displacements = beside(self.joint_rows, joints), beside(self.displacements, joints)
        return torch.cat((scale, shift), -1), joints, coarse + displacements @ (joints - rows @ coarse)


def smooth_displacements(joint_rows: Tensor, adjacency: Tensor) -> Tensor:
    """(Vc, J): column j is the smoothest displacement of a mesh's vertices that moves joint j by 1 and no other joint.

    joint_rows (J, Vc) gives the joints of the vertices; adjacency (Vc, Vc) is not 0 between neighbors. Smooth: a vertex
    is displaced nearly as the mean of its neighbors is, by least squares. Float64.
    """
    touching = (adjacency != 0).double().fill_diagonal_(0)
    rows, (joints, vertices) = joint_rows.double(), joint_rows.shape
    same = torch.eye(vertices + joints, dtype=rows.dtype, device=rows.device)
    bending = same[:vertices, :vertices] - touching / touching.sum(1, keepdim=True).clamp(min=1)
    system = torch.zeros_like(same)  # of the minimum under the condition
    system[:vertices, :vertices] = bending.T @ bending + SMALL * same[:vertices, :vertices]
    system[:vertices, vertices:], system[vertices:, :vertices] = rows.T, rows
    wanted = same[:, vertices:]
    return torch.linalg.solve(system, wanted)[:vertices]


def fitted_camera(
    joints: Tensor, points: Tensor, weights: Tensor, *, usual: float = USUAL_SCALE, prior: float = PRIOR
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
