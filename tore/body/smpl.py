"""The SMPL body (Loper et al. 2015) with the joints that labels, networks and metrics use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from manopth.files import load_body_arrays
from manopth.lbs import SkinnedModel
from manopth.precision import full_precision
from tore.body.body_model import BodyModel
from tore.body.files import model_path, read_levels, read_regressor
from tore.body.joints import H36M_NAMES, H36M_PELVIS, H36M_TO_J14, J14_NAMES, SMPL_NAMES, SMPL_TO_J24
from tore.paths import find_body_files


class SMPL(BodyModel):
    """SMPL of one gender: 24 skeleton joints, pose (B, 72), the mesh in metres around its own origin."""

    kind = "body"
    num_joints = len(J14_NAMES)
    j24_rows: torch.Tensor
    h36m_rows: torch.Tensor

    def __init__(self, data_dir: str | Path | None = None, gender: str = "neutral") -> None:
        path = model_path(self.kind, data_dir, gender)
        arrays = load_body_arrays(path)
        joints, vertices = arrays["J_regressor"].shape
        if joints != len(SMPL_NAMES):
            raise ValueError(f"{path} has {joints} joints, not SMPL's {len(SMPL_NAMES)}; get the published file again")
        files = find_body_files(self.kind, data_dir)[1]
        extra_rows = max(SMPL_TO_J24) + 1 - joints
        extra = read_regressor(files.regressor_extra, extra_rows, vertices, data_dir)
        h36m = read_regressor(files.regressor_h36m, len(H36M_NAMES), vertices, data_dir)
        super().__init__(
            skinned=SkinnedModel(arrays),
            faces=arrays["f"],
            levels=read_levels(self.kind, data_dir),
            output_rows=h36m[list(H36M_TO_J14)],
            root_row=h36m[[H36M_PELVIS]],
            path=path,
        )
        self.keep("h36m_rows", h36m)
        self.keep("j24_rows", np.concatenate([arrays["J_regressor"], extra])[list(SMPL_TO_J24)])

    @full_precision
    def joints24(self, vertices: torch.Tensor) -> torch.Tensor:
        """The 24 label joints (B, 24, 3) from the posed mesh (B, 6890, 3); not the posed skeleton, as published."""
        return self.j24_rows @ vertices

    @full_precision
    def joints_h36m(self, vertices: torch.Tensor) -> torch.Tensor:
        """The 17 Human3.6M joints (B, 17, 3) from the mesh (B, 6890, 3)."""
        return self.h36m_rows @ vertices
