"""What a data set holds, in numbers: counts, shares, sizes, and how scale, pose and shape are spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tore.datasets.inspection.rows import parse_size
from tore.datasets.label import FLAGS, Label, is_labelled
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import BadSample
from tore_runtime.crop import PIXELS_PER_SCALE

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
SIZES_SHOWN = 8


def set_statistics(dataset: MeshDataset, step: Callable[[], object] | None = None) -> dict[str, Any]:
    """Plain values for printing or JSON; rows that cannot be read are counted and left out.

    Image sizes come from the hw rows where there are any, else from the decoded images.
    """
    labels: list[Label] = []
    sizes: Counter[tuple[int, int]] = Counter()
    bad = 0
    for index in range(len(dataset)):
        try:
            labels.append(dataset.label(index))
            sizes[_size(dataset, index)] += 1
        except BadSample:
            bad += 1
        if step is not None:
            step()
    stats: dict[str, Any] = {"set": str(dataset.rows.path), "body": dataset.layout.kind, "samples": len(dataset)}
    stats |= {"unreadable": bad, "keys": len({label.key for label in labels})}
    stats["picture_sizes"] = [
        {"height": h, "width": w, "count": count} for (h, w), count in sizes.most_common(SIZES_SHOWN)
    ]
    stats["other_picture_sizes"] = max(len(sizes) - SIZES_SHOWN, 0)
    if not labels:
        return stats
    stats |= {name: float(np.mean([getattr(label, name) for label in labels])) for name in FLAGS}
    stats["unlabeled"] = float(np.mean([not is_labelled(label) for label in labels]))
    stats["genders"] = dict(Counter(label.gender for label in labels))
    stats["box_side_pixels"] = _quantiles([label.scale * PIXELS_PER_SCALE for label in labels])
    stats["visible_2d_joints"] = _quantiles([int((label.joints_2d[:, -1] > 0).sum()) for label in labels])
    stats["visible_3d_joints"] = _quantiles([int((label.joints_3d[:, -1] > 0).sum()) for label in labels])
    posed = [label for label in labels if label.has_smpl]
    if posed:
        angles = [np.linalg.norm(label.pose.reshape(-1, 3), axis=1) for label in posed]
        stats["root_angle_radians"] = _quantiles([float(angle[0]) for angle in angles])
        stats["mean_joint_angle_radians"] = _quantiles([float(angle[1:].mean()) for angle in angles])
        betas = np.stack([label.betas for label in posed])
        stats["betas_mean"] = betas.mean(0).round(4).tolist()
        stats["betas_std"] = betas.std(0).round(4).tolist()
    return stats


def statistics_text(stats: dict[str, Any]) -> str:
    """The statistics for a person, one line each."""
    lines = []
    for name, value in stats.items():
        if name == "picture_sizes":
            shown = ", ".join(f"{size['height']} x {size['width']} ({size['count']})" for size in value)
        elif isinstance(value, dict):
            shown = "  ".join(f"{key} {number:g}" for key, number in value.items())
        elif isinstance(value, list):
            shown = "  ".join(f"{number:g}" for number in value)
        else:
            shown = f"{value:.1%}" if name in (*FLAGS, "unlabeled") else str(value)
        lines.append(f"{name.replace('_', ' '):<26}{shown}")
    return "\n".join(lines)


def _size(dataset: MeshDataset, index: int) -> tuple[int, int]:
    if "hw" in dataset.rows.tables:
        return parse_size(dataset.rows.columns("hw", index), dataset.rows.place("hw", index))
    height, width = dataset.image(index)[1].shape[:2]
    return height, width


def _quantiles(values: list[float]) -> dict[str, float]:
    found = np.quantile(np.array(values, np.float64), QUANTILES)
    return {f"{share:.0%}": round(float(value), 4) for share, value in zip(QUANTILES, found, strict=True)}
