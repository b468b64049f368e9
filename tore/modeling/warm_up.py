"""The image side of FastMETRO+TORE, taught where joints are before the whole network trains. Not published.

From scratch every token of ITP sees the whole picture alike, and the Transformers learn little until it does not.
Here a token is one joint's: its heatmap is to lie on the joint, and what it gathers there is to tell the joint's place
in space. That costs a fraction of the network, and on small pictures a fraction of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.modeling.backbones import STRIDE, Backbone
from tore.modeling.checkpoints import read_checkpoint
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO
from tore.modeling.tensor_file import read_tensors, write_tensors
from tore.modeling.token_reduction import TokenReduction

ROOMS = ("backbone", "image_projection", "token_reduction")
REST = "rest"  # every other room
PREFIXES = tuple(f"{room}." for room in ROOMS)


class WarmUpPrediction(NamedTuple):
    """Each token's joint."""

    heatmap: Tensor  # (B, M, h*w), rows sum to 1
    joints_2d: Tensor  # (B, M, 2) in [-1, 1] of the crop
    joints_3d: Tensor  # (B, M, 3) metres, relative to the root


class WarmUpNetwork(nn.Module):
    """picture (B, 3, H, W) -> `WarmUpPrediction`; its rooms are FastMETRO's, by the same names."""

    joint_of: Tensor

    def __init__(self, *, backbone: Backbone, width: int, tokens: int, joints: int, size: int) -> None:
        """Fresh projection, token reduction and head.

        Args:
            backbone: of any stride-32 feature map.
            width: of the tokens.
            tokens: how many there are, M; token m is joint m modulo the joints.
            joints: labelled joints.
            size: side in pixels that square pictures are brought to first, a multiple of the stride.
        """
        if size < STRIDE or size % STRIDE:
            raise ValueError(f"--size {size} is not a multiple of the backbone's stride {STRIDE}; use 128 or 224")
        super().__init__()
        self.backbone = backbone
        self.image_projection = nn.Conv2d(backbone.channels, width, kernel_size=1)
        self.token_reduction = TokenReduction(width=width, tokens=tokens)
        self.size = size
        self.weight = nn.Parameter(torch.randn(tokens, width, 3) / width)
        self.bias = nn.Parameter(torch.zeros(tokens, 3))
        self.register_buffer("joint_of", torch.arange(tokens) % joints, persistent=False)

    def forward(self, images: Tensor) -> WarmUpPrediction:
        """images (B, 3, H, W), ImageNet-normalised."""
        if images.shape[-1] != self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        features = self.image_projection(self.backbone(images))  # (B, width, h, w)
        tokens, heatmap = self.token_reduction(features)  # (B, M, width), (B, M, h*w)
        joints_2d = heatmap @ cell_centres((features.shape[2], features.shape[3])).to(heatmap)  # (B, M, 2)
        joints_3d = torch.einsum("bmc,mcx->bmx", tokens, self.weight) + self.bias
        return WarmUpPrediction(heatmap, joints_2d, joints_3d)


def cell_centres(grid: tuple[int, int]) -> Tensor:
    """Middles (h*w, 2) of a feature map's cells as x, y in [-1, 1] of the crop, row by row."""
    rows, columns = ((torch.arange(count) + 0.5) / count * 2 - 1 for count in grid)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), dim=-1).flatten(0, 1)


def save_image_side(network: WarmUpNetwork, path: str | Path) -> None:
    """Writes the rooms that a FastMETRO has too, under their names."""
    write_tensors({n: v for n, v in network.state_dict().items() if n.startswith(PREFIXES)}, path)


def load_rooms(model: FastMETRO | METRO | WarmUpNetwork, path: str | Path, rooms: Sequence[str] = ROOMS) -> None:
    """Starts rooms of a network from a file: a warm-up's, or that of a whole network.

    Args:
        model: METRO, which shares the backbone alone with a warm-up, takes that alone.
        path: what `save_image_side` wrote, or a published or own checkpoint.
        rooms: of `ROOMS`, and `REST` for all that lies behind the token reduction: with it, and without the token
            reduction, networks that differ in their token reduction alone start alike.

    Raises FileNotFoundError, or ValueError naming what does not fit.
    """
    chosen = (ROOMS[0],) if isinstance(model, METRO) else rooms
    entries = {name: value for name, value in _entries(path, model).items() if _room(name) in chosen}
    expected = {name: value for name, value in model.state_dict().items() if _room(name) in chosen}
    wrong = sorted(
        name
        for name in expected.keys() | entries.keys()
        if name not in expected or name not in entries or expected[name].shape != entries[name].shape
    )
    if wrong:
        raise ValueError(
            f"{path} does not fit in {len(wrong)} entries ({', '.join(wrong[:3])}): take a file of the network's "
            "backbone, --model_dim_1 and --keep_ratio, or fewer rooms of it with --warm_start_rooms"
        )
    model.load_state_dict(entries, strict=False)


def _room(name: str) -> str:
    first = name.split(".")[0]
    return first if first in ROOMS else REST


def _entries(path: str | Path, model: FastMETRO | METRO | WarmUpNetwork) -> dict[str, Tensor]:
    content = read_tensors(path)
    if isinstance(content, dict) and all(str(name).startswith(PREFIXES) for name in content):
        return content
    known = {} if isinstance(model, WarmUpNetwork) else {"arch": model.config.arch}
    return read_checkpoint(path, **known).state
