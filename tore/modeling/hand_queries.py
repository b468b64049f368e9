"""Queries of hands that carry 21 landmarks, and a coarse mesh that follows the joints.

`HandQueries` differs from what bodies have (`body_queries`) in these things: a query's embedding is of its landmark
alone, which has its place in space too; and how far a joint moves to its landmark is predicted from its query. What the
shape regressor gives is added to the posed mesh.

In that one (`PosedHand`) each bone moves its vertices rigidly, blended between bones. A bone goes from a joint to the
next one towards a fingertip, in the palm from the wrist to a finger's base. The palm's rotation is that of the frame of
wrist, middle knuckle, index knuckle and little finger's knuckle; a bone's is its parent's, and then the smallest one
that gives it its direction. Along the bone a vertex is stretched as the bone is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manopth.tensors import WithConstants, beside, full_precision
from tore.geometry.rotations import smallest_rotation, turned
from tore.modeling.keypoint_queries import Hints, KeypointQueries, fitted_camera
from tore.modeling.mediapipe_hand import HAND_JOINTS, HAND_NUMBERS

FINGERS, BONES = 5, 4  # bones from the wrist to a tip
WIDTH = 0.006  # meters; how far from a bone its share in a vertex has fallen by the square root of e
INDEX, MIDDLE, PINKY = 5, 9, 17  # knuckles
USUAL_SCALE = 6.0  # of the camera, where no landmark tells: a hand that fills most of the crop
PRIOR = 0.0025  # square meters; how much that counts beside the spread of the landmarks, about 0.05
FULL_TRUST = 3.0  # the start of what a sigmoid makes the share by which a joint moves to its landmark


class PosedHand(WithConstants):
    """joints (B, 21, 3) -> coarse vertices (B, Vc, 3)."""

    joints: Tensor
    vertices: Tensor
    shares: Tensor

    def __init__(self, joints: Tensor, vertices: Tensor) -> None:
        """joints (21, 3), vertices (Vc, 3): of the resting hand, in meters."""
        super().__init__()
        self.keep_constant("joints", joints.float())
        self.keep_constant("vertices", vertices.float())
        self.keep_constant("shares", shares_of_bones(joints.double(), vertices.double()).float())

    def forward(self, joints: Tensor) -> Tensor:
        """The mesh whose bones lie between the joints."""
        resting, vertices, shares = (beside(part, joints) for part in (self.joints, self.vertices, self.shares))
        starts, bones = bones_of(joints)  # (B, 5, 4, 3) each
        rest_starts, rest_bones = bones_of(resting)  # (5, 4, 3) each
        rotation = (palm_frame(joints) @ palm_frame(resting).mT)[:, None]  # (B, 1, 3, 3)
        moved = []
        for level in range(BONES):
            along, rest_along = F.normalize(bones[:, :, level], dim=-1), F.normalize(rest_bones[:, level], dim=-1)
            rotation = smallest_rotation(turned(rotation, rest_along), along) @ rotation  # (B, 5, 3, 3)
            offsets = vertices - rest_starts[:, level, None]  # (5, Vc, 3)
            length = (offsets * rest_along[:, None]).sum(-1)  # (5, Vc)
            stretch = bones[:, :, level].norm(dim=-1) / rest_bones[:, level].norm(dim=-1)  # (B, 5)
            offsets = (
                offsets @ rotation.mT + (stretch[..., None] - 1)[..., None] * length[..., None] * along[:, :, None]
            )
            moved.append(starts[:, :, level, None] + offsets)  # (B, 5, Vc, 3)
        return torch.einsum("bflvc,flv->bvc", torch.stack(moved, 2), shares)


class HandQueries(KeypointQueries):
    """Embeds landmarks, and corrects what the heads predict; see the module's text."""

    def __init__(self, *, joints: Tensor, vertices: Tensor, width: int, narrow: int) -> None:
        """joints (21, 3), vertices (Vc, 3): of the resting hand. width, narrow: of the tokens."""
        super().__init__(keypoints=HAND_JOINTS, numbers=HAND_NUMBERS, matching=range(HAND_JOINTS), width=width)
        self.correction = nn.Linear(narrow, 3)  # shift x, y; what a sigmoid makes the share
        self.posed = PosedHand(joints, vertices)
        with torch.no_grad():
            self.correction.weight.zero_()
            self.correction.bias.copy_(torch.tensor([0.0, 0.0, FULL_TRUST]))

    @full_precision
    def correct(
        self, hints: Hints, queries: Tensor, camera: Tensor, joints: Tensor, coarse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As in `KeypointQueries`; camera (B, 3), joints (B, 21, 3) and coarse vertices (B, Vc, 3)."""
        joints, weights = joints + self.resting_joints, hints.there * hints.scores
        scale, shift = fitted_camera(joints[..., :2], hints.points, weights, usual=USUAL_SCALE, prior=PRIOR)
        scale, shift = scale * camera[:, :1].exp(), shift + camera[:, 1:]  # (B, 1), (B, 2)
        moved, share = self.correction(queries).split((2, 1), -1)
        wanted = hints.points / scale[:, None] - shift[:, None]  # (B, 21, 2) meters
        step = hints.there * share.sigmoid() * (wanted + moved - joints[..., :2])
        joints = torch.cat((joints[..., :2] + step, joints[..., 2:]), -1)
        return torch.cat((scale, shift), -1), joints, coarse + self.posed(joints)


def bones_of(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Joints (..., 21, 3) -> where bones start, and from there to their ends, (..., 5, 4, 3) by finger and level."""
    ends = joints[..., 1:, :].unflatten(-2, (FINGERS, BONES))
    wrist = joints[..., :1, None, :].expand_as(ends[..., :1, :])
    starts = torch.cat((wrist, ends[..., :-1, :]), -2)
    return starts, ends - starts


def palm_frame(joints: Tensor) -> Tensor:
    """(..., 3, 3) of joints (..., 21, 3): a rotation; columns to the middle knuckle, across the palm, out of it."""
    to_index, to_middle, to_pinky = (joints[..., end, :] - joints[..., 0, :] for end in (INDEX, MIDDLE, PINKY))
    up = F.normalize(to_middle, dim=-1)
    out = torch.linalg.cross(to_index, to_pinky)
    across = F.normalize(torch.linalg.cross(out, up), dim=-1)
    return torch.stack((up, across, torch.linalg.cross(up, across)), -1)


def shares_of_bones(joints: Tensor, vertices: Tensor) -> Tensor:
    """(5, 4, Vc): how much each bone moves each vertex, 1 in all, by their distances."""
    starts, bones = bones_of(joints)
    offsets = vertices - starts[:, :, None]  # (5, 4, Vc, 3)
    along = (offsets * bones[:, :, None]).sum(-1) / bones.square().sum(-1)[..., None]  # (5, 4, Vc)
    nearest = along.clamp(0, 1)[..., None] * bones[:, :, None]
    distances = (offsets - nearest).square().sum(-1)
    return (-distances / (2 * WIDTH**2)).flatten(0, 1).softmax(0).unflatten(0, (FINGERS, BONES))
