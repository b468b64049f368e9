"""Starts that are not published: networks that predict a resting body before their first step.

With the published start the vertex tokens are noise, and for thousands of steps the mesh is worse than the mean body. A
short run from scratch saves these steps. Structure and file layout of the network stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tore.modeling.backbones import STRIDE
from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO
from tore.modeling.position_code import USUAL_GRID
from tore.modeling.shape_regressor import ShapeRegressor

WAVE_SPREAD = 3.0  # radians per metre: vertices a decimetre apart have similar tokens
DRAWS = 32  # random joint features over which the vertex head is fitted
PICTURES = 4  # of noise, over which a network without a shape regressor is
RIDGE = 1e-3  # of the mean squared feature
CAMERA_SHRINK = 0.1  # of the camera head's weights, whose random start would outweigh the bias


def start_from_template(model: FastMETRO | METRO, vertices: Tensor) -> None:
    """Makes an untrained network give about the coarse mesh `vertices` (Vc, 3) whatever it sees.

    The vertex tokens become random waves over the template, so that neighbours in space are alike, and the head that
    reads the vertices is fitted to the mesh by least squares over random features. With geometry reduction both are the
    shape regressor's, without it FastMETRO's queries and point head. Draws from torch's generator.

    Raises ValueError for METRO without geometry reduction, whose vertices are no learned tokens.
    """
    regressor = model.shape_regressor
    if regressor is not None:
        _start(regressor, regressor.vertex_tokens, regressor.vertex_head, vertices, lambda: _random_joints(regressor))
    elif isinstance(model, FastMETRO) and model.query_tokens.vertices is not None:
        _start(model, model.query_tokens.vertices, model.point_head, vertices, lambda: _random_pictures(model))
    else:
        raise ValueError("--template_start is for networks with vertex tokens; METRO without token reduction has none")


def random_waves(points: Tensor, width: int) -> Tensor:
    """Points (N, 3) in metres -> (N, width) sines and cosines of unit variance in random directions."""
    directions = torch.randn(3, width // 2, dtype=points.dtype) * WAVE_SPREAD
    phase = points @ directions.to(points.device) + 2 * math.pi * torch.rand(width // 2).to(points)
    return math.sqrt(2) * torch.cat((phase.sin(), phase.cos()), dim=1)


def _start(room: nn.Module, tokens: Tensor, head: nn.Linear, vertices: Tensor, run: Callable[[], None]) -> None:
    """Sets the room's `tokens`, then fits `head` to `vertices` by ridge regression over all that it reads in `run`."""
    vertices = vertices.to(tokens)
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    training = room.training
    room.eval()
    with torch.no_grad():
        tokens.copy_(random_waves(vertices, tokens.shape[1]))
        run()
    room.train(training)
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


def _random_pictures(model: FastMETRO) -> None:
    """Runs the network on pictures of noise."""
    side = STRIDE * USUAL_GRID[0]
    model(torch.randn(PICTURES, 3, side, side).to(model.camera_token))


def start_camera(model: FastMETRO | METRO, camera: Sequence[float]) -> None:
    """Makes the untrained camera (scale, x, y) start near `camera`: a person who fills most of the crop has 0.9, 0, 0.

    Raises ValueError for a network whose camera is read off the points.
    """
    head = getattr(model, "camera_head", None)
    if not isinstance(head, torch.nn.Linear):
        raise ValueError("--camera_start is for networks whose camera is one Linear; this one reads it off its points")
    with torch.no_grad():
        head.bias.copy_(torch.tensor(camera))
        head.weight.mul_(CAMERA_SHRINK)
