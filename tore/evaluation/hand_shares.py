"""What FreiHAND's evaluation reports of a hand beside mean errors: F-scores, and curves of aligned errors up to 50 mm.

All are of the Procrustes-aligned prediction, and shares between 0 and 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tore.evaluation.f_score import f_scores
from tore.evaluation.metrics import within_thresholds

F_SCORES = {"f_5mm": 0.005, "f_15mm": 0.015}  # name -> threshold in metres
CURVE_LIMIT, CURVE_STEPS = 0.050, 100  # metres; Published: 100 thresholds from 0 to 50 mm
CURVES = ("joints_50mm", "vertices_50mm")


def hand_shares(
    joint_errors: Tensor, vertex_errors: Tensor, vertices: Tensor, target: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    """F-scores (B,) and curves (B, 100) by name.

    joint_errors, vertex_errors: (B, J) and (B, V) aligned errors in metres. vertices, target: (B, V, 3), aligned and
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
