"""What stands beside a number: how it was measured, and what the paper reports for the same row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tore.evaluation.evaluator import FITTED, MILLIMETRES, PARAMETRIC, EvaluationResult, plain_metric
from tore.evaluation.metrics import ALIGNED_JOINTS, CURVE_LIMIT, CURVE_STEPS, F_SCORES

FURTHER_MESHES = {
    PARAMETRIC: "of the neutral SMPL body of the regressed rotations and betas, its joints regressed from its mesh",
    FITTED: "of the body model fitted to the predicted mesh (--fit), its joints regressed from its mesh",
}


@dataclass(frozen=True)
class Protocol:
    """How an evaluation was done; `lines` prints it."""

    data: str  # the yaml
    joint_set: str = "14 joints (LSP order, common to Human3.6M and 3DPW)"
    joint_source: str = "regressed from the predicted full mesh (Human3.6M regressor, 17 to 14 joints)"
    root: str = "mesh minus its Human3.6M pelvis; joints centered at the mid-hip for MPJPE (none without both hips)"
    alignment: str = "PA: similarity Procrustes per sample over its labeled joints, three at least, no reflection"
    box_source: str = "the label's center and scale"
    ground_truth: str = "neutral body model"
    network: str = "the plain network"

    def lines(self, result: EvaluationResult) -> list[str]:
        """The protocol and what was counted, one fact a line."""
        counts = result.counts
        samples = counts["samples"]
        held = {prefix for prefix in FURTHER_MESHES for name in result.metrics if name.startswith(prefix)}
        more = [f"{prefix + '*':<13}{words}" for prefix, words in FURTHER_MESHES.items() if prefix in held]
        return [
            f"data         {self.data}",
            f"network      {self.network}",
            f"joints       {self.joint_set}, {self.joint_source}",
            f"root         {self.root}",
            f"alignment    {self.alignment}",
            f"box          {self.box_source}",
            f"ground truth {self.ground_truth}",
            f"samples      {samples}; MPJPE counts {counts['with_joints_3d'] - result.left_out.get('uncentred', 0)} "
            f"and leaves out "
            f"{samples - counts['with_joints_3d']} without 3D joints; MPVPE counts {counts['with_mesh']} and leaves "
            f"out {samples - counts['with_mesh']} without a mesh",
            f"left out     {left_out_words(result.left_out)}",
            *more,
        ]


def left_out_words(left_out: Mapping[str, int]) -> str:
    """What is unlabeled within the samples that have 3D joints."""
    found = [f"{left_out.get('joints', 0)} joints of confidence 0, which no joint error and no alignment compares"]
    if count := left_out.get("uncentred"):
        found.append(f"{count} samples from MPJPE, since the joints that it is centered on are unlabeled")
    if count := left_out.get("unaligned"):
        found.append(f"{count} samples from PA-MPJPE, since fewer than {ALIGNED_JOINTS} of their joints are labeled")
    return "; ".join(found)


HAND_WORDS = {  # what differs in the protocol of hands
    "joint_set": "21 joints of the hand",
    "joint_source": "regressed from the predicted full mesh (MANO's rows and fingertips)",
    "root": "minus the wrist",
    "alignment": "PA, F-scores and curves to 50 mm: similarity Procrustes per sample, no reflection, labeled samples",
}
CURVE_SHOWN = (5, 10, 15, 20, 30, 40, 50)  # millimetres


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's Human3.6M table; PA-MPJPE in mm, cost in 10^9 multiply-accumulates."""

    network: str  # "fastmetro" | "metro"
    arch: str
    keep_ratio: float | None  # None: image tokens are not reduced
    pa_mpjpe: float
    cost: float
    images_per_second: float
    geometry_reduction: bool = True


PAPER_HUMAN36M = (
    PaperRow("fastmetro", "resnet50", None, 38.6, 5.4, 805),
    PaperRow("fastmetro", "resnet50", 0.8, 40.5, 5.3, 795),
    PaperRow("fastmetro", "hrnet-w64", None, 34.8, 30.2, 249),
    PaperRow("fastmetro", "efficientnet-b0", None, 44.2, 1.7, 871),
    PaperRow("fastmetro", "efficientnet-b0", 0.8, 43.9, 1.6, 876),
    PaperRow("metro", "resnet50", None, 42.0, 5.4, 591),
    PaperRow("metro", "hrnet-w64", None, 37.1, 30.2, 210),
    PaperRow("fastmetro", "resnet50", None, 37.3, 10.9, 576, geometry_reduction=False),
    PaperRow("fastmetro", "hrnet-w64", None, 33.7, 35.7, 222, geometry_reduction=False),
    PaperRow("fastmetro", "efficientnet-b0", None, 45.8, 7.1, 518, geometry_reduction=False),
    PaperRow("metro", "resnet50", None, 40.6, 31.6, 247, geometry_reduction=False),
    PaperRow("metro", "hrnet-w64", None, 36.7, 56.5, 141, geometry_reduction=False),
)


def paper_row(network: str, arch: str, keep_ratio: float | None, geometry_reduction: bool = True) -> PaperRow | None:
    """The paper's row of the same network, backbone, kept share (1.0: no pruning) and geometry token reduction."""
    wanted = (network, arch, None if keep_ratio == 1.0 else keep_ratio, geometry_reduction)
    same = (r for r in PAPER_HUMAN36M if (r.network, r.arch, r.keep_ratio, r.geometry_reduction) == wanted)
    return next(same, None)


def unit_of(metric: str) -> str:
    """Of a metric by its name; F-scores have none."""
    if metric.startswith(("pck_", "auc_")):
        return "%"
    return "" if metric in F_SCORES else "mm"


def curve_lines(result: EvaluationResult) -> list[str]:
    """The curves of a hand as a table: share of the aligned errors within so many millimetres."""
    if not result.curves:
        return []
    lines = ["", f"{'% within mm':<16}" + "".join(f"{limit:>8}" for limit in CURVE_SHOWN)]
    limits = np.linspace(0, CURVE_LIMIT * MILLIMETRES, CURVE_STEPS)
    for name, curve in result.curves.items():
        shown = np.interp(CURVE_SHOWN, limits, curve) * 100
        lines.append(f"{name.split('_')[0]:<16}" + "".join(f"{share:8.1f}" for share in shown))
    return lines


def metric_lines(result: EvaluationResult) -> list[str]:
    """A line per metric with the samples that it averages over; an absent metric says what no sample has."""
    if not result.metrics:
        return ["no sample has a label to compare with"]
    lines = []
    for name, count in result.metric_samples.items():
        if name in result.metrics:
            lines.append(f"{name:<18} {result.metrics[name]:9.3f} {unit_of(name):<2}  over {count} samples")
        else:
            lines.append(f"{name:<18} {'absent':>9}     no sample has {needed_by(name)}")
    return lines


def needed_by(metric: str) -> str:
    """What a sample needs for a metric."""
    if "mpvpe" in metric or "vertices" in metric or metric in F_SCORES:
        return "a labeled mesh"
    if plain_metric(metric).startswith("pa_") or metric == "auc_joints_50mm":
        return f"{ALIGNED_JOINTS} labeled 3D joints"
    return "labeled 3D joints with those that MPJPE is centered on"


def joint_lines(result: EvaluationResult) -> list[str]:
    """The errors of each joint, each with the samples that it averages over."""
    lines = [f"{'joint':<16}{'MPJPE':>9}{'samples':>9}{'PA-MPJPE':>10}{'samples':>9}  (mm)"]
    for joint, errors in result.per_joint.items():
        line = f"{joint:<16}"
        for name, width in (("mpjpe", 9), ("pa_mpjpe", 10)):
            shown = f"{errors[name]:.2f}" if name in errors else "-"
            line += f"{shown:>{width}}{errors[f'{name}_samples']:>9}"
        lines.append(line)
    return lines


def summary(result: EvaluationResult, protocol: Protocol, row: PaperRow | None) -> str:
    """The table that a person reads: metrics, per joint, protocol, the paper's number."""
    lines = metric_lines(result) + curve_lines(result) + [""] + joint_lines(result)
    lines += ["", *protocol.lines(result)]
    if row is None:
        lines.append("paper        no row for this network, backbone and kept share")
    else:
        lines.append(f"paper        PA-MPJPE {row.pa_mpjpe} mm on Human3.6M protocol 2 (its own training run)")
    return "\n".join(lines)
