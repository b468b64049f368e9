"""Sums of errors and counts of samples in float64, added up over batches and over processes.

A network with the SMPL parameter regressor has a second mesh, that of its parameters: its metrics begin with `smpl_`.
Those of the body fitted to a network's mesh begin with `fit_`.

Every metric averages over the samples that have what it compares, and a sample's joint errors over its labeled joints
(confidence above 0). MPJPE needs the joints that it is centered on, an alignment at least three joints; a sample
without them is left out and counted. Hands have the shares of `hand_shares` besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tore.evaluation.metrics import (
    ALIGNED_JOINTS,
    CURVES,
    F_SCORES,
    aligned_errors,
    area_under,
    distances,
    hand_shares,
    joint_errors,
    joint_weights,
    no_shares,
    within_thresholds,
)
from tore.geometry.alignment import align_similarity

MILLIMETRES = 1000.0
COUNTS = ("samples", "with_joints_3d", "with_mesh")
ERRORS = {"joints": "mpjpe", "aligned_joints": "pa_mpjpe", "vertices": "mpvpe", "aligned_vertices": "pa_mpvpe"}
PARAMETRIC, FITTED = "smpl_", "fit_"  # begin the names of the metrics of further meshes
FURTHER = {PARAMETRIC: "parametric", FITTED: "fitted"}  # where `SampleErrors` has theirs
CENTERD, ALIGNED, MESH = "centered", "aligned", "with_mesh"  # sums that count the samples of a metric
COUNTED = {"mpjpe": CENTERD, "pa_mpjpe": ALIGNED, "mpvpe": MESH, "pa_mpvpe": MESH}
SHARES_COUNTED = {**dict.fromkeys(F_SCORES, MESH), CURVES[0]: ALIGNED, CURVES[1]: MESH}
CHOOSING = ("pa_mpjpe", "mpjpe", "pa_mpvpe", "mpvpe")  # the first that exists ranks networks and samples


def choosing_metric(metrics: Mapping[str, float | None]) -> str | None:
    """The name of the metric that ranks: PA-MPJPE, where it is absent the next of `CHOOSING`; None without any."""
    return next((name for name in CHOOSING if metrics.get(name) is not None), None)


def plain_metric(name: str) -> str:
    """A metric's name without what says of which mesh it is."""
    return name.removeprefix(PARAMETRIC).removeprefix(FITTED)


@dataclass(frozen=True)
class EvaluationResult:
    """Means over a whole set: millimetres, PCK and AUC in percent, F-scores between 0 and 1.

    A metric that no sample has what it compares for is absent from `metrics`, and 0 in `metric_samples`.
    """

    metrics: dict[str, float]
    per_joint: dict[str, dict[str, float]]  # joint name -> mpjpe, pa_mpjpe, and mpjpe_samples, pa_mpjpe_samples
    pck_curve: list[float]  # share within 0, 5, ... 150 mm
    counts: dict[str, int]  # samples, with_joints_3d, with_mesh
    curves: dict[str, list[float]] = field(default_factory=dict)  # of a hand: share within 100 steps from 0 to 50 mm
    metric_samples: dict[str, int] = field(default_factory=dict)  # metric -> the samples that it averages over
    left_out: dict[str, int] = field(default_factory=dict)  # see `Evaluator.result`

    def as_dict(self) -> dict[str, object]:
        """A JSON-ready copy."""
        return dict(vars(self))


@dataclass
class SampleErrors:
    """Errors of one batch's samples in meters; what decides whether a sample counts are the masks."""

    joints: Tensor  # (B, J)
    aligned_joints: Tensor  # (B, J)
    vertices: Tensor  # (B,)
    aligned_vertices: Tensor  # (B,)
    has_joints_3d: Tensor  # (B,) bool
    has_mesh: Tensor  # (B,) bool
    joint_mask: Tensor  # (B, J) bool, the joints that have a label
    has_centered: Tensor  # (B,) bool, which samples have an MPJPE
    parametric: SampleErrors | None = None  # the same of the mesh of the regressed SMPL parameters
    fitted: SampleErrors | None = None  # the same of the body fitted to the mesh
    shares: dict[str, Tensor] | None = None  # of a hand, see `tore.evaluation.metrics`

    @property
    def has_aligned(self) -> Tensor:
        """(B,) which samples have enough labeled joints for an alignment."""
        return self.has_joints_3d & (self.joint_mask.sum(1) >= ALIGNED_JOINTS)

    def columns(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Metric -> (each sample's error (B,), which samples have a ground truth for it (B,))."""
        weights = joint_weights(self.joint_mask)
        own = {
            "mpjpe": ((self.joints * weights).mean(1), self.has_centered),
            "pa_mpjpe": ((self.aligned_joints * weights).mean(1), self.has_aligned),
            "mpvpe": (self.vertices, self.has_mesh),
            "pa_mpvpe": (self.aligned_vertices, self.has_mesh),
        }
        return own | self.further_columns()

    def further_columns(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The columns of the further meshes alone."""
        meshes = {prefix: getattr(self, field) for prefix, field in FURTHER.items()}
        held = {prefix: mesh.columns() for prefix, mesh in meshes.items() if mesh is not None}
        return {prefix + name: column for prefix, columns in held.items() for name, column in columns.items()}

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
    center: Sequence[int],
    kind: str = "body",  # | "hand"
    joint_mask: Tensor | None = None,  # (B, J) bool, the joints that have a label; None: all
) -> SampleErrors:
    """The errors of a batch, computed in float64."""
    joints, true_joints, vertices, true_vertices = (x.double() for x in (joints, true_joints, vertices, true_vertices))
    mask = torch.ones_like(joints[..., 0], dtype=torch.bool) if joint_mask is None else joint_mask
    aligned_joints, aligned = aligned_errors(joints, true_joints, mask), align_similarity(vertices, true_vertices)
    aligned_vertices = distances(aligned, true_vertices)
    shares = None
    if kind == "hand":
        shares = hand_shares(aligned_joints, aligned_vertices, aligned, true_vertices, joint_weights(mask))
    centrable = mask[:, list(center)].all(1) & (mask.sum(1) > len(center))
    return SampleErrors(
        joints=joint_errors(joints, true_joints, center),
        aligned_joints=aligned_joints,
        vertices=distances(vertices, true_vertices).mean(1),
        aligned_vertices=aligned_vertices.mean(1),
        has_joints_3d=has_joints_3d.bool(),
        has_mesh=has_mesh.bool(),
        joint_mask=mask,
        has_centered=has_joints_3d.bool() & centrable,
        shares=shares,
    )


def _masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of (B, ...) over the samples whose mask is set."""
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))
    return torch.where(mask, values, torch.zeros_like(values)).sum(0)


class Evaluator:
    """Adds up `SampleErrors`; `reduce` adds what other processes saw; `result` is the means."""

    def __init__(
        self,
        joint_names: Sequence[str],
        device: torch.device | str = "cpu",
        *,
        parametric: bool = False,
        fitted: bool = False,
        kind: str = "body",
    ) -> None:
        """`parametric`, `fitted`: the errors come with those of that mesh; `kind`: "body" | "hand"."""
        self.joint_names = joint_names
        self.sums: dict[str, Tensor] = {}
        nothing = torch.zeros(0, len(joint_names), dtype=torch.float64, device=device)
        flags, sums = torch.zeros(0, dtype=torch.bool, device=device), nothing.sum(1)
        shares = no_shares(device) if kind == "hand" else None
        empty = SampleErrors(nothing, nothing, sums, sums, flags, flags, nothing.bool(), flags, shares=shares)
        self.update(replace(empty, parametric=empty if parametric else None, fitted=empty if fitted else None))

    def update(self, errors: SampleErrors) -> None:
        """Adds one batch."""
        weights = joint_weights(errors.joint_mask)
        labeled = errors.joint_mask & errors.has_joints_3d[:, None]
        has = {CENTERD: errors.has_centered, ALIGNED: errors.has_aligned, MESH: errors.has_mesh}
        parts = {
            "samples": torch.ones_like(errors.vertices).sum(),
            "with_joints_3d": errors.has_joints_3d.double().sum(),
            **{name: flags.double().sum() for name, flags in has.items()},
            "labeled": labeled.double().sum(),
            "joints": _masked_sum(errors.joints * weights, has[CENTERD]),
            "aligned_joints": _masked_sum(errors.aligned_joints * weights, has[ALIGNED]),
            "pck": _masked_sum(within_thresholds(errors.joints, weights=weights), has[CENTERD]),
            "vertices": _masked_sum(errors.vertices, has[MESH]),
            "aligned_vertices": _masked_sum(errors.aligned_vertices, has[MESH]),
        }
        for name, values, group in (("mpjpe", errors.joints, CENTERD), ("pa_mpjpe", errors.aligned_joints, ALIGNED)):
            counted = labeled & has[group][:, None]
            parts |= {f"joint {name}": _masked_sum(values, counted), f"joint {name}_samples": counted.double().sum(0)}
        parts |= {name: _masked_sum(*column) for name, column in errors.further_columns().items()}
        for name, values in (errors.shares or {}).items():
            parts[name] = _masked_sum(values, has[SHARES_COUNTED[name]])
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def reduce(self, add_over_processes: Callable[[Tensor], Tensor]) -> None:
        """Replaces the sums by those over all processes; the function adds one float64 vector over them."""
        sizes = {name: value.shape for name, value in self.sums.items()}
        flat = torch.cat([value.reshape(-1) for value in self.sums.values()])
        pieces = add_over_processes(flat).split([size.numel() for size in sizes.values()])
        self.sums = {name: piece.reshape(size) for (name, size), piece in zip(sizes.items(), pieces, strict=True)}

    def result(self) -> EvaluationResult:
        """Means in millimetres; a metric without a single counted sample is left out.

        `left_out`: of the samples with 3D joints, `joints` without label, `uncentred` samples that have no MPJPE and
        `unaligned` ones that have no PA-MPJPE because too few of their joints are labeled.
        """
        whole = (*COUNTS, CENTERD, ALIGNED, "labeled")
        counts = {name: round(self.sums[name].item()) for name in whole}
        groups = {name: COUNTED[key] for name, key in ERRORS.items()} | {"pck": CENTERD} | SHARES_COUNTED
        held = {name: group for name, group in groups.items() if name in self.sums}
        means = {name: self.sums[name].cpu() / counts[group] for name, group in held.items() if counts[group]}
        metrics, samples = self._metrics(means, held, counts)
        curves = {name: means[name].tolist() for name in CURVES if name in means}
        with_joints = counts["with_joints_3d"]
        return EvaluationResult(
            metrics=metrics,
            per_joint=self._per_joint(),
            pck_curve=means["pck"].tolist() if "pck" in means else [],
            counts={name: counts[name] for name in COUNTS},
            curves=curves,
            metric_samples=samples,
            left_out={
                "joints": with_joints * len(self.joint_names) - counts["labeled"],
                "uncentred": with_joints - counts[CENTERD],
                "unaligned": with_joints - counts[ALIGNED],
            },
        )

    def _metrics(
        self, means: Mapping[str, Tensor], held: Mapping[str, str], counts: Mapping[str, int]
    ) -> tuple[dict[str, float], dict[str, int]]:
        """The metrics by name, and the samples of each, absent ones included."""
        samples = {key: counts[COUNTED[key]] for key in ERRORS.values()}
        metrics = {key: means[name].mean().item() * MILLIMETRES for name, key in ERRORS.items() if name in means}
        for name, total in self.sums.items():
            key = plain_metric(name)
            if name != key:
                samples[name] = counts[COUNTED[key]]
                if samples[name]:
                    metrics[name] = total.item() / samples[name] * MILLIMETRES
        samples |= dict.fromkeys(("pck_150mm", "auc_150mm"), counts[CENTERD])
        if "pck" in means:
            metrics["pck_150mm"] = means["pck"][-1].item() * 100
            metrics["auc_150mm"] = means["pck"].mean().item() * 100
        samples |= {name: counts[held[name]] for name in F_SCORES if name in held}
        samples |= {f"auc_{name}": counts[held[name]] for name in CURVES if name in held}
        metrics |= {name: means[name].item() for name in F_SCORES if name in means}
        metrics |= {f"auc_{name}": area_under(means[name]) * 100 for name in CURVES if name in means}
        return metrics, samples

    def _per_joint(self) -> dict[str, dict[str, float]]:
        """Joint name -> mpjpe and pa_mpjpe in millimetres, each where a sample has it, and the samples of each."""
        found: dict[str, dict[str, float]] = {joint: {} for joint in self.joint_names}
        for key in ("mpjpe", "pa_mpjpe"):
            totals, samples = self.sums[f"joint {key}"].cpu(), self.sums[f"joint {key}_samples"].cpu()
            errors = (totals / samples * MILLIMETRES).tolist()
            for joint, error, count in zip(self.joint_names, errors, samples.tolist(), strict=True):
                found[joint] |= {key: error} if count else {}
                found[joint][f"{key}_samples"] = round(count)
        return found
