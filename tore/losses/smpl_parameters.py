"""The SMPL parameter regressor's term: rotations and shape (FastMETRO's optional last room).

The regressor reads detached vertices, so this term moves the regressor alone.
"""

from __future__ import annotations

from torch import Tensor

from tore.geometry.rotations import axis_angle_to_matrix
from tore.losses.keypoints import Distance
from tore.losses.reduction import labelled_mean

BETAS_WEIGHT = 0.1


def smpl_parameters_loss(
    rotations: Tensor,  # (B, 24, 3, 3)
    betas: Tensor,  # (B, 10)
    target_pose: Tensor,  # (B, 72) axis-angle, radians
    target_betas: Tensor,  # (B, 10)
    has_mesh: Tensor,  # (B,)
    *,
    distance: Distance,
    count: Tensor | None = None,
) -> Tensor:
    """Mean distance of rotation matrix entries + 0.1 x mean distance of betas, over labelled samples."""
    target = axis_angle_to_matrix(target_pose.unflatten(1, (-1, 3)))  # (B, 24, 3, 3)
    rotation_term = labelled_mean(distance(rotations, target), has_mesh, count)
    return rotation_term + BETAS_WEIGHT * labelled_mean(distance(betas, target_betas), has_mesh, count)
