"""A motion on its body: gaps, axes, hands in every form, where it stands, what its skin leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.motion.conftest import case_of
from tore.motion import rig_of, skin_difference

X_AXIS, QUARTER = np.eye(3)[0], np.pi / 2


def test_gaps_are_filled_on_the_shortest_way(synthetic_body_dir: Path) -> None:
    case = case_of("hand", synthetic_body_dir)
    pose = np.zeros((7, 48))
    pose[:, 3:6] = np.outer([0, 0, 0, 0, 0, 1, 1], QUARTER * X_AXIS)  # the first joint of the index finger
    place = np.arange(7)[:, None] * [0.1, 0, 0]
    gaps = np.array([0, 2, 3, 4, 6])  # before the first, between two, after the last
    pose[gaps], place[[3]] = np.nan, np.nan
    motion = replace(case.motion, pose=pose, betas=np.zeros((7, 10)), translation=place, fingers="flat")
    assert motion.known.tolist() == [False, True, False, False, False, True, False] and motion.gap() == 3
    rig = rig_of(motion, case.body)
    angles = np.degrees(Rotation.from_matrix(rig.rotations[:, 1]).magnitude())
    assert np.allclose(angles, [0, 0, 22.5, 45, 67.5, 90, 90], atol=1e-5)
    assert np.allclose(rig.root[:, 0] - rig.rest[0, 0], [0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5])


def test_one_pose_among_gaps_stands_still(synthetic_body_dir: Path) -> None:
    case = case_of("hand", synthetic_body_dir)
    pose = case.motion.pose.copy()
    pose[1:] = np.nan
    rig = rig_of(replace(case.motion, pose=pose), case.body)
    assert len(rig.root) == len(pose) and not np.ptp(rig.rotations, axis=0).any() and not np.ptp(rig.root, axis=0).any()


@pytest.mark.parametrize(
    ("axes", "bring"),
    [("camera", lambda p: p * [1, -1, -1]), ("z_up", lambda p: np.stack([p[..., 0], p[..., 2], -p[..., 1]], -1))],
)
def test_axes_are_brought_to_y_up(axes: str, bring, synthetic_body_dir: Path) -> None:
    """Every joint of the file's body, by its own coordinates, lands where they say in the new ones."""
    case = case_of("body", synthetic_body_dir)
    rig = rig_of(replace(case.motion, axes=axes), case.body)
    assert np.abs(rig.posed()[1] - bring(case.said()[1])).max() < 1e-6


def test_fingers_in_every_form_are_one_hand(synthetic_body_dir: Path) -> None:
    """From the mean hand, from the flat hand, and by all principal components."""
    case = case_of("hand", synthetic_body_dir)
    motion, mean = case.motion, case.arrays["hands_mean"]
    flat = replace(motion, pose=motion.pose + np.r_[np.zeros(3), mean], fingers="flat")
    numbers = motion.pose[:, 3:] @ np.linalg.inv(case.arrays["hands_components"])
    pca = replace(motion, pose=np.c_[motion.pose[:, :3], numbers], fingers="pca")
    expected = rig_of(motion, case.body).posed()[1]
    for other in (flat, pca):
        assert np.abs(rig_of(other, case.body).posed()[1] - expected).max() < 1e-5
    few = replace(motion, pose=pca.pose[:, :9], fingers="pca")
    cut = replace(pca, pose=np.where(np.arange(48) < 9, pca.pose, 0))
    assert np.abs(rig_of(few, case.body).posed()[1] - rig_of(cut, case.body).posed()[1]).max() < 1e-12


def test_a_left_hand_of_components_is_the_mirror_image(synthetic_body_dir: Path) -> None:
    """Coefficients are those of the left hand's model, whose components are mirrored; only the wrist is a vector."""
    case = case_of("hand", synthetic_body_dir)
    pose = np.random.default_rng(3).normal(0, 0.5, (4, 13))
    motion = replace(case.motion, pose=pose, betas=case.motion.betas[:4], translation=np.zeros((4, 3)), fingers="pca")
    left = replace(motion, pose=pose * np.r_[1, -1, -1, np.ones(10)], left=True)
    mirrored = rig_of(motion, case.body).posed()[1] * [-1, 1, 1]
    assert np.abs(rig_of(left, case.body).posed()[1] - mirrored).max() < 1e-9


def test_the_first_frame_comes_to_stand_over_the_origin(synthetic_body_dir: Path) -> None:
    case = case_of("body", synthetic_body_dir)
    rig = rig_of(case.motion, case.body)
    moved = rig.moved(-rig.place())
    lowest = moved.part(slice(1)).skinned()[0, :, 1].min()
    assert lowest == pytest.approx(0, abs=1e-9) and np.abs(moved.root[0, [0, 2]]).max() < 1e-12
    assert np.allclose(np.diff(moved.root, axis=0), np.diff(rig.root, axis=0))


def test_what_skins_leave_out_is_measured(synthetic_body_dir: Path) -> None:
    """The vertices of the body model against those of its own arrays without pose directions."""
    case = case_of("body", synthetic_body_dir)
    away = np.linalg.norm(case.said(correctives=True)[0] - case.said()[0], axis=2)
    mean, most = skin_difference(case.motion, case.body)
    assert mean == pytest.approx(away.mean(), rel=0.05) and most == pytest.approx(away.max(), rel=0.3)


def test_the_shape_is_the_median_and_the_root_stays(synthetic_body_dir: Path) -> None:
    case = case_of("body", synthetic_body_dir)
    betas = case.motion.betas.copy()
    betas[0] += 3  # one wrong frame
    rig, plain = rig_of(replace(case.motion, betas=betas), case.body), rig_of(case.motion, case.body)
    assert np.abs(rig.rest - plain.rest).max() < 1e-12
    assert np.abs(rig.root[1:] - plain.root[1:]).max() < 1e-12 and np.abs(rig.root[0] - plain.root[0]).max() > 1e-4


def test_motions_that_cannot_be_are_told(synthetic_body_dir: Path) -> None:
    body, hand = case_of("body", synthetic_body_dir), case_of("hand", synthetic_body_dir)
    with pytest.raises(ValueError, match="walk is the motion of a hand, and the body model is that of a body"):
        rig_of(hand.motion, body.body)
    with pytest.raises(ValueError, match="its poses have 69 numbers, the body model takes 72"):
        rig_of(replace(body.motion, pose=body.motion.pose[:, :69]), body.body)
    for wrong, told in (
        ({"frame_rate": 0.0}, "frame rate 0; give a positive number"),
        ({"axes": "up"}, "'up' is not known; choose from camera, z_up, y_up"),
        ({"fingers": "open"}, "'open' is not known; choose from mean, flat, pca"),
        ({"pose": body.motion.pose * np.nan}, "none of its 9 frames has a pose"),
        ({"translation": np.zeros((9, 2))}, r"not \(T, C\), \(T, S\), \(T, 3\)"),
    ):
        with pytest.raises(ValueError, match=told):
            replace(body.motion, **wrong)
