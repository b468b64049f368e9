"""Sums of errors and counts of samples in float64, added up over batches and over processes.

A network with the SMPL parameter regressor has a second mesh, that of its parameters: its metrics begin with `smpl_`.

Joint errors average over the samples with 3D joints, mesh errors over those with a mesh.
Published: the aligned joint error of bodies averages over all samples. Hands have the shares of `hand_shares` besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tore.evaluation.hand_shares import CURVES, F_SCORES, area_under, hand_shares, no_shares
from tore.evaluation.metrics import aligned_errors, distances, joint_errors, within_thresholds
from tore.geometry.procrustes import align_similarity

MILLIMETRES = 1000.0
COUNTS = ("samples", "with_joints_3d", "with_mesh")
ERRORS = {"joints": "mpjpe", "aligned_joints": "pa_mpjpe", "vertices": "mpvpe", "aligned_vertices": "pa_mpvpe"}
PARAMETRIC = "smpl_"  # begins the names of the parametric mesh's metrics
# metric -> the samples that it averages over
COUNTED = {"mpjpe": "with_joints_3d", "pa_mpjpe": "aligned", "mpvpe": "with_mesh", "pa_mpvpe": "with_mesh"}


@dataclass(frozen=True)
class EvaluationResult:
    """Means over a whole set: millimetres, PCK and AUC in percent, F-scores between 0 and 1."""

    metrics: dict[str, float]
    per_joint: dict[str, dict[str, float]]  # joint name -> mpjpe, pa_mpjpe
    pck_curve: list[float]  # share within 0, 5, ... 150 mm
    counts: dict[str, int]  # samples, with_joints_3d, with_mesh
    curves: dict[str, list[float]] = field(default_factory=dict)  # of a hand: share within 100 steps from 0 to 50 mm

    def as_dict(self) -> dict[str, object]:
        """A JSON-ready copy."""
        return dict(vars(self))


@dataclass
class SampleErrors:
    """Errors of one batch's samples in metres; what decides whether a sample counts is `has_*` (B,)."""

    joints: Tensor  # (B, J)
    aligned_joints: Tensor  # (B, J)
    vertices: Tensor  # (B,)
    aligned_vertices: Tensor  # (B,)
    has_joints_3d: Tensor  # (B,) bool
    has_mesh: Tensor  # (B,) bool
    parametric: SampleErrors | None = None  # the same of the mesh of the regressed SMPL parameters
    shares: dict[str, Tensor] | None = None  # of a hand, see `tore.evaluation.hand_shares`

    @property
    def has_aligned(self) -> Tensor:
        """(B,) which aligned joint errors count. Published: all of a body's; here a hand's only with 3D joints."""
        return torch.ones_like(self.has_joints_3d) if self.shares is None else self.has_joints_3d

    def columns(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Metric -> (each sample's error (B,), which samples have a ground truth for it (B,))."""
        own = {
            "mpjpe": (self.joints.mean(1), self.has_joints_3d),
            "pa_mpjpe": (self.aligned_joints.mean(1), self.has_aligned),
            "mpvpe": (self.vertices, self.has_mesh),
            "pa_mpvpe": (self.aligned_vertices, self.has_mesh),
        }
        more = self.parametric.columns() if self.parametric is not None else {}
        return own | {PARAMETRIC + name: column for name, column in more.items()}

    def rows(self, indices: Sequence[int], keys: Sequence[str]) -> list[dict[str, object]]:
        """One dict per sample: index, key and its errors in millimetres, None where it has no ground truth."""
        values = {
            name: [e if ok else None for e, ok in zip((errors * MILLIMETRES).tolist(), has.tolist(), strict=True)]
            for name, (errors, has) in self.columns().items()
        }
        return [
            {"index": int(index), "key": key, **{name: values[name][place] for name in values}}
            for place, (index, key) in enumerate(zip(indices, keys, strict=True))
        ]


def sample_errors(
    *,
    joints: Tensor,  # (B, J, 3) predicted
    true_joints: Tensor,  # (B, J, 3)
    vertices: Tensor,  # (B, V, 3) predicted full mesh minus its root
    true_vertices: Tensor,  # (B, V, 3) minus its root
    has_joints_3d: Tensor,  # (B,)
    has_mesh: Tensor,  # (B,)
    centre: Sequence[int],
    kind: str = "body",  # | "hand"
) -> SampleErrors:
    """The errors of a batch, computed in float64."""
    joints, true_joints, vertices, true_vertices = (x.double() for x in (joints, true_joints, vertices, true_vertices))
    aligned_joints, aligned = aligned_errors(joints, true_joints), align_similarity(vertices, true_vertices)
    aligned_vertices = distances(aligned, true_vertices)
    hand = kind == "hand"
    return SampleErrors(
        joints=joint_errors(joints, true_joints, centre),
        aligned_joints=aligned_joints,
        vertices=distances(vertices, true_vertices).mean(1),
        aligned_vertices=aligned_vertices.mean(1),
        has_joints_3d=has_joints_3d.bool(),
        has_mesh=has_mesh.bool(),
        shares=hand_shares(aligned_joints, aligned_vertices, aligned, true_vertices) if hand else None,
    )


def _masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of (B, ...) over the samples whose mask is set."""
    return torch.where(mask.unflatten(0, (-1, *[1] * (values.ndim - 1))), values, torch.zeros_like(values)).sum(0)


class Evaluator:
    """Adds up `SampleErrors`; `reduce` adds what other processes saw; `result` is the means."""

    def __init__(
        self,
        joint_names: Sequence[str],
        device: torch.device | str = "cpu",
        *,
        parametric: bool = False,
        kind: str = "body",
    ) -> None:
        """`parametric`: the errors come with those of the parametric mesh; `kind`: "body" | "hand"."""
        self.joint_names = joint_names
        self.sums: dict[str, Tensor] = {}
        nothing = torch.zeros(0, len(joint_names), dtype=torch.float64, device=device)
        flags = torch.zeros(0, dtype=torch.bool, device=device)
        shares = no_shares(device) if kind == "hand" else None
        empty = SampleErrors(nothing, nothing, nothing.sum(1), nothing.sum(1), flags, flags, shares=shares)
        self.update(replace(empty, parametric=empty) if parametric else empty)

    def update(self, errors: SampleErrors) -> None:
        """Adds one batch."""
        parts = {
            "samples": torch.ones_like(errors.vertices).sum(),
            "aligned": errors.has_aligned.double().sum(),
            "with_joints_3d": errors.has_joints_3d.double().sum(),
            "with_mesh": errors.has_mesh.double().sum(),
            "joints": _masked_sum(errors.joints, errors.has_joints_3d),
            "aligned_joints": _masked_sum(errors.aligned_joints, errors.has_aligned),
            "pck": _masked_sum(within_thresholds(errors.joints), errors.has_joints_3d),
            "vertices": _masked_sum(errors.vertices, errors.has_mesh),
            "aligned_vertices": _masked_sum(errors.aligned_vertices, errors.has_mesh),
        }
        if errors.parametric is not None:
            columns = errors.parametric.columns()
            parts |= {PARAMETRIC + name: _masked_sum(*column) for name, column in columns.items()}
        if errors.shares is not None:
            parts |= {name: _masked_sum(values, errors.has_mesh) for name, values in errors.shares.items()}
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def reduce(self, add_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Replaces the sums by those over all processes; the function adds one float64 vector over them."""
        sizes = {name: value.shape for name, value in self.sums.items()}
        flat = torch.cat([value.reshape(-1) for value in self.sums.values()])
        pieces = add_over_processes(flat).split([size.numel() for size in sizes.values()])
        self.sums = {name: piece.reshape(size) for (name, size), piece in zip(sizes.items(), pieces, strict=True)}

    def result(self) -> EvaluationResult:
        """Means in millimetres; a metric without a single counted sample is left out."""
        counts = {name: round(self.sums[name].item()) for name in (*COUNTS, "aligned")}
        mean_over = {
            "joints": counts["with_joints_3d"],
            "aligned_joints": counts["aligned"],
            "pck": counts["with_joints_3d"],
            **dict.fromkeys(("vertices", "aligned_vertices", *F_SCORES, *CURVES), counts["with_mesh"]),
        }
        means = {name: self.sums[name].cpu() / n for name, n in mean_over.items() if n and name in self.sums}
        metrics = {key: means[name].mean().item() * MILLIMETRES for name, key in ERRORS.items() if name in means}
        for name, total in self.sums.items():
            key = name.removeprefix(PARAMETRIC)
            if name != key and (count := counts[COUNTED[key]]):
                metrics[name] = total.item() / count * MILLIMETRES
        if "pck" in means:
            metrics["pck_150mm"] = means["pck"][-1].item() * 100
            metrics["auc_150mm"] = means["pck"].mean().item() * 100
        metrics |= {name: means[name].item() for name in F_SCORES if name in means}
        curves = {name: means[name] for name in CURVES if name in means}
        metrics |= {f"auc_{name}": area_under(curve) * 100 for name, curve in curves.items()}
        return EvaluationResult(
            metrics=metrics,
            per_joint=self._per_joint(means),
            pck_curve=means["pck"].tolist() if "pck" in means else [],
            counts={name: counts[name] for name in COUNTS},
            curves={name: curve.tolist() for name, curve in curves.items()},
        )

    def _per_joint(self, means: dict[str, Tensor]) -> dict[str, dict[str, float]]:
        """Joint name -> mpjpe, pa_mpjpe in millimetres."""
        joints = {ERRORS[name]: means[name] * MILLIMETRES for name in ("joints", "aligned_joints") if name in means}
        return {
            joint: {key: errors[place].item() for key, errors in joints.items()}
            for place, joint in enumerate(self.joint_names)
        }
