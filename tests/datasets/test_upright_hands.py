"""Sets of hands for a network that sees them upright: crops, joints and images turned alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.datasets.data_sets import HAND_SOURCES, write_set
from tore.body.joints import HAND_NAMES
from tore.datasets.augmentation import Draw
from tore.datasets.mesh_dataset import MeshDataset, drawn_crop, sample_rng
from tore.datasets.sets import BadSample
from tore.image_format import FORMATS, MEDIAPIPE_HAND, ImageFormat
from tore_runtime.crop import rotation_2d
from tore_runtime.cutting import crop_image

FORMAT = FORMATS[MEDIAPIPE_HAND]
WRIST, KNUCKLE = HAND_NAMES.index("Wrist"), HAND_NAMES.index("Middle_1")


def label(seed: int, height: int, width: int, **more: object) -> list[dict]:
    """A hand around the image's middle that points anywhere; the 2D joints are the 3D ones, seen from afar."""
    rng = np.random.RandomState(seed)
    joints = rng.uniform(-0.05, 0.05, (21, 3))
    joints[WRIST] = 0
    direction = rng.uniform(-1, 1, 2)
    for knuckle in (5, 9, 13):
        joints[knuckle, :2] = 0.08 * direction / np.linalg.norm(direction)
    pixels = joints[:, :2] * 600 + [width / 2, height / 2]
    ones = np.ones((21, 1))
    person = {
        "2d_joints": np.hstack([pixels, ones]).tolist(),
        "3d_joints": np.hstack([joints, ones]).tolist(),
        "pose": rng.uniform(-1, 1, 48).tolist(),
        "betas": [0.0] * 10,
        "center": [3.0, 4.0],
        "scale": 0.1,
        "has_smpl": 1,
        "has_3d_joints": 1,
        "has_2d_joints": 1,
    }
    return [person | more]


@pytest.fixture
def hands(tmp_path: Path) -> Path:
    return write_set(tmp_path, HAND_SOURCES, [label(*source) for source in HAND_SOURCES])


def test_evaluation_shows_hands_upright(hands: Path) -> None:
    dataset = MeshDataset(hands, False, "hand", image_format=FORMAT)
    for index in range(len(dataset)):
        sample, own = dataset.sample(index), dataset.label(index)
        points, space = sample["joints_2d"][:, :2], sample["joints_3d"][:, :3]
        up = points[KNUCKLE] - points[WRIST]
        assert abs(float(up[0])) < 2 / 112 and float(up[1]) < 0  # labels lie on whole pixels of the crop
        assert float(torch.cat([points.amax(0), -points.amin(0)]).abs().max()) < 1 / 1.75 + 0.02
        assert abs(float(space[KNUCKLE, 0])) < 1e-6 and float(space[KNUCKLE, 1]) == pytest.approx(-0.08, abs=1e-6)
        np.testing.assert_allclose(space[:, 2], own.joints_3d[:, 2] - own.joints_3d[0, 2], atol=1e-6)
        back = space[:, :2].numpy() @ rotation_2d(sample["rotation"]).T
        np.testing.assert_allclose(back, own.joints_3d[:, :2], atol=1e-6)
        crop = drawn_crop(own, Draw(), upright=True)
        shown = crop_image(dataset.image(index)[1], crop, FORMAT.size) / 255
        np.testing.assert_allclose(sample["image"].permute(1, 2, 0), shown, atol=1e-6)
        assert sample["scale"] == crop.size / 200 and tuple(sample["center"].tolist()) == pytest.approx(crop.center)


def test_training_turns_by_28_degrees_and_enlarges_by_a_seventh_at_most(hands: Path) -> None:
    dataset = MeshDataset(hands, True, "hand", image_format=FORMAT)
    base, own = drawn_crop(dataset.label(0), Draw(), upright=True), dataset.label(0)
    turns, sizes = [], []
    for seed in range(60):
        sample = dataset.sample(0, sample_rng(seed, 0, 0))
        turns.append(sample["rotation"] - base.rotation)
        sizes.append(sample["scale"] * 200 / base.size)
        back = sample["joints_3d"][:, :2].numpy() @ rotation_2d(sample["rotation"]).T
        np.testing.assert_allclose(back, own.joints_3d[:, :2], atol=1e-6)
    assert max(np.abs(turns)) <= 28 and np.ptp(turns) > 20
    assert min(sizes) >= 6 / 7 - 1e-9 and max(sizes) <= 8 / 7 + 1e-9 and np.ptp(sizes) > 0.2


def test_labels_that_tell_no_turn_are_refused(tmp_path: Path) -> None:
    blind = label(1, 224, 224)
    blind[0]["2d_joints"] = [[x, y, 0] for x, y, _ in blind[0]["2d_joints"]]
    path = write_set(tmp_path, HAND_SOURCES[:1], [blind])
    with pytest.raises(BadSample, match="the wrist and a knuckle"):
        MeshDataset(path, False, "hand", image_format=FORMAT).sample(0)
    assert MeshDataset(path, False, "hand").sample(0)["rotation"] == 0
    with pytest.raises(ValueError, match="upright crops are of hands"):
        MeshDataset(path, False, "body", image_format=ImageFormat(upright=True))
