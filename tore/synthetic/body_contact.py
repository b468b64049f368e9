"""A body as balls: does a pose run through itself, and where does it touch the ground?

Each ball and each contact point turns with one joint. They are fitted to the free body's mesh, as many to a part as
its form needs; `BodyBalls.shaped` fits them to another person. Meters, y up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tore.body.joints import SMPL_FLIP
from tore.synthetic.free_body import BODY_PARENTS, Array, Index

NEAR_AT_REST = 0.012  # balls nearer than this in T-pose are neighbors that may meet
FLESH = 0.008  # how far two parts may press into each other
STEPS, STEP, MOST_TURN = 24, 0.9, 0.12  # of pushing apart; radians a step
# How readily each joint gives way: limbs before the trunk, the root never.
YIELDING = np.array(
    [0, 1, 1, 0.3, 0.8, 0.8, 0.3, 0.2, 0.2, 0.3, 0, 0, 0.3, 0.3, 0.3, 0.3, 1, 1, 0.8, 0.8, 0.2, 0.2, 0.1, 0.1]
)


def _chains() -> Array:
    """(24, 24) 1 where the row's joint moves the column's."""
    out = np.eye(len(BODY_PARENTS))
    for joint in range(1, len(BODY_PARENTS)):
        out[:, joint] += out[:, BODY_PARENTS[joint]]
    return out


MOVES = _chains()
LEVELS = [[j for j in range(24) if MOVES[:, j].sum() == depth] for depth in range(2, int(MOVES.sum(0).max()) + 1)]
PARENTS = np.array(BODY_PARENTS)


def joint_frames(pose: Array, rest: Array) -> tuple[Array, Array]:
    """World rotations (24, 3, 3) and places (24, 3) of the joints of a pose (24, 3), the root at its rest place."""
    local = Rotation.from_rotvec(pose).as_matrix()
    turned, placed = local.copy(), rest.copy()
    for joints in LEVELS:
        above = PARENTS[joints]
        turned[joints] = turned[above] @ local[joints]
        placed[joints] = placed[above] + np.einsum("kij,kj->ki", turned[above], rest[joints] - rest[above])
    return turned, placed


def _easy_poses() -> list[Array]:
    """Poses that anybody can take: T-pose, arms hanging, sitting, arms folded."""
    out = [np.zeros((24, 3)) for _ in range(4)]
    for pose, joint, degrees in (
        (1, 16, (0, 0, -80)), (2, 1, (-95, 0, 0)), (2, 4, (95, 0, 0)), (3, 16, (0, -75, -45)), (3, 18, (0, -100, 0)),
    ):  # fmt: skip
        other = SMPL_FLIP[joint]
        out[pose][joint] = np.radians(degrees)
        out[pose][other] = np.radians(degrees) * [1, -1, -1]
    return out


EASY = _easy_poses()


@dataclass(frozen=True)
class BodyBalls:
    """Balls and contact points of one person.

    `joints (24, 3)` at rest; of B balls `owner (B,)`, `center (B, 3)` from the owner's joint, `radius (B,)`, and
    `pairs (P, 2)` that must not meet by more than `give (P,)`; of C contact points `touch_owner (C,)` and
    `touch (C, 3)`. `anchors (B, A)` vertices with `shares (B, A)` give the centers, and lie at `beyond (B,)` radii on
    average; `touch_vertex (C,)` are the contact points' vertices.
    """

    joints: Array
    owner: Index
    center: Array
    radius: Array
    pairs: Index
    give: Array
    touch_owner: Index
    touch: Array
    anchors: Index
    shares: Array
    beyond: Array
    touch_vertex: Index

    @classmethod
    def read(cls, held: Mapping[str, NDArray[Any]]) -> BodyBalls:
        """From the arrays of the prior's file; the mean person."""
        owner = held["ball_owner"].astype(np.int64)
        center, radius = held["ball_center"].astype(np.float64), held["ball_radius"].astype(np.float64)
        joints = held["rest_joints"].astype(np.float64)
        pairs, give = meeting_pairs(joints, owner, center, radius)
        return cls(
            joints=joints,
            owner=owner,
            center=center,
            radius=radius,
            pairs=pairs,
            give=give,
            touch_owner=held["touch_owner"].astype(np.int64),
            touch=held["touch"].astype(np.float64),
            anchors=held["ball_anchors"].astype(np.int64),
            shares=held["ball_shares"].astype(np.float64),
            beyond=held["ball_beyond"].astype(np.float64),
            touch_vertex=held["touch_vertex"].astype(np.int64),
        )

    def shaped(self, vertices: Array, joints: Array) -> BodyBalls:
        """The balls of another person: unposed vertices (6890, 3) and joints (24, 3) of the free body."""
        placed = vertices[self.anchors]  # (B, A, 3)
        center = np.einsum("ba,bac->bc", self.shares, placed)
        radius = np.linalg.norm(placed - center[:, None], axis=2).mean(1) / self.beyond
        center -= joints[self.owner]
        pairs, give = meeting_pairs(joints, self.owner, center, radius)
        return replace(
            self,
            joints=joints,
            center=center,
            radius=radius,
            pairs=pairs,
            give=give,
            touch=vertices[self.touch_vertex] - joints[self.touch_owner],
        )

    def overlap(self, pose: Array) -> float:
        """Meters by which the worst pair of balls of a pose (24, 3) meets, beyond what flesh gives; 0 where none."""
        turned, placed = joint_frames(pose, self.joints)
        return float(self._meeting(turned, placed)[0].max(initial=0.0))

    def free(self, pose: Array) -> Array:
        """The pose (24, 3) with its limbs pushed out of each other, in small turns of the joints; the root stays."""
        for _ in range(STEPS):
            turned, placed = joint_frames(pose, self.joints)
            depth, pairs, away = self._meeting(turned, placed)
            if depth.max(initial=0.0) < 0.002:
                break
            pose = self._pushed(pose, turned, placed, depth, pairs, away)
        return pose

    def _meeting(self, turned: Array, placed: Array) -> tuple[Array, Index, Array]:
        """Depths (M,) of the pairs (M, 2) that meet, and the unit directions (M, 3) from second to first."""
        center = placed[self.owner] + np.einsum("bij,bj->bi", turned[self.owner], self.center)
        one, two = self.pairs.T
        between = center[one] - center[two]
        distance = np.sqrt((between**2).sum(1))
        depth = self.radius[one] + self.radius[two] - self.give - distance
        met = depth > 0
        return depth[met], self.pairs[met], between[met] / np.maximum(distance[met, None], 1e-6)

    def _pushed(self, pose: Array, turned: Array, placed: Array, depth: Array, pairs: Index, away: Array) -> Array:
        count = len(self.owner)
        center = placed[self.owner] + np.einsum("bij,bj->bi", turned[self.owner], self.center)
        push = depth[:, None] * away
        forces = np.zeros((count, 3))
        np.add.at(forces, pairs[:, 0], push)
        np.add.at(forces, pairs[:, 1], -push)
        load = np.bincount(pairs.ravel(), minlength=count)
        moves = MOVES[:, self.owner]  # (24, B)
        arm = center[None] - placed[:, None]  # (24, B, 3)
        torque = np.einsum("kb,kbc->kc", moves, np.cross(arm, forces[None]))
        inertia = np.einsum("kb,kb->k", moves * load, (arm**2).sum(2)) + 1e-4
        turn = STEP * YIELDING[:, None] * torque / inertia[:, None]  # about world axes
        size = np.linalg.norm(turn, axis=1, keepdims=True)
        turn *= np.minimum(1.0, MOST_TURN / np.maximum(size, 1e-9))
        own = np.einsum("kji,kj->ki", turned, turn)  # about the joint's own axes
        return (Rotation.from_rotvec(pose) * Rotation.from_rotvec(own)).as_rotvec()

    def touching(self, pose: Array) -> Array:
        """(C, 3) the contact points of a pose (24, 3)."""
        turned, placed = joint_frames(pose, self.joints)
        return placed[self.touch_owner] + np.einsum("cij,cj->ci", turned[self.touch_owner], self.touch)

    def center_of_mass(self, pose: Array) -> Array:
        """(3,) the center of mass in a pose (24, 3)."""
        turned, placed = joint_frames(pose, self.joints)
        center = placed[self.owner] + np.einsum("bij,bj->bi", turned[self.owner], self.center)
        return self.radius**3 @ center / (self.radius**3).sum()


def meeting_pairs(joints: Array, owner: Index, center: Array, radius: Array) -> tuple[Index, Array]:
    """(P, 2) balls of parts that are not neighbors in the skeleton and lie apart in T-pose, and what they give (P,).

    Where flesh meets in poses that everybody takes, two balls may meet as far as they do there.
    """
    one, two = np.triu_indices(len(owner), 1)
    near = (owner[one] == owner[two]) | (PARENTS[owner[one]] == owner[two]) | (PARENTS[owner[two]] == owner[one])
    one, two = one[~near], two[~near]
    meets = []
    for pose in EASY:
        turned, placed = joint_frames(pose, joints)
        at = placed[owner] + np.einsum("bij,bj->bi", turned[owner], center)
        meets.append(radius[one] + radius[two] - np.linalg.norm(at[one] - at[two], axis=1))
    keep = meets[0] < -NEAR_AT_REST
    give = FLESH + np.max(meets, axis=0).clip(min=0)
    return np.stack([one[keep], two[keep]], 1), give[keep]


def ground_height(vertices: Array) -> float:
    """Height of the ground under a posed mesh (N, 3): its lowest point."""
    return float(vertices[:, 1].min())
