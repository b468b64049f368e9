"""Rows that give the skeleton's joints, the joints of labels and COCO's keypoints as shares of the mesh's vertices.

Rows of the skeleton and of COCO's limbs are fitted to many people in T-pose and to poses of the mean person; points of
the face and the crown are single vertices; the other label joints are mixtures of those rows.
"""

from __future__ import annotations

import numpy as np
from free_body.correctives import REACH, OwnSkin
from free_body.people import People
from free_body.regressors import regressor_row, single_vertex
from free_body.rig import PARENTS, joint_motions, world_rotations
from free_body.source import TRAINED, Array, Index, Source

from tore.body.joints import H36M_NAMES, SMPL_FLIP, SMPL_NAMES

FACE = {"Nose": "nose", "L_Eye": "left_eye", "R_Eye": "right_eye", "L_Ear": "left_ear", "R_Ear": "right_ear"}
CROWN = "Top_of_Head"
# The 14 joints of labels beside the skeleton's own, in the order of their rows, as shares of other rows.
EXTRA: dict[str, dict[str, float]] = {
    "Nose": {"face Nose": 1.0},
    "R_Eye": {"face R_Eye": 1.0},
    "L_Eye": {"face L_Eye": 1.0},
    "R_Ear": {"face R_Ear": 1.0},
    "L_Ear": {"face L_Ear": 1.0},
    "R_Hip": {"R_Hip": 1.0},
    "L_Hip": {"L_Hip": 1.0},
    "Neck": {"Neck": 0.75, "L_Shoulder": 0.125, "R_Shoulder": 0.125},
    CROWN: {"crown": 1.0},
    "Pelvis": {"L_Hip": 0.5, "R_Hip": 0.5},
    "Thorax": {"L_Collar": 0.25, "R_Collar": 0.25, "L_Shoulder": 0.25, "R_Shoulder": 0.25},
    "Spine": {"Spine2": 0.5, "Spine3": 0.5},
    "Jaw": {"Head": 0.65, "face Nose": 0.35},
    "Head": {"face L_Ear": 0.3, "face R_Ear": 0.3, "crown": 0.4},
}
H36M_OTHERWISE = {"Torso": "Spine"}  # Human3.6M's name of a label joint
POSES, POSE_WEIGHT, POSE_SHARE = 48, 0.5, 0.6
KEYPOINTS = 17


def some_poses(count: int, seed: int) -> Array:
    """(count, 24, 3) poses with every joint somewhere within a share of its reach, left and right each its own."""
    rng = np.random.default_rng(seed)
    out = np.zeros((count, len(PARENTS), 3))
    for joint, reach in REACH.items():
        low, high = POSE_SHARE * np.radians(reach).T
        out[:, joint] = rng.uniform(low, high, (count, 3))
        if SMPL_FLIP[joint] != joint:
            out[:, SMPL_FLIP[joint]] = rng.uniform(low, high, (count, 3)) * [1, -1, -1]
    return out


class Rows:
    """Makes the rows over a mesh whose vertices are Anny's `points (V,)`, mirror images at `partner (V,)`."""

    def __init__(self, source: Source, people: People, own: OwnSkin, points: Index, partner: Index) -> None:
        self.partner = partner
        worlds = [world_rotations(pose) for pose in some_poses(POSES, seed=1)]
        rest = people.points[:TRAINED]
        meshes = np.concatenate([rest[:, points], np.stack([own(world) for world in worlds])]).astype(np.float64)
        skeleton = np.concatenate([people.joints[:TRAINED], np.stack([_placed(people, world) for world in worlds])])
        used = np.flatnonzero(source.keypoints.any(0))
        inner = OwnSkin(own.rig, people, used)
        seen = np.concatenate([rest[:, used], np.stack([inner(world) for world in worlds])])
        keypoints = np.einsum("kp,npc->nkc", source.keypoints[:KEYPOINTS, used], seen)
        weight = np.concatenate([np.ones(TRAINED), np.full(POSES, POSE_WEIGHT)])[:, None, None]
        self.meshes, self.skeleton_places, self.keypoint_places, self.weight = meshes, skeleton, keypoints, weight
        self.keypoint_names = [str(name) for name in source.keypoint_labels[:KEYPOINTS]]

    def skeleton(self) -> Array:
        """(24, V) rows of the skeleton's joints."""
        out = np.zeros((len(PARENTS), len(self.partner)))
        for joint, other in enumerate(SMPL_FLIP):
            if joint <= other:
                out[joint] = self._row(self.skeleton_places[:, joint], middle=joint == other)
                out[other] = out[joint][self.partner] if joint != other else out[joint]
        return out

    def keypoints(self) -> Array:
        """(17, V) rows of COCO's keypoints."""
        out = np.zeros((KEYPOINTS, len(self.partner)))
        for row, name in enumerate(self.keypoint_names):
            if name == "nose":
                out[row] = self._row(self.keypoint_places[:, row], middle=True)
            elif name.startswith("left"):
                other = self.keypoint_names.index(name.replace("left", "right"))
                face = name.endswith(("eye", "ear"))
                places = self.keypoint_places[:, row]
                out[row] = single_vertex(self.meshes, places) if face else self._row(places, middle=False)
                out[other] = out[row][self.partner]
        return out

    def labels(self, skeleton: Array, keypoints: Array) -> tuple[Array, Array]:
        """The 14 rows of `EXTRA` and the 17 rows of Human3.6M's joints."""
        rows = dict(zip(SMPL_NAMES, skeleton, strict=True))
        rows |= {f"face {name}": keypoints[self.keypoint_names.index(of)] for name, of in FACE.items()}
        rows["crown"] = self._crown()
        extra = {name: sum(share * rows[of] for of, share in mixture.items()) for name, mixture in EXTRA.items()}
        label = rows | extra
        h36m = np.stack([label[H36M_OTHERWISE.get(name, name)] for name in H36M_NAMES])
        return np.stack(list(extra.values())), h36m

    def _crown(self) -> Array:
        middle = np.flatnonzero(self.partner == np.arange(len(self.partner)))
        row = np.zeros(len(self.partner))
        row[middle[self.meshes[:TRAINED, middle, 1].mean(0).argmax()]] = 1.0
        return row

    def _row(self, places: Array, middle: bool) -> Array:
        return regressor_row(self.meshes, places, self.partner, middle, self.weight)


def _placed(people: People, world: Array) -> Array:
    motions = joint_motions(world, people.skeleton)
    return np.einsum("kij,kj->ki", motions[:, :, :3], people.skeleton) + motions[:, :, 3]
