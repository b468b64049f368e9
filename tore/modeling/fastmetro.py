"""FastMETRO with and without TORE: two encoder-decoders queried by joints, then the neural shape regressor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from manopth.tensors import WithConstants, full_precision
from tore.body.identity import BodyIdentity
from tore.body.topology import Topology
from tore.modeling.backbones import KEYPOINTS_OF, Backbone, ImageFeatures
from tore.modeling.body_queries import BodyQueries
from tore.modeling.hand_queries import HandQueries
from tore.modeling.heads import MeshPrediction, SMPLRegressor, assemble
from tore.modeling.keypoint_queries import KeypointQueries
from tore.modeling.neural_shape_regressor import ShapeRegressor, Upsampling
from tore.modeling.token_reduction_baselines import create_reducer
from tore.modeling.transformer import USUAL_GRID, EncoderDecoder, TokenPositions


class GeometryTokens(WithConstants):
    """The learned query tokens of FastMETRO's main Transformer and the attention mask among them."""

    allowed: Tensor | None

    def __init__(self, *, joints: int, width: int, adjacency: Tensor | None) -> None:
        """`adjacency` (Vc, Vc) of the coarse mesh, not zero between neighbors; None asks for joints alone."""
        super().__init__()
        self.joints = nn.Parameter(torch.randn(joints, width))
        self.vertices = None if adjacency is None else nn.Parameter(torch.randn(len(adjacency), width))
        self.keep_constant("allowed", None if adjacency is None else query_mask(joints, adjacency))

    def forward(self, batch: int) -> Tensor:
        """(batch, Q, width), joints first."""
        tokens = self.joints if self.vertices is None else torch.cat((self.joints, self.vertices))
        return tokens.expand(batch, -1, -1)


def query_mask(joints: int, adjacency: Tensor) -> Tensor:
    """(J + Vc, J + Vc) bool, True where a row may attend to a column.

    Joints see every query; a vertex sees every joint, itself and its mesh neighbors.
    """
    allowed = torch.ones(joints + len(adjacency), joints + len(adjacency), dtype=torch.bool, device=adjacency.device)
    allowed[joints:, joints:] = adjacency != 0
    return allowed


def with_hints(queries: Tensor, hints: Tensor) -> Tensor:
    """queries (B, Q, width), joints first, with the joints' embedded keypoints (B, J, width) added."""
    joints = hints.shape[1]
    return torch.cat((queries[:, :joints] + hints, queries[:, joints:]), 1)


def _keypoint_queries(arch: str, topology: Topology, width: int, narrow: int) -> KeypointQueries:
    """Those of a pose network, on the joints and the mesh of `topology`."""
    resting = {"joints": topology.template_joints, "vertices": topology.template_vertices}
    common: dict[str, Any] = {**resting, "width": width, "narrow": narrow}
    if topology.kind == "hand":
        return HandQueries(**common)
    assert topology.template_weights is not None, "the mesh of a body follows its bones"
    return BodyQueries(weights=topology.template_weights, keypoints=KEYPOINTS_OF[arch][1], **common)


class FastMETRO(nn.Module):
    """image (B, 3, H, W) -> `MeshPrediction`; H and W are multiples of the backbone's stride 32."""

    backbone: Backbone
    config: Any  # what build_model made this from; nothing in here reads it
    layout: dict[str, tuple[int, ...]]  # the shapes of its entries as build_model made it, likewise
    trained_on: BodyIdentity | None = None  # the body model that it belongs to, likewise

    def __init__(
        self,
        *,
        backbone: Backbone,
        topology: Topology,
        image_reduction: str = "itp",
        kept_tokens: int | None = 39,
        geometry_reduction: bool = True,
        learned_upsampling: int = 0,
        smpl_regressor: bool = False,
        keypoint_queries: bool = False,
        layers: int = 3,
        widths: tuple[int, int] = (512, 128),
        hidden: tuple[int, int] = (2048, 512),
        heads: int = 8,
        dropout: float = 0.1,
        grid: tuple[int, int] = USUAL_GRID,
    ) -> None:
        """The network with fresh weights.

        Args:
            backbone: of any stride-32 feature map.
            topology: joints, coarse adjacency and mesh levels.
            image_reduction: a name of `token_reduction_by_name`.
            kept_tokens: M, None where image tokens are not reduced.
            geometry_reduction: the Transformer's queries are joints alone; else joints and coarse vertices.
            learned_upsampling: how many up-sampling steps are learned, from the coarse mesh on.
            smpl_regressor: rotations and betas of a SMPL body from the intermediate mesh.
            keypoint_queries: a pose network's keypoints enter the queries, and a body is a correction of them.
            layers: on each side of each Transformer (S, M, L = 1, 2, 3).
            widths, hidden: of the two Transformers' tokens and feed-forward networks.
            heads: of every attention.
            dropout: its probability, wherever the Transformers drop.
            grid: rows and columns of the usual image's feature map; others are taken as well.
        """
        super().__init__()
        wide, narrow = widths
        adjacency, joints = topology.adjacency, topology.num_joints
        self.backbone = backbone
        self.image_projection = nn.Conv2d(backbone.channels, wide, kernel_size=1)
        self.token_reduction = create_reducer(image_reduction, width=wide, tokens=kept_tokens)
        listed = kept_tokens if self.token_reduction.listed else None
        self.wide_positions = TokenPositions(channels=wide, listed=listed, grid=grid)
        self.narrow_positions = TokenPositions(channels=narrow, listed=listed, grid=grid)
        self.camera_token = nn.Parameter(torch.randn(1, wide))
        asked = None if geometry_reduction else adjacency
        self.query_tokens = GeometryTokens(joints=joints, width=wide, adjacency=asked)
        self.transformer_1 = EncoderDecoder(width=wide, heads=heads, hidden=hidden[0], layers=layers, dropout=dropout)
        self.reduce_memory = nn.Linear(wide, narrow)
        self.reduce_camera = None if geometry_reduction else nn.Linear(wide, narrow)
        self.reduce_queries = nn.Linear(wide, narrow)
        self.transformer_2 = EncoderDecoder(width=narrow, heads=heads, hidden=hidden[1], layers=layers, dropout=dropout)
        self.camera_head = nn.Linear(narrow, 3)
        self.point_head = nn.Linear(narrow, 3)
        self.shape_regressor = None
        if geometry_reduction:
            self.shape_regressor = ShapeRegressor(
                adjacency=adjacency,
                num_joints=joints,
                width=narrow,
                heads=heads,
                hidden=hidden[1],
                layers=layers,
                dropout=dropout,
            )
        self.upsampling = Upsampling(topology.levels, learned=learned_upsampling)
        self.smpl_regressor = SMPLRegressor(vertices=topology.levels.sizes[1]) if smpl_regressor else None
        self.keypoint_queries = None
        if keypoint_queries:
            self.keypoint_queries = _keypoint_queries(backbone.arch, topology, wide, narrow)
            nn.init.zeros_(self.camera_head.weight)  # the camera is the keypoints' at first
            nn.init.zeros_(self.camera_head.bias)

    @full_precision
    def _keypoints_and_features(self, images: Tensor) -> Tensor | ImageFeatures:
        """What the backbone gives. Keypoints are the places of maxima, which half precision would move."""
        return self.backbone(images)

    def forward(self, images: Tensor | ImageFeatures, joint_mask: Tensor | None = None) -> MeshPrediction:
        """images (B, 3, H, W), normalized as its configuration says, or what the backbone gave for them.

        `joint_mask` is METRO's; here it must be None.
        """
        assert joint_mask is None, "masked joint modelling belongs to METRO"
        see = self.backbone if self.keypoint_queries is None else self._keypoints_and_features
        seen = see(images) if isinstance(images, Tensor) else images
        seen = ImageFeatures(seen, None) if isinstance(seen, Tensor) else seen
        features = self.image_projection(seen.map)  # (B, wide, h, w)
        tokens, heatmap = self.token_reduction(features)  # (B, M, wide), (B, M, h*w)
        grid = (features.shape[2], features.shape[3])

        camera = self.camera_token.expand(features.shape[0], -1, -1)  # (B, 1, wide)
        queries, allowed = self.query_tokens(features.shape[0]), self.query_tokens.allowed  # (B, Q, wide), (Q, Q)
        if self.keypoint_queries is not None:
            hints = self.keypoint_queries(seen.keypoints, features)
            camera, queries = camera + hints.of_camera, with_hints(queries, hints.of_joints)
        positions = self.wide_positions(grid, heatmap)
        camera, tokens, queries = self.transformer_1(tokens, camera, queries, positions, allowed)

        camera, tokens, queries = self.narrow(camera, tokens, queries)
        positions = self.narrow_positions(grid, heatmap)
        camera, _, queries = self.transformer_2(tokens, camera, queries, positions, allowed)

        joints, coarse = self.points(queries, camera)  # (B, J, 3), (B, Vc, 3)
        camera = self.camera_head(camera).squeeze(1)  # (B, 3)
        if self.keypoint_queries is not None:
            of_joints = queries[:, : joints.shape[1]]
            camera, joints, coarse = self.keypoint_queries.correct(hints, of_joints, camera, joints, coarse)
        finer = self.upsampling(coarse)
        return assemble(camera, joints, coarse, finer, heatmap, self.smpl_regressor, seen.keypoints)

    def narrow(self, camera: Tensor, tokens: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the wide to the narrow width. TORE's camera shares the image's Linear, FastMETRO's has its own."""
        reduce_camera = self.reduce_memory if self.reduce_camera is None else self.reduce_camera
        return reduce_camera(camera), self.reduce_memory(tokens), self.reduce_queries(queries)

    def points(self, queries: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """Decoded queries (B, Q, narrow), camera feature (B, 1, narrow) -> joints (B, J, 3), vertices (B, Vc, 3)."""
        points = self.point_head(queries)
        if self.shape_regressor is None:
            joints = self.query_tokens.joints.shape[0]
            return points[:, :joints], points[:, joints:]
        return points, self.shape_regressor(queries, camera)[0]
