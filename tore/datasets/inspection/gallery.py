"""A contact sheet of a data set: crops with their 2D joints and, with a body model, the labeled mesh over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tore.datasets.mesh_dataset import MeshDataset
from tore.geometry.alignment import fit_weak_perspective
from tore_runtime.drawing import contact_sheet, draw_crop_joints, overlay_crop

# pose (B,P), betas (B,10) -> full mesh (B,V,3) and its labeled joints (B,J,3), meters
PosedMesh = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def gallery(
    dataset: MeshDataset,
    indices: Sequence[int],
    posed_mesh: PosedMesh | None,
    faces: np.ndarray | None,
    cell: int = 224,
) -> np.ndarray:
    """(H, W, 3) uint8 sheet: for each sample its crop with joints and, if `posed_mesh` is given, the mesh beside it.

    The mesh stands where the weak-perspective camera that fits its joints best to the labeled 2D joints puts it.
    BadSample where a sample cannot be read.
    """
    images, captions = [], []
    for index in indices:
        sample = dataset.sample(index)
        crop = dataset.image_format.pixels(sample["image"].numpy())
        joints, confidence = np.split(sample["joints_2d"].numpy(), [2], 1)
        images.append(draw_crop_joints(crop, joints, confidence[:, 0]))
        captions.append(f"{index} {sample['key']}")
        if posed_mesh is not None and faces is not None:
            drawn = draw_mesh(crop, sample, posed_mesh, faces)
            images.append(crop if drawn is None else drawn)
            captions.append("no mesh label" if drawn is None else "labeled mesh")
    columns = None
    if posed_mesh is not None:
        columns = 2 * max(1, round(np.sqrt(len(indices) / 2)))
    return contact_sheet(images, captions, columns=columns, cell=cell)


def draw_mesh(crop: np.ndarray, sample: dict[str, Any], posed_mesh: PosedMesh, faces: np.ndarray) -> np.ndarray | None:
    """The crop with the sample's labeled mesh over it; None without a mesh label or without enough 2D joints."""
    if not sample["has_smpl"]:
        return None
    vertices, joints = (found[0].numpy() for found in posed_mesh(sample["pose"][None], sample["betas"][None]))
    labeled = sample["joints_2d"].numpy().astype(np.float64)
    middle = joints.mean(0)
    if len(joints) != len(labeled):
        return None
    fit = fit_weak_perspective(np.column_stack([joints - middle, np.ones(len(joints))]), labeled)
    if fit is None or fit.scale <= 0:
        return None
    camera = np.array([fit.scale, *(fit.shift / fit.scale)])
    return overlay_crop(crop, vertices - middle, faces, camera)
