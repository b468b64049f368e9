"""The MANO hand layer under its official name, arguments and results (millimetres, 21 joints).

Networks saved with the official layer inside load strictly into networks with this one, and the reverse: the buffers
`th_*` have the official names and shapes. Written from the MANO model (Romero et al. 2017) and the official layer's
documented call; the layer of Hasson et al. that bears this name is not part of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .files import load_body_arrays
from .hand_sides import check_side, fixed_shape
from .lbs import SkinnedModel, linear_blend_skinning
from .rotations import axis_angle_to_matrix, nearest_rotation, rotation_6d_to_matrix
from .tensors import WithConstants, full_precision

FILE_NAMES = {"right": "MANO_RIGHT.pkl", "left": "MANO_LEFT.pkl"}
# Official: thumb, index, middle, ring, pinky; the middle finger's tip differs between the sides.
FINGERTIP_VERTICES = {"right": (745, 317, 444, 556, 673), "left": (745, 317, 445, 556, 673)}
PALM_VERTICES = (95, 22)
# From MANO's 16 skeleton joints and then 5 fingertips to wrist, then thumb to pinky, each from palm to tip.
JOINT_ORDER = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
MILLIMETRES = 1000
FINGER_JOINTS = 15
# Buffers that are views of what skinning reads: writing into one, or assigning it, changes the hand.
TIED = ("th_v_template", "th_shapedirs", "th_posedirs", "th_J_regressor", "th_weights")


def find_model(mano_root: str | Path, side: str) -> Path:
    """The model file: `mano_root` itself where it is a file (`.npz`, `.pkl`), else the side's file in that folder."""
    if side not in FILE_NAMES:
        raise ValueError(f"side={side!r} is not known; use 'right' or 'left'")
    root = Path(mano_root)
    path = root if root.is_file() or root.suffix in (".npz", ".pkl") else root / FILE_NAMES[side]
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: get {FILE_NAMES[side]} from MANO's site, https://mano.is.tue.mpg.de, and put it "
            "there, or name its folder or file with mano_root"
        )
    return path


def _hand_arrays(path: Path, side: str, fix_left_shape: bool) -> dict[str, np.ndarray]:
    """The arrays of a MANO hand of this side, a left one's shape directions mirrored on request."""
    arrays = load_body_arrays(path)
    for name, shape in (("hands_components", (45, 45)), ("hands_mean", (45,))):
        if arrays.get(name, np.empty(0)).shape != shape:
            raise ValueError(f"{path} has no {name} of shape {shape}: it is not a MANO hand")
    vertices, joints = arrays["weights"].shape
    if joints != 1 + FINGER_JOINTS:
        raise ValueError(f"{path} has {joints} joints, not 16: it is not a MANO hand")
    if vertices <= max(*FINGERTIP_VERTICES[side], *PALM_VERTICES):
        raise ValueError(f"{path} has {vertices} vertices, not 778: it is not a MANO hand")
    check_side(arrays, side, path)
    if side == "left":
        arrays["shapedirs"] = _left_shape(arrays["shapedirs"], path, fix_left_shape)
    return arrays


def _left_shape(shapedirs: np.ndarray, path: Path, fix: bool) -> np.ndarray:
    """A left hand's shape directions (778, 3, S): the file's or, with `fix`, mirrored ones; warns of the fault."""
    swapped = path.with_name(path.name.replace("LEFT", "RIGHT").replace("left", "right"))
    places = [place for place in (swapped, path.with_name(FILE_NAMES["right"])) if place != path and place.is_file()]
    if not places:
        if not fix:
            return shapedirs
        raise FileNotFoundError(
            f"{path.with_name(FILE_NAMES['right'])} is missing: fix_left_shape compares {path.name} with the right "
            "hand's file; put MANO_RIGHT.pkl from MANO's site, https://mano.is.tue.mpg.de, beside it"
        )
    try:
        fixed = fixed_shape(shapedirs, load_body_arrays(places[0])["shapedirs"], (path, places[0]))
    except (ValueError, OSError):
        if fix:
            raise
        return shapedirs
    if not fix and not np.array_equal(fixed, shapedirs):
        warnings.warn(
            f"{path}: shape directions have the right hand's x, a known fault of this file, so that one shape makes "
            "two different hands; fix_left_shape=True mirrors them",
            stacklevel=4,
        )
    return fixed if fix else shapedirs


class ManoLayer(WithConstants):
    """Hand vertices and joints from pose and shape.

    - `center_idx`: this one of the 21 joints becomes the origin, unless a translation is given
    - `flat_hand_mean`: finger poses count from the flat hand, else from the file's mean pose
    - `ncomps`: number of PCA coefficients with `use_pca`; without it the 45 axis-angle numbers are given
    - `mano_root`: folder of MANO_RIGHT.pkl and MANO_LEFT.pkl, or a model file (a plain `.npz` too)
    - `root_rot_mode`: "axisang" for 3 numbers, anything else for 6 (`robust_rot` chooses how they become a rotation)
    - `joint_rot_mode`: "axisang"; anything else, without `use_pca`, for 16 rotation matrices
    - `fix_left_shape`: a left hand whose shape directions have the right hand's x, as in the file of MANO's site, gets
      them mirrored, so that one shape makes two mirrored hands; the right hand's file, beside the left one, tells.
      Without it the file's numbers count, as in the official layer, and a warning says so. A right hand stays as it is
    - `ignore_zero_trans`: a translation of exactly zero counts as none, as in the official layer: it gets no gradient,
      and `center_idx` applies. With False a translation (B, 3) always counts, zero too, so that it can be fitted
    - `persistent`: the buffers `th_*` are part of the state dict, as in the official layer

    Attributes of the official layer: `rot` (3 or 6), `ncomps`, `kintree_table` (2, 16), `kintree_parents`, and the
    buffers `th_v_template (1, 778, 3)`, `th_shapedirs (778, 3, 10)`, `th_posedirs (778, 3, 135)`, `th_J_regressor
    (16, 778)`, `th_weights (778, 16)`, `th_faces (F, 3)`, `th_betas (1, 10)`; with axis-angle fingers `th_hands_mean
    (1, 45)`, `th_comps (45, 45)` and `th_selected_comps (ncomps, 45)`, with matrices `th_hands_mean_rotmat (15, 3, 3)`.
    Lengths are meters. A buffer that a loaded state lacks keeps the model file's values.

    Under torch.autocast the layer computes in float32.
    """

    th_betas: torch.Tensor
    th_faces: torch.Tensor
    th_hands_mean: torch.Tensor
    th_comps: torch.Tensor
    th_selected_comps: torch.Tensor
    th_hands_mean_rotmat: torch.Tensor
    th_v_template: torch.Tensor
    th_shapedirs: torch.Tensor
    th_posedirs: torch.Tensor
    th_J_regressor: torch.Tensor
    th_weights: torch.Tensor
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
        *,
        fix_left_shape: bool = False,
        ignore_zero_trans: bool = True,
        persistent: bool = True,
    ) -> None:
        super().__init__()
        path = find_model(mano_root, side)
        arrays = _hand_arrays(path, side, fix_left_shape)
        self.mano_path = str(path)
        self.center_idx, self.side, self.robust_rot = center_idx, side, robust_rot
        self.flat_hand_mean, self.use_pca = flat_hand_mean, use_pca
        self.root_rot_mode, self.joint_rot_mode = root_rot_mode, joint_rot_mode
        self.ignore_zero_trans = ignore_zero_trans
        self.rot = 3 if root_rot_mode == "axisang" else 6
        # Official: the PCA coefficients take precedence over joint_rot_mode.
        self.takes_matrices = joint_rot_mode != "axisang" and not use_pca
        self.model = SkinnedModel(arrays)
        self.ncomps = ncomps if use_pca else len(arrays["hands_components"])
        self.kintree_table = arrays["kintree_table"]
        self.kintree_parents: list[int] = self.kintree_table[0].tolist()
        for name, tensor in self._official_buffers(arrays, ncomps).items():
            self.register_buffer(name, tensor, persistent=persistent)
        self.keep_constant("th_faces", torch.from_numpy(arrays["f"]), persistent)  # (F,3)
        self.keep_constant("fingertips", torch.tensor(FINGERTIP_VERTICES[side], device="cpu"))
        self.keep_constant("joint_order", torch.tensor(JOINT_ORDER, device="cpu"))

    def _official_buffers(self, arrays: Mapping[str, np.ndarray], ncomps: int) -> dict[str, torch.Tensor]:
        """The official layer's buffers, in its order."""
        mean = np.zeros_like(arrays["hands_mean"]) if self.flat_hand_mean else arrays["hands_mean"]
        hands_mean = torch.from_numpy(mean).float()[None]  # (1,45)
        views = self._views()
        buffers = {
            "th_betas": torch.from_numpy(arrays.get("betas", np.zeros(10))[: self.model.num_betas]).float()[None],
            **{name: views[name] for name in ("th_shapedirs", "th_posedirs", "th_v_template")},
            **{name: views[name] for name in ("th_J_regressor", "th_weights")},
        }
        if self.takes_matrices:
            matrices = axis_angle_to_matrix(hands_mean.unflatten(1, (FINGER_JOINTS, 3)))
            return buffers | {"th_hands_mean_rotmat": matrices[0]}
        components = torch.from_numpy(arrays["hands_components"]).float()  # (45,45)
        selected = components[:ncomps].clone()
        return buffers | {"th_hands_mean": hands_mean, "th_comps": components, "th_selected_comps": selected}

    def _views(self) -> dict[str, torch.Tensor]:
        """The official layout of what skinning reads, in the same memory."""
        model = self.model
        views = (
            model.basis[:1].mT,
            model.basis[1 : 1 + model.num_betas].permute(2, 1, 0),
            model.basis[1 + model.num_betas :].permute(2, 1, 0),
            model.joint_regressor.mT,
            model.weights.mT,
        )
        return dict(zip(TIED, views, strict=True))

    def _tie(self) -> None:
        self._buffers.update(self._views())

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> ManoLayer:
        super()._apply(fn, recurse)  # what `.to()` and the like do
        self._tie()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._tie()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in TIED or not isinstance(value, torch.Tensor):
            super().__setattr__(name, value)
            return
        view = self._views()[name]
        if value.requires_grad or value.shape != view.shape:
            raise ValueError(f"{name} takes numbers of shape {tuple(view.shape)} without a gradient")
        view.copy_(value)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in () if keep_vars else (prefix + name for name in TIED):
            if name in destination:
                destination[name] = destination[name].contiguous()  # of its own memory, as every file format takes it

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        missing: list[str] = rest[2]
        before = list(missing)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        missing[:] = before

    @full_precision
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

    @full_precision
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
        - `th_trans`: (B, 3) meters, added; None or a single zero for none, and then `center_idx` applies; a (B, 3) of
          zeros counts as none too unless the layer was made with `ignore_zero_trans=False`
        - `root_palm`: the first joint is the center of the palm instead of the wrist
        - `share_betas`: every hand gets the batch's mean shape

        No value of a tensor is read, so that every call compiles and exports as one graph.
        """
        if th_betas is None or th_betas.numel() == 1:
            th_betas = self.th_betas
        else:
            th_betas = _choose(share_betas, th_betas.mean(0, keepdim=True), th_betas)
        rotations = self.rotations(th_pose_coeffs)
        vertices, skeleton = linear_blend_skinning(rotations, th_betas.expand(rotations.shape[0], -1), self.model)
        first, second = PALM_VERTICES
        palm = (vertices[:, first] + vertices[:, second]) / 2
        wrist = _choose(root_palm, palm, skeleton[:, 0])
        joints = self.joints21(vertices, torch.cat([wrist[:, None], skeleton[:, 1:]], 1))
        shift = self._shift(joints, th_trans)
        return (vertices + shift) * MILLIMETRES, (joints + shift) * MILLIMETRES

    def _shift(self, joints: torch.Tensor, th_trans: torch.Tensor | None) -> torch.Tensor:
        """What is added to every point, (B, 1, 3): the translation, else what brings the center to the origin."""
        center = torch.zeros_like(joints[:, :1]) if self.center_idx is None else -joints[:, self.center_idx, None]
        if th_trans is None:
            return center
        if not self.ignore_zero_trans and th_trans.numel() > 1:
            return th_trans[:, None]
        # Official: a translation of exactly zero counts as none.
        return _choose(th_trans.any(), th_trans[:, None], center)


def _choose(flag: torch.Tensor | bool, chosen: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """`chosen` where the flag, a truth value or a tensor of one number, is set."""
    if not isinstance(flag, torch.Tensor):
        return chosen if flag else otherwise
    return torch.where(flag.to(otherwise.device).bool().reshape(()), chosen, otherwise)
