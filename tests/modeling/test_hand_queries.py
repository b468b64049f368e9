"""The resting hand that follows joints: rigid where they are, and near the skinned mesh of the same pose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.modeling.turns import rotation, rotation_about
from tore.body import load_body
from tore.body.topology import template_points
from tore.geometry.rotations import TURNED_ROUND, smallest_rotation
from tore.modeling.hand_queries import BONES, FINGERS, PosedHand, bones_of, shares_of_bones


@pytest.fixture(scope="module")
def resting() -> tuple[torch.Tensor, torch.Tensor]:
    joints, vertices = template_points("hand", "synthetic")
    return joints.float(), vertices.float()


def test_a_hand_that_is_moved_as_a_whole_keeps_its_shape(resting: tuple[torch.Tensor, torch.Tensor]) -> None:
    joints, vertices = resting
    posed, turn = PosedHand(joints, vertices), rotation(0)
    torch.testing.assert_close(posed(joints[None])[0], vertices, rtol=0, atol=1e-6)
    torch.testing.assert_close(posed((joints @ turn.T)[None] + 0.3)[0], vertices @ turn.T + 0.3, rtol=0, atol=1e-6)


def test_a_bent_tip_moves_as_a_rigid_part(resting: tuple[torch.Tensor, torch.Tensor]) -> None:
    """The oracle turns what belongs to the last bone of the index finger about its joint; nothing else moves."""
    joints, vertices = resting
    shares = shares_of_bones(joints.double(), vertices.double())
    index = 1
    assert torch.allclose(shares.sum((0, 1)), torch.ones(len(vertices)).double())
    bent, hinge = joints.clone(), joints[7]
    axis = torch.linalg.cross(joints[8] - hinge, torch.tensor([0.0, 1.0, 0.0]))
    turn = rotation_about(axis, 0.7)
    bent[8] = hinge + turn @ (joints[8] - hinge)
    moved = PosedHand(joints, vertices)(bent[None])[0]
    tip, far = shares[index, BONES - 1] > 0.999, shares[index, BONES - 1] < 1e-4
    assert tip.sum() >= 3 and far.sum() > 100
    torch.testing.assert_close(moved[tip], hinge + (vertices[tip] - hinge) @ turn.T, rtol=0, atol=1e-4)
    torch.testing.assert_close(moved[far], vertices[far], rtol=0, atol=1e-5)


def test_it_is_near_the_skinned_mesh_of_the_same_joints(resting: tuple[torch.Tensor, torch.Tensor]) -> None:
    body, rng = load_body("hand", "synthetic"), np.random.RandomState(1)
    pose = torch.from_numpy(rng.uniform(-0.5, 0.5, (8, 48))).float()
    pose[:, :3] *= 4
    with torch.no_grad():
        targets = body.targets(pose, torch.zeros(8, 10))
        errors = (PosedHand(*resting)(targets.joints) - targets.vertices[0]).norm(dim=-1)
    assert errors.mean() < 0.004 and errors.max() < 0.03  # meters


def test_bones_and_smallest_rotations() -> None:
    joints = torch.randn(3, 21, 3)
    starts, bones = bones_of(joints)
    for finger in range(FINGERS):
        for level in range(BONES):
            end = 1 + BONES * finger + level
            start = 0 if level == 0 else end - 1
            assert torch.equal(starts[:, finger, level], joints[:, start])
            torch.testing.assert_close(bones[:, finger, level], joints[:, end] - joints[:, start])
    first, second = torch.nn.functional.normalize(torch.randn(2, 50, 3), dim=-1)
    near = 1 + (first * second).sum(-1) > 2 * TURNED_ROUND
    first, second = first[near], second[near]
    turns = smallest_rotation(first, second)
    torch.testing.assert_close((turns @ first[..., None])[..., 0], second, rtol=0, atol=1e-4)
    angles = torch.acos((first * second).sum(-1).clamp(-1, 1))
    found = torch.acos(((turns.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    torch.testing.assert_close(found, angles, rtol=0, atol=2e-2)


def test_gradients_are_finite(resting: tuple[torch.Tensor, torch.Tensor]) -> None:
    folded = resting[0].clone()
    folded[6:9] = folded[5] + (folded[0] - folded[5]) * torch.tensor([[0.2], [0.3], [0.4]])  # straight back
    joints = folded[None].requires_grad_()
    PosedHand(*resting)(joints).square().sum().backward()
    assert joints.grad.isfinite().all()
