"""Poses the free body (or hand) with everything that clothes need to follow it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from manopth.lbs import compose_tree
from tore.body import MANO, SMPL

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


class PosedMesh(NamedTuple):
    """A skinned mesh in the model's frame, meters.

    `vertices (V, 3)` posed; `shaped (V, 3)` before posing; `offsets (V, 3)` that the pose directions add to `shaped`;
    `transforms (K, 4, 4)` from the unposed mesh to the posed one, a joint each; `rest (K, 3)` the unposed joints.
    """

    vertices: Floats
    shaped: Floats
    offsets: Floats
    transforms: Floats
    rest: Floats


class Poser:
    """The arrays of a body model, ready to pose one mesh at a time, as `BodyModel.skin` does."""

    def __init__(self, model: SMPL | MANO) -> None:
        skinned = model.skinned
        self.model = model
        basis = skinned.basis.numpy()  # (1 + S + 9(K-1), 3, V)
        shapes = 1 + skinned.num_betas
        self._shapes = np.ascontiguousarray(basis[:shapes])
        self._directions = basis[shapes:].reshape(len(basis) - shapes, -1)
        self._rest = self._shapes @ skinned.joint_regressor.numpy()  # (1 + S, 3, K)
        self.weights = np.ascontiguousarray(skinned.weights.numpy().T)  # (V, K)

    def pose(self, pose: Array, betas: Array) -> PosedMesh:
        """A mesh from axis-angle vectors (3 K,), as the model's labels hold them, and shape numbers (10,)."""
        shaped, rest = self.shaped(betas)
        with torch.no_grad():
            turns = self.model.rotations(torch.from_numpy(np.asarray(pose, np.float32).reshape(1, -1)))
        rotations = turns[0].numpy()
        correctives = (rotations[1:] - np.eye(3, dtype=np.float32)).reshape(-1)
        offsets = (correctives @ self._directions).reshape(3, -1).T
        transforms = self._transforms(rotations, rest)
        blended = (self.weights @ transforms[:, :3].reshape(len(rest), 12)).reshape(-1, 3, 4)
        vertices = np.einsum("vij,vj->vi", blended[:, :, :3], shaped + offsets) + blended[:, :, 3]
        return PosedMesh(vertices, shaped, np.ascontiguousarray(offsets), transforms, rest)

    def shaped(self, betas: Array) -> tuple[Floats, Floats]:
        """The unposed mesh (V, 3) and its joints (K, 3) with shape numbers (10,)."""
        shape = np.concatenate([[1], betas]).astype(np.float32)
        vertices, joints = (np.tensordot(shape, basis, 1).T for basis in (self._shapes, self._rest))
        return np.ascontiguousarray(vertices), np.ascontiguousarray(joints)

    def _transforms(self, rotations: Floats, rest: Floats) -> Floats:
        """(K, 4, 4) from the unposed mesh to the posed one."""
        skinned = self.model.skinned
        local = np.tile(np.eye(4, dtype=np.float32), (len(rest), 1, 1))
        local[:, :3, :3] = rotations
        local[0, :3, 3] = rest[0]
        local[1:, :3, 3] = rest[1:] - rest[skinned.parents.numpy()[1:]]
        world = compose_tree(torch.from_numpy(local)[None], skinned)[0].numpy()
        world[:, :3, 3] -= np.einsum("kij,kj->ki", world[:, :3, :3], rest)
        return world
