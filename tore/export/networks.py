"""The optimized FastMETRO and METRO, and the function that makes one of a network.

`tore.modeling.fastmetro` and `tore.modeling.metro` are what they compute. A token of METRO is [template point; image
features], so its first block's Linears split: the template's share is known, with the position embedding and the
biases, and the features' share is one product for embedding and residual.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from tore.body.identity import BodyIdentity
from tore.export.heads import FastShapeRegressor, FastTokenReduction, FastUpsampling
from tore.export.kernels import FusedConv2d, FusedLinear, linear_of
from tore.export.parts import Parts, check_compiler
from tore.export.tracing import backbone_form
from tore.export.transformer import FastEncoderDecoder
from tore.modeling.fastmetro import FastMETRO, with_hints
from tore.modeling.heads import MeshPrediction, assemble
from tore.modeling.image_token_pruning import TokenReduction
from tore.modeling.metro import METRO, BertLayer, MetroBlock
from tore.modeling.transformer import attend

OPTIONS = {"cpu": {"freezing": True}, "cuda": {"triton.cudagraphs": True}}  # torch.compile's options by device


class FastMETROForm(nn.Module):
    """image (B, 3, H, W) -> `MeshPrediction`, without gradients for its weights."""

    config: Any
    trained_on: BodyIdentity | None
    queries: Any  # (Q, wide) learned tokens, None where they are in transformer_1

    def __init__(self, plain: FastMETRO, parts: Parts) -> None:
        """`plain` in evaluation mode; its parts are taken over, so it should be a copy."""
        super().__init__()
        packed = parts.packed_weights
        self.backbone = backbone_form(plain.backbone, parts)
        self.image_projection = FusedConv2d(plain.image_projection, packed=packed)
        reducer = plain.token_reduction
        self.token_reduction: nn.Module = reducer
        if isinstance(reducer, TokenReduction):
            self.token_reduction = FastTokenReduction(reducer, packed)
        self.wide_positions, self.narrow_positions = plain.wide_positions, plain.narrow_positions
        self.camera_token = plain.camera_token
        tokens, allowed = plain.query_tokens(1)[0], plain.query_tokens.allowed
        self.keypoint_queries = plain.keypoint_queries
        learned = tokens if self.keypoint_queries is None else None  # else they are another image's with each image
        self.register_buffer("queries", tokens if learned is None else None, persistent=False)
        self.transformer_1 = FastEncoderDecoder(plain.transformer_1, parts, learned=learned, allowed=allowed)
        self.reduce_memory = linear_of(plain.reduce_memory, packed=packed)
        self.reduce_camera = plain.reduce_camera
        self.reduce_queries = linear_of(plain.reduce_queries, packed=packed)
        self.transformer_2 = FastEncoderDecoder(plain.transformer_2, parts, allowed=allowed)
        self.camera_head, self.point_head = plain.camera_head, plain.point_head
        regressor = plain.shape_regressor
        self.shape_regressor = None if regressor is None else FastShapeRegressor(regressor, parts)
        self.upsampling = FastUpsampling(plain.upsampling, parts)
        self.smpl_regressor = plain.smpl_regressor
        self.joints = len(plain.query_tokens.joints)

    def forward(self, images: Tensor) -> MeshPrediction:
        """images (B, 3, H, W), normalized as its configuration says."""
        seen = self.backbone(images)
        features = self.image_projection(seen if isinstance(seen, Tensor) else seen.map)  # (B, wide, h, w)
        tokens, heatmap = self.token_reduction(features)  # (B, M, wide), (B, M, h*w)
        grid = (features.shape[2], features.shape[3])
        key = self._key(grid, heatmap)

        camera, queries = self.camera_token.expand(images.shape[0], 1, -1), None
        if self.keypoint_queries is not None:
            hints = self.keypoint_queries(seen.keypoints, features)
            learned = self.queries.expand(images.shape[0], -1, -1)  # (B, Q, wide)
            camera, queries = camera + hints.of_camera, with_hints(learned, hints.of_joints)
        tokens = torch.cat((camera, tokens), dim=1)  # (B, 1 + M, wide)
        placement = self.transformer_1.place(lambda: self.wide_positions(grid, heatmap), key)
        tokens, queries = self.transformer_1(tokens, placement, queries)

        tokens, queries = self.narrow(tokens), self.reduce_queries(queries)
        placement = self.transformer_2.place(lambda: self.narrow_positions(grid, heatmap), key)
        tokens, queries = self.transformer_2(tokens, placement, queries)

        camera, points = tokens[:, :1], self.point_head(queries)
        if self.shape_regressor is None:
            joints, coarse = points[:, : self.joints], points[:, self.joints :]
        else:
            joints, coarse = points, self.shape_regressor(torch.cat((camera, queries), dim=1))[0]
        camera = self.camera_head(camera).squeeze(1)
        if self.keypoint_queries is not None:
            of_joints = queries[:, : self.joints]
            camera, joints, coarse = self.keypoint_queries.correct(hints, of_joints, camera, joints, coarse)
        return assemble(camera, joints, coarse, self.upsampling(coarse), heatmap, self.smpl_regressor)

    def narrow(self, tokens: Tensor) -> Tensor:
        """[camera; image] (B, 1 + M, wide) -> (B, 1 + M, narrow)."""
        if self.reduce_camera is None:
            return self.reduce_memory(tokens)
        return torch.cat((self.reduce_camera(tokens[:, :1]), self.reduce_memory(tokens[:, 1:])), dim=1)

    def _key(self, grid: tuple[int, int], heatmap: Tensor | None) -> Hashable | None:
        """What the position code depends on: nothing, the size of the feature map, or (None) the images."""
        if self.wide_positions.listed:
            return "list"
        return grid if heatmap is None else None


class FastBertLayer(nn.Module):
    """One product for queries, keys and values; residual sums and GELU in the Linears' kernels."""

    def __init__(self, layer: BertLayer, packed: bool) -> None:
        super().__init__()
        self.heads = layer.heads
        projections = (layer.query, layer.key, layer.value)
        weight, bias = (torch.cat([getattr(linear, name) for linear in projections]) for name in ("weight", "bias"))
        self.projection = FusedLinear(weight, bias, packed=packed)
        self.attention_output = linear_of(layer.attention_output, packed=packed)
        self.intermediate = linear_of(layer.intermediate, activation="gelu", packed=packed)
        self.output = linear_of(layer.output, packed=packed)
        self.attention_norm, self.output_norm = layer.attention_norm, layer.output_norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        mixed = attend(*self.projection(x).chunk(3, dim=2), heads=self.heads)
        x = self.attention_norm(self.attention_output(mixed, x))
        return self.output_norm(self.output(self.intermediate(x), x))


class FastMetroBlock(nn.Module):
    """A block whose embedding and residual are one product."""

    constant: Tensor

    def __init__(self, block: MetroBlock, tokens: int, parts: Parts, template: Tensor | None = None) -> None:
        """`template` (Q, 3): the leading part of every input that is the same for all images."""
        super().__init__()
        self.width = block.embedding.out_features
        weight = torch.cat((block.embedding.weight, block.residual.weight))  # (width + outputs, inputs)
        constant = block.positions.weight[:tokens]  # (Q, width)
        constant = torch.cat((constant, constant.new_zeros(tokens, block.residual.out_features)), dim=1)
        bias = torch.cat((block.embedding.bias, block.residual.bias + block.head.bias))
        if template is not None:
            known, weight = weight.split((template.shape[1], weight.shape[1] - template.shape[1]), dim=1)
            constant = constant + template @ known.T
        self.register_buffer("constant", constant, persistent=False)
        self.embedding = FusedLinear(weight, bias, packed=parts.packed_weights)
        self.layers = nn.Sequential(*(FastBertLayer(layer, parts.packed_weights) for layer in cast(Any, block.layers)))
        head = block.head
        self.head = FusedLinear(head.weight, torch.zeros_like(head.bias), packed=parts.packed_weights)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, inputs) -> output (B, Q, outputs), last hidden state (B, Q, width)."""
        embedded = self.embedding(x) + self.constant
        hidden = self.layers(embedded[..., : self.width].contiguous())
        return self.head(hidden) + embedded[..., self.width :], hidden


class METROForm(nn.Module):
    """image (B, 3, H, W) -> `MeshPrediction`, without gradients for its weights."""

    config: Any
    template: Tensor | None
    blocks: Any  # FastMetroBlocks

    def __init__(self, plain: METRO, parts: Parts) -> None:
        """`plain` in evaluation mode; its parts are taken over, so it should be a copy."""
        super().__init__()
        self.backbone = backbone_form(plain.backbone, parts)
        self.select_tokens = plain.select_tokens
        template = plain.template + plain.template_remainder  # (Q, 3)
        self.register_buffer("template", None if parts.constants else template, persistent=False)
        known = template if parts.constants else None
        blocks = [
            FastMetroBlock(b, len(template), parts, None if i else known) for i, b in enumerate(cast(Any, plain.blocks))
        ]
        self.blocks = nn.ModuleList(blocks)
        self.num_joints, self.camera_of_all = plain.num_joints, plain.camera_of_all
        regressor = plain.shape_regressor
        self.shape_regressor = None if regressor is None else FastShapeRegressor(regressor, parts)
        self.camera_token = None if regressor is None else plain.camera_token
        self.camera_head = plain.camera_head
        self.upsampling = FastUpsampling(plain.upsampling, parts)
        self.smpl_regressor = plain.smpl_regressor

    def forward(self, images: Tensor) -> MeshPrediction:
        """images (B, 3, H, W), normalized as its configuration says."""
        x = self.select_tokens(self.backbone(images))  # (B, Q, C)
        if self.template is not None:
            x = torch.cat((self.template.expand(x.shape[0], -1, -1), x), dim=2)
        for block in self.blocks:
            x, hidden = block(x)
        joints, coarse, camera = self.geometry(x, hidden)
        return assemble(camera, joints, coarse, self.upsampling(coarse), None, self.smpl_regressor)

    def geometry(self, points: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Last block's points (B, Q, 3) and hidden state (B, Q, width) -> joints, coarse vertices, camera (B, 3)."""
        if self.shape_regressor is None:
            joints, coarse = points[:, : self.num_joints], points[:, self.num_joints :]
            return joints, coarse, self.camera_head(points if self.camera_of_all else coarse)
        assert self.camera_token is not None
        camera = self.camera_token.expand(hidden.shape[0], 1, -1)
        coarse, camera = self.shape_regressor(torch.cat((camera, hidden), dim=1))
        return points, coarse, self.camera_head(camera)


@torch.no_grad()
def for_inference(model: FastMETRO | METRO, parts: Parts | None = None) -> FastMETROForm | METROForm:
    """An optimized copy of the network in evaluation mode, whose prediction is equal up to rounding.

    It has weights of its own, on the network's device and in its dtype, and may be moved; what was computed
    beforehand keeps its rounding, so make it in the dtype that it shall run in. Images of every size that
    the network takes are taken. It cannot be trained; `joint_mask` is training's and not taken. Its `config` and
    `trained_on` are the network's.

    Args:
        model: any FastMETRO or METRO; left as it is.
        parts: what to do; None means all but compiling.

    Raises ValueError for another kind of network, FileNotFoundError where compiling lacks a compiler.
    """
    if not isinstance(model, FastMETRO | METRO):
        raise ValueError(f"there is no optimized model of a {type(model).__name__}; give a FastMETRO or a METRO")
    parts, device = parts or Parts(), next(model.parameters()).device
    if parts.compiled:
        check_compiler(device)
        parts = replace(parts, packed_weights=False)
    plain = copy.deepcopy(model).eval().requires_grad_(False)
    form = FastMETROForm(plain, parts) if isinstance(plain, FastMETRO) else METROForm(plain, parts)
    form.config, form.trained_on = model.config, model.trained_on
    if parts.compiled:
        form.compile(options=OPTIONS.get(device.type))
    return form.eval().requires_grad_(False)
