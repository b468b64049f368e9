"""METRO with and without TORE: image features mixed into joint tokens, BERT blocks, camera, mesh."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manopth.tensors import WithConstants, beside
from tore.body.identity import BodyIdentity
from tore.body.topology import Topology
from tore.image_format import STRIDE
from tore.modeling.backbones import Backbone, ImageFeatures
from tore.modeling.heads import MeshPrediction, SMPLRegressor, assemble
from tore.modeling.neural_shape_regressor import ShapeRegressor, Upsampling
from tore.modeling.transformer import attend
from tore.ops.linear import Dropout, Linear


class MixedPositions(nn.Conv1d):
    """Every token's features are a learned mixture of the feature map's positions."""

    def __init__(self, positions: int, tokens: int) -> None:
        super().__init__(positions, tokens, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w), h * w = positions -> (B, Q, C). Raises ValueError for another number of positions."""
        positions = features.shape[2] * features.shape[3]
        if positions != self.in_channels:
            side = STRIDE * math.isqrt(self.in_channels)
            raise ValueError(
                f"METRO mixes {self.in_channels} image tokens but these images give {positions}; "
                f"use {side} x {side} images, or create it with another image_size"
            )
        return super().forward(features.flatten(2).transpose(1, 2))


class RepeatedMean(nn.Module):
    """Every token's features are the mean over the feature map, whatever its size."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, Q, C)."""
        return features.mean((2, 3))[:, None].expand(-1, self.tokens, -1)


LAYER_NORM_EPS = 1e-12
INITIAL_STD = 0.02
MAX_POSITIONS = 512


class BertLayer(nn.Module):
    """Post-norm self-attention and a GELU feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.attention_output = Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.intermediate = Linear(width, hidden)
        self.output = Linear(hidden, width)
        self.output_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, J, width) -> (B, J, width)."""
        dropout = self.dropout.p if self.training else 0.0
        mixed = attend(self.query(x), self.key(x), self.value(x), heads=self.heads, dropout=dropout)
        x = self.attention_norm(self.dropout(self.attention_output(mixed)) + x)
        return self.output_norm(self.dropout(self.output(F.gelu(self.intermediate(x)))) + x)


class MetroBlock(nn.Module):
    """Linear embedding + learned position code, BERT layers, Linear output + residual Linear of the input."""

    def __init__(
        self, *, inputs: int, width: int, outputs: int, layers: int, heads: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"METRO block width {width} is not divisible by {heads} heads")
        self.embedding = Linear(inputs, width)
        self.positions = nn.Embedding(MAX_POSITIONS, width)
        self.dropout = Dropout(dropout)
        self.layers = nn.Sequential(*(BertLayer(width, heads, hidden, dropout) for _ in range(layers)))
        self.head = Linear(width, outputs)
        self.residual = Linear(inputs, outputs)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, J, inputs) -> output (B, J, outputs), last hidden state (B, J, width)."""
        positions = self.positions.weight[: x.shape[1]]  # (J, width)
        hidden = self.layers(self.dropout(positions + self.embedding(x)))
        return self.head(hidden) + self.residual(x), hidden


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


class PointCamera(nn.Module):
    """Three Linears and nothing between them: xyz to one number, over the points to a hidden layer, to the camera."""

    def __init__(self, *, points: int, hidden: int) -> None:
        super().__init__()
        self.of_point = nn.Linear(3, 1)
        self.of_points = nn.Linear(points, hidden)
        self.output = nn.Linear(hidden, 3)

    def forward(self, points: Tensor) -> Tensor:
        """(B, P, 3) -> camera (B, 3)."""
        return self.output(self.of_points(self.of_point(points).squeeze(2)))


MASKED_VALUE = 0.01  # what masked modelling puts in place of a token


class METRO(WithConstants):
    """image (B, 3, H, W) -> `MeshPrediction`; a learned mixture of positions needs `image_tokens` of them."""

    template: Tensor
    template_remainder: Tensor
    backbone: Backbone
    config: Any  # what build_model made this from; nothing in here reads it
    layout: dict[str, tuple[int, ...]]  # the shapes of its entries as build_model made it, likewise
    trained_on: BodyIdentity | None = None  # the body model that it belongs to, likewise

    def __init__(
        self,
        *,
        backbone: Backbone,
        topology: Topology,
        geometry_reduction: bool = True,
        image_mixing: str = "learned",
        image_tokens: int = 49,
        camera_points: str = "vertices",
        camera_hidden: int = 250,
        smpl_regressor: bool = False,
        widths: tuple[int, int, int] = (1024, 256, 128),
        layers: int = 4,
        heads: int = 4,
        hidden: int = 3072,
        dropout: float = 0.1,
        regressor_layers: int = 3,
        regressor_heads: int = 8,
        regressor_hidden: int = 512,
    ) -> None:
        """The network with fresh weights.

        Args:
            backbone: of any stride-32 feature map.
            topology: joints, coarse adjacency, mesh levels and template points.
            geometry_reduction: the tokens are joints alone; else joints and coarse vertices.
            image_mixing: "learned" mixture of positions per token, or their "mean" for every token.
            image_tokens: how many positions a learned mixture mixes.
            camera_points: without geometry reduction the camera is read off the coarse "vertices" or off "all" points
            camera_hidden: by a hidden layer of this width.
            smpl_regressor: rotations and betas of a SMPL body from the intermediate mesh.
            widths: of the blocks; each block's output is as wide as half the one before it needs.
            layers, heads, hidden: of each block's BERT encoder.
            dropout: its probability, wherever the Transformers drop.
            regressor_layers, regressor_heads, regressor_hidden: of the shape regressor.
        """
        super().__init__()
        if topology.template_joints is None or topology.template_vertices is None:
            raise ValueError("METRO needs the points of the template body: load the topology with template=True")
        self.backbone = backbone
        self.num_joints = topology.num_joints
        joints, vertices = topology.template_joints, topology.template_vertices
        template = joints if geometry_reduction else torch.cat((joints, vertices))  # (Q, 3)
        self.select_tokens = _mixing(image_mixing, image_tokens, len(template))
        inputs = (3 + backbone.channels, widths[0] // 2, widths[1] // 2)
        outputs = (*inputs[1:], 3)
        self.blocks = nn.ModuleList(
            MetroBlock(inputs=i, width=w, outputs=o, layers=layers, heads=heads, hidden=hidden, dropout=dropout)
            for i, w, o in zip(inputs, widths, outputs, strict=True)
        )
        if camera_points not in ("vertices", "all"):
            raise ValueError(f"camera_points {camera_points!r} is not known; use 'vertices' or 'all'")
        self.camera_of_all = camera_points == "all"
        self.shape_regressor = None
        if geometry_reduction:
            self.camera_token = nn.Parameter(torch.randn(1, widths[-1]))
            self.shape_regressor = ShapeRegressor(
                adjacency=topology.adjacency,
                num_joints=topology.num_joints,
                width=widths[-1],
                heads=regressor_heads,
                hidden=regressor_hidden,
                layers=regressor_layers,
                dropout=dropout,
            )
            self.camera_head: nn.Module = nn.Linear(widths[-1], 3)
        else:
            points = len(template) if self.camera_of_all else len(vertices)
            self.camera_head = PointCamera(points=points, hidden=camera_hidden)
        self.upsampling = Upsampling(topology.levels, learned=len(topology.levels.up))
        self.smpl_regressor = SMPLRegressor(vertices=topology.levels.sizes[1]) if smpl_regressor else None
        # Two float32 tensors whose sum is the float64 value, for devices that have no float64.
        self.keep_constant("template", template.float())
        self.keep_constant("template_remainder", (template - template.float()).float())

    def forward(self, images: Tensor | ImageFeatures, joint_mask: Tensor | None = None) -> MeshPrediction:
        """images (B, 3, H, W), normalized as its configuration says, or what the backbone gave for them; joint_mask
        (B, Q, 1), 1 keeps a token, 0 masks it.

        The Q tokens are the J joints and, without geometry token reduction, the Vc coarse vertices behind them.
        """
        seen = self.backbone(images) if isinstance(images, Tensor) else images.map  # (B, C, h, w)
        features = self.select_tokens(seen)  # (B, Q, C)
        template = beside(self.template + self.template_remainder, seen).expand(seen.shape[0], -1, -1)  # (B, Q, 3)
        x = torch.cat((template, features), dim=2)  # (B, Q, 3 + C)
        if joint_mask is not None:
            x = mask_tokens(x, joint_mask)
        for block in self.blocks:
            x, hidden = block(x)

        joints, coarse, camera = self.geometry(x, hidden)
        return assemble(camera, joints, coarse, self.upsampling(coarse), None, self.smpl_regressor)

    def geometry(self, points: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Last block's points (B, Q, 3) and hidden state (B, Q, width) -> joints, coarse vertices, camera (B, 3)."""
        if self.shape_regressor is None:
            joints, coarse = points[:, : self.num_joints], points[:, self.num_joints :]
            return joints, coarse, self.camera_head(points if self.camera_of_all else coarse)
        coarse, camera = self.shape_regressor(hidden, self.camera_token.expand(hidden.shape[0], -1, -1))
        return points, coarse, self.camera_head(camera).squeeze(1)


def mask_tokens(tokens: Tensor, kept: Tensor) -> Tensor:
    """tokens (B, Q, C) with those replaced whose row of `kept` (B, Q, 1) is 0. Raises ValueError for another Q."""
    if kept.shape[1] != tokens.shape[1]:
        raise ValueError(
            f"a mask of {kept.shape[1]} rows does not fit METRO's {tokens.shape[1]} tokens: give a row for each joint, "
            "and without geometry token reduction one for each coarse vertex behind them"
        )
    return tokens * kept + MASKED_VALUE * (1 - kept)


def _mixing(name: str, positions: int, tokens: int) -> nn.Module:
    if name not in ("learned", "mean"):
        raise ValueError(f"image_mixing {name!r} is not known; use 'learned' or 'mean'")
    return MixedPositions(positions, tokens) if name == "learned" else RepeatedMean(tokens)
