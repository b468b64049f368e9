"""Errors of joints and meshes: distances, alignment, PCK, F-scores and the curves of hands."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tore.geometry.alignment import align_similarity

PCK_THRESHOLD = 0.150  # meters; the curve behind the area under it runs from 0 to here
PCK_STEPS = 31  # 0, 5, ... 150 mm
ALIGNED_JOINTS = 3  # labeled joints that an alignment needs at least: two fit exactly, whatever is predicted


def centered(points: Tensor, center: Sequence[int]) -> Tensor:
    """Points (B, N, 3) minus the mean of those whose indices `center` lists."""
    return points - points[:, list(center)].mean(1, keepdim=True)


def distances(predicted: Tensor, target: Tensor) -> Tensor:
    """Euclidean distances (B, N) between points (B, N, 3)."""
    return torch.linalg.vector_norm(predicted - target, dim=-1)


def joint_errors(predicted: Tensor, target: Tensor, center: Sequence[int]) -> Tensor:
    """Distances (B, J) of joints (B, J, 3), each set centered on its own `center` joints: MPJPE before its mean."""
    return distances(centered(predicted, center), centered(target, center))


def joint_weights(mask: Tensor) -> Tensor:
    """(B, J) float64: J / (number of labeled joints) where `mask` (B, J) is set, else 0.

    The mean over J of weighted values is that over the labeled joints; where all are labeled the weights are 1.
    """
    return mask.double() * (mask.shape[1] / mask.sum(1, keepdim=True).clamp_min(1).double())


def aligned_errors(predicted: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Distances (B, N) after the similarity that brings each sample closest to its target: PA errors.

    `mask` (B, N) bool: only the points that are set decide the alignment; what the others' distances are means nothing.
    """
    errors = distances(align_similarity(predicted, target), target)
    if mask is not None and not mask.all():
        partly = ~mask.all(1)
        some, goal = predicted[partly], target[partly]
        errors[partly] = distances(align_similarity(some, goal, mask[partly]), goal)
    return errors


def within_thresholds(
    errors: Tensor, limit: float = PCK_THRESHOLD, steps: int = PCK_STEPS, weights: Tensor | None = None
) -> Tensor:
    """(B, steps) share of each sample's errors (B, N), meters, that are at most 0, 5, ... 150 mm, or up to `limit`.

    `weights` (B, N): see `joint_weights`.
    """
    thresholds = torch.linspace(0, limit, steps, dtype=errors.dtype, device=errors.device)
    near = (errors[:, :, None] <= thresholds).to(errors.dtype)
    return (near if weights is None else near * weights[:, :, None]).mean(1)


CHUNK = 16  # samples whose distances are held at once, 10 MB for 16 hands of 778 x 778 in float64
EXACT = "donot_use_mm_for_euclid_dist"  # matrix products lose half of the digits of short distances


def nearest_distances(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """From each of points (B, N, 3) to the nearest of others (B, M, 3), and back: (B, N) and (B, M)."""
    there, back = [], []
    for some, target in zip(points.split(CHUNK), others.split(CHUNK), strict=True):
        apart = torch.cdist(some, target, compute_mode=EXACT)  # (b, N, M)
        there.append(apart.amin(2))
        back.append(apart.amin(1))
    return torch.cat(there), torch.cat(back)


def f_scores(predicted: Tensor, target: Tensor, thresholds: Sequence[float]) -> Tensor:
    """F-scores (B, T) in [0, 1] of points (B, N, 3) against (B, M, 3) at T thresholds in their unit.

    Closer means strictly closer; without any point in reach the score is 0.
    """
    to_target, to_predicted = nearest_distances(predicted, target)
    limits = torch.as_tensor(thresholds, dtype=predicted.dtype, device=predicted.device)
    right = (to_target[:, :, None] < limits).to(predicted.dtype).mean(1)  # (B, T)
    found = (to_predicted[:, :, None] < limits).to(predicted.dtype).mean(1)
    return 2 * right * found / (right + found).clamp_min(torch.finfo(predicted.dtype).tiny)


F_SCORES = {"f_5mm": 0.005, "f_15mm": 0.015}  # name -> threshold in meters
CURVE_LIMIT, CURVE_STEPS = 0.050, 100  # meters; Official: 100 thresholds from 0 to 50 mm
CURVES = ("joints_50mm", "vertices_50mm")


def hand_shares(
    joint_errors: Tensor, vertex_errors: Tensor, vertices: Tensor, target: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    """F-scores (B,) and curves (B, 100) by name.

    joint_errors, vertex_errors: (B, J) and (B, V) aligned errors in meters. vertices, target: (B, V, 3), aligned and
    true. weights: (B, J), of `tore.evaluation.metrics.joint_weights`.
    """
    scores = f_scores(vertices, target, tuple(F_SCORES.values())).unbind(1)
    curves = (
        within_thresholds(errors, CURVE_LIMIT, CURVE_STEPS, by)
        for errors, by in ((joint_errors, weights), (vertex_errors, None))
    )
    return dict(zip((*F_SCORES, *CURVES), (*scores, *curves), strict=True))


def no_shares(device: torch.device | str) -> dict[str, Tensor]:
    """The same of no sample at all."""
    none = torch.zeros(0, 1, 3, dtype=torch.float64, device=device)
    return hand_shares(none[..., 0], none[..., 0], none, none, none[..., 0])


def area_under(curve: Tensor) -> float:
    """The area under a curve (S,) by trapezoids, as a share of the whole area."""
    return torch.trapezoid(curve).item() / (len(curve) - 1)


def mpjpe(
    predicted: Tensor, target: Tensor, mask: Tensor | None = None, *, center: Sequence[int] | None = None
) -> Tensor:
    """Mean per joint position error: a scalar, the mean over samples of each one's mean distance, in the points' unit.

    Args:
        predicted: joints (B, J, 3), or vertices: the mean per vertex error.
        target: (B, J, 3), in the same unit.
        mask: (B, J) bool, the labeled joints; None means all.
        center: joints whose mean is the origin of each set, such as `tore.body.joints.J14_HIPS`; None leaves the sets
            where they are.

    Raises ValueError for shapes that do not fit, and where no sample has a labeled joint, or one of them has none.
    """
    mask = _labelled(predicted, target, mask, least=1)
    if center is not None:
        predicted, target = centered(predicted, center), centered(target, center)
    return (distances(predicted, target) * joint_weights(mask)).mean()


def pa_mpjpe(predicted: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """MPJPE after Procrustes alignment: each sample is rotated, scaled and moved onto its target first.

    Shapes and unit as `mpjpe`. Raises ValueError as it does, and for a sample of fewer than three labeled joints,
    which fit exactly whatever is predicted.
    """
    mask = _labelled(predicted, target, mask, least=ALIGNED_JOINTS)
    return (aligned_errors(predicted, target, mask) * joint_weights(mask)).mean()


def _labelled(predicted: Tensor, target: Tensor, mask: Tensor | None, *, least: int) -> Tensor:
    """The mask (B, J), all set where none is given. ValueError where no number comes of the points."""
    if predicted.shape != target.shape or predicted.dim() != 3 or predicted.shape[2] != 3:
        raise ValueError(
            f"points of shapes {tuple(predicted.shape)} and {tuple(target.shape)} cannot be compared; "
            "give both as (B, J, 3)"
        )
    mask = torch.ones(predicted.shape[:2], dtype=torch.bool, device=predicted.device) if mask is None else mask.bool()
    if mask.shape != predicted.shape[:2]:
        raise ValueError(f"the mask has shape {tuple(mask.shape)}; give {tuple(predicted.shape[:2])}")
    if mask.shape[0] == 0 or int(mask.sum(1).min()) < least:
        raise ValueError(f"a sample needs {least} labeled joints at least, and one sample; leave the others out")
    return mask
