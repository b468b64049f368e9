"""The parameters of recovered people: those that a network regresses, or those fitted to its meshes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from tore.body.body_model import MANO, BodyModel
from tore.body.fitting import MILLIMETERS, NETWORK, fit_parameters
from tore.modeling.heads import MeshPrediction
from tore_runtime.parameters import FITTED, REFINED, REGRESSED, BodyParameters, parameter_schema

__all__ = ["FITTED", "REFINED", "REGRESSED", "BodyParameters", "fitted", "parameter_schema", "regressed"]

MIRROR = np.array([-1.0, 1.0, 1.0], np.float32)  # makes a left hand of a right one, and back
MIRROR_TURN = np.array([1.0, -1.0, -1.0], np.float32)  # the same for axis-angle vectors


def regressed(
    body: BodyModel, prediction: MeshPrediction, vertices: Tensor, translations: np.ndarray, sources: Sequence[str]
) -> list[BodyParameters | None]:
    """The body of a prediction's rotations and betas, at each mesh (B, V, 3) and its translation (B, 3).

    sources: where those are from. None without the regressor and without refinement, and for a mesh whose numbers are
    not finite.
    """
    if prediction.rotations is None or prediction.betas is None:
        return [None] * len(vertices)
    rotations, betas = prediction.rotations.float(), prediction.betas.float()
    mesh = body(rotations, betas)
    offset = body.root(vertices) - body.root(mesh)  # (B, 1, 3)
    residual = (mesh + offset - vertices).norm(dim=-1).mean(1) * MILLIMETERS
    parts = zip(_numpy(body.pose_of(rotations)), _numpy(betas), translations + _numpy(offset[:, 0]), strict=True)
    return [
        BodyParameters(*part, None if source == REGRESSED else off, source, body_model=body.identity)
        if isfinite(off)
        else None
        for part, off, source in zip(parts, residual.tolist(), sources, strict=True)
    ]


def fitted(
    body: BodyModel, vertices: Tensor, translations: np.ndarray, left: Sequence[bool]
) -> list[BodyParameters | None]:
    """The bodies that lie closest to a network's meshes (B, V, 3), which `translations` (B, 3) bring before a camera.

    left: which meshes are left hands. None for a mesh whose numbers are not finite.
    """
    usable = torch.isfinite(vertices).flatten(1).all(1)
    sides = np.where(np.array(left, bool)[:, None], MIRROR, 1).astype(np.float32)  # (B, 3)
    right = vertices * torch.from_numpy(sides).to(vertices.device)[:, None]
    found = fit_parameters(body, right[usable], noise=NETWORK[body.kind], smooth=False)
    coefficients = _numpy(body.pca_of(found.pose)) if isinstance(body, MANO) else None
    pose, betas, offset, residual = (_numpy(numbers) for numbers in found[:4])
    people: list[BodyParameters | None] = [None] * len(vertices)
    for row, sample in enumerate(usable.nonzero().squeeze(1).tolist()):
        turned = pose[row].reshape(-1, 3) * (MIRROR_TURN if left[sample] else 1)
        people[sample] = BodyParameters(
            pose=turned.reshape(-1),
            betas=betas[row],
            translation=translations[sample] + offset[row] * sides[sample],
            residual_mm=float(residual[row]),
            source=FITTED,
            pca=None if coefficients is None else coefficients[row],
            body_model=body.identity,
        )
    return people


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
