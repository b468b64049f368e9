"""The unweighted loss terms: joints, vertices, surface, SMPL parameters, image tokens (the ITP loss)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tore.geometry.rotations import axis_angle_to_matrix


def labelled_mean(values: Tensor, has: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean of `values` (B, ...) over the samples whose flag `has` (B,) is not 0 and over all other axes.

    `count` is the number of labeled samples to divide by; by default those of this batch. With several processes
    it is the mean count per process, so that averaged gradients are those of the whole batch. A batch without a
    labeled sample contributes 0, and what unlabeled samples hold never matters, not even NaN.
    """
    labeled = has != 0
    per_sample = values.flatten(1).mean(1)  # (B,)
    total = torch.where(labeled, per_sample, torch.zeros_like(per_sample)).sum()
    count = labeled.sum() if count is None else count
    return total / count.to(total).clamp_min(torch.finfo(total.dtype).tiny)


Distance = Callable[[Tensor, Tensor], Tensor]


def absolute_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """|a - b| entry by entry."""
    return (predicted - target).abs()


def squared_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """(a - b)^2 entry by entry."""
    return (predicted - target).square()


DISTANCES: dict[str, Distance] = {"l1": absolute_distance, "squared": squared_distance}


def center_joints(joints: Tensor, center: Sequence[int]) -> Tensor:
    """Joints (B, J, 3) minus the mean of the joints whose indices `center` lists."""
    return joints - joints[:, list(center)].mean(1, keepdim=True)


def joints_3d_loss(
    predicted: Tensor,  # (B, J, 3)
    target: Tensor,  # (B, J, 4), the last column is the confidence
    has_joints: Tensor,  # (B,)
    *,
    distance: Distance,
    center: Sequence[int],
    count: Tensor | None = None,
) -> Tensor:
    """Confidence-weighted distance of centered joints, mean over labeled samples x joints x coordinates.

    Joints of zero confidence are counted in the mean. `center`: body (2, 3), the hips; hand (0,), the wrist.
    """
    goal, confidence = target[..., :3], target[..., 3:]
    error = confidence * distance(center_joints(predicted, center), center_joints(goal, center))
    return labelled_mean(error, has_joints, count)


def joints_2d_loss(projected: Tensor, target: Tensor, *, distance: Distance) -> Tensor:
    """Confidence-weighted distance of projected joints (B, J, 2) to `target` (B, J, 3: x, y, confidence).

    Official: the mean runs over all samples, has_2d_joints or not; unlabeled ones carry confidence 0.
    """
    return (target[..., 2:] * distance(projected, target[..., :2])).mean()


def vertices_loss(
    predicted: Sequence[Tensor],  # per level (B, V, 3), coarse to full
    target: Sequence[Tensor],  # the same shapes
    has_mesh: Tensor,  # (B,)
    *,
    level_weights: Sequence[float],
    count: Tensor | None = None,
) -> Tensor:
    """Weighted sum over the levels of the mean absolute coordinate difference, meters, over labeled samples."""
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


LENGTH_EPSILON = 1e-6  # under the square root of a squared edge length


def face_edges(vertices: Tensor, faces: Tensor) -> Tensor:
    """Edges (B, F, 3, 3) of vertices (B, V, 3): corner 0 to 1, 0 to 2 and 1 to 2 of each face of `faces` (F, 3)."""
    corners = vertices.index_select(1, faces.flatten()).unflatten(1, faces.shape)  # (B, F, 3 corners, xyz)
    a, b, c = corners.unbind(2)
    return torch.stack((b - a, c - a, c - b), dim=2)


def normal_loss(predicted_edges: Tensor, target_edges: Tensor, has_mesh: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean |cosine| between predicted edges (B, F, 3, 3) and the true face normals, over samples, faces, edges."""
    first, second = normalize(target_edges[:, :, :2], dim=-1).unbind(2)
    normals = normalize(torch.linalg.cross(first, second), dim=-1)  # (B, F, 3)
    cosines = (normalize(predicted_edges, dim=-1) * normals[:, :, None]).sum(-1).abs()  # (B, F, 3)
    return labelled_mean(cosines, has_mesh, count)


def edge_lengths(edges: Tensor) -> Tensor:
    """Lengths (B, F, 3) in meters of edges (B, F, 3, 3)."""
    return (edges.square().sum(-1) + LENGTH_EPSILON).sqrt()


def edge_loss(predicted_edges: Tensor, target_edges: Tensor, has_mesh: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean absolute difference of edge lengths, meters, over samples, faces and edges (B, F, 3, 3)."""
    return labelled_mean((edge_lengths(predicted_edges) - edge_lengths(target_edges)).abs(), has_mesh, count)


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
    """Mean distance of rotation matrix entries + 0.1 x mean distance of betas, over labeled samples."""
    target = axis_angle_to_matrix(target_pose.unflatten(1, (-1, 3)))  # (B, 24, 3, 3)
    rotation_term = labelled_mean(distance(rotations, target), has_mesh, count)
    return rotation_term + BETAS_WEIGHT * labelled_mean(distance(betas, target_betas), has_mesh, count)


STRETCH_EPSILON = 1e-12


def coverage_mask(projected: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which cells of `grid` (h, w) hold a point of `projected` (B, V, 2: x, y in [-1, 1]): (B, h, w) of 0 and 1.

    Points outside the image hit no cell.
    """
    height, width = grid
    cell = (projected + 1) / 2 * projected.new_tensor((width, height))  # (B, V, 2), x then y
    inside = ((cell >= 0) & (cell < cell.new_tensor((width, height)))).all(-1)  # (B, V)
    column, row = torch.where(inside[..., None], cell, torch.zeros_like(cell)).long().unbind(-1)
    index = torch.where(inside, row * width + column, height * width)  # the last place gathers the outsiders
    hit = projected.new_zeros(len(projected), height * width + 1).scatter_(1, index, 1.0)
    return hit[:, :-1].unflatten(1, (height, width))


def stretch_clusters(heatmap: Tensor) -> Tensor:
    """Each cluster's weights (B, M, cells) moved to [0, 1]; the gradient flows through minimum and maximum too."""
    low, high = heatmap.amin(-1, keepdim=True), heatmap.amax(-1, keepdim=True)
    return (heatmap - low) / (high - low + STRETCH_EPSILON)


def itp_loss(heatmap: Tensor, projected: Tensor, has_mesh: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sum over labeled samples, clusters and cells of stretched weight x (1 - coverage).

    heatmap (B, M, h*w), projected (B, V, 2) the true full mesh in the crop, has_mesh (B,), grid (h, w).
    Official: a plain sum, so it grows with the samples of one process.
    """
    with torch.no_grad():
        outside = 1 - coverage_mask(projected.detach().to(heatmap), grid).flatten(1)  # (B, h*w)
        outside = outside * (has_mesh != 0)[:, None]
    return torch.einsum("bmc,bc->", stretch_clusters(heatmap), outside)


def itp_weight(maximum: float, progress: float) -> float:
    """Weight of the loss after `progress` epochs (iteration / iterations per epoch): a slow start around epoch 3."""
    return maximum / (1 + math.exp(3 - progress))
