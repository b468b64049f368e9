"""From vertices to body parameters: pose, shape and place of a skinned body model whose mesh is given.

First two rounds in closed form: each joint's part of the mesh is turned onto its target (weighted Kabsch), then shape
and translation follow linearly. Then Gauss-Newton steps on a part of the vertices, pose correctives included: most of
them on every second one of these, the last on all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from manopth.rotations import nearest_orthogonal
from manopth.tensors import full_precision
from tore.body.body_model import BodyModel
from tore.body.gauss_newton import (
    LEAST_WEIGHT,
    BodyState,
    Kinematics,
    Posed,
    ResidualBlock,
    ShapePrior,
    VertexBlock,
    gauss_newton,
)
from tore.body.restarts import restarted
from tore.body.smooth_noise import IndependentBlock, noise_level, smooth_noise

CLEAN = 0.001  # meters that given vertices lie beside a body of the model
NETWORK = {"body": 0.1, "hand": 0.03}  # of a network's, more than they lie beside it: neighbors share their errors
USED_VERTICES = 800  # about so many take part in the Gauss-Newton steps
ROUNDS, STEPS, LAST_STEPS = 2, 4, 2
PASSES, MORE_STEPS = 20, 3  # at most, of further steps for the samples that have not converged, such as extreme poses
HOLD = 0.3  # of a part's own size, by which it is held to its neighbors' rotation
TOO_LARGE = 20  # times the model's size: not meters
MILLIMETERS = 1000


class FittedParameters(NamedTuple):
    """`body(pose, betas) + translation` lies closest to the vertices."""

    pose: Tensor  # (B, 3 K) axis-angle in radians, as the body model takes it, root first
    betas: Tensor  # (B, S)
    translation: Tensor  # (B, 3) meters
    residual_mm: Tensor  # (B,) mean distance of the given vertices from those of the body, millimeters
    smooth: Tensor  # (B,) bool: whether the body is the likeliest one for noise that neighboring vertices share


@torch.no_grad()
@full_precision
def fit_parameters(
    body: BodyModel, vertices: Tensor, *, noise: float = CLEAN, smooth: bool | None = None
) -> FittedParameters:
    """Pose, shape and translation of the bodies whose meshes (B, V, 3), in meters, lie closest to `vertices`.

    noise: about how far, in meters, the vertices lie beside any body of the model; the larger it is, the more betas
    are held near 0 (`NETWORK[body.kind]` for a network's output). smooth: whether neighboring vertices may share their
    noise; where residuals say that they do, the body is the likeliest one for such noise (`tore.body.smooth_noise`),
    not the closest. None: only where residuals are marked and very smooth, which is where it pays.
    The frame is that of `vertices`, in which the body stands as pose and translation say. Works on the body's device;
    results are float32 and carry no gradient.
    Raises ValueError for another shape, numbers that are not finite, and lengths that cannot be meters.
    """
    target, middle = _checked(body, vertices)
    kinematics = Kinematics(body.skinned)
    stride = _stride(body)
    rows, some = slice(None, None, stride), slice(None, None, 2 * stride)
    block, half = (VertexBlock(kinematics.points(part), target[..., part].contiguous()) for part in (rows, some))
    prior = ShapePrior(noise)
    state = _solved(kinematics, closed_form(kinematics, half, noise), half, prior)
    state, level = _finished(body, kinematics, state, block, prior, smooth)
    mesh = body.skin(state.rotations, state.betas)[0] + state.translation[:, None]
    residual = (mesh - target.mT).norm(dim=-1).mean(1) * MILLIMETERS
    pose, place = body.pose_of(state.rotations), state.translation + middle
    return FittedParameters(pose, state.betas, place, residual, level > 0)


def _stride(body: BodyModel) -> int:
    """Every how-manyth vertex is used."""
    return max(1, body.skinned.basis.shape[2] // USED_VERTICES)


def _solved(kinematics: Kinematics, state: BodyState, block: VertexBlock, prior: ShapePrior) -> BodyState:
    """The state after Gauss-Newton steps; the few samples that need more of them get more."""
    steps = STEPS
    left = torch.arange(len(block.target), device=block.target.device)
    for _ in range(PASSES):
        found = gauss_newton(kinematics, state.of(left), [block.of(left), prior], steps=steps)
        state = state.replaced(left, found.state)
        left, steps = left[~found.converged], MORE_STEPS
        if not len(left):
            break
    return restarted(kinematics, state, block, prior)


def _finished(
    body: BodyModel,
    kinematics: Kinematics,
    state: BodyState,
    block: VertexBlock,
    prior: ShapePrior,
    smooth: bool | None,
) -> tuple[BodyState, Tensor]:
    """The state after the last steps, and how smooth (B,) the noise was taken to be: 0 for not at all."""
    level = block.target.new_zeros(len(block.target), dtype=torch.long)
    if smooth is not False:
        residual = block.residual(kinematics.pose(state)).unflatten(1, (3, -1))
        level = noise_level(body, _stride(body), residual, told=prior.noise, sure=bool(smooth))
    for alike in (False, True):
        which = ((level > 0) == alike).nonzero().squeeze(1)
        if len(which):
            part: ResidualBlock = block.of(which)
            if alike:
                part = IndependentBlock(block.of(which), smooth_noise(body, _stride(body)), level[which])
            found = gauss_newton(kinematics, state.of(which), [part, prior], steps=LAST_STEPS)
            state = state.replaced(which, found.state)
    return state, level


def _checked(body: BodyModel, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """The vertices around their middle (B, 3, V), and that middle (B, 3), both float32 on the body's device."""
    like = body.skinned.basis
    if vertices.ndim != 3 or vertices.shape[1:] != (like.shape[2], 3):
        raise ValueError(f"vertices have shape {tuple(vertices.shape)}, not (B, {like.shape[2]}, 3)")
    points = vertices.detach().to(like.device).double()
    if not bool(torch.isfinite(points).all()):
        which = (~torch.isfinite(points).flatten(1).all(1)).nonzero()[0].item()
        raise ValueError(f"vertices of sample {which} are not finite: leave it out")
    middle = points.mean(1)
    centered = points - middle[:, None]
    size, own = centered.flatten(1).abs().amax(1), float(like[0].std(1).norm())
    if len(size) and float(size.max()) > TOO_LARGE * own:
        raise ValueError(
            f"vertices of sample {int(size.argmax())} lie up to {float(size.max()):g} from their middle, which is no "
            "body in meters: divide by 1000 where they are millimeters"
        )
    return centered.mT.to(like.dtype).contiguous(), middle.to(like.dtype)


def closed_form(kinematics: Kinematics, block: VertexBlock, noise: float) -> BodyState:
    """A first estimate, to some millimeters, from rotations of the joints' parts and a linear solution of the rest."""
    plain = block.points.basis.clone()
    plain[1 + kinematics.num_betas :] = 0
    block = VertexBlock(block.points._replace(basis=plain), block.target)
    target, points = block.target, block.points
    batch, count = len(target), kinematics.num_betas
    squared = points.weights.square()  # (K, N)
    turns = torch.eye(3).to(target).expand(batch, kinematics.num_joints, 3, 3)
    source = points.basis[:1].expand(batch, -1, -1)  # (B, 3, N)
    state = BodyState.start(turns, target.new_zeros(batch, count), target.new_zeros(batch, 3))
    for _ in range(ROUNDS):
        turns = _part_rotations(kinematics, source, target, squared, turns)
        state = BodyState.start(kinematics.local(turns), state.betas, state.translation)
        posed = kinematics.pose(state)
        state = _shaped(posed, block, noise)
        source = kinematics.pose(state).points(points)
    return state


def _part_rotations(kinematics: Kinematics, source: Tensor, target: Tensor, weights: Tensor, turns: Tensor) -> Tensor:
    """World rotations (B, K, 3, 3) after each weighted part of `source` was turned onto `target`, both (B, 3, N).

    turns: those of the source. A part that is about as thick as long tells little of its rotation, so that each
    is held a little to the mean of its neighbors in the tree.
    """
    total = weights.sum(1).clamp_min(LEAST_WEIGHT)[:, None, None]  # (K, 1, 1)
    products = (target[:, :, None] * source[:, None]).flatten(1, 2)  # (B, 9, N)
    squares = source.square().sum(1, keepdim=True)
    moments = torch.cat([products, target, source, squares], 1) @ weights.mT  # (B, 16, K)
    both, goal, own, spread = moments.mT.split([9, 3, 3, 1], 2)
    covariance = both.unflatten(2, (3, 3)) - goal[..., None] * own[:, :, None] / total  # (B, K, 3, 3)
    found = nearest_orthogonal(covariance, reflections=False) @ turns
    neighbors = kinematics.neighbors / kinematics.neighbors.sum(1, keepdim=True)
    around = (neighbors @ found.flatten(2)).unflatten(2, (3, 3)) @ turns.mT
    size = spread[..., None] - own.square().sum(2)[..., None, None] / total
    return nearest_orthogonal(covariance + HOLD * size * around, reflections=False) @ turns


def _shaped(posed: Posed, block: VertexBlock, noise: float) -> BodyState:
    """The state with the betas and the translation that fit best while the rotations stay."""
    state = posed.state
    moved = posed.shape_jacobian(block.points)  # (B, S, 3, N)
    batch, betas, _, count = moved.shape
    place = torch.eye(3).to(moved)[:, :, None].expand(batch, 3, 3, count)
    rows = torch.cat([moved, place], 1).flatten(2)  # (B, S + 3, 3 N)
    missing = -block.residual(posed)[..., None] + rows[:, :betas].mT @ state.betas[..., None]
    prior = torch.tensor([noise**2] * betas + [0.0] * 3).to(moved)
    equations = (rows @ rows.mT + torch.diag(prior)).double()
    found = torch.linalg.solve(equations, (rows @ missing).double()).squeeze(-1).to(moved)
    return BodyState.start(state.rotations, found[:, :betas], state.translation + found[:, betas:])
