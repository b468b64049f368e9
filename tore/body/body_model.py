"""Body models: SMPL and MANO as one interface, pose and shape in, mesh and joints out, and their loading."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from manopth.files import load_body_arrays
from manopth.lbs import SkinnedModel, linear_blend_skinning
from manopth.manolayer import ManoLayer
from manopth.rotations import axis_angle_to_matrix
from manopth.tensors import WithConstants, full_precision
from tore.body.files import model_path, read_levels, read_regressor
from tore.body.identity import BodyIdentity, arrays_of, levels_fingerprint, mesh_fingerprint
from tore.body.joints import (
    H36M_NAMES,
    H36M_PELVIS,
    H36M_TO_J14,
    HAND_FINGERTIP_VERTICES,
    HAND_NAMES,
    HAND_WRIST,
    J14_NAMES,
    MANO_TO_HAND,
    SMPL_NAMES,
    SMPL_TO_J24,
)
from tore.body.mesh_levels import MeshLevels
from tore.geometry.rotations import matrix_to_axis_angle
from tore.paths import find_body_files, takes_data_dir


class BodyTargets(NamedTuple):
    """What a network should predict, in meters, root-centered.

    joints: (B, J, 3), None where the labels carry them (bodies). vertices: every mesh level, coarse to full.
    """

    joints: torch.Tensor | None
    vertices: tuple[torch.Tensor, ...]


class BodyModel(WithConstants):
    """A skinned mesh of V vertices and K skeleton joints, in meters, in the model file's frame.

    `kind` is "body" or "hand", `num_joints` J the joints that networks predict (14 or 21), `faces` (F, 3), `identity`
    which model it is; that of a gendered model leaves the mesh open. Constants follow `.to()`; nothing enters the state
    dict.
    """

    kind: str
    num_joints: int
    faces: torch.Tensor
    output_rows: torch.Tensor
    root_row: torch.Tensor

    def __init__(
        self,
        skinned: SkinnedModel,
        faces: np.ndarray,  # (F,3)
        levels: MeshLevels,
        output_rows: np.ndarray,  # (J,V) regressor of the predicted joints
        root_row: np.ndarray,  # (1,V) regressor of the root
        path: Path,
        name: str,
        gender: str = "neutral",
    ) -> None:
        super().__init__()
        vertices = skinned.weights.shape[1]
        if vertices != levels.sizes[-1]:
            raise ValueError(f"{path} has {vertices} vertices, not the {levels.sizes[-1]} of the mesh levels")
        self.skinned, self.levels = skinned, levels
        self.keep_constant("faces", torch.from_numpy(faces))
        self.keep("output_rows", output_rows)
        self.keep("root_row", root_row)
        mesh = mesh_fingerprint(arrays_of(skinned), self.faces.numpy()) if gender == "neutral" else None
        self.identity = BodyIdentity(name, mesh, levels_fingerprint(levels))

    def keep(self, name: str, array: np.ndarray) -> None:
        """Keeps `array`, rounded to float32, as a constant."""
        self.keep_constant(name, torch.from_numpy(np.ascontiguousarray(array, np.float32)))

    @full_precision
    def rotations(self, pose: torch.Tensor) -> torch.Tensor:
        """Rotation matrices (B, K, 3, 3) of a pose (B, 3 K) in axis-angle; matrices are taken as they are."""
        joints = self.skinned.num_joints
        if pose.shape[1:] == (joints, 3, 3):
            return pose
        if pose.shape[1:] != (3 * joints,):
            raise ValueError(f"pose has shape {tuple(pose.shape)}, not (B, {3 * joints}) or (B, {joints}, 3, 3)")
        return axis_angle_to_matrix(pose.unflatten(1, (joints, 3)))

    @full_precision
    def pose_of(self, rotations: torch.Tensor) -> torch.Tensor:
        """The pose (B, 3 K) of rotation matrices (B, K, 3, 3): the inverse of `rotations`."""
        return matrix_to_axis_angle(rotations).flatten(1)

    @full_precision
    def skin(self, pose: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, V, 3) and posed skeleton joints (B, K, 3) of pose (B, 3 K) and betas (B, 10)."""
        return linear_blend_skinning(self.rotations(pose), betas, self.skinned)

    def forward(self, pose: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        """Vertices (B, V, 3)."""
        return self.skin(pose, betas)[0]

    @full_precision
    def regress_joints(self, vertices: torch.Tensor) -> torch.Tensor:
        """The predicted joints (B, J, 3) from a full mesh (B, V, 3)."""
        return self.output_rows @ vertices

    @full_precision
    def root(self, vertices: torch.Tensor) -> torch.Tensor:
        """The root (B, 1, 3) from a full mesh (B, V, 3): pelvis of the H36M joints, or wrist."""
        return self.root_row @ vertices

    @full_precision
    def centered_levels(self, vertices: torch.Tensor, root: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Every level of a full mesh (B, V, 3), coarse to full, minus `root` (B, 1, 3)."""
        levels = (*reversed(self.levels.downsample(vertices)), vertices)
        return tuple(level - root for level in levels)

    def targets(self, pose: torch.Tensor, betas: torch.Tensor) -> BodyTargets:
        """The mesh levels of pose and betas minus the root regressed from the mesh; joints come with the labels."""
        vertices = self(pose, betas)
        return BodyTargets(joints=None, vertices=self.centered_levels(vertices, self.root(vertices)))


class SMPL(BodyModel):
    """SMPL of one gender: 24 skeleton joints, pose (B, 72), the mesh in meters around its own origin."""

    kind = "body"
    num_joints = len(J14_NAMES)
    j24_rows: torch.Tensor
    h36m_rows: torch.Tensor

    @takes_data_dir
    def __init__(self, body_dir: str | Path | None = None, gender: str = "neutral") -> None:
        path = model_path(self.kind, body_dir, gender)
        arrays = load_body_arrays(path)
        joints, vertices = arrays["J_regressor"].shape
        if joints != len(SMPL_NAMES):
            raise ValueError(f"{path} has {joints} joints, not SMPL's {len(SMPL_NAMES)}; get the official file again")
        files = find_body_files(self.kind, body_dir)[1]
        extra_rows = max(SMPL_TO_J24) + 1 - joints
        extra = read_regressor(files.regressor_extra, extra_rows, vertices, body_dir)
        h36m = read_regressor(files.regressor_h36m, len(H36M_NAMES), vertices, body_dir)
        super().__init__(
            skinned=SkinnedModel(arrays),
            faces=arrays["f"],
            levels=read_levels(self.kind, body_dir),
            output_rows=h36m[list(H36M_TO_J14)],
            root_row=h36m[[H36M_PELVIS]],
            path=path,
            name=files.name,
            gender=gender,
        )
        self.keep("h36m_rows", h36m)
        self.keep("j24_rows", np.concatenate([arrays["J_regressor"], extra])[list(SMPL_TO_J24)])

    @full_precision
    def joints24(self, vertices: torch.Tensor) -> torch.Tensor:
        """The 24 label joints (B, 24, 3) from the posed mesh (B, 6890, 3); not the posed skeleton, as in the official
        code.
        """
        return self.j24_rows @ vertices

    @full_precision
    def joints_h36m(self, vertices: torch.Tensor) -> torch.Tensor:
        """The 17 Human3.6M joints (B, 17, 3) from the mesh (B, 6890, 3)."""
        return self.h36m_rows @ vertices


class MANO(BodyModel):
    """The right hand: 16 skeleton joints, pose (B, 48) whose fingers count from the mean hand, no PCA."""

    kind = "hand"
    num_joints = len(HAND_NAMES)

    @takes_data_dir
    def __init__(self, body_dir: str | Path | None = None) -> None:
        path = model_path(self.kind, body_dir)
        levels = read_levels(self.kind, body_dir)
        layer = ManoLayer(mano_root=path, use_pca=False, flat_hand_mean=False, persistent=False)
        skeleton_rows = layer.model.joint_regressor.mT.numpy()
        if skeleton_rows.shape[1] <= max(HAND_FINGERTIP_VERTICES):
            raise ValueError(f"{path} has {skeleton_rows.shape[1]} vertices, too few for a MANO hand")
        tip_rows = np.eye(skeleton_rows.shape[1])[list(HAND_FINGERTIP_VERTICES)]
        rows = np.concatenate([skeleton_rows, tip_rows])[list(MANO_TO_HAND)]
        super().__init__(
            skinned=layer.model,
            faces=layer.th_faces.numpy(),
            levels=levels,
            output_rows=rows,
            root_row=rows[[HAND_WRIST]],
            path=path,
            name=find_body_files(self.kind, body_dir)[1].name,
        )
        self.layer = layer

    @full_precision
    def rotations(self, pose: torch.Tensor) -> torch.Tensor:
        """Rotation matrices (B, 16, 3, 3) of a pose (B, 48), the mean hand added; matrices are taken as they are."""
        return pose if pose.ndim == 4 else self.layer.rotations(pose)

    @full_precision
    def pose_of(self, rotations: torch.Tensor) -> torch.Tensor:
        """The pose (B, 48), whose fingers count from the mean hand, of rotation matrices (B, 16, 3, 3)."""
        pose = matrix_to_axis_angle(rotations).flatten(1)
        return torch.cat([pose[:, :3], pose[:, 3:] - self.layer.th_hands_mean], 1)

    @full_precision
    def pca_of(self, pose: torch.Tensor) -> torch.Tensor:
        """All 45 PCA coefficients (B, 45) of a pose (B, 48): times the file's components they are its fingers.

        The first n of them are the closest pose of a layer with `ncomps=n`, as the components are orthonormal.
        """
        return torch.linalg.solve(self.layer.th_comps.mT, pose[:, 3:, None]).squeeze(-1)

    @full_precision
    def layer_joints(self, pose: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, 778, 3) and the layer's own 21 joints (B, 21, 3): posed skeleton and fingertips, meters."""
        vertices, skeleton = self.skin(pose, betas)
        return vertices, self.layer.joints21(vertices, skeleton)

    def targets(self, pose: torch.Tensor, betas: torch.Tensor) -> BodyTargets:
        """The mesh levels and the layer's 21 joints of pose and betas, minus the layer's wrist."""
        vertices, joints = self.layer_joints(pose, betas)
        wrist = joints[:, [HAND_WRIST]]
        return BodyTargets(joints=joints - wrist, vertices=self.centered_levels(vertices, wrist))


@takes_data_dir
def load_body(kind: str, body_dir: str | Path | None = None, gender: str = "neutral") -> SMPL | MANO:
    """SMPL for "body" (of a gender: "neutral", "female", "male"), MANO's right hand for "hand".

    Raises FileNotFoundError with the file to fetch, ValueError for another kind or gender and for a wrong file.
    """
    if kind == "hand" and gender == "neutral":
        return MANO(body_dir)
    if kind == "body":
        return SMPL(body_dir, gender)
    if kind == "hand":
        raise ValueError(f"gender {gender!r} of a hand is not known; hands have none, leave it out")
    raise ValueError(f"body kind {kind!r} is not known; use 'body' or 'hand'")
