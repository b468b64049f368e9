"""The vertex term: L1 on every mesh level (paper section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tore.losses.keypoints import absolute_distance
from tore.losses.reduction import labelled_mean


def vertices_loss(
    predicted: Sequence[Tensor],  # per level (B, V, 3), coarse to full
    target: Sequence[Tensor],  # the same shapes
    has_mesh: Tensor,  # (B,)
    *,
    level_weights: Sequence[float],
    count: Tensor | None = None,
) -> Tensor:
    """Weighted sum over the levels of the mean absolute coordinate difference, metres, over labelled samples."""
    if not len(predicted) == len(target) == len(level_weights):
        raise ValueError(
            f"{len(predicted)} predicted mesh levels, {len(target)} target levels and {len(level_weights)} level "
            "weights; give one of each per level"
        )
    terms = [
        weight * labelled_mean(absolute_distance(a, b), has_mesh, count)
        for a, b, weight in zip(predicted, target, level_weights, strict=True)
    ]
    return sum(terms[1:], start=terms[0])
