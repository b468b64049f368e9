"""The image of a training step: input, prediction over it, joints, and the token heatmap beside its target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tore.engine.step import Batch, StepResult
from tore.geometry.camera import project_weak_perspective
from tore.image_format import OFFICIAL_FORMAT, ImageFormat
from tore.losses.terms import coverage_mask
from tore_runtime.drawing import (
    color_heatmap,
    contact_sheet,
    draw_crop_joints,
    mean_heatmap,
    overlay_crop,
    save_image,
)

SAMPLES = 4


class TrainingSheet:
    """Called by the trainer; writes `<folder>/iteration_00001000.jpg` and returns the image."""

    def __init__(
        self, folder: Path, *, faces: Tensor, stride: int, image_format: ImageFormat = OFFICIAL_FORMAT
    ) -> None:
        self.folder, self.stride, self.image_format = folder, stride, image_format
        self.faces = faces.cpu().numpy()

    def __call__(self, iteration: int, batch: Batch, result: StepResult) -> np.ndarray:
        """A row for each of the first four samples: input, overlay, joints, heatmap, its target."""
        images: list[np.ndarray] = []
        captions: list[str] = []
        for place in range(min(SAMPLES, len(batch["image"]))):
            row = self._row(place, batch, result)
            images += row.values()
            captions += row.keys()
        sheet = contact_sheet(images, captions, columns=len(row))
        save_image(self.folder / f"iteration_{iteration:08d}.jpg", sheet, quality=90)
        return sheet

    def _row(self, place: int, batch: Batch, result: StepResult) -> dict[str, np.ndarray]:
        prediction, targets = result.prediction, result.targets
        labeled = targets.joints_2d[place].float().cpu().numpy()
        crop = self.image_format.pixels(batch["image"][place].float().cpu().numpy())
        camera = prediction.camera[place].detach().float()
        vertices = prediction.vertices[place].detach().float().cpu().numpy()
        projected = project_weak_perspective(prediction.joints[place : place + 1], prediction.camera[place : place + 1])
        row = {
            "input": crop,
            "prediction": overlay_crop(crop, vertices, self.faces, camera.cpu().numpy(), samples=1),
            "predicted joints": draw_crop_joints(crop, projected[0].detach().float().cpu().numpy()),
            "labeled joints": draw_crop_joints(crop, labeled[:, :2], labeled[:, 2]),
        }
        if prediction.heatmap is not None:
            grid = (crop.shape[0] // self.stride, crop.shape[1] // self.stride)
            seen = project_weak_perspective(targets.vertices[-1][place : place + 1], camera[None])
            mask = coverage_mask(torch.as_tensor(seen), grid)[0].cpu().numpy()
            heatmap = prediction.heatmap[place].detach().float().cpu().numpy()
            row |= {"tokens": mean_heatmap(crop, heatmap, shape=grid), "their target": color_heatmap(crop, mask)}
        return row
