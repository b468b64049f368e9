"""FastMETRO in its inference form; `tore.modeling.fastmetro` is what it computes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from tore.export.heads import FastShapeRegressor, FastTokenReduction, FastUpsampling
from tore.export.kernels import FusedConv2d, linear_of
from tore.export.parts import Parts
from tore.export.tracing import backbone_form
from tore.export.transformer import FastEncoderDecoder
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.heads import MeshPrediction, assemble
from tore.modeling.image_token_pruning import TokenReduction


class FastMETROForm(nn.Module):
    """picture (B, 3, H, W) -> `MeshPrediction`, without gradients for its weights."""

    config: Any

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
        self.transformer_1 = FastEncoderDecoder(plain.transformer_1, parts, learned=tokens, allowed=allowed)
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
        features = self.image_projection(self.backbone(images))  # (B, wide, h, w)
        tokens, heatmap = self.token_reduction(features)  # (B, M, wide), (B, M, h*w)
        grid = (features.shape[2], features.shape[3])
        key = self._key(grid, heatmap)

        tokens = torch.cat((self.camera_token.expand(len(images), 1, -1), tokens), dim=1)  # (B, 1 + M, wide)
        placement = self.transformer_1.place(lambda: self.wide_positions(grid, heatmap), key)
        tokens, queries = self.transformer_1(tokens, placement)

        tokens, queries = self.narrow(tokens), self.reduce_queries(queries)
        placement = self.transformer_2.place(lambda: self.narrow_positions(grid, heatmap), key)
        tokens, queries = self.transformer_2(tokens, placement, queries)

        camera, points = tokens[:, :1], self.point_head(queries)
        if self.shape_regressor is None:
            joints, coarse = points[:, : self.joints], points[:, self.joints :]
        else:
            joints, coarse = points, self.shape_regressor(torch.cat((camera, queries), dim=1))[0]
        camera = self.camera_head(camera).squeeze(1)
        return assemble(camera, joints, coarse, self.upsampling(coarse), heatmap, self.smpl_regressor)

    def narrow(self, tokens: Tensor) -> Tensor:
        """[camera; image] (B, 1 + M, wide) -> (B, 1 + M, narrow)."""
        if self.reduce_camera is None:
            return self.reduce_memory(tokens)
        return torch.cat((self.reduce_camera(tokens[:, :1]), self.reduce_memory(tokens[:, 1:])), dim=1)

    def _key(self, grid: tuple[int, int], heatmap: Tensor | None) -> Hashable | None:
        """What the position code depends on: nothing, the size of the feature map, or (None) the pictures."""
        if self.wide_positions.listed:
            return "list"
        return grid if heatmap is None else None
