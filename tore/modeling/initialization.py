"""Where networks trained from scratch may start: a resting body, a camera, a pre-trained image side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manopth.tensors import WithConstants
from tore.body.identity import BodyIdentity
from tore.files import read_tensors, write_tensors
from tore.image_format import STRIDE
from tore.modeling.backbones import Backbone
from tore.modeling.checkpoint_contents import checkpoint_file
from tore.modeling.checkpoints import read_checkpoint
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.image_token_pruning import TokenReduction
from tore.modeling.metro import METRO
from tore.modeling.neural_shape_regressor import ShapeRegressor
from tore.modeling.recorded_body import refuse_another_body, trained_on_of

WAVE_SPREAD = 3.0  # radians per meter: vertices a decimetre apart have similar tokens
DRAWS = 32  # random joint features over which the vertex head is fitted
IMAGES = 4  # of noise, over which a network without a shape regressor is
RIDGE = 1e-3  # of the mean squared feature
POINT_SHRINK = 0.1  # of the point head's weights, likewise
CAMERA_SHRINK = 0.1  # of the camera head's weights, whose random start would outweigh the bias


def start_from_template(model: FastMETRO | METRO, vertices: Tensor, joints: Tensor | None = None) -> None:
    """Makes an untrained network give about the coarse mesh `vertices` (Vc, 3) whatever it sees.

    With keypoint queries it gives about the `joints` (J, 3) too, which must be there.

    The vertex tokens become random waves over the template, so that neighbors in space are alike, and the head that
    reads the vertices is fitted to the mesh by least squares over random features. With geometry reduction both are the
    shape regressor's, without it FastMETRO's queries and point head. Draws from torch's generator.

    Raises ValueError for METRO without geometry reduction, whose vertices are no learned tokens.
    """
    regressor = model.shape_regressor
    if isinstance(model, FastMETRO) and model.keypoint_queries is not None:
        assert joints is not None, "keypoint queries correct resting joints"
        _start_at_rest(model, vertices, joints)
    elif regressor is not None:
        _start(regressor, regressor.vertex_tokens, regressor.vertex_head, vertices, lambda: _random_joints(regressor))
    elif isinstance(model, FastMETRO) and model.query_tokens.vertices is not None:
        _start(model, model.query_tokens.vertices, model.point_head, vertices, lambda: _random_images(model))
    else:
        raise ValueError(
            "--template_initialization is for networks with vertex tokens; METRO without token reduction has none"
        )


@torch.no_grad()
def _start_at_rest(model: FastMETRO, vertices: Tensor, joints: Tensor) -> None:
    """With keypoint queries, whose mesh follows the joints: joints at rest, and nothing added to the mesh."""
    assert model.keypoint_queries is not None
    model.keypoint_queries.resting_joints.copy_(joints)
    model.point_head.weight.mul_(POINT_SHRINK)
    model.point_head.bias.zero_()
    tokens = model.query_tokens.vertices
    if (regressor := model.shape_regressor) is not None:
        tokens = regressor.vertex_tokens
        nn.init.zeros_(regressor.vertex_head.weight)
        nn.init.zeros_(regressor.vertex_head.bias)
    assert tokens is not None
    tokens.copy_(random_waves(vertices.to(tokens), tokens.shape[1]))


def random_waves(points: Tensor, width: int) -> Tensor:
    """Points (N, 3) in meters -> (N, width) sines and cosines of unit variance in random directions."""
    directions = torch.randn(3, width // 2, dtype=points.dtype) * WAVE_SPREAD
    phase = points @ directions.to(points.device) + 2 * math.pi * torch.rand(width // 2).to(points)
    return math.sqrt(2) * torch.cat((phase.sin(), phase.cos()), dim=1)


def _start(module: nn.Module, tokens: Tensor, head: nn.Linear, vertices: Tensor, run: Callable[[], None]) -> None:
    """Sets the `tokens`, then fits `head` to `vertices` by ridge regression over all that it reads in `run`."""
    vertices = vertices.to(tokens)
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    training = module.training
    module.eval()
    with torch.no_grad():
        tokens.copy_(random_waves(vertices, tokens.shape[1]))
        run()
    module.train(training)
    handle.remove()
    features = seen[0][:, -len(vertices) :].flatten(0, 1).double()  # (draws Vc, width), vertices behind joints if any
    aims = vertices.double().repeat(len(seen[0]), 1)  # (draws Vc, 3)
    middle, aim = features.mean(0), aims.mean(0)
    features, aims = features - middle, aims - aim
    gram = features.T @ features
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    weight = torch.linalg.solve(gram, features.T @ aims).T  # (3, width)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(aim - weight @ middle)


def _random_joints(regressor: ShapeRegressor) -> None:
    """Runs the shape regressor on random joint and camera features."""
    width, like = regressor.vertex_head.in_features, regressor.vertex_tokens
    joints = torch.randn(DRAWS, len(regressor.position_code), width).to(like)
    regressor(joints, torch.randn(DRAWS, 1, width).to(like))


def _random_images(model: FastMETRO) -> None:
    """Runs the network on images of noise."""
    side = model.config.image_size
    model(torch.randn(IMAGES, 3, side, side).to(model.camera_token))


def start_camera(model: FastMETRO | METRO, camera: Sequence[float]) -> None:
    """Makes the untrained camera (scale, x, y) start near `camera`: a person who fills most of the crop has 0.9, 0, 0.

    Raises ValueError for a network whose camera is read off the points.
    """
    head = getattr(model, "camera_head", None)
    if isinstance(model, FastMETRO) and model.keypoint_queries is not None:
        raise ValueError("--camera_initialization: it starts as the keypoints say; leave it out")
    if not isinstance(head, torch.nn.Linear):
        raise ValueError(
            "--camera_initialization is for networks whose camera is one Linear; this one reads it off its points"
        )
    with torch.no_grad():
        head.bias.copy_(torch.tensor(camera))
        head.weight.mul_(CAMERA_SHRINK)


PARTS_TO_LOAD = ("backbone", "image_projection", "token_reduction")
REST = "rest"  # every other part
PREFIXES = tuple(f"{part}." for part in PARTS_TO_LOAD)


class WarmUpPrediction(NamedTuple):
    """Each token's joint."""

    heatmap: Tensor  # (B, M, h*w), rows sum to 1
    joints_2d: Tensor  # (B, M, 2) in [-1, 1] of the crop
    joints_3d: Tensor  # (B, M, 3) meters, relative to the root


class WarmUpNetwork(WithConstants):
    """image (B, 3, H, W) -> `WarmUpPrediction`; its parts are FastMETRO's, by the same names."""

    joint_of: Tensor

    def __init__(self, *, backbone: Backbone, width: int, tokens: int, joints: int, size: int) -> None:
        """Fresh projection, token reduction and head.

        Args:
            backbone: of any stride-32 feature map.
            width: of the tokens.
            tokens: how many there are, M; token m is joint m modulo the joints.
            joints: labeled joints.
            size: side in pixels that square images are brought to first, a multiple of the stride.
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
        self.keep_constant("joint_of", torch.arange(tokens) % joints)

    def forward(self, images: Tensor) -> WarmUpPrediction:
        """images (B, 3, H, W), normalized as its configuration says."""
        if images.shape[-1] != self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        features = self.image_projection(self.backbone(images))  # (B, width, h, w)
        tokens, heatmap = self.token_reduction(features)  # (B, M, width), (B, M, h*w)
        joints_2d = heatmap @ cell_centers((features.shape[2], features.shape[3])).to(heatmap)  # (B, M, 2)
        joints_3d = torch.einsum("bmc,mcx->bmx", tokens, self.weight) + self.bias
        return WarmUpPrediction(heatmap, joints_2d, joints_3d)


def cell_centers(grid: tuple[int, int]) -> Tensor:
    """Middles (h*w, 2) of a feature map's cells as x, y in [-1, 1] of the crop, row by row."""
    rows, columns = ((torch.arange(count) + 0.5) / count * 2 - 1 for count in grid)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), dim=-1).flatten(0, 1)


def save_image_side(network: WarmUpNetwork, path: str | Path) -> None:
    """Writes the parts that a FastMETRO has too, under their names."""
    write_tensors({n: v for n, v in network.state_dict().items() if n.startswith(PREFIXES)}, path)


def load_parts(
    model: FastMETRO | METRO | WarmUpNetwork, path: str | Path, parts: Sequence[str] = PARTS_TO_LOAD
) -> None:
    """Starts parts of a network from a file: a warm-up's, or that of a whole network.

    Args:
        model: METRO, which shares only the backbone with pre-training, takes only that.
        path: what `save_image_side` wrote, or an official or own checkpoint.
        parts: of `PARTS_TO_LOAD`, and `REST` for all that lies behind the token reduction: with it, and without the
            token reduction, networks that differ in their token reduction alone start alike.

    Raises FileNotFoundError, or ValueError naming what does not fit; with `REST` that is also another body model, of
    which the other parts know nothing.
    """
    chosen = (PARTS_TO_LOAD[0],) if isinstance(model, METRO) else parts
    held, trained_on = _entries(path, model)
    if REST in chosen:
        refuse_another_body(trained_on, trained_on_of(model), path)
    entries = {name: value for name, value in held.items() if _part(name) in chosen}
    expected = {name: value for name, value in model.state_dict().items() if _part(name) in chosen}
    wrong = sorted(
        name
        for name in expected.keys() | entries.keys()
        if name not in expected or name not in entries or expected[name].shape != entries[name].shape
    )
    if wrong:
        raise ValueError(
            f"{path} does not fit in {len(wrong)} entries ({', '.join(wrong[:3])}): take a file of the network's "
            "backbone, --model_dim_1 and --keep_ratio, or fewer parts of it with --pretrained_parts"
        )
    model.load_state_dict(entries, strict=False)


def _part(name: str) -> str:
    first = name.split(".")[0]
    return first if first in PARTS_TO_LOAD else REST


def _entries(
    path: str | Path, model: FastMETRO | METRO | WarmUpNetwork
) -> tuple[dict[str, Tensor], BodyIdentity | None]:
    """The entries of a file, and the body model that they were trained on; the image side knows none."""
    content = read_tensors(checkpoint_file(path))
    if isinstance(content, dict) and all(str(name).startswith(PREFIXES) for name in content):
        return content, None
    known = {} if isinstance(model, WarmUpNetwork) else {"arch": model.config.arch}
    checkpoint = read_checkpoint(path, **known)
    return checkpoint.state, checkpoint.trained_on
