"""The optimized FastMETRO and METRO, and the function that makes one of a network.

`tore.modeling.fastmetro` and `tore.modeling.metro` are what they compute. A token of METRO is [template point; image
features], so its first block's Linears split: the template's share is known, with the position embedding and the
biases, and the features' share is one product for embedding and residual.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tore.body.identity import BodyIdentity
from tore.export.heads import FastShapeRegressor, fast_upsampling
from tore.export.transformer import FastEncoderDecoder, linear_of
from tore.modeling.fastmetro import FastMETRO, with_hints
from tore.modeling.heads import MeshPrediction, assemble
from tore.modeling.metro import METRO, BertLayer, MetroBlock
from tore.modeling.transformer import attend


class FastMETROForm(nn.Module):
    """image (B, 3, H, W) -> `MeshPrediction`, without gradients for its weights."""

    config: Any
    trained_on: BodyIdentity | None
    queries: Any  # (Q, wide) learned tokens, None where they are in transformer_1

    def __init__(self, plain: FastMETRO) -> None:
        """`plain` in evaluation mode; its parts are taken over, so it should be a copy."""
        super().__init__()
        self.backbone, self.image_projection = plain.backbone, plain.image_projection
        self.token_reduction = plain.token_reduction
        self.wide_positions, self.narrow_positions = plain.wide_positions, plain.narrow_positions
        self.camera_token = plain.camera_token
        tokens, allowed = plain.query_tokens(1)[0], plain.query_tokens.allowed
        self.keypoint_queries = plain.keypoint_queries
        learned = tokens if self.keypoint_queries is None else None  # else they are another image's with each image
        self.register_buffer("queries", tokens if learned is None else None, persistent=False)
        self.transformer_1 = FastEncoderDecoder(plain.transformer_1, learned=learned, allowed=allowed)
        self.reduce_memory = plain.reduce_memory
        self.reduce_camera = plain.reduce_camera
        self.reduce_queries = plain.reduce_queries
        self.transformer_2 = FastEncoderDecoder(plain.transformer_2, allowed=allowed)
        self.camera_head, self.point_head = plain.camera_head, plain.point_head
        regressor = plain.shape_regressor
        self.shape_regressor = None if regressor is None else FastShapeRegressor(regressor)
        self.upsampling = fast_upsampling(plain.upsampling)
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
        keypoints, finer = None if isinstance(seen, Tensor) else seen.keypoints, self.upsampling(coarse)
        return assemble(camera, joints, coarse, finer, heatmap, self.smpl_regressor, keypoints)

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
    """One product for queries, keys and values."""

    def __init__(self, layer: BertLayer) -> None:
        super().__init__()
        self.heads = layer.heads
        projections = (layer.query, layer.key, layer.value)
        weight, bias = (torch.cat([getattr(linear, name) for linear in projections]) for name in ("weight", "bias"))
        self.projection = linear_of(weight, bias)
        self.attention_output, self.intermediate, self.output = layer.attention_output, layer.intermediate, layer.output
        self.attention_norm, self.output_norm = layer.attention_norm, layer.output_norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        mixed = attend(*self.projection(x).chunk(3, dim=2), heads=self.heads)
        x = self.attention_norm(x + self.attention_output(mixed))
        return self.output_norm(x + self.output(F.gelu(self.intermediate(x))))


class FastMetroBlock(nn.Module):
    """A block whose embedding and residual are one product."""

    constant: Tensor

    def __init__(self, block: MetroBlock, tokens: int, template: Tensor | None = None) -> None:
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
        self.embedding = linear_of(weight, bias)
        self.layers = nn.Sequential(*(FastBertLayer(layer) for layer in cast(Any, block.layers)))
        self.head = linear_of(block.head.weight, torch.zeros_like(block.head.bias))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, inputs) -> output (B, Q, outputs), last hidden state (B, Q, width)."""
        embedded = self.embedding(x) + self.constant
        hidden = self.layers(embedded[..., : self.width])
        return self.head(hidden) + embedded[..., self.width :], hidden


class METROForm(nn.Module):
    """image (B, 3, H, W) -> `MeshPrediction`, without gradients for its weights."""

    config: Any
    trained_on: BodyIdentity | None
    blocks: Any  # FastMetroBlocks

    def __init__(self, plain: METRO) -> None:
        """`plain` in evaluation mode; its parts are taken over, so it should be a copy."""
        super().__init__()
        self.backbone, self.select_tokens = plain.backbone, plain.select_tokens
        template = plain.template + plain.template_remainder  # (Q, 3)
        first, *others = cast(Any, plain.blocks)
        blocks = [FastMetroBlock(first, len(template), template)]
        self.blocks = nn.ModuleList([*blocks, *(FastMetroBlock(block, len(template)) for block in others)])
        self.num_joints, self.camera_of_all = plain.num_joints, plain.camera_of_all
        regressor = plain.shape_regressor
        self.shape_regressor = None if regressor is None else FastShapeRegressor(regressor)
        self.camera_token = None if regressor is None else plain.camera_token
        self.camera_head = plain.camera_head
        self.upsampling = fast_upsampling(plain.upsampling)
        self.smpl_regressor = plain.smpl_regressor

    def forward(self, images: Tensor) -> MeshPrediction:
        """images (B, 3, H, W), normalized as its configuration says."""
        x = self.select_tokens(self.backbone(images))  # (B, Q, C)
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
def for_inference(model: FastMETRO | METRO) -> FastMETROForm | METROForm:
    """An optimized copy of the network in evaluation mode, whose prediction is equal up to rounding.

    It is the graph that `tore.export_model` writes, and has fewer operations than the network on any device. It has
    weights of its own, on the network's device and in its dtype, and may be moved; what was computed beforehand keeps
    its rounding, so make it in the dtype that it shall run in. Images of every size that the network takes are taken.
    It cannot be trained; `joint_mask` is training's and not taken. Its `config` and `trained_on` are the network's.

    Args:
        model: any FastMETRO or METRO; left as it is.

    Raises ValueError for another kind of network.
    """
    if not isinstance(model, FastMETRO | METRO):
        raise ValueError(f"there is no optimized model of a {type(model).__name__}; give a FastMETRO or a METRO")
    plain = copy.deepcopy(model).eval().requires_grad_(False)
    form = FastMETROForm(plain) if isinstance(plain, FastMETRO) else METROForm(plain)
    form.config, form.trained_on = model.config, model.trained_on
    return form.eval().requires_grad_(False)
