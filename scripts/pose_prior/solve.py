"""Brings drawn angles to poses that hold what they should hold, stand on what they should stand on, and are free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pose_prior.families import Group
from pose_prior.language import PAIRED, POINTS, angles_pose, drawn

from tore.body.joints import SMPL_FLIP
from tore.geometry.rotations import axis_angle_to_matrix
from tore.synthetic.body_contact import LEVELS, PARENTS, BodyBalls
from tore.synthetic.free_body import Array
from tore.synthetic.joint_limits import within_limits

STEPS, COLLIDING_FROM, RATE = 100, 40, 0.025
REFRESH, SOON = 10, 0.012  # steps between, and meters
PIN, GROUND, MEET, KEEP = 60.0, 60.0, 60.0, 0.12
# How much each joint is kept as drawn.
HELD = torch.tensor([40.0, 1, 1, 12, 1, 1, 12, 0.5, 0.5, 12, 1, 1, 8, 3, 3, 8, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 4, 4])


def points_of(name: str) -> list[str]:
    """A point's own name, or both sides' where none is given."""
    return [f"l_{name}", f"r_{name}"] if name in PAIRED else [name]


def point_place(name: str) -> tuple[int, np.ndarray]:
    """Joint and place of a point, "l_palm" or "head"."""
    side, _, base = name.partition("_")
    if side not in ("l", "r"):
        joint, at = POINTS[name]
        return joint, np.array(at)
    joint, at = POINTS[base]
    return (joint, np.array(at)) if side == "l" else (SMPL_FLIP[joint], np.array(at) * [-1, 1, 1])


@dataclass(frozen=True)
class Holds:
    """Lists over a batch: point `at (M, 3)` of `joint (M,)` of pose `row (M,)`, held at `goal (M, 3)` of `on (M,)`."""

    row: torch.Tensor
    joint: torch.Tensor
    at: torch.Tensor
    on: torch.Tensor
    goal: torch.Tensor

    @classmethod
    def of(cls, found: list[tuple]) -> Holds:
        """From tuples in the order of the fields."""
        columns = zip(*found, strict=True) if found else ((), (), np.zeros((0, 3)), (), np.zeros((0, 3)))
        row, joint, at, on, goal = (torch.tensor(np.array(column)) for column in columns)
        return cls(row.long(), joint.long(), at.float(), on.long(), goal.float())


class Solver:
    """Solves groups on one body."""

    def __init__(self, balls: BodyBalls) -> None:
        self.balls = balls
        self.rest = torch.tensor(balls.joints).float()
        self.center, self.radius = torch.tensor(balls.center).float(), torch.tensor(balls.radius).float()
        self.touch = torch.tensor(balls.touch).float()
        self.pairs = torch.tensor(balls.pairs)
        self.least = self.radius[self.pairs].sum(1) - torch.tensor(balls.give).float()

    def __call__(self, groups: list[Group], count: int, rng: np.random.Generator) -> Array:
        """(G, count, 24, 3) poses of G groups."""
        starts = within_limits(np.concatenate([_start(group, count, rng) for group in groups]))
        pins = Holds.of([hold for row, group in enumerate(groups) for hold in _pins(group, row * count, count, rng)])
        ground = Holds.of([hold for row, group in enumerate(groups) for hold in _ground(group, row * count, count)])
        pose = torch.tensor(starts).float().requires_grad_(True)
        origin = pose.detach().clone()
        optimizer = torch.optim.Adam([pose], RATE)
        near = (torch.zeros(0, dtype=torch.long),) * 2
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = RATE * (1 - 0.8 * step / STEPS)
            turned, placed = self.frames(pose)
            loss = KEEP * (HELD[:, None] * (pose - origin) ** 2).sum() + PIN * (_apart(turned, placed, pins) ** 2).sum()
            loss = loss + GROUND * self._sunk(turned, placed, ground)
            if step >= COLLIDING_FROM:
                if step % REFRESH == 0:
                    near = self._near(turned, placed)
                loss = loss + MEET * self._meeting(turned, placed, *near)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 9:
                with torch.no_grad():
                    pose.copy_(torch.tensor(within_limits(pose.double().numpy())))
        return pose.detach().double().numpy().reshape(len(groups), count, 24, 3)

    def frames(self, pose: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """World rotations (N, 24, 3, 3) and places (N, 24, 3)."""
        local = axis_angle_to_matrix(pose)
        turned: list[torch.Tensor] = [local[:, 0]] * 24
        placed: list[torch.Tensor] = [self.rest[0].expand(len(pose), 3)] * 24
        for joints in LEVELS:
            above = PARENTS[joints].tolist()
            over = torch.stack([turned[joint] for joint in above], 1)
            bones = (self.rest[joints] - self.rest[above])[..., None]
            own, moved = over @ local[:, joints], (over @ bones)[..., 0]
            for number, joint in enumerate(joints):
                turned[joint], placed[joint] = own[:, number], placed[above[number]] + moved[:, number]
        return torch.stack(turned, 1), torch.stack(placed, 1)

    def _sunk(self, turned: torch.Tensor, placed: torch.Tensor, ground: Holds) -> torch.Tensor:
        """How far points on the ground are from one height, and others below it; squared."""
        height = _at(turned, placed, ground.row, ground.joint, ground.at)[:, 1]
        count = len(turned)
        number = torch.zeros(count).index_add(0, ground.row, torch.ones(len(height)))
        level = torch.zeros(count).index_add(0, ground.row, height) / number.clamp(min=1)
        owner = self.balls.touch_owner
        lowest = placed[:, owner, 1] + (turned[:, owner, 1] * self.touch).sum(-1)
        below = (level[:, None] - 0.01 - lowest).clamp(min=0)[number > 0]
        return ((height - level[ground.row]) ** 2).sum() + (below**2).sum()

    @torch.no_grad()
    def _near(self, turned: torch.Tensor, placed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of poses and of pairs of balls that meet or soon may."""
        center = self._centers(turned, placed)
        one, two = self.pairs.T
        return torch.nonzero(torch.cdist(center, center)[:, one, two] < self.least + SOON, as_tuple=True)

    def _meeting(
        self, turned: torch.Tensor, placed: torch.Tensor, row: torch.Tensor, pair: torch.Tensor
    ) -> torch.Tensor:
        center = self._centers(turned, placed)
        one, two = self.pairs[pair].T
        distance = (center[row, one] - center[row, two]).norm(dim=1)
        return ((self.least[pair] - distance).clamp(min=0) ** 2).sum()

    def _centers(self, turned: torch.Tensor, placed: torch.Tensor) -> torch.Tensor:
        owner = self.balls.owner
        return placed[:, owner] + (turned[:, owner] @ self.center[..., None])[..., 0]


def _start(group: Group, count: int, rng: np.random.Generator) -> Array:
    shared: dict[str, Array] = {}
    legs = (group.posture.left, group.posture.right)
    sides = [drawn(rng, {**leg.angles, **arm.angles}, shared, count) for leg, arm in zip(legs, group.arms, strict=True)]
    return angles_pose(*sides, drawn(rng, group.posture.trunk, None, count))


def _pins(group: Group, first: int, count: int, rng: np.random.Generator) -> Iterator[tuple]:
    legs = (group.posture.left, group.posture.right)
    for side, sign, leg, arm in zip("lr", (1.0, -1.0), legs, group.arms, strict=True):
        for pin in (*leg.pins, *arm.pins):
            joint, at = point_place(f"{side}_{pin.point}")
            on = pin.joint if (side == "l") != pin.other else SMPL_FLIP[pin.joint]
            mirror = 1.0 if on == pin.joint else -1.0
            if SMPL_FLIP[on] == on:
                mirror = sign
            for row in range(first, first + count):
                away = pin.spread * rng.standard_normal(3).clip(-2, 2)
                yield row, joint, at, on, np.array(pin.at) * [mirror, 1, 1] + away


def _ground(group: Group, first: int, count: int) -> Iterator[tuple]:
    names = group.posture.ground
    for side, arm in zip("lr", group.arms, strict=True):
        names += tuple(f"{side}_{name}" for name in arm.ground if group.posture.ground)
    for name in dict.fromkeys(names):
        for point in [name] if name.startswith(("l_", "r_")) else points_of(name):
            joint, at = point_place(point)
            for row in range(first, first + count):
                yield row, joint, at, 0, np.zeros(3)


def _at(
    turned: torch.Tensor, placed: torch.Tensor, row: torch.Tensor, joint: torch.Tensor, at: torch.Tensor
) -> torch.Tensor:
    return placed[row, joint] + (turned[row, joint] @ at[..., None])[..., 0]


def _apart(turned: torch.Tensor, placed: torch.Tensor, holds: Holds) -> torch.Tensor:
    held = _at(turned, placed, holds.row, holds.joint, holds.at)
    return held - _at(turned, placed, holds.row, holds.on, holds.goal)
