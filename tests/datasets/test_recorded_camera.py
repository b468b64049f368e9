"""The camera that a label records is what its 2D joints are checked against."""

from dataclasses import replace

import numpy as np
import pytest

from tore.datasets.inspection.rows import ERROR, check_agreement
from tore.datasets.label import Label
from tore.geometry.camera import PinholeCamera

CAMERA = {"focal_length": 100.0, "principal_point": [50.0, 60.0], "translation": [0.1, 0.2, 1.0]}


@pytest.fixture
def near() -> Label:
    """Somebody so near that no weak-perspective camera fits."""
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (24, 3))
    seen = PinholeCamera(100.0, (50.0, 60.0)).project(points + CAMERA["translation"])
    ones = np.ones((24, 1))
    return Label(
        "near.jpg", np.zeros(2), 1.0, np.hstack([seen, ones]), np.hstack([points, ones]), np.zeros(72), np.zeros(10),
        0, 1, 1, "neutral",
    )  # fmt: skip


def test_joints_that_the_recorded_camera_sees_agree_however_near_it_is(near: Label) -> None:
    assert list(check_agreement(near, CAMERA)) == [] != list(check_agreement(near))


@pytest.mark.parametrize("change", [{"focal_length": 120.0}, {"translation": [0, 0, 1.0]}, {"translation": 3}])
def test_another_camera_or_none_that_can_be_read_is_an_error(near: Label, change: dict) -> None:
    ((severity, check, text),) = check_agreement(near, CAMERA | change)
    assert (severity, check) == (ERROR, "3D against 2D") and "recorded camera" in text


def test_moved_joints_are_an_error(near: Label) -> None:
    moved = replace(near, joints_2d=near.joints_2d + [30, 0, 0] * (np.arange(24) == 3)[:, None])
    assert [severity for severity, _, _ in check_agreement(moved, CAMERA)] == [ERROR]
