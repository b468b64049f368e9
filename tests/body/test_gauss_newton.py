"""Derivatives of skinned points against automatic differentiation, and the solver on problems with a known answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from manopth.lbs import SkinnedModel, linear_blend_skinning
from manopth.rotations import axis_angle_to_matrix
from tore.body import load_body
from tore.body.gauss_newton import BodyState, Kinematics, Posed, ShapePrior, VertexBlock, gauss_newton

ROWS = slice(None, None, 97)


@pytest.fixture(scope="module")
def model() -> SkinnedModel:
    return load_body("hand", "synthetic").skinned.double()


@pytest.fixture(scope="module")
def kinematics(model: SkinnedModel) -> Kinematics:
    return Kinematics(model)


def state_of(model: SkinnedModel, seed: int = 0, batch: int = 2, extra: int = 0) -> BodyState:
    random = torch.Generator().manual_seed(seed)
    numbers = torch.randn(batch, model.num_joints * 3 + 13 + extra, generator=random, dtype=torch.float64)
    pose, betas, place, more = numbers.split([3 * model.num_joints, 10, 3, extra], 1)
    return BodyState(axis_angle_to_matrix(pose.unflatten(1, (-1, 3)) * 0.7), betas, place, more)


def derivatives(kinematics: Kinematics, state: BodyState, value: Callable[[Posed], Tensor]) -> Tensor:
    """By automatic differentiation at no step: (B, P, ...)."""
    nothing = torch.zeros(len(state.betas), state.unknowns, dtype=torch.float64)
    posed = kinematics.pose(state)

    def after(step: Tensor) -> Tensor:
        return value(kinematics.pose(kinematics.moved(posed, step)))

    found = torch.autograd.functional.jacobian(after, nothing)
    own = torch.stack([found[sample, ..., sample, :] for sample in range(len(nothing))])
    return own.movedim(-1, 1)


def test_points_are_those_of_the_skinning(model: SkinnedModel, kinematics: Kinematics) -> None:
    state = state_of(model)
    vertices, _ = linear_blend_skinning(state.rotations, state.betas, model)
    points = kinematics.pose(state).points(kinematics.points())
    torch.testing.assert_close(points.mT, vertices + state.translation[:, None])


def test_derivatives_are_those_of_autograd(model: SkinnedModel, kinematics: Kinematics) -> None:
    state, points = state_of(model, extra=2), kinematics.points(ROWS)
    posed = kinematics.pose(state)
    close = {"rtol": 1e-6, "atol": 1e-7}  # `moved` adds 1e-8 to the numbers of a turn
    found = derivatives(kinematics, state, lambda moved: moved.points(points))
    torch.testing.assert_close(posed.jacobian(points), found, **close)
    found = derivatives(kinematics, state, lambda moved: moved.state.rotations.flatten(2))  # (B, P, K, 9)
    turns = found[:, : 3 * model.num_joints].unflatten(1, (model.num_joints, 3))
    own = torch.stack([turns[:, joint, :, joint] for joint in range(model.num_joints)], 1)
    torch.testing.assert_close(posed.rotation_jacobian(), own, **close)
    assert found.abs().sum() == pytest.approx(own.abs().sum())  # no other joint's turn, no beta


@dataclass
class Line:
    """The caller's own unknown and the first beta are to add up to 3."""

    def residual(self, posed: Posed) -> Tensor:
        return posed.state.extra + posed.state.betas[:, :1] - 3

    def jacobian(self, posed: Posed) -> Tensor:
        found = posed.state.betas.new_zeros(len(posed.state.betas), posed.state.unknowns, 1)
        found[:, -1] = 1
        found[:, 3 * posed.kinematics.num_joints] = 1
        return found


def block_of(kinematics: Kinematics, goal: BodyState) -> VertexBlock:
    """Some points of a hand, which are to lie where they do in another one."""
    points = kinematics.points(slice(None, None, 8))
    return VertexBlock(points, kinematics.pose(goal).points(points))


def test_points_reach_their_targets(model: SkinnedModel, kinematics: Kinematics) -> None:
    goal = state_of(model, 1)
    start = BodyState.start(goal.rotations, goal.betas * 0, goal.translation * 0, torch.zeros(2, 1).double())
    away = 0.3 * torch.randn(2, start.unknowns, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    start, block = kinematics.moved(kinematics.pose(start), away), block_of(kinematics, goal)
    found = gauss_newton(kinematics, start, [block, ShapePrior(1e-5), Line()], steps=30)
    assert found.converged.all() and block.residual(kinematics.pose(found.state)).abs().max() < 1e-6, "meters"
    torch.testing.assert_close(found.state.betas, goal.betas, rtol=0, atol=2e-3)
    torch.testing.assert_close(found.state.extra + found.state.betas[:, :1], torch.full((2, 1), 3.0).double())
    exact = found.state.rotations @ found.state.rotations.mT
    torch.testing.assert_close(exact, torch.eye(3, dtype=torch.float64).expand_as(exact))


def test_no_sample_gets_worse_and_solved_ones_are_told(model: SkinnedModel, kinematics: Kinematics) -> None:
    near, far = state_of(model, 1), state_of(model, 2)
    block = block_of(kinematics, near)
    state = near.replaced(torch.tensor([1]), far.of(torch.tensor([1])))
    before = block.residual(kinematics.pose(state)).square().sum(1)
    one = gauss_newton(kinematics, state, [block], steps=1)
    assert one.cost[1] < before[1]
    assert not one.converged[1]
    nothing = gauss_newton(kinematics, state, [block], steps=0)
    torch.testing.assert_close(nothing.state.rotations, state.rotations, rtol=0, atol=0)


def test_only_free_unknowns_move(model: SkinnedModel, kinematics: Kinematics) -> None:
    """A finger that was turned is turned back by its own unknowns; all others stay to the bit."""
    state, points = state_of(model), kinematics.points()
    block = VertexBlock(points, kinematics.pose(state).points(points))
    turns = torch.zeros(2, state.unknowns, dtype=torch.float64)
    turns[:, 6:9] = 0.3
    wrong = kinematics.moved(kinematics.pose(state), turns)
    found = gauss_newton(kinematics, wrong, [block], steps=8, free=torch.arange(6, 9)).state
    torch.testing.assert_close(found.rotations, state.rotations)
    others = torch.arange(model.num_joints) != 2
    torch.testing.assert_close(found.rotations[:, others], wrong.rotations[:, others], rtol=0, atol=1e-12)
    assert torch.equal(found.betas, wrong.betas) and torch.equal(found.translation, wrong.translation)
