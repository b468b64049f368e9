"""Queries of hands that carry 21 landmarks, and a coarse mesh that follows the joints.

`HandQueries` differs from what bodies have (`body_queries`) in these things: a query's embedding is of its landmark
alone, which has its place in space too; and how far a joint moves to its landmark is predicted from its query. What the
shape regressor gives is added to the posed mesh (`posed_hand`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from manopth.tensors import full_precision
from tore.modeling.keypoint_queries import Hints, KeypointQueries, fitted_camera
from tore.modeling.mediapipe_hand import HAND_JOINTS, HAND_NUMBERS
from tore.modeling.posed_hand import PosedHand

USUAL_SCALE = 6.0  # of the camera, where no landmark tells: a hand that fills most of the crop
PRIOR = 0.0025  # square meters; how much that counts beside the spread of the landmarks, about 0.05
FULL_TRUST = 3.0  # the start of what a sigmoid makes the share by which a joint moves to its landmark


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
