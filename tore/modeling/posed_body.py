"""A coarse body mesh that follows the 14 predicted joints: each bone moves its vertices rigidly, blended between bones.

A bone (`BONES`) lies between two of the joints, or begins at a wrist or an ankle. Its rotation is that of a frame: the
bone's direction, and an axis across it. In the trunk that is the line of the hips or of the shoulders. Elsewhere it is
the resting one, turned as the parent bone is and then by the smallest rotation that gives the bone its direction; to it
is added what the network predicts, since joints do not tell how a limb is turned about itself. Hands and feet have the
direction that turning with their parent gives them, plus what the network predicts. Along a bone the mesh is stretched
as the bone is, so that it keeps its thickness; the trunk also along the line of the hips or shoulders, and it slants as
that line does. Collars lead from the neck to where the arms begin.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from manopth.tensors import WithConstants, beside
from tore.body.joints import J14_NAMES, SMPL_NAMES
from tore.geometry.rotations import smallest_rotation, turned

SHORT = 1e-4  # meters; a shorter bone, or part of an axis, has no direction
Vector = tuple[float, float, float]
FORWARD, SIDEWAYS = (0.0, 0.0, -1.0), (1.0, 0.0, 0.0)  # of the resting body, in the camera's frame


class Bone(NamedTuple):
    """One bone of the body.

    start, end: the joints there, of which several mean their center; a hand and a foot have no end.
    across: the two joints of the line across it, or that axis of the resting bone.
    moves: what of SMPL's skeleton moves the bone's vertices.
    along: direction of a resting bone that has no end; None means its parent's.
    """

    parent: int | None
    start: tuple[str, ...]
    end: tuple[str, ...]
    across: tuple[str, str] | Vector
    moves: tuple[str, ...]
    along: Vector | None = None


HIPS, SHOULDERS = ("R_Hip", "L_Hip"), ("R_Shoulder", "L_Shoulder")
TRUNK = (
    Bone(None, HIPS, ("Neck",), HIPS, ("Pelvis", "Spine1")),
    Bone(None, ("Neck",), HIPS, SHOULDERS, ("Spine2", "Spine3")),
)
LEVELS = (
    (
        Bone(1, ("Neck",), ("Head",), SIDEWAYS, ("Neck", "Head")),
        Bone(1, ("Neck",), ("R_Shoulder",), FORWARD, ("R_Collar",)),
        Bone(1, ("Neck",), ("L_Shoulder",), FORWARD, ("L_Collar",)),
        Bone(0, ("R_Hip",), ("R_Knee",), SIDEWAYS, ("R_Hip",)),
        Bone(0, ("L_Hip",), ("L_Knee",), SIDEWAYS, ("L_Hip",)),
    ),
    (
        Bone(3, ("R_Shoulder",), ("R_Elbow",), FORWARD, ("R_Shoulder",)),
        Bone(4, ("L_Shoulder",), ("L_Elbow",), FORWARD, ("L_Shoulder",)),
        Bone(5, ("R_Knee",), ("R_Ankle",), SIDEWAYS, ("R_Knee",)),
        Bone(6, ("L_Knee",), ("L_Ankle",), SIDEWAYS, ("L_Knee",)),
    ),
    (
        Bone(7, ("R_Elbow",), ("R_Wrist",), FORWARD, ("R_Elbow",)),
        Bone(8, ("L_Elbow",), ("L_Wrist",), FORWARD, ("L_Elbow",)),
    ),
    (
        Bone(11, ("R_Wrist",), (), FORWARD, ("R_Wrist", "R_Hand")),
        Bone(12, ("L_Wrist",), (), FORWARD, ("L_Wrist", "L_Hand")),
        Bone(9, ("R_Ankle",), (), SIDEWAYS, ("R_Ankle", "R_Foot"), FORWARD),
        Bone(10, ("L_Ankle",), (), SIDEWAYS, ("L_Ankle", "L_Foot"), FORWARD),
    ),
)
BONES = TRUNK + sum(LEVELS, ())  # parents before children
TURNED = len(BONES) - len(TRUNK)  # bones whose axis across is predicted
PREDICTED = TURNED + len(LEVELS[-1])  # vectors: those axes, then the directions of hands and feet
NARROWEST, WIDEST, SLANT = 0.5, 1.6, 0.6  # limits of the trunk's width and slant, of its resting width


class PosedBody(WithConstants):
    """joints (B, 14, 3) and what is predicted (B, PREDICTED, 3) -> coarse vertices (B, Vc, 3)."""

    rows: Tensor
    starts: Tensor
    lengths: Tensor
    stretched: Tensor
    frames: Tensor
    widths: Tensor
    slants: Tensor
    shares: Tensor
    vertices: Tensor

    def __init__(self, joints: Tensor, vertices: Tensor, weights: Tensor) -> None:
        """joints (14, 3), vertices (Vc, 3): of the resting body, in meters, in the camera's frame.

        weights: (Vc, 24), how much SMPL's skeleton joints move each vertex.
        """
        super().__init__()
        rows = torch.stack([_rows(bone) for bone in BONES], 1).to(joints)  # (3, bones, 14)
        starts, bones, across = rows @ joints  # (bones, 3) each
        for index, bone in enumerate(BONES):
            if not bone.end:
                bones[index] = bones[bone.parent or 0] if bone.along is None else bones.new_tensor(bone.along)
            if bone.across not in (HIPS, SHOULDERS):
                across[index] = bones.new_tensor(bone.across)
        moved = torch.tensor([[name in bone.moves for bone in BONES] for name in SMPL_NAMES], device="cpu")
        self.keep_constant("rows", rows.float())
        self.keep_constant("starts", starts.float())
        self.keep_constant("lengths", bones.norm(dim=-1, keepdim=True).float())  # (bones, 1)
        self.keep_constant("frames", frame_of(bones, across).float())  # (bones, 3, 3)
        lines = turned(self.frames[: len(TRUNK)].mT, across[: len(TRUNK)].float())  # (2, 3), along the frames' axes
        self.keep_constant("slants", lines[:, :1])
        self.keep_constant("widths", lines[:, 1:2])
        ends = torch.tensor([[float(bool(bone.end))] for bone in BONES], device="cpu")
        self.keep_constant("stretched", self.frames[..., 0] * ends)  # directions of the bones whose length joints tell
        self.keep_constant("shares", (weights @ moved.to(weights)).float())  # (Vc, 24) by (24, bones)
        self.keep_constant("vertices", vertices.float())

    def forward(self, joints: Tensor, predicted: Tensor) -> Tensor:
        """The mesh whose bones lie between the joints; with `predicted` 0 as joints alone tell."""
        frames, resting = beside(self.frames, joints), beside(self.starts, joints)
        starts, bones, lines = (rows @ joints for rows in beside(self.rows, joints))  # (B, bones, 3) each
        rotations = frame_of(bones[:, : len(TRUNK)], lines[:, : len(TRUNK)]) @ frames[: len(TRUNK)].mT
        across, free = predicted[:, :TURNED], predicted[:, TURNED:]
        for level in LEVELS:
            now = slice(rotations.shape[1], rotations.shape[1] + len(level))
            parents = rotations[:, [bone.parent for bone in level]]  # (B, n, 3, 3)
            before, axis = (frames[now, :, column] for column in (0, 1))  # (n, 3) each
            start = turned(parents, before)
            along = direction_of(bones[:, now] if level[0].end else start + free)
            parents = smallest_rotation(start, along) @ parents
            axis = turned(parents, axis) + across[:, now.start - len(TRUNK) : now.stop - len(TRUNK)]
            rotations = torch.cat((rotations, frame_of(along, axis) @ frames[now].mT), 1)
        stretch = (bones / beside(self.lengths, joints)).norm(dim=-1, keepdim=True) - 1
        along = turned(rotations, beside(self.stretched, joints))
        linear = rotations + (stretch * along)[..., None] * frames[:, None, :, 0]  # (B, bones, 3, 3)
        wider = self.widened(rotations, lines, stretch)
        linear = torch.cat((linear[:, : len(TRUNK)] + wider, linear[:, len(TRUNK) :]), 1)
        moves = torch.cat((linear, (starts - turned(linear, resting))[..., None]), -1)  # (B, bones, 3, 4)
        blended = torch.einsum("vk,bkij->bvij", beside(self.shares, joints), moves)
        return turned(blended[..., :3], beside(self.vertices, joints)) + blended[..., 3]

    def widened(self, rotations: Tensor, lines: Tensor, stretch: Tensor) -> Tensor:
        """(B, 2, 3, 3): what is added to the trunk's linear maps, so that hips and shoulders lie on their `lines`."""
        trunk = slice(0, len(TRUNK))
        frames, width, slant = (beside(values, lines) for values in (self.frames, self.widths, self.slants))
        along, across = (turned(rotations[:, trunk], frames[trunk, :, axis]) for axis in (0, 1))  # (B, 2, 3)
        wide = (lines[:, trunk] * across).sum(-1, keepdim=True) / width  # (B, 2, 1)
        tilted = (lines[:, trunk] * along).sum(-1, keepdim=True) - slant * (1 + stretch[:, trunk])
        more = (wide.clamp(NARROWEST, WIDEST) - 1) * across + (tilted / width).clamp(-SLANT, SLANT) * along
        return more[..., None] * frames[trunk, None, :, 1]


def _rows(bone: Bone) -> Tensor:
    """(3, 14): what gives a bone's start, the bone and the line across it of the joints; 0 where there is none."""
    rows = torch.zeros(3, len(J14_NAMES), dtype=torch.float64, device="cpu")
    for name in bone.start:
        rows[0, J14_NAMES.index(name)] = 1 / len(bone.start)
    for name in bone.end:
        rows[1, J14_NAMES.index(name)] = 1 / len(bone.end)
    if bone.end:
        rows[1] -= rows[0]
    if bone.across in (HIPS, SHOULDERS):
        for name, sign in zip(bone.across, (-1, 1), strict=True):
            rows[2, J14_NAMES.index(name)] = sign
    return rows


def direction_of(vectors: Tensor) -> Tensor:
    """Vectors (..., 3) at unit length; about 0 where they are short."""
    return vectors / (vectors.square().sum(-1, keepdim=True) + SHORT**2).sqrt()


def frame_of(along: Tensor, across: Tensor) -> Tensor:
    """(..., 3, 3): the rotation whose first column lies along one vector (..., 3), and its second near another."""
    first = direction_of(along)
    third = direction_of(torch.linalg.cross(first, across))
    return torch.stack((first, torch.linalg.cross(third, first), third), -1)
