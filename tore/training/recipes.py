"""Which losses a run trains with: an official recipe, and the options that change it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tore.body.body_model import BodyModel
from tore.body.files import read_level_faces
from tore.engine.optimization import BASELINE_OPTIMIZERS, CLIPS, OPTIMIZERS, OptimizerRecipe
from tore.losses.recipes import BASELINE_RECIPES, RECIPES, LossRecipe
from tore.modeling.build import ModelConfig, prunes_image_tokens
from tore.training.config import RunConfig
from tore.training.network_options import TORE_RECIPE
from tore.training.options import flag_text

FULL_LEVEL = -1


def recipe_from(run: RunConfig, config: ModelConfig) -> LossRecipe:
    """The losses of the run's recipe with the weights of further options, for the submodules that the network has.

    Raises ValueError for a weight that this network cannot use.
    """
    network, kind = config.network, config.body
    asked = run.losses
    recipe = (RECIPES if asked.recipe == TORE_RECIPE else BASELINE_RECIPES)[network, kind]
    lowest = [asked.vloss_w_sub2] if kind == "body" else []
    shares = [*lowest, asked.vloss_w_sub, asked.vloss_w_full]  # coarse to full
    # Official: --vertices_loss_weight weighs the 2D joints as well.
    twod = asked.vertices_loss_weight if asked.joints_2d_loss_weight is None else asked.joints_2d_loss_weight
    recipe = replace(
        recipe,
        joints_3d=_chosen(asked.joints_loss_weight, recipe.joints_3d),
        vertices=_chosen(asked.vertices_loss_weight, recipe.vertices),
        joints_2d=_chosen(twod, recipe.joints_2d),
        level_weights=tuple(map(_chosen, shares, recipe.level_weights)),
        itp=_token_weight(asked.itp_loss_weight, config, recipe.itp),
        smpl_parameters=asked.smpl_param_loss_weight if config.smpl_regressor else 0.0,
        keypoint_maps=asked.keypoint_maps_loss_weight,
    )
    _check_weights(run, config, recipe)
    usual = network == "metro" or asked.recipe != TORE_RECIPE
    return recipe if _chosen(asked.edge_and_normal_vector_loss, usual) else recipe.without_surface()


def _check_weights(run: RunConfig, config: ModelConfig, recipe: LossRecipe) -> None:
    """ValueError for a given weight that this network and recipe leave without effect."""
    asked = run.losses
    if run.gives("smpl_param_loss_weight") and asked.smpl_param_loss_weight and not config.smpl_regressor:
        said = flag_text("smpl_param_loss_weight", asked.smpl_param_loss_weight)
        raise ValueError(
            f"{said} weighs the SMPL parameter regressor, which this network has not; "
            "add --smpl_regressor, or leave it out"
        )
    shares = [name for name in ("vloss_w_full", "vloss_w_sub", "vloss_w_sub2") if run.gives(name)]
    if shares and not recipe.vertices:
        said = flag_text(shares[0], getattr(asked, shares[0]))
        raise ValueError(f"{said} shares out --vertices_loss_weight, which is 0; leave it out")
    if config.smpl_regressor and not recipe.smpl_parameters:
        raise ValueError("--smpl_param_loss_weight 0 would never train the SMPL parameter regressor; give a weight")


def _chosen(flag: Any, usual: Any) -> Any:
    """A flag's value, the usual one where it was not given."""
    return usual if flag is None else flag


def _token_weight(asked: float | None, config: ModelConfig, usual: float) -> float:
    """The image token loss belongs to the paper's pruning; other reducers of image tokens take it on request."""
    if asked is None:
        return usual if prunes_image_tokens(config) else 0.0
    if asked and getattr(config, "kept_tokens", None) is None:
        raise ValueError(f"--itp_loss_weight {asked} needs kept image tokens, but this network keeps them all; give 0")
    return asked


def surface_faces(recipe: LossRecipe, body: BodyModel, body_dir: str | Path | None) -> Tensor:
    """The faces (F, 3) of the mesh level that the recipe's surface terms look at."""
    if recipe.surface_level == FULL_LEVEL or not (recipe.normal or recipe.edge):
        return body.faces
    return read_level_faces(body.kind, body_dir)[recipe.surface_level].to(body.faces.device)


def optimizer_from(run: RunConfig) -> OptimizerRecipe:
    """The optimizer of the run's recipe, its gradients clipped as the options say.

    Raises ValueError for a limit that clips everything away.
    """
    recipe = (OPTIMIZERS if run.losses.recipe == TORE_RECIPE else BASELINE_OPTIMIZERS)[run.network.network]
    asked = run.optimization
    clip, limit = _chosen(asked.gradient_clip, recipe.clip), _chosen(asked.gradient_clip_limit, recipe.clip_limit)
    if clip == "none" and asked.gradient_clip_limit is not None:
        raise ValueError(
            f"--gradient_clip_limit {asked.gradient_clip_limit:g} limits nothing: the recipe clips no gradients; add "
            f"--gradient_clip {' or '.join(name for name in CLIPS if name != 'none')}, or leave it out"
        )
    if clip != "none" and limit <= 0:
        raise ValueError(f"--gradient_clip {clip} needs --gradient_clip_limit above 0, such as 0.3; it is {limit:g}")
    return replace(recipe, clip=clip, clip_limit=limit)
