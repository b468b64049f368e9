"""The official loss weights of TORE and of the networks without token reduction, for bodies and hands."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tore.body.joints import HAND_WRIST, J14_HIPS
from tore.losses.terms import (
    itp_weight,
)


@dataclass(frozen=True)
class LossRecipe:
    """Distances and weights of one official training recipe. A term of weight 0 is not computed."""

    distance: str  # of joints: "l1" | "squared"
    joints_3d: float
    vertices: float
    joints_2d: float
    level_weights: tuple[float, ...]  # coarse to full
    center: tuple[int, ...]  # joints whose mean centers the 3D joint terms
    itp: float = 0.0  # the largest weight that `itp_weight` reaches
    normal: float = 0.0
    edge: float = 0.0
    surface_level: int = -1  # the mesh level of the normal and edge terms, counted from the full one: -1, -2, ...
    smpl_parameters: float = 0.0  # of the SMPL parameter regressor's rotations and betas
    keypoint_maps: float = 0.0  # of a pose network that is trained

    def without_surface(self) -> LossRecipe:
        """The recipe without its normal and edge terms."""
        return replace(self, normal=0.0, edge=0.0)

    def weights(self, progress: float) -> dict[str, float]:
        """Term name -> weight after `progress` epochs."""
        maxima = {
            "joints_3d": self.joints_3d,
            "vertices": self.vertices,
            "joints_2d": self.joints_2d,
            "normal": self.normal,
            "edge": self.edge,
            "smpl_parameters": self.smpl_parameters,
            "keypoint_maps": self.keypoint_maps,
        }
        weights = {name: weight for name, weight in maxima.items() if weight}
        return weights | ({"itp": itp_weight(self.itp, progress)} if self.itp else {})


BODY_LEVELS = (0.33, 0.33, 0.33)
FASTMETRO_BODY = LossRecipe(
    distance="l1",
    joints_3d=1000.0,
    vertices=100.0,
    joints_2d=100.0,
    itp=1e-3,
    normal=100.0,  # used with --edge_and_normal_vector_loss true
    edge=1000.0,
    level_weights=BODY_LEVELS,
    center=J14_HIPS,
)
METRO_BODY = LossRecipe(
    distance="squared",
    joints_3d=1000.0,
    vertices=100.0,
    joints_2d=100.0,
    normal=0.1,
    edge=1.0,
    level_weights=BODY_LEVELS,
    center=J14_HIPS,
)
HAND_LEVELS = (0.5, 0.5)
FASTMETRO_HAND = replace(FASTMETRO_BODY, level_weights=HAND_LEVELS, center=(HAND_WRIST,))
METRO_HAND = LossRecipe(
    distance="squared",
    joints_3d=1.0,
    vertices=1.0,
    joints_2d=1.0,
    level_weights=HAND_LEVELS,
    center=(HAND_WRIST,),
)
RECIPES = {
    ("fastmetro", "body"): FASTMETRO_BODY,
    ("metro", "body"): METRO_BODY,
    ("fastmetro", "hand"): FASTMETRO_HAND,
    ("metro", "hand"): METRO_HAND,
}
# The baselines' own official recipes, which TORE's authors changed; the same keys.
BASELINE_RECIPES = {
    ("fastmetro", "body"): replace(FASTMETRO_BODY, level_weights=(0.25, 0.5, 0.25), surface_level=-2),
    ("metro", "body"): METRO_BODY.without_surface(),
    ("fastmetro", "hand"): replace(FASTMETRO_HAND, normal=10.0, edge=100.0),
    ("metro", "hand"): METRO_HAND,
}
