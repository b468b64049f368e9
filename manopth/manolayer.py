"""The MANO hand layer under its published name, arguments and results (millimetres, 21 joints).

Written from the MANO model (Romero et al. 2017) and the published layer's documented call; the layer of Hasson et al.
that bears this name is not part of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from .files import load_body_arrays
from .lbs import SkinnedModel, linear_blend_skinning
from .rotations import axis_angle_to_matrix, nearest_rotation, rotation_6d_to_matrix

FILE_NAMES = {"right": "MANO_RIGHT.pkl", "left": "MANO_LEFT.pkl"}
# Published: thumb, index, middle, ring, pinky; the middle finger's tip differs between the sides.
FINGERTIP_VERTICES = {"right": (745, 317, 444, 556, 673), "left": (745, 317, 445, 556, 673)}
PALM_VERTICES = (95, 22)
# From MANO's 16 skeleton joints and then 5 fingertips to wrist, then thumb to pinky, each from palm to tip.
JOINT_ORDER = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
MILLIMETRES = 1000
FINGER_JOINTS = 15


def find_model(mano_root: str | Path, side: str) -> Path:
    """The model file: `mano_root` itself where it is a file (`.npz`, `.pkl`), else the side's file in that folder."""
    if side not in FILE_NAMES:
        raise ValueError(f"side={side!r} is not known; use 'right' or 'left'")
    root = Path(mano_root)
    path = root if root.suffix in (".npz", ".pkl") else root / FILE_NAMES[side]
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: get {FILE_NAMES[side]} from MANO's site, https://mano.is.tue.mpg.de, and put it "
            "there, or name its folder or file with mano_root"
        )
    return path


class ManoLayer(nn.Module):
    """A MANO hand of one side.

    - `center_idx`: this one of the 21 joints becomes the origin, unless a translation is given
    - `flat_hand_mean`: finger poses count from the flat hand, else from the file's mean pose
    - `ncomps`: number of PCA coefficients with `use_pca`; without it the 45 axis-angle numbers are given
    - `mano_root`: folder of MANO_RIGHT.pkl and MANO_LEFT.pkl, or a model file (a plain `.npz` too)
    - `root_rot_mode`: "axisang" for 3 numbers, anything else for 6 (`robust_rot` chooses how they become a rotation)
    - `joint_rot_mode`: "axisang"; anything else, without `use_pca`, for 16 rotation matrices
    """

    th_betas: torch.Tensor
    th_faces: torch.Tensor
    th_hands_mean: torch.Tensor
    th_comps: torch.Tensor
    fingertips: torch.Tensor
    joint_order: torch.Tensor

    def __init__(
        self,
        center_idx: int | None = None,
        flat_hand_mean: bool = True,
        ncomps: int = 6,
        side: str = "right",
        mano_root: str | Path = "mano/models",
        use_pca: bool = True,
        root_rot_mode: str = "axisang",
        joint_rot_mode: str = "axisang",
        robust_rot: bool = False,
    ) -> None:
        super().__init__()
        path = find_model(mano_root, side)
        arrays = load_body_arrays(path)
        self.center_idx, self.side, self.robust_rot = center_idx, side, robust_rot
        self.flat_hand_mean, self.use_pca = flat_hand_mean, use_pca
        self.root_rot_mode, self.joint_rot_mode = root_rot_mode, joint_rot_mode
        self.rot = 3 if root_rot_mode == "axisang" else 6
        # Published: the PCA coefficients take precedence over joint_rot_mode.
        self.takes_matrices = joint_rot_mode != "axisang" and not use_pca
        self.model = SkinnedModel(arrays)
        for name, shape in (("hands_components", (45, 45)), ("hands_mean", (45,))):
            if arrays.get(name, np.empty(0)).shape != shape:
                raise ValueError(f"{path} has no {name} of shape {shape}: it is not a MANO hand")
        if self.model.num_joints != 1 + FINGER_JOINTS:
            raise ValueError(f"{path} has {self.model.num_joints} joints, not 16: it is not a MANO hand")
        self.ncomps = ncomps if use_pca else len(arrays["hands_components"])
        mean = np.zeros_like(arrays["hands_mean"]) if flat_hand_mean else arrays["hands_mean"]
        betas = arrays.get("betas", np.zeros(self.model.num_betas))[: self.model.num_betas]
        buffers = {
            "th_betas": torch.from_numpy(betas).float()[None],  # (1,10)
            "th_faces": torch.from_numpy(arrays["f"]),  # (F,3)
            "th_hands_mean": torch.from_numpy(mean).float()[None],  # (1,45)
            "th_comps": torch.from_numpy(arrays["hands_components"]).float(),  # (45,45)
            "fingertips": torch.tensor(FINGERTIP_VERTICES[side]),
            "joint_order": torch.tensor(JOINT_ORDER),
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)

    @property
    def th_selected_comps(self) -> torch.Tensor:
        """The PCA directions in use, (ncomps, 45)."""
        return self.th_comps[: self.ncomps]

    @property
    def th_v_template(self) -> torch.Tensor:
        """(1, 778, 3) metres."""
        return self.model.basis[:1].mT

    @property
    def th_shapedirs(self) -> torch.Tensor:
        """(778, 3, 10)."""
        return self.model.basis[1 : 1 + self.model.num_betas].permute(2, 1, 0)

    @property
    def th_posedirs(self) -> torch.Tensor:
        """(778, 3, 135)."""
        return self.model.basis[1 + self.model.num_betas :].permute(2, 1, 0)

    @property
    def th_J_regressor(self) -> torch.Tensor:
        """(16, 778)."""
        return self.model.joint_regressor.mT

    @property
    def th_weights(self) -> torch.Tensor:
        """(778, 16)."""
        return self.model.weights.mT

    def rotations(self, th_pose_coeffs: torch.Tensor) -> torch.Tensor:
        """Rotation matrices (B, 16, 3, 3) of the pose as `forward` takes it."""
        if self.takes_matrices:
            if th_pose_coeffs.shape[1:] != (1 + FINGER_JOINTS, 3, 3):
                raise ValueError(f"pose has shape {tuple(th_pose_coeffs.shape)}, not (B, 16, 3, 3)")
            return nearest_rotation(th_pose_coeffs)
        wanted = self.rot + self.ncomps
        if th_pose_coeffs.ndim != 2 or th_pose_coeffs.shape[1] < wanted:
            raise ValueError(f"pose has shape {tuple(th_pose_coeffs.shape)}, not (B, {wanted})")
        root, fingers = th_pose_coeffs[:, : self.rot], th_pose_coeffs[:, self.rot : wanted]
        fingers = self.th_hands_mean + (fingers @ self.th_selected_comps if self.use_pca else fingers)  # (B,45)
        finger_rotations = axis_angle_to_matrix(fingers.unflatten(1, (FINGER_JOINTS, 3)))
        as_matrix = axis_angle_to_matrix(root) if self.rot == 3 else rotation_6d_to_matrix(root, self.robust_rot)
        return torch.cat([as_matrix[:, None], finger_rotations], 1)

    def joints21(self, vertices: torch.Tensor, skeleton: torch.Tensor) -> torch.Tensor:
        """The layer's 21 joints (B, 21, 3) from vertices (B, 778, 3) and the posed skeleton (B, 16, 3)."""
        return torch.cat([skeleton, vertices[:, self.fingertips]], 1)[:, self.joint_order]

    def forward(
        self,
        th_pose_coeffs: torch.Tensor,
        th_betas: torch.Tensor | None = None,
        th_trans: torch.Tensor | None = None,
        root_palm: torch.Tensor | bool = False,
        share_betas: torch.Tensor | bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, 778, 3) and joints (B, 21, 3), both in millimetres.

        - `th_pose_coeffs`: (B, 3 or 6 + ncomps), or (B, 16, 3, 3), by the layer's arguments
        - `th_betas`: (B, 10); None or a single number for the file's own shape
        - `th_trans`: (B, 3) metres, added; None or all zeros for none, and then `center_idx` applies
        - `root_palm`: the first joint is the middle of the palm instead of the wrist
        - `share_betas`: every hand gets the batch's mean shape
        """
        batch = len(th_pose_coeffs)
        if th_betas is None or th_betas.numel() == 1:
            th_betas = self.th_betas
        elif bool(share_betas):
            th_betas = th_betas.mean(0, keepdim=True)
        rotations = self.rotations(th_pose_coeffs)
        vertices, skeleton = linear_blend_skinning(rotations, th_betas.expand(batch, -1), self.model)
        if bool(root_palm):
            palm = vertices[:, PALM_VERTICES].mean(1, keepdim=True)
            skeleton = torch.cat([palm, skeleton[:, 1:]], 1)
        joints = self.joints21(vertices, skeleton)
        # Published: a translation of exactly zero counts as none.
        if th_trans is not None and bool(th_trans.any()):
            vertices, joints = vertices + th_trans[:, None], joints + th_trans[:, None]
        elif self.center_idx is not None:
            center = joints[:, self.center_idx, None]
            vertices, joints = vertices - center, joints - center
        return vertices * MILLIMETRES, joints * MILLIMETRES
