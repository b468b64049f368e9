"""Plain reading, skinning and measuring of body models, for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from manopth.files import load_body_arrays, load_object_arrays
from tore.paths import SYNTHETIC_FILES, BodyFiles
from tore.synthetic.free_body import synthetic_body_dir
from tore.synthetic.hand_pose_prior import HandPosePrior
from tore.synthetic.pose_prior import PosePrior

FACE = ["Nose", "L_Eye", "R_Eye", "L_Ear", "R_Ear"]
LEGS = ["R_Ankle", "R_Knee", "R_Hip", "L_Hip", "L_Knee", "L_Ankle"]
ARMS = ["R_Wrist", "R_Elbow", "R_Shoulder", "L_Shoulder", "L_Elbow", "L_Wrist"]
J24 = [*LEGS, *ARMS, "Neck", "Top_of_Head", "Pelvis", "Thorax", "Spine", "Jaw", "Head", *FACE]
H36M = ["Pelvis", *LEGS[2::-1], *LEGS[3:], "Torso", "Neck", "Nose", "Head", *ARMS[3:], *ARMS[2::-1]]
J24_ROWS = [8, 5, 29, 30, 4, 7, 21, 19, 17, 16, 18, 20, 31, 32, 33, 34, 35, 36, 37, 24, 26, 25, 28, 27]
J24_FLIP = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, *range(12, 20), 21, 20, 23, 22]
POSE_FLIP = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]


class Figure:
    """A body model's files, read plainly, and a plain skinning of it."""

    def __init__(self, folder: Path, files: BodyFiles) -> None:
        self.folder, self.files = folder, files
        self.model = load_body_arrays(folder / files.model)
        self.levels = load_object_arrays(folder / files.mesh_levels, ("U", "D", "A", "F"))
        self.template, self.faces = self.model["v_template"], self.model["f"].astype(np.int64)
        self.weights = self.model["weights"]
        self.rows = self.model["J_regressor"]
        self.parents = [-1, *self.model["kintree_table"][0, 1:].tolist()]

    def spins(self, turns: np.ndarray) -> list[np.ndarray]:
        """World rotation of every joint from its own rotations (K, 3, 3)."""
        out = [turns[0]]
        for k in range(1, len(self.parents)):
            out.append(out[self.parents[k]] @ turns[k])
        return out

    def skin(self, pose: np.ndarray | None = None, betas: np.ndarray | None = None) -> np.ndarray:
        """Vertices (V, 3) of a pose (K, 3) and shape (10,)."""
        count = len(self.parents)
        turns = Rotation.from_rotvec(np.zeros((count, 3)) if pose is None else pose).as_matrix()
        shaped = self.template + self.model["shapedirs"] @ (np.zeros(10) if betas is None else betas)
        joints = self.rows @ shaped
        shaped = shaped + self.model["posedirs"] @ (turns[1:] - np.eye(3)).reshape(-1)
        out, spin, place = np.zeros_like(shaped), self.spins(turns), [joints[0]]
        for k in range(1, count):
            parent = self.parents[k]
            place.append(place[parent] + spin[parent] @ (joints[k] - joints[parent]))
        for k in range(count):
            out += self.weights[:, k : k + 1] * ((shaped - joints[k]) @ spin[k].T + place[k])
        return out


def drawn_meshes(kind: str, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Meshes (V, 3) of the synthetic body or hand in drawn poses, y down and z away, and their faces (F, 3)."""
    figure, rng = Figure(synthetic_body_dir(), SYNTHETIC_FILES[kind]), np.random.default_rng(0)
    if kind == "body":
        prior = PosePrior.load()
        poses = [prior.draw(rng).pose.reshape(24, 3) for _ in range(count)]
    else:
        hands = HandPosePrior.load()
        poses = [np.concatenate([np.zeros((1, 3)), hands.draw(rng).fingers.reshape(15, 3)]) for _ in range(count)]
    return [figure.skin(pose) * [1, -1, -1] for pose in poses], figure.faces


def folded_share(figure: Figure, pose: np.ndarray) -> float:
    """Share of the area whose triangles face away from where their bones turn them."""

    def normals(vertices: np.ndarray) -> np.ndarray:
        a, b, c = (vertices[figure.faces[:, k]] for k in range(3))
        return np.cross(b - a, c - a)

    rest = normals(figure.template)
    spins = np.stack(figure.spins(Rotation.from_rotvec(pose).as_matrix()))
    blended = np.einsum("fk,kxy->fxy", figure.weights[figure.faces].mean(1), spins)
    away = (np.einsum("fxy,fy->fx", blended, rest) * normals(figure.skin(pose))).sum(1) < 0
    area = np.linalg.norm(rest, axis=1)
    return float(area[away].sum() / area.sum())


def joints24(body: Figure, vertices: np.ndarray) -> np.ndarray:
    extra = np.load(body.folder / str(body.files.regressor_extra))
    return np.concatenate([body.rows @ vertices, extra @ vertices])[J24_ROWS]


def joints_h36m(body: Figure, vertices: np.ndarray) -> np.ndarray:
    return np.load(body.folder / str(body.files.regressor_h36m)) @ vertices


def edges_of(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64), axis=1)
    return np.unique(sides, axis=0, return_counts=True)


def mirror_partner(vertices: np.ndarray) -> np.ndarray:
    """Row of the vertex that is each vertex's exact mirror image; fails where there is none."""
    place = {tuple(v): i for i, v in enumerate(vertices.tolist())}
    return np.array([place[(-x if x else 0.0, y, z)] for x, y, z in vertices.tolist()])


def turned(count: int, **degrees: tuple[float, float, float]) -> np.ndarray:
    """(count, 3) axis-angle, keyword jN = degrees about x, y, z of joint N."""
    pose = np.zeros((count, 3))
    for joint, angles in degrees.items():
        pose[int(joint[1:])] = np.radians(angles)
    return pose


BENT = {
    "elbows": turned(24, j18=(0, -120, 0), j19=(0, 120, 0)),
    "knees": turned(24, j4=(100, 0, 0), j5=(100, 0, 0)),
    "sitting": turned(24, j1=(-90, 0, 12), j2=(-90, 0, -12), j4=(90, 0, 0), j5=(90, 0, 0)),
    "arms down": turned(24, j16=(0, 0, -75), j17=(0, 0, 75)),
    "arms up": turned(24, j16=(0, 0, 75), j17=(0, 0, -75)),
}
