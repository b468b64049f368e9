"""The MANO right hand (Romero et al. 2017) in metres, on the layer of manopth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from manopth.manolayer import ManoLayer
from manopth.precision import full_precision
from tore.body.body_model import BodyModel, BodyTargets
from tore.body.files import model_path, read_levels
from tore.body.joints import HAND_FINGERTIP_VERTICES, HAND_NAMES, HAND_WRIST, MANO_TO_HAND


class MANO(BodyModel):
    """The right hand: 16 skeleton joints, pose (B, 48) whose fingers count from the mean hand, no PCA."""

    kind = "hand"
    num_joints = len(HAND_NAMES)

    def __init__(self, data_dir: str | Path | None = None) -> None:
        path = model_path(self.kind, data_dir)
        levels = read_levels(self.kind, data_dir)
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
        )
        self.layer = layer

    @full_precision
    def rotations(self, pose: torch.Tensor) -> torch.Tensor:
        """Rotation matrices (B, 16, 3, 3) of a pose (B, 48), the mean hand added; matrices are taken as they are."""
        return pose if pose.ndim == 4 else self.layer.rotations(pose)

    @full_precision
    def layer_joints(self, pose: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, 778, 3) and the layer's own 21 joints (B, 21, 3): posed skeleton and fingertips, metres."""
        vertices, skeleton = self.skin(pose, betas)
        return vertices, self.layer.joints21(vertices, skeleton)

    def targets(self, pose: torch.Tensor, betas: torch.Tensor) -> BodyTargets:
        """The mesh levels and the layer's 21 joints of pose and betas, minus the layer's wrist."""
        vertices, joints = self.layer_joints(pose, betas)
        wrist = joints[:, [HAND_WRIST]]
        return BodyTargets(joints=joints - wrist, vertices=self.centred_levels(vertices, wrist))
