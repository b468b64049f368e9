"""Surface terms on the full mesh: edges that lie in the true faces, and edges of the true length."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tore.losses.reduction import labelled_mean

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
    """Lengths (B, F, 3) in metres of edges (B, F, 3, 3)."""
    return (edges.square().sum(-1) + LENGTH_EPSILON).sqrt()


def edge_loss(predicted_edges: Tensor, target_edges: Tensor, has_mesh: Tensor, count: Tensor | None = None) -> Tensor:
    """Mean absolute difference of edge lengths, metres, over samples, faces and edges (B, F, 3, 3)."""
    return labelled_mean((edge_lengths(predicted_edges) - edge_lengths(target_edges)).abs(), has_mesh, count)
