"""Starts that are not published: networks that predict a resting body before their first step.

With the published start the vertex tokens are noise, and for thousands of steps the mesh is worse than the mean body. A
short run from scratch saves these steps. Structure and file layout of the network stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tore.modeling.fastmetro import FastMETRO
from tore.modeling.metro import METRO
from tore.modeling.shape_regressor import ShapeRegressor

WAVE_SPREAD = 3.0  # radians per metre: vertices a decimetre apart have similar tokens
DRAWS = 32  # random joint features over which the vertex head is fitted
RIDGE = 1e-3  # of the mean squared feature
CAMERA_SHRINK = 0.1  # of the camera head's weights, whose random start would outweigh the bias


def start_from_template(model: FastMETRO | METRO, vertices: Tensor) -> None:
    """Makes the untrained shape regressor give about the coarse mesh `vertices` (Vc, 3) whatever the joints say.

    The vertex tokens become random waves over the template, so that neighbours in space are alike, and the vertex
    head is fitted to the mesh by least squares over random joint features. Draws from torch's generator.

    Raises ValueError for a network without geometry reduction, which has no shape regressor.
    """
    regressor = model.shape_regressor
    if regressor is None:
        raise ValueError("--template_start is for networks with geometry reduction; this one has no shape regressor")
    vertices = vertices.to(regressor.vertex_tokens)
    with torch.no_grad():
        regressor.vertex_tokens.copy_(random_waves(vertices, regressor.vertex_tokens.shape[1]))
        _fit_head(regressor, vertices)


def random_waves(points: Tensor, width: int) -> Tensor:
    """Points (N, 3) in metres -> (N, width) sines and cosines of unit variance in random directions."""
    directions = torch.randn(3, width // 2, dtype=points.dtype) * WAVE_SPREAD
    phase = points @ directions.to(points.device) + 2 * math.pi * torch.rand(width // 2).to(points)
    return math.sqrt(2) * torch.cat((phase.sin(), phase.cos()), dim=1)


def _fit_head(regressor: ShapeRegressor, vertices: Tensor) -> None:
    """Ridge regression from the decoded vertex features to `vertices`, all draws together."""
    head, training = regressor.vertex_head, regressor.training
    regressor.eval()
    width = head.in_features
    joints = torch.randn(DRAWS, len(regressor.position_code), width).to(vertices)
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    regressor(joints, torch.randn(DRAWS, 1, width).to(vertices))
    handle.remove()
    regressor.train(training)
    features = seen[0].flatten(0, 1).double()  # (draws Vc, width)
    aims = vertices.double().repeat(DRAWS, 1)  # (draws Vc, 3)
    middle, aim = features.mean(0), aims.mean(0)
    features, aims = features - middle, aims - aim
    gram = features.T @ features
    gram += RIDGE * gram.diagonal().mean() * torch.eye(width).to(gram)
    weight = torch.linalg.solve(gram, features.T @ aims).T  # (3, width)
    head.weight.copy_(weight)
    head.bias.copy_(aim - weight @ middle)


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
