"""Queries of hands that carry 21 landmarks, and a coarse mesh that follows the joints.

`HandQueries` differs from what bodies have (`body_queries`) in these things: a query's embedding is of its landmark
alone, which has its place in space too; how far a joint moves to its landmark is predicted from its query; and the mesh
(`posed_hand`, to which the shape regressor's is added) is displaced at the end, as smoothly as can be, so that its
joints are the corrected ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from manopth.tensors import beside, full_precision
from tore.modeling.keypoint_queries import Hints, KeypointQueries, fitted_camera
from tore.modeling.mediapipe_hand import HAND_JOINTS, HAND_NUMBERS
from tore.modeling.posed_hand import PosedHand

USUAL_SCALE = 6.0  # of the camera, where no landmark tells: a hand that fills most of the crop
PRIOR = 0.0025  # square meters; how much that counts beside the spread of the landmarks, about 0.05
FULL_TRUST = 3.0  # the start of what a sigmoid makes the share by which a joint moves to its landmark
SMALL = 1e-9  # beside the smoothness of a displacement: one of all vertices alike costs something too


class HandQueries(KeypointQueries):
    """Embeds landmarks, and corrects what the heads predict; see the module's text."""

    joint_rows: Tensor
    displacements: Tensor

    def __init__(
        self, *, joint_rows: Tensor, adjacency: Tensor, joints: Tensor, vertices: Tensor, width: int, narrow: int
    ) -> None:
        """joint_rows, adjacency: of the coarse mesh. joints (21, 3), vertices (Vc, 3): of the resting hand."""
        super().__init__(keypoints=HAND_JOINTS, numbers=HAND_NUMBERS, matching=range(HAND_JOINTS), width=width)
        self.keep_constant("joint_rows", joint_rows.float())
        self.keep_constant("displacements", smooth_displacements(joint_rows, adjacency).float())
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
        coarse = coarse + self.posed(joints)
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
