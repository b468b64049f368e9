"""Queries of bodies that carry the 17 COCO keypoints, and a coarse mesh that follows the joints.

Neck and head have no keypoint; the center of the shoulders and that of the face stand for it. A joint lies beside its
keypoint by a shift, which its query predicts, and moves there by a share that rises with the keypoint's score. The
share is not learned, since the joints that the heads predict are better in rendered images than in photographs, where
the scores mean the same. What the shape regressor gives is added to the posed mesh (`posed_body`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manopth.tensors import beside, full_precision
from tore.body.joints import COCO_NAMES, COCO_TO_J24, J14_NAMES, J24_TO_J14
from tore.modeling.keypoint_queries import Hints, KeypointQueries, fitted_camera
from tore.modeling.posed_body import PREDICTED, PosedBody

CENTERS = {
    "Neck": ("left_shoulder", "right_shoulder"),
    "Head": ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
}  # keypoints whose center stands for a joint that has none
MATCHING = tuple(
    COCO_TO_J24.index(joint) if joint in COCO_TO_J24 else len(COCO_NAMES) + list(CENTERS).index(name)
    for joint, name in zip(J24_TO_J14, J14_NAMES, strict=True)
)
SMALL = 1e-6  # beside a sum of scores
NUMBERS = 3  # of a keypoint: x, y, score
USUAL_SCALE = 0.9  # of the camera, where no keypoint tells: a person who fills most of the crop
PRIOR = 0.05  # square meters; how much that counts beside the spread of the keypoints, about 1
TRUST_OFFSET, TRUST_FACTOR = -2.0, 12.0  # a joint moves to its keypoint by the sigmoid of offset + factor * score
REACH = 0.02  # meters; how far a joint may lie beside its keypoint: hips and shoulders are not the same points
FAR_REACH = 0.25  # meters; how far beside what stands for a keypoint
HELD = 0.3  # share of joints that do not move in training, so that the heads' own joints are trained too


class BodyQueries(KeypointQueries):
    """Embeds keypoints, and corrects what the heads predict; see the module's text."""

    has_keypoint: Tensor

    def __init__(
        self, *, joints: Tensor, vertices: Tensor, weights: Tensor, keypoints: int, width: int, narrow: int
    ) -> None:
        """joints (14, 3), vertices (Vc, 3), weights (Vc, 24): of the resting body, as `PosedBody` takes them.

        keypoints: how many the backbone finds. width, narrow: of the tokens.
        """
        super().__init__(keypoints=keypoints, numbers=NUMBERS, matching=MATCHING, width=width)
        self.local = nn.Linear(width, width)  # of the features at a keypoint
        self.shift = nn.Linear(narrow, 2)  # x, y; what tanh makes a part of the reach
        self.turn = nn.Linear(narrow * len(MATCHING), 3 * PREDICTED)  # of the bones
        self.posed = PosedBody(joints, vertices, weights)
        self.keep_constant("has_keypoint", (self.matching < keypoints)[:, None].float())  # (J, 1)
        for head in (self.shift, self.turn):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def with_centers(self, known: Tensor) -> Tensor:
        """Keypoints (B, 17, 3), followed by the centers, weighted by the scores; a center's score is their mean."""
        centers = []
        for names in CENTERS.values():
            points, scores = known[:, [COCO_NAMES.index(name) for name in names]].split((2, 1), -1)
            center = (points * scores).sum(1) / scores.sum(1).clamp(min=SMALL)
            centers.append(torch.cat((center, scores.mean(1)), -1))
        return torch.cat((known, torch.stack(centers, 1)), 1)

    def embedded(self, of_joint: Tensor, features: Tensor) -> Tensor:
        """(B, J, width) of each joint's keypoint (B, J, 3) and of the features (B, width, h, w) there."""
        places = of_joint[:, :, None, :2].to(features)
        near = F.grid_sample(features, places, align_corners=False)[..., 0].mT  # (B, J, width)
        return self.embedding(of_joint) + self.local(near)

    @full_precision
    def correct(
        self, hints: Hints, queries: Tensor, camera: Tensor, joints: Tensor, coarse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As in `KeypointQueries`; camera (B, 3), joints (B, 14, 3) and coarse vertices (B, Vc, 3)."""
        joints = joints + self.resting_joints
        exact = beside(self.has_keypoint, joints)
        weights = hints.there * hints.scores.square() * exact
        scale, shift = fitted_camera(joints[..., :2], hints.points, weights, usual=USUAL_SCALE, prior=PRIOR)
        scale, shift = scale * camera[:, :1].exp(), shift + camera[:, 1:]  # (B, 1), (B, 2)
        reach = FAR_REACH + (REACH - FAR_REACH) * exact
        wanted = hints.points / scale[:, None] - shift[:, None] + reach * self.shift(queries).tanh()  # (B, J, 2) meters
        share = hints.there * (TRUST_OFFSET + TRUST_FACTOR * hints.scores).sigmoid()  # (B, J, 1)
        if self.training:
            share = share * (torch.rand_like(share) >= HELD)
        joints = torch.cat((joints[..., :2] + share * (wanted - joints[..., :2]), joints[..., 2:]), -1)
        turns = self.turn(queries.flatten(1)).unflatten(1, (PREDICTED, 3))
        return torch.cat((scale, shift), -1), joints, coarse + self.posed(joints, turns)
