"""The weighted sum of the loss terms, and the targets that they compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from tore.geometry.camera import project_weak_perspective
from tore.losses.recipes import LossRecipe
from tore.losses.terms import (
    DISTANCES,
    edge_loss,
    face_edges,
    itp_loss,
    joints_2d_loss,
    joints_3d_loss,
    normal_loss,
    smpl_parameters_loss,
    squared_distance,
    vertices_loss,
)


class Prediction(Protocol):
    """What the losses read of a network's output (shapes: docs/ARCHITECTURE.md)."""

    @property
    def camera(self) -> Tensor:
        """(B, 3) scale, tx, ty."""
        ...

    @property
    def joints(self) -> Tensor:
        """(B, J, 3)."""
        ...

    @property
    def vertices(self) -> Tensor:
        """(B, V, 3), the full mesh."""
        ...

    @property
    def heatmap(self) -> Tensor | None:
        """(B, M, cells), or None without token pruning."""
        ...

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """The mesh levels, coarse to full."""
        ...

    @property
    def rotations(self) -> Tensor | None:
        """(B, 24, 3, 3), or None without the SMPL parameter regressor."""
        ...

    @property
    def betas(self) -> Tensor | None:
        """(B, 10), likewise."""
        ...


@dataclass(frozen=True)
class Targets:
    """One batch's targets, meters, minus the body's root."""

    vertices: tuple[Tensor, ...]  # (B, V, 3) per level, coarse to full
    joints_3d: Tensor  # (B, J, 4), last column confidence
    joints_2d: Tensor  # (B, J, 3): x, y in [-1, 1] of the crop, confidence
    has_mesh: Tensor  # (B,)
    has_joints_3d: Tensor  # (B,)
    pose: Tensor | None = None  # (B, 72) axis-angle of a body, radians; read by the SMPL parameter term only
    betas: Tensor | None = None  # (B, 10), likewise


@dataclass(frozen=True)
class LabelCounts:
    """Labeled samples to divide by, the mean over processes; see `labelled_mean`."""

    mesh: Tensor
    joints_3d: Tensor


def joint_terms(
    prediction: Prediction, regressed: Tensor, targets: Targets, recipe: LossRecipe, counts: LabelCounts | None
) -> dict[str, Tensor]:
    """`joints_3d` and `joints_2d`, each the sum over the direct joints and the joints of the mesh (B, J, 3)."""
    distance = DISTANCES[recipe.distance]
    in_3d, in_2d = [], []
    for joints in (prediction.joints, regressed):
        in_3d.append(
            joints_3d_loss(
                joints,
                targets.joints_3d,
                targets.has_joints_3d,
                distance=distance,
                center=recipe.center,
                count=counts.joints_3d if counts else None,
            )
        )
        projected = project_weak_perspective(joints, prediction.camera)
        in_2d.append(joints_2d_loss(projected, targets.joints_2d, distance=distance))
    return {"joints_3d": in_3d[0] + in_3d[1], "joints_2d": in_2d[0] + in_2d[1]}


def loss_terms(
    prediction: Prediction,
    regressed: Tensor,  # (B, J, 3) joints regressed from the predicted full mesh
    targets: Targets,
    recipe: LossRecipe,
    *,
    faces: Tensor,  # (F, 3) of the mesh level that the surface terms look at
    grid: tuple[int, int],  # of the heatmap
    counts: LabelCounts | None = None,
) -> dict[str, Tensor]:
    """Every term that the recipe weighs, by name, before weighting."""
    mesh_count = counts.mesh if counts else None
    terms = joint_terms(prediction, regressed, targets, recipe, counts)
    terms["vertices"] = vertices_loss(
        prediction.levels, targets.vertices, targets.has_mesh, level_weights=recipe.level_weights, count=mesh_count
    )
    if recipe.normal or recipe.edge:
        level = recipe.surface_level
        edges, true_edges = face_edges(prediction.levels[level], faces), face_edges(targets.vertices[level], faces)
        if recipe.normal:
            terms["normal"] = normal_loss(edges, true_edges, targets.has_mesh, mesh_count)
        if recipe.edge:
            terms["edge"] = edge_loss(edges, true_edges, targets.has_mesh, mesh_count)
    if recipe.itp:
        if prediction.heatmap is None:
            raise ValueError("the recipe weighs the image token loss but the network prunes no tokens; set itp to 0")
        seen = project_weak_perspective(targets.vertices[-1], prediction.camera.detach())
        terms["itp"] = itp_loss(prediction.heatmap, seen, targets.has_mesh, grid)
    if recipe.smpl_parameters:
        terms["smpl_parameters"] = smpl_parameters_term(prediction, targets, mesh_count)
    return terms


def smpl_parameters_term(prediction: Prediction, targets: Targets, count: Tensor | None) -> Tensor:
    """The SMPL parameter regressor's term. Raises ValueError for a network without one.

    Squared whatever the joint terms are: absolute distances let rotations come to rest far from their aims.
    """
    if prediction.rotations is None or prediction.betas is None:
        raise ValueError("the recipe weighs SMPL parameters but the network regresses none; set smpl_parameters to 0")
    assert targets.pose is not None and targets.betas is not None, "a body's targets carry pose and betas"
    return smpl_parameters_loss(
        prediction.rotations,
        prediction.betas,
        targets.pose,
        targets.betas,
        targets.has_mesh,
        distance=squared_distance,
        count=count,
    )


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of weight x term over the names of `weights`; a weight without its term is a KeyError."""
    products = [weight * terms[name] for name, weight in weights.items()]
    return sum(products[1:], start=products[0])
