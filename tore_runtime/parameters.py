"""The parameters of recovered people: pose, shape and place of a body model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tore_runtime.joints import SKELETON_NAMES

REGRESSED, FITTED, REFINED = "regressor", "fit", "refinement"  # where parameters come from
PREFIXES = {"body": "smpl_", "hand": "mano_"}  # of their names in files


class BodyModelName(Protocol):
    """Which body model numbers are of, such as `tore.body.identity.BodyIdentity`."""

    def described(self) -> dict[str, Any]:
        """As plain values."""


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
    body_model: BodyModelName | None = None  # of which the numbers are

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
