"""The parameters of recovered people: those that a network regresses, or those fitted to its meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tore.body.body_model import MANO, BodyModel
from tore.body.fitting import MILLIMETERS, NETWORK, fit_parameters
from tore.body.identity import BodyIdentity
from tore.body.joints import SKELETON_NAMES
from tore.modeling.heads import MeshPrediction

REGRESSED, FITTED, REFINED = "regressor", "fit", "refinement"  # where parameters come from
PREFIXES = {"body": "smpl_", "hand": "mano_"}  # of their names in files
MIRROR = np.array([-1.0, 1.0, 1.0], np.float32)  # makes a left hand of a right one, and back
MIRROR_TURN = np.array([1.0, -1.0, -1.0], np.float32)  # the same for axis-angle vectors


@dataclass(frozen=True, eq=False, repr=False)
class BodyParameters:
    """A neutral body, or a hand, of a body model, before the whole image's camera (x right, y down, z away).

    Regressed parameters are a body whose pelvis is the mesh's; fitted ones the body whose mesh lies closest to it.
    A left hand's are those of the left hand's model, whose shape directions are mirrored too.
    """

    pose: np.ndarray  # (3 K,) axis-angle of the K joints, root first, radians, each relative to its parent
    betas: np.ndarray  # (10,)
    translation: np.ndarray  # (3,) brings the body's vertices before the whole image's camera
    residual_mm: float | None = None  # mean distance of the vertices from the body's; None where regressed
    source: str = REGRESSED  # | FITTED | REFINED
    pca: np.ndarray | None = None  # (45,) of a hand: its fingers as coefficients of all principal components
    body_model: BodyIdentity | None = None  # of which the numbers are

    def __repr__(self) -> str:
        where = ", ".join(f"{value:.2f}" for value in self.translation)
        more = "" if self.residual_mm is None else f", {self.residual_mm:.1f} mm"
        return f"BodyParameters({len(self.pose) // 3} joints, {len(self.betas)} shapes, at ({where}) m{more})"

    @property
    def finite(self) -> bool:
        """Whether all are finite numbers."""
        numbers = (self.pose, self.betas, self.translation, self.pca, self.residual_mm)
        return all(np.isfinite(values).all() for values in numbers if values is not None)

    def as_values(self, kind: str) -> dict[str, Any]:
        """What is saved of a "body" or "hand", by name."""
        known = {
            "pose": self.pose,
            "betas": self.betas,
            "translation": self.translation,
            "residual_mm": self.residual_mm,
            "pca": self.pca,
            "source": self.source,
            "joint_names": SKELETON_NAMES[kind],
        }
        named = {PREFIXES[kind] + name: value for name, value in known.items() if value is not None}
        return named if self.body_model is None else named | {"body_model": self.body_model.described()}


def parameter_schema(kind: str) -> dict[str, str]:
    """What `BodyParameters.as_values` of a "body" or "hand" are: units, frame, order."""
    model = {"body": "a neutral SMPL body", "hand": "a MANO hand, of the left model for a left hand"}[kind]
    fingers = {"body": "", "hand": "; fingers count from the model file's mean hand"}[kind]
    words = {
        "pose": f"axis-angle of the joints of {model}, radians, in the order of {PREFIXES[kind]}joint_names, root "
        f"first, each relative to its parent{fingers}",
        "betas": "its shape",
        "translation": "meters; added to that body's vertices it brings them before the whole image's camera (x right, "
        "y down, z away)",
        "residual_mm": "millimeters; mean distance of the network's vertices from that body's",
        "source": f"{REGRESSED}: the network regressed them; {FITTED}: fitted to the network's vertices; {REFINED}: of "
        "the body that was moved toward keypoints",
        "joint_names": "of the vectors of the pose, in order",
    }
    if kind == "hand":
        words["pca"] = "the fingers as coefficients of all 45 principal components, from the mean hand; of a left hand "
        words["pca"] += "for components that mirror the right hand's"
    return {PREFIXES[kind] + name: text for name, text in words.items()} | {
        "body_model": "of which the numbers are: its name and the fingerprint of its files"
    }


def regressed(
    body: BodyModel, prediction: MeshPrediction, vertices: Tensor, translations: np.ndarray, sources: Sequence[str]
) -> list[BodyParameters | None]:
    """The body of a prediction's rotations and betas, at each mesh (B, V, 3) and its translation (B, 3).

    sources: where those are from. None without the regressor and without refinement.
    """
    if prediction.rotations is None or prediction.betas is None:
        return [None] * len(vertices)
    rotations, betas = prediction.rotations.float(), prediction.betas.float()
    mesh = body(rotations, betas)
    offset = body.root(vertices) - body.root(mesh)  # (B, 1, 3)
    residual = (mesh + offset - vertices).norm(dim=-1).mean(1) * MILLIMETERS
    parts = zip(_numpy(body.pose_of(rotations)), _numpy(betas), translations + _numpy(offset[:, 0]), strict=True)
    return [
        BodyParameters(*part, None if source == REGRESSED else float(off), source, body_model=body.identity)
        for part, off, source in zip(parts, residual, sources, strict=True)
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
    found = fit_parameters(body, right[usable], noise=NETWORK)
    coefficients = _numpy(body.pca_of(found.pose)) if isinstance(body, MANO) else None
    pose, betas, offset, residual = (_numpy(numbers) for numbers in found)
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
