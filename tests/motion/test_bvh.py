"""BVH files say what the body model says, by a reader of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.motion.conftest import RATE, Case, case_of
from tests.motion.readers import Bvh
from tore.body.joints import SMPL_NAMES
from tore.motion import rig_of, save_bvh
from tore.motion.bvh import euler_angles

NEAR = 1e-3  # centimeters


def test_joints_stand_where_the_body_model_puts_them_at_exact_times(case: Case, tmp_path: Path) -> None:
    bvh = Bvh(save_bvh(tmp_path / "walk.bvh", rig_of(case.motion, case.body)))
    joints = case.said()[1]
    assert bvh.frame_time == 1 / RATE and len(bvh.rows) == len(joints)
    names = rig_of(case.motion, case.body).joint_names
    for frame, expected in enumerate(joints):
        found = bvh.joints(frame)
        assert np.abs(np.stack([found[name] for name in names]) - 100 * expected).max() < NEAR


def test_the_hierarchy_is_that_of_the_body(synthetic_body_dir: Path, tmp_path: Path) -> None:
    case = case_of("body", synthetic_body_dir)
    bvh = Bvh(save_bvh(tmp_path / "walk.bvh", rig_of(case.motion, case.body)))
    parents = [-1, *case.arrays["kintree_table"][0, 1:]]
    above = {bone.name: bvh.bones[bone.parent].name for bone in bvh.bones[1:]}
    assert above == {name: SMPL_NAMES[parents[row]] for row, name in enumerate(SMPL_NAMES) if row}
    assert not bvh.bones[0].offset.any()  # many readers add it to the place in the channels
    assert bvh.bones[0].channels == [*(f"{axis}position" for axis in "XYZ"), *(f"{axis}rotation" for axis in "ZXY")]
    assert set(bvh.ends) == {"L_Foot", "R_Foot", "Head", "L_Hand", "R_Hand"}
    assert 10 < bvh.ends["Head"][1] < 35 and bvh.ends["L_Hand"][0] > 3 and bvh.ends["R_Hand"][0] < -3


def test_angles_give_the_rotation_and_do_not_jump() -> None:
    """A limb that turns through the pole of the angles, where two of them become one, and beyond whole turns."""
    steps = np.linspace(0, 1, 400)
    axes = np.stack([2 * np.sin(3 * steps) + 5 * steps, 9 * steps, 0.3 * np.cos(5 * steps)], 1)
    rotations = Rotation.from_rotvec(axes).as_matrix()
    angles = euler_angles(rotations)
    assert np.abs(Rotation.from_euler("ZXY", angles, degrees=True).as_matrix() - rotations).max() < 1e-9
    x, z = Rotation.from_euler("x", 1.0), Rotation.from_euler("z", 0.7)
    smooth = np.stack([(z * x * Rotation.from_euler("y", 12 * step)).as_matrix() for step in steps])
    assert np.abs(np.diff(euler_angles(smooth), axis=0)).max() < np.degrees(12 / 399) + 1e-6
    assert euler_angles(smooth)[-1, 2] - euler_angles(smooth)[0, 2] == pytest.approx(np.degrees(12), abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_angles_at_the_pole_give_the_rotation(sign: int) -> None:
    rotations = Rotation.from_euler("ZXY", [[20, 90 * sign, 50], [25, 90 * sign, 40]], degrees=True).as_matrix()
    back = Rotation.from_euler("ZXY", euler_angles(rotations), degrees=True).as_matrix()
    assert np.abs(back - rotations).max() < 1e-6


def test_another_ending_is_refused(synthetic_body_dir: Path, tmp_path: Path) -> None:
    case = case_of("hand", synthetic_body_dir)
    with pytest.raises(ValueError, match=r"a\.txt: skeletons in motion are written as \.bvh"):
        save_bvh(tmp_path / "a.txt", rig_of(case.motion, case.body))
