"""The crop camera and the pinhole camera that stands in for it."""

from __future__ import annotations

import numpy as np
import torch

from tore.geometry.camera import crop_camera_translation, project_weak_perspective


def test_projection_against_a_loop() -> None:
    r = np.random.RandomState(0)
    points, camera = r.standard_normal((3, 7, 3)), r.standard_normal((3, 3))
    actual = project_weak_perspective(torch.from_numpy(points), torch.from_numpy(camera)).numpy()
    for sample in range(3):
        scale, shift_x, shift_y = camera[sample]
        for n in range(7):
            x, y, _ = points[sample, n]
            np.testing.assert_allclose(actual[sample, n], [scale * (x + shift_x), scale * (y + shift_y)], rtol=1e-14)


def test_pinhole_camera_agrees_far_away() -> None:
    """A flat point set at depth 0 lands on the same pixels through both cameras."""
    r = np.random.RandomState(1)
    points = torch.from_numpy(np.concatenate([r.uniform(-0.5, 0.5, (2, 9, 2)), np.zeros((2, 9, 1))], -1))
    camera = torch.tensor([[0.9, 0.1, -0.2], [1.3, -0.05, 0.3]], dtype=torch.float64)
    for size in (224, 384):
        seen = points + crop_camera_translation(camera, 1000.0, size)[:, None]
        pinhole = 1000.0 * seen[..., :2] / seen[..., 2:]
        weak = project_weak_perspective(points, camera) * size / 2
        np.testing.assert_allclose(pinhole, weak, atol=1e-6)


def test_zero_scale_stays_finite() -> None:
    assert torch.isfinite(crop_camera_translation(torch.zeros(1, 3))).all()
