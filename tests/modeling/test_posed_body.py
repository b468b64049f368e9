"""The resting body that follows joints: rigid where they are, and near the skinned mesh of the same pose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.modeling.turns import rotation, rotation_about
from tore.body import load_body
from tore.body.joints import J14_NAMES
from tore.body.topology import template_of
from tore.modeling.posed_body import (
    BONES,
    HIPS,
    LEVELS,
    PREDICTED,
    SHOULDERS,
    SLANT,
    TRUNK,
    TURNED,
    WIDEST,
    PosedBody,
    frame_of,
)

NOTHING = torch.zeros(1, PREDICTED, 3)
ELBOW, WRIST = J14_NAMES.index("R_Elbow"), J14_NAMES.index("R_Wrist")


@pytest.fixture(scope="module")
def resting() -> tuple[torch.Tensor, ...]:
    return tuple(part.float() for part in template_of("body", "synthetic"))


def bone_of(skeleton: str) -> int:
    """The bone whose vertices this joint of SMPL's skeleton moves."""
    return next(index for index, bone in enumerate(BONES) if skeleton in bone.moves)


def test_each_bone_comes_after_its_parent_and_each_skeleton_joint_once() -> None:
    assert all(bone.parent is None or bone.parent < index for index, bone in enumerate(BONES))
    moved = [name for bone in BONES for name in bone.moves]
    assert len(moved) == len(set(moved)) == 24 and len(BONES) == len(TRUNK) + TURNED
    for index, bone in enumerate(BONES[len(TRUNK) :]):
        parent = BONES[bone.parent]
        joined = parent.end if index >= len(LEVELS[0]) else parent.start + parent.end + parent.across
        assert bone.start[0] in joined, bone  # where the parent ends, or in the trunk


def test_a_body_that_is_moved_as_a_whole_keeps_its_shape(resting: tuple[torch.Tensor, ...]) -> None:
    joints, vertices, _ = resting
    posed, turn = PosedBody(*resting), rotation(0)
    torch.testing.assert_close(posed(joints[None], NOTHING)[0], vertices, rtol=0, atol=1e-6)
    moved = posed((joints @ turn.T)[None] + 0.3, NOTHING)[0]
    torch.testing.assert_close(moved, vertices @ turn.T + 0.3, rtol=0, atol=1e-5)


def test_a_bent_elbow_moves_forearm_and_hand_as_one_rigid_part(resting: tuple[torch.Tensor, ...]) -> None:
    """The oracle turns them about the elbow; what belongs to other bones does not move."""
    joints, vertices, _ = resting
    posed, bent = PosedBody(*resting), joints.clone()
    axis = torch.linalg.cross(joints[WRIST] - joints[ELBOW], torch.tensor([0.0, 0.0, 1.0]))
    turn = rotation_about(axis, 0.7)
    bent[WRIST] = joints[ELBOW] + turn @ (joints[WRIST] - joints[ELBOW])
    moved = posed(bent[None], NOTHING)[0]
    share = posed.shares[:, bone_of("R_Elbow")] + posed.shares[:, bone_of("R_Wrist")]
    arm, far = share > 0.9999, share < 1e-4
    assert arm.sum() >= 5 and far.sum() > 200
    expected = joints[ELBOW] + (vertices[arm] - joints[ELBOW]) @ turn.T
    torch.testing.assert_close(moved[arm], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved[far], vertices[far], rtol=0, atol=1e-5)


def test_a_longer_bone_keeps_its_thickness(resting: tuple[torch.Tensor, ...]) -> None:
    joints, vertices, _ = resting
    posed, longer = PosedBody(*resting), joints.clone()
    along = joints[WRIST] - joints[ELBOW]
    longer[WRIST] += 0.5 * along
    moved = posed(longer[None], NOTHING)[0]
    arm = posed.shares[:, bone_of("R_Elbow")] > 0.9999
    assert arm.sum() >= 5
    along, before, after = along / along.norm(), vertices[arm] - joints[ELBOW], moved[arm] - joints[ELBOW]
    torch.testing.assert_close(after @ along, 1.5 * (before @ along), rtol=0, atol=1e-5)
    across = torch.eye(3) - torch.outer(along, along)
    torch.testing.assert_close(after @ across, before @ across, rtol=0, atol=1e-5)


def test_what_is_predicted_turns_a_limb_about_itself(resting: tuple[torch.Tensor, ...]) -> None:
    """The oracle turns the forearm by the angle between the axis across it and that axis with a vector added."""
    joints, vertices, _ = resting
    posed, bone = PosedBody(*resting), bone_of("R_Elbow")
    along, _, third = posed.frames[bone].unbind(1)
    predicted = NOTHING.clone()
    predicted[0, bone - len(TRUNK)] = third  # as long as the axis: an eighth of a turn
    moved = posed(joints[None], predicted)[0]
    arm = posed.shares[:, bone] > 0.9999
    turn = rotation_about(along, float(torch.pi / 4))
    assert arm.sum() >= 5
    expected = joints[ELBOW] + (vertices[arm] - joints[ELBOW]) @ turn.T
    torch.testing.assert_close(moved[arm], expected, rtol=0, atol=1e-5)


def test_it_is_near_the_skinned_mesh_of_the_same_joints(resting: tuple[torch.Tensor, ...]) -> None:
    body, rng = load_body("body", "synthetic"), np.random.RandomState(1)
    pose = torch.from_numpy(rng.uniform(-0.4, 0.4, (8, 72))).float()
    pose[:, :3] *= 6
    with torch.no_grad():
        vertices = body.targets(pose, torch.zeros(8, 10)).vertices
        found = PosedBody(*resting)(body.regress_joints(vertices[-1]), NOTHING.expand(8, -1, -1))
        errors = (found - vertices[0]).norm(dim=-1)
    assert errors.mean() < 0.04  # meters; how limbs are turned about themselves is not known


def test_frames_are_rotations() -> None:
    along, across = torch.randn(2, 50, 3)
    frames = frame_of(along, across)
    torch.testing.assert_close(frames.mT @ frames, torch.eye(3).expand(50, 3, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(frames[..., 0], torch.nn.functional.normalize(along, dim=-1), rtol=0, atol=1e-4)
    assert (torch.det(frames) > 0.99).all() and ((frames[..., 1] * across).sum(-1) > 0).all()


def test_gradients_are_finite(resting: tuple[torch.Tensor, ...]) -> None:
    """Of limbs that are folded back, and of a body that has shrunk to a point."""
    folded = resting[0].clone()
    folded[WRIST] = folded[ELBOW] - (folded[WRIST] - folded[ELBOW])
    joints = torch.stack((folded, torch.zeros_like(folded))).requires_grad_()
    predicted = torch.zeros(2, PREDICTED, 3, requires_grad=True)
    PosedBody(*resting)(joints, predicted).square().sum().backward()
    assert joints.grad.isfinite().all() and predicted.grad.isfinite().all()


def test_shoulders_and_hips_stay_where_arms_and_legs_begin(resting: tuple[torch.Tensor, ...]) -> None:
    """One shoulder is raised, both are moved apart, the hips too: the trunk's and the collars' maps end there."""
    joints, _, _ = resting
    posed, moved = PosedBody(*resting), joints.clone()
    right, left = (J14_NAMES.index(name) for name in ("R_Shoulder", "L_Shoulder"))
    moved[right] += torch.tensor([-0.04, -0.05, 0.02])
    moved[left] += torch.tensor([0.03, 0.0, 0.0])
    for name, sign in (("R_Hip", -1), ("L_Hip", 1)):
        moved[J14_NAMES.index(name)] += torch.tensor([0.02 * sign, 0.03 * (sign > 0), 0.0])  # apart, and one is raised
    single = torch.eye(len(BONES))
    for skeleton, joint in (("R_Collar", right), ("L_Collar", left), ("Pelvis", J14_NAMES.index("R_Hip"))):
        posed.keep_constant("vertices", joints[joint][None])
        posed.keep_constant("shares", single[bone_of(skeleton)][None])
        torch.testing.assert_close(posed(moved[None], NOTHING)[0, 0], moved[joint], rtol=0, atol=1e-5)


def test_trunk_widens_and_slants_with_the_shoulders_up_to_its_limits(resting: tuple[torch.Tensor, ...]) -> None:
    """The line of the shoulders, as the upper trunk's map has it; wider than the limit it ends there."""
    joints, _, _ = resting
    shoulders = [J14_NAMES.index(name) for name in SHOULDERS]
    line, middle = joints[shoulders[1]] - joints[shoulders[0]], joints[shoulders].mean(0)
    single = torch.eye(len(BONES))[bone_of("Spine3")]
    posed = PosedBody(*resting)
    posed.keep_constant("vertices", joints[shoulders])
    posed.keep_constant("shares", single.expand(2, -1))

    def mapped(wanted: torch.Tensor) -> torch.Tensor:
        moved = joints.clone()
        moved[shoulders] = middle + torch.stack((-wanted, wanted)) / 2
        ends = posed(moved[None], NOTHING)[0]
        return ends[1] - ends[0]

    up = joints[J14_NAMES.index("Neck")] - joints[[J14_NAMES.index(name) for name in HIPS]].mean(0)
    up = up - (up @ line) / (line @ line) * line
    slanted = 1.2 * line + 0.3 * line.norm() * up / up.norm()
    torch.testing.assert_close(mapped(slanted), slanted, rtol=0, atol=2e-3)
    assert mapped(3 * line).norm() < 1.1 * WIDEST * line.norm()
    steep = line + 2 * line.norm() * up / up.norm()
    assert mapped(steep) @ up / up.norm() < 1.1 * SLANT * line.norm()
