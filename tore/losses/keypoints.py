"""Joint terms in 3D and in the crop (paper section 3.4: the losses of the baselines, kept).

Joints are in metres, crop coordinates in [-1, 1], confidence in [0, 1]. Distances are per coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from tore.losses.reduction import labelled_mean

Distance = Callable[[Tensor, Tensor], Tensor]


def absolute_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """|a - b| entry by entry."""
    return (predicted - target).abs()


def squared_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """(a - b)^2 entry by entry."""
    return (predicted - target).square()


DISTANCES: dict[str, Distance] = {"l1": absolute_distance, "squared": squared_distance}


def centre_joints(joints: Tensor, centre: Sequence[int]) -> Tensor:
    """Joints (B, J, 3) minus the mean of the joints whose indices `centre` lists."""
    return joints - joints[:, list(centre)].mean(1, keepdim=True)


def joints_3d_loss(
    predicted: Tensor,  # (B, J, 3)
    target: Tensor,  # (B, J, 4), the last column is the confidence
    has_joints: Tensor,  # (B,)
    *,
    distance: Distance,
    centre: Sequence[int],
    count: Tensor | None = None,
) -> Tensor:
    """Confidence-weighted distance of centred joints, mean over labelled samples x joints x coordinates.

    Joints of zero confidence are counted in the mean. `centre`: body (2, 3), the hips; hand (0,), the wrist.
    """
    goal, confidence = target[..., :3], target[..., 3:]
    error = confidence * distance(centre_joints(predicted, centre), centre_joints(goal, centre))
    return labelled_mean(error, has_joints, count)


def joints_2d_loss(projected: Tensor, target: Tensor, *, distance: Distance) -> Tensor:
    """Confidence-weighted distance of projected joints (B, J, 2) to `target` (B, J, 3: x, y, confidence).

    Published: the mean runs over all samples, has_2d_joints or not; unlabelled ones carry confidence 0.
    """
    return (target[..., 2:] * distance(projected, target[..., :2])).mean()
