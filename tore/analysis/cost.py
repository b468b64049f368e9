"""Multiply-accumulates and parameters of a network, by part."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tore.body.mesh_levels import SparseMap
from tore.body.topology import Topology, load_topology
from tore.modeling.build import image_format_of
from tore.modeling.metro import METRO
from tore.paths import body_dir_at_hand

# part of the table -> modules of the networks
PARTS = {
    "backbone": ("backbone",),
    "image projection": ("image_projection", "select_tokens"),
    "token reduction": ("token_reduction",),
    "main transformer": (
        "query_tokens",
        "transformer_1",
        "transformer_2",
        "reduce_memory",
        "reduce_camera",
        "reduce_queries",
        "blocks",
    ),
    "shape regressor": ("shape_regressor",),
    "heads": (
        "camera_head",
        "point_head",
        "keypoint_queries",
        "keypoint_queries.shift",
        "keypoint_queries.turn",
        "keypoint_queries.posed",
        "keypoint_queries.correction",
    ),
    "up-sampling": ("upsampling",),
    "SMPL regressor": ("smpl_regressor",),
    "template": (),
}
SKELETON_JOINTS = {"body": 24, "hand": 16}
SHAPE_DIRECTIONS = 10
H36M_JOINTS = 17


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one image and learned parameters, by part."""

    macs: dict[str, int]
    parameters: dict[str, int]
    macs_of_sparse_upsampling: int

    @property
    def total_macs(self) -> int:
        """What the official code runs: dense up-sampling, METRO's template body posed for every image."""
        return sum(self.macs.values())

    @property
    def total_macs_here(self) -> int:
        """What this code runs: sparse fixed up-sampling, METRO's template computed once."""
        saved = self.macs["up-sampling"] - self.macs_of_sparse_upsampling + self.macs["template"]
        return self.total_macs - saved

    @property
    def total_parameters(self) -> int:
        """All parts."""
        return sum(self.parameters.values())


def measure_cost(model: nn.Module) -> Cost:
    """The cost of one image of the network's size in evaluation mode; works on the meta device.

    Learned tokens count as parameters of the part that reads them.
    """
    reference = next(model.parameters())
    side = image_format_of(model).size
    images = torch.empty(1, 3, side, side, device=reference.device, dtype=reference.dtype)
    training = model.training
    with FlopCounterMode(display=False, depth=2) as counter:  # it follows modules through autograd, so no no_grad here
        model.eval()(images)
    model.train(training)
    counts = {name.split(".", 1)[-1]: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}
    macs = {part: sum(_macs_of(room, counts) for room in rooms) for part, rooms in PARTS.items()}
    sparse = macs["up-sampling"]
    for step in (module for module in model.modules() if isinstance(module, SparseMap)):
        macs["up-sampling"] += step.dense_macs
        sparse += 3 * step.index.numel()
    macs["template"] = _template_macs(model)
    return Cost(macs, _parameters(model), sparse)


def _template_macs(model: nn.Module) -> int:
    """Posing METRO's template body and regressing its joints, which the official forward does each time."""
    if not isinstance(model, METRO):
        return 0
    joints = SKELETON_JOINTS[model.config.body]
    vertices = 3 * model.upsampling.sizes[-1]
    shape, pose = vertices * SHAPE_DIRECTIONS, vertices * 9 * (joints - 1)
    skinning = vertices // 3 * joints * 16
    regression = vertices * (joints + (H36M_JOINTS if model.config.body == "body" else 0))
    return shape + pose + skinning + regression


def _macs_of(room: str, counts: dict[str, int]) -> int:
    """The module's own count, or its children's if it is a list that is never called as a whole."""
    children = (count for name, count in counts.items() if re.fullmatch(rf"{room}\.\d+", name))
    return counts[room] if room in counts else sum(children)


def _parameters(model: nn.Module) -> dict[str, int]:
    part_of = {room: part for part, rooms in PARTS.items() for room in rooms}
    part_of["camera_token"] = "main transformer"
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        counts[part_of[name.split(".")[0]]] += parameter.numel()
    return counts


PAPER: list[dict[str, Any]] = [
    *({"network": "fastmetro", "arch": "resnet50", "keep_ratio": ratio} for ratio in (1.0, 0.8, 0.2)),
    {"network": "fastmetro", "arch": "hrnet-w64", "keep_ratio": 0.8},
    {"network": "fastmetro", "arch": "efficientnet-b0", "keep_ratio": 0.8},
    {"network": "metro", "arch": "resnet50"},
    {"network": "metro", "arch": "hrnet-w64"},
    *(
        {"network": "fastmetro", "arch": a, "token_reduction": "none"}
        for a in ("resnet50", "hrnet-w64", "efficientnet-b0")
    ),
    *({"network": "metro", "arch": arch, "token_reduction": "none"} for arch in ("resnet50", "hrnet-w64")),
]


def configurations(
    networks: Sequence[str],
    archs: Sequence[str],
    token_reductions: Sequence[str],
    sizes: Sequence[str],
    keep_ratios: Sequence[float],
) -> list[dict[str, Any]]:
    """Every combination, as options of `create_model`; METRO has no size, and only reduced tokens have a ratio."""
    rows: list[dict[str, Any]] = []
    for network, arch, reduction in itertools.product(networks, archs, token_reductions):
        common = {"network": network, "arch": arch, "token_reduction": reduction}
        own = [{}] if network == "metro" else [{"size": size} for size in sizes]
        ratios = [{}] if network == "metro" or reduction == "none" else [{"keep_ratio": k} for k in keep_ratios]
        rows += [common | size | ratio for size, ratio in itertools.product(own, ratios)]
    return rows


def topology_at_hand(body: str, body_dir: str | Path | None) -> Topology:
    """The licensed body's joints and mesh levels if present, else the synthetic body's, which has the same sizes."""
    return load_topology(body, body_dir_at_hand(body, body_dir), template=True)


def row_of(values: dict[str, Any], cost: Cost) -> dict[str, Any]:
    """One line of the table: names, then giga multiply-accumulates and millions of parameters."""
    row: dict[str, Any] = {"network": values["network"], "arch": values["arch"]}
    row["token_reduction"] = values.get("token_reduction", "tore")
    row |= {"size": values.get("size", "L"), "keep_ratio": values.get("keep_ratio")}
    if values["network"] == "metro":
        row["size"] = None
    row |= {"GMACs": round(cost.total_macs / 1e9, 4), "GMACs_here": round(cost.total_macs_here / 1e9, 4)}
    row |= {f"GMACs {part}": round(cost.macs[part] / 1e9, 4) for part in PARTS}
    row |= {"Mparams": round(cost.total_parameters / 1e6, 3)}
    return row | {f"Mparams {part}": round(cost.parameters[part] / 1e6, 3) for part in PARTS}
