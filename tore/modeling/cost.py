"""What one picture costs: multiply-accumulates and parameters by part (paper table 1's "GFLOPs").

The paper's "GFLOPs" are multiply-accumulates. They are counted by torch's own counter (convolutions and matrix
products, halved) on tensors without storage, so that even HRNet takes no time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tore.body.mesh_levels import SparseMap
from tore.modeling.build import IMAGE_SIZE
from tore.modeling.metro import METRO

# part of the table -> rooms of the networks
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
    "heads": ("camera_head", "point_head"),
    "up-sampling": ("upsampling",),
    "SMPL regressor": ("smpl_regressor",),
    "template": (),
}
SKELETON_JOINTS = {"body": 24, "hand": 16}
SHAPE_DIRECTIONS = 10
H36M_JOINTS = 17


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one picture and learned parameters, by part."""

    macs: dict[str, int]
    parameters: dict[str, int]
    macs_of_sparse_upsampling: int

    @property
    def total_macs(self) -> int:
        """What the published code runs: dense up-sampling, METRO's template body posed for every picture."""
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


def measure_cost(model: nn.Module, image_size: int = IMAGE_SIZE) -> Cost:
    """The cost of one `image_size` x `image_size` picture in evaluation mode; works on the meta device.

    Learned tokens count as parameters of the part that reads them.
    """
    reference = next(model.parameters())
    images = torch.empty(1, 3, image_size, image_size, device=reference.device, dtype=reference.dtype)
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
    """Posing METRO's template body and regressing its joints, which the published forward does each time."""
    if not isinstance(model, METRO):
        return 0
    joints = SKELETON_JOINTS[model.config.body]
    vertices = 3 * model.upsampling.sizes[-1]
    shape, pose = vertices * SHAPE_DIRECTIONS, vertices * 9 * (joints - 1)
    skinning = vertices // 3 * joints * 16
    regression = vertices * (joints + (H36M_JOINTS if model.config.body == "body" else 0))
    return shape + pose + skinning + regression


def _macs_of(room: str, counts: dict[str, int]) -> int:
    """The room's own count, or its children's where it is a list that is never called as a whole."""
    children = (count for name, count in counts.items() if re.fullmatch(rf"{room}\.\d+", name))
    return counts[room] if room in counts else sum(children)


def _parameters(model: nn.Module) -> dict[str, int]:
    part_of = {room: part for part, rooms in PARTS.items() for room in rooms}
    part_of["camera_token"] = "main transformer"
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        counts[part_of[name.split(".")[0]]] += parameter.numel()
    return counts
