"""Loss terms (keypoints, vertices, surface, tokens) and their weighted sum."""

from tore.losses.criterion import Targets, loss_terms, weighted_sum
from tore.losses.recipes import RECIPES, LossRecipe
from tore.losses.terms import (
    edge_loss,
    itp_loss,
    joints_2d_loss,
    joints_3d_loss,
    normal_loss,
    smpl_parameters_loss,
    vertices_loss,
)

__all__ = [
    "LossRecipe",
    "RECIPES",
    "Targets",
    "edge_loss",
    "itp_loss",
    "joints_2d_loss",
    "joints_3d_loss",
    "loss_terms",
    "normal_loss",
    "smpl_parameters_loss",
    "vertices_loss",
    "weighted_sum",
]
