"""Least squares over a body's pose, shape and place: derivatives of skinned points, and a damped Gauss-Newton solver.

What is to be small comes as residual blocks: vertices that lie beside their targets, numbers that a prior expects
elsewhere, or what else a caller writes (see `ResidualBlock`).

The P unknowns of a step, in this order: for each of K joints a turn (3,) in radians about the frame's axes through the
joint, which carries the joint's whole subtree; S betas; the translation (3,); E numbers of the caller's own, such as a
camera's. All of it is batched, in meters and in the frame of the body model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from manopth.lbs import SkinnedModel
from manopth.rotations import axis_angle_to_matrix, rotation_6d_to_matrix

RIDGE = 1e-9  # of a step's mean curvature, for unknowns that no residual moves with
LEAST_WEIGHT = 1e-6  # by which the sums of a part are divided at least: its joint may move hardly any of the points
START_DAMPING, LEAST_DAMPING = 1e-3, 1e-9  # shares of each unknown's own curvature
RETRY_DAMPING = 1e-2  # at least, after a step that made a sample worse
FREE = 1.0  # a step that is damped less tells by its size whether a sample has converged
LONGEST_TURN = 1.0  # radians that a joint turns in one step


@dataclass(frozen=True)
class BodyState:
    """Where B bodies are. `rotations` are relative to each joint's parent, the root's relative to the frame."""

    rotations: Tensor  # (B, K, 3, 3)
    betas: Tensor  # (B, S)
    translation: Tensor  # (B, 3)
    extra: Tensor  # (B, E) the caller's own unknowns

    @classmethod
    def start(cls, rotations: Tensor, betas: Tensor, translation: Tensor, extra: Tensor | None = None) -> BodyState:
        """A state with or without further unknowns."""
        return cls(rotations, betas, translation, betas[:, :0] if extra is None else extra)

    @property
    def unknowns(self) -> int:
        """P."""
        return 3 * self.rotations.shape[1] + sum(x.shape[1] for x in (self.betas, self.translation, self.extra))

    @classmethod
    def joined(cls, states: Sequence[BodyState]) -> BodyState:
        """The samples of several states."""
        return cls(*(torch.cat([getattr(state, name) for state in states]) for name in cls.__dataclass_fields__))

    def of(self, samples: Tensor) -> BodyState:
        """Some of the samples: by their numbers, or a mask (B,)."""
        return BodyState(*(getattr(self, name)[samples] for name in self.__dataclass_fields__))

    def replaced(self, samples: Tensor, others: BodyState) -> BodyState:
        """These states with those of the numbers `samples` replaced by `others`."""
        pairs = [(getattr(self, name), getattr(others, name)) for name in self.__dataclass_fields__]
        return BodyState(*(mine.index_copy(0, samples, other) for mine, other in pairs))

    def where(self, chosen: Tensor, other: BodyState) -> BodyState:
        """This state for the samples that `chosen` (B,) names, `other` for the rest."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__]
        return BodyState(*(torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


class Points(NamedTuple):
    """Constants of N points of a skinned mesh: its vertices or some of them."""

    basis: Tensor  # (1 + S + 9 * (K - 1), 3, N) template, shape directions, pose directions
    weights: Tensor  # (K, N)
    subtree_weights: Tensor  # (K, N) those of each joint and of all joints that it carries


class Kinematics:
    """A skinned model prepared for derivatives, on the device of the model's arrays."""

    def __init__(self, model: SkinnedModel) -> None:
        self.model, self.num_betas = model, model.num_betas
        self.parents: list[int] = model.parents.tolist()
        count = len(self.parents)
        like = model.basis
        lineage = torch.eye(count, dtype=like.dtype, device=like.device)
        for joint, parent in enumerate(self.parents[1:], 1):
            lineage[joint] += lineage[parent]
        children, above = list(range(1, count)), self.parents[1:]
        self.neighbors = torch.zeros_like(lineage)  # (K, K) 1 between a joint and its parent
        self.neighbors[children + above, above + children] = 1
        self.lineage = lineage  # (K, K) 1 where the column is the row's joint or one of its ancestors
        joints = like[: 1 + self.num_betas] @ model.joint_regressor  # (1 + S, 3, K)
        self.rest = joints.permute(2, 1, 0).contiguous()  # (K, 3, 1 + S) of the coefficients 1, betas
        self.bones = torch.cat([self.rest[:1], self.rest[1:] - self.rest[self.parents[1:]]])
        self.axes = _cross_matrices(torch.eye(3, dtype=like.dtype, device=like.device))  # (3, 3, 3)

    @property
    def num_joints(self) -> int:
        """K."""
        return len(self.parents)

    def points(self, rows: Tensor | slice = slice(None)) -> Points:
        """The vertices of these rows."""
        weights = self.model.weights[:, rows].contiguous()
        return Points(self.model.basis[..., rows].contiguous(), weights, self.lineage.mT @ weights)

    def world(self, rotations: Tensor) -> Tensor:
        """Rotations (B, K, 3, 3) relative to the frame, of those relative to the parents."""
        found = [rotations[:, 0]]
        for joint in range(1, self.num_joints):
            found.append(found[self.parents[joint]] @ rotations[:, joint])
        return torch.stack(found, 1)

    def local(self, world: Tensor) -> Tensor:
        """The inverse of `world`."""
        return torch.cat([world[:, :1], world[:, self.parents[1:]].mT @ world[:, 1:]], 1)

    def pose(self, state: BodyState) -> Posed:
        """The bodies of a state."""
        return Posed(self, state)

    def moved(self, posed: Posed, step: Tensor) -> BodyState:
        """The state after a step (B, P); its rotations are exact ones."""
        state, joints = posed.state, self.num_joints
        sizes = [3 * joints, self.num_betas, 3, state.extra.shape[1]]
        turns, betas, translation, extra = step.split(sizes, 1)
        turns = turns.unflatten(1, (joints, 3))
        turns = turns * (LONGEST_TURN / turns.norm(dim=-1, keepdim=True).clamp_min(LONGEST_TURN))
        turned = posed.above.mT @ axis_angle_to_matrix(turns) @ posed.turn  # (B, K, 3, 3)
        exact = rotation_6d_to_matrix(torch.cat([turned[..., 0], turned[..., 1]], -1))
        return BodyState(exact, state.betas + betas, state.translation + translation, state.extra + extra)


class Posed:
    """Bodies of a state, and how their points move with the unknowns."""

    def __init__(self, kinematics: Kinematics, state: BodyState) -> None:
        self.kinematics, self.state = kinematics, state
        batch = len(state.rotations)
        self.turn = kinematics.world(state.rotations)  # (B, K, 3, 3)
        root = torch.eye(3, dtype=self.turn.dtype, device=self.turn.device).expand(batch, 1, 3, 3)
        self.above = torch.cat([root, self.turn[:, kinematics.parents[1:]]], 1)  # (B, K, 3, 3) of the parents
        chain = kinematics.lineage @ (self.above @ kinematics.bones).flatten(2)  # (B, K, 3 * (1 + S))
        self._chain = chain.unflatten(2, (3, -1))  # posed joints by coefficient
        self._shift = self._chain - self.turn @ kinematics.rest  # what each joint adds to the points that it carries
        self._shape = torch.cat([torch.ones_like(state.betas[:, :1]), state.betas], 1)  # (B, 1 + S)
        self._blends: dict[int, tuple[Points, Tensor, Tensor]] = {}

    @property
    def _at_origin(self) -> Tensor:
        """The posed skeleton (B, K, 3), without the translation."""
        return (self._chain @ self._shape[:, None, :, None]).squeeze(-1)

    def _blended(self, points: Points) -> tuple[Tensor, Tensor]:
        """The unposed points (B, 3, N) and their blended rotations (B, 3, 3, N)."""
        if id(points) not in self._blends:
            identity = torch.eye(3, dtype=self.turn.dtype, device=self.turn.device)
            correctives = (self.state.rotations[:, 1:] - identity).flatten(1)
            coefficients = torch.cat([self._shape, correctives], 1)
            unposed = (coefficients @ points.basis.flatten(1)).unflatten(1, (3, -1))
            blend = self.turn.flatten(2).mT @ points.weights  # (B, 9, N)
            self._blends[id(points)] = points, unposed, blend.unflatten(1, (3, 3))
        return self._blends[id(points)][1:]

    def points(self, points: Points) -> Tensor:
        """Where they are (B, 3, N), the translation added."""
        unposed, blend = self._blended(points)
        shift = (self._shift @ self._shape[:, None, :, None]).squeeze(-1) + self.state.translation[:, None]
        found = shift.mT @ points.weights  # (B, 3, N); weights of a vertex sum to 1
        for axis in range(3):
            found = torch.addcmul(found, blend[:, :, axis], unposed[:, None, axis])
        return found

    def shape_jacobian(self, points: Points) -> Tensor:
        """How the points move with the betas: (B, S, 3, N)."""
        count = self.kinematics.num_betas
        shapes = points.basis[1 : 1 + count].expand(len(self.turn), -1, -1, -1)
        return self._shape_shift(points) + _rotated(self._blended(points)[1], shapes)

    def _shape_shift(self, points: Points) -> Tensor:
        moved = self._shift[..., 1:].permute(0, 3, 2, 1)  # (B, S, 3, K)
        return (moved.flatten(1, 2) @ points.weights).unflatten(1, (-1, 3))

    def jacobian(self, points: Points) -> Tensor:
        """How the points move with every unknown: (B, P, 3, N)."""
        unposed, blend = self._blended(points)
        batch, joints = self.turn.shape[:2]
        betas, count = self.kinematics.num_betas, unposed.shape[-1]
        found = unposed.new_zeros(batch, self.state.unknowns, 3, count)
        turns = found[:, : 3 * joints].unflatten(1, (joints, 3))
        shift = (self._shift @ self._shape[:, None, :, None]).squeeze(-1)
        carried = (self.turn.flatten(1, 2) @ unposed).unflatten(1, (joints, 3)).add_(shift[..., None])
        carried.mul_(points.weights[:, None])
        arms = (self.kinematics.lineage.mT @ carried.flatten(2)).unflatten(2, (3, count))  # from each joint's place
        arms.addcmul_(self._at_origin[..., None], points.subtree_weights[:, None], value=-1)
        _fill_cross(turns, arms)
        correctives = self._corrective_motion(points)  # (B, 3 (K - 1), 3, N)
        found[:, 3 : 3 * joints] += _rotated(blend, correctives)
        found[:, 3 * joints : 3 * joints + betas] = self.shape_jacobian(points)
        for axis in range(3):
            found[:, 3 * joints + betas + axis, axis] = 1
        return found

    def _corrective_motion(self, points: Points) -> Tensor:
        """How the unposed points move with the turns of all joints but the root: (B, 3 (K - 1), 3, N)."""
        batch, joints = self.turn.shape[:2]
        directions = points.basis[1 + self.kinematics.num_betas :].reshape(joints - 1, 9, -1)
        numbers = self.rotation_jacobian()[:, 1:].transpose(0, 1).reshape(joints - 1, batch * 3, 9)
        moved = torch.bmm(numbers, directions).unflatten(1, (batch, 3))  # (K - 1, B, 3, 3 N)
        return moved.transpose(0, 1).reshape(batch, 3 * (joints - 1), 3, points.basis.shape[2])

    def rotation_jacobian(self) -> Tensor:
        """How the nine numbers of each joint's rotation relative to its parent move with its own turn: (B, K, 3, 9).

        No other unknown moves them.
        """
        return (self.above.mT[:, :, None] @ self.kinematics.axes @ self.turn[:, :, None]).flatten(3)


def _cross_matrices(vectors: Tensor) -> Tensor:
    """(..., 3, 3) whose product with a column is the cross product of `vectors` (..., 3) and it."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def _fill_cross(turns: Tensor, arms: Tensor) -> None:
    """Writes how points at `arms` (B, K, 3, N) from K joints move with turns about three axes: (B, K, 3, 3, N)."""
    for axis in range(3):
        after, last = (axis + 1) % 3, (axis + 2) % 3
        torch.neg(arms[:, :, last], out=turns[:, :, axis, after])
        turns[:, :, axis, last] = arms[:, :, after]


def _rotated(blend: Tensor, motion: Tensor) -> Tensor:
    """Motions (B, M, 3, N) of unposed points as those of posed ones, by their blended rotations (B, 3, 3, N)."""
    found = torch.empty_like(motion, memory_format=torch.contiguous_format)
    for row in range(3):
        target = found[:, :, row]
        torch.mul(motion[:, :, 0], blend[:, None, row, 0], out=target)
        for axis in (1, 2):
            target.addcmul_(motion[:, :, axis], blend[:, None, row, axis])
    return found


class ResidualBlock(Protocol):
    """M numbers of each sample that are to be small; a weight multiplies them before they come here."""

    def residual(self, posed: Posed) -> Tensor:
        """(B, M)."""

    def jacobian(self, posed: Posed) -> Tensor:
        """(B, P, M), the derivatives of `residual` by the unknowns."""


@dataclass(frozen=True)
class ShapePrior:
    """Betas are of mean 0 and variance 1; `noise` is the standard deviation of the other residuals."""

    noise: float

    def residual(self, posed: Posed) -> Tensor:
        """(B, S)."""
        return self.noise * posed.state.betas

    def jacobian(self, posed: Posed) -> Tensor:
        """(B, P, S)."""
        betas = posed.state.betas
        found = betas.new_zeros(len(betas), posed.state.unknowns, betas.shape[1])
        first = 3 * posed.kinematics.num_joints
        found[:, first : first + betas.shape[1]] = self.noise * torch.eye(betas.shape[1]).to(betas)
        return found


@dataclass(frozen=True)
class VertexBlock:
    """Points that are to lie at `target` (B, 3, N)."""

    points: Points
    target: Tensor

    def of(self, samples: Tensor) -> VertexBlock:
        """For some of the samples, by their numbers."""
        return VertexBlock(self.points, self.target[samples])

    def residual(self, posed: Posed) -> Tensor:
        """(B, 3 N) meters."""
        return (posed.points(self.points) - self.target).flatten(1)

    def jacobian(self, posed: Posed) -> Tensor:
        """(B, P, 3 N)."""
        return posed.jacobian(self.points).flatten(2)


class Solution(NamedTuple):
    """What the steps found."""

    state: BodyState
    cost: Tensor  # (B,) float64, the sum of squares of all residuals
    converged: Tensor  # (B,) bool: a further step would change the root mean square by a small share only


def gauss_newton(
    kinematics: Kinematics,
    state: BodyState,
    blocks: Sequence[ResidualBlock],
    *,
    steps: int,
    tolerance: float = 1e-3,
    free: Tensor | slice = slice(None),
) -> Solution:
    """At most `steps` steps, each of which lowers the sum of squares of every sample that it moves.

    free: the numbers of the unknowns that move, where others stay.

    A step that would not lower a sample's sum leaves that sample where it is and damps its next step. They end early
    when every sample has converged: its last step changed the root mean square by less than the share `tolerance`.
    """
    posed = kinematics.pose(state)
    residuals = [block.residual(posed) for block in blocks]
    cost = _cost(residuals)
    damping, converged = torch.full_like(cost, START_DAMPING), torch.zeros_like(cost, dtype=torch.bool)
    for _ in range(steps):
        step = state.betas.new_zeros(len(cost), state.unknowns)
        step[:, free] = _step([block.jacobian(posed)[:, free] for block in blocks], residuals, damping).to(step)
        tried = kinematics.pose(kinematics.moved(posed, step))
        residuals = [block.residual(tried) for block in blocks]
        found = _cost(residuals)
        better = found < cost  # False for a number that is not finite
        converged = ((found - cost).abs() <= 2 * tolerance * cost) & (damping < FREE)
        damping = torch.where(better, damping / 10, (damping * 10).clamp_min(RETRY_DAMPING)).clamp_min(LEAST_DAMPING)
        cost = torch.where(better, found, cost)
        if better.all():
            posed = tried
        else:
            posed = kinematics.pose(tried.state.where(better, posed.state))
            residuals = [block.residual(posed) for block in blocks]
        if converged.all():
            break
    return Solution(posed.state, cost, converged)


def _cost(residuals: list[Tensor]) -> Tensor:
    """(B,) float64."""
    return torch.stack([residual.double().square().sum(1) for residual in residuals]).sum(0)


def _step(jacobians: list[Tensor], residuals: list[Tensor], damping: Tensor) -> Tensor:
    """The damped step (B, U) of the free unknowns, float64; not finite where the equations have no solution."""
    curvature = torch.stack([(jacobian @ jacobian.mT).double() for jacobian in jacobians]).sum(0)  # (B, P, P)
    pairs = zip(jacobians, residuals, strict=True)
    slope = torch.stack([(jacobian @ residual[..., None]).double() for jacobian, residual in pairs]).sum(0)
    diagonal = curvature.diagonal(dim1=1, dim2=2)
    extra = damping[:, None] * diagonal + RIDGE * diagonal.mean(1, keepdim=True)
    factor, wrong = torch.linalg.cholesky_ex(curvature + torch.diag_embed(extra))
    step = -torch.cholesky_solve(slope, factor).squeeze(-1)
    return torch.where(wrong[:, None] == 0, step, torch.nan)
