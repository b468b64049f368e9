"""Rotation conversions against scipy's, against each other, and at their difficult angles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from manopth.rotations import nearest_orthogonal, nearest_rotation
from tore.geometry import rotations as R

ANGLES = (0.0, 1e-12, 1e-7, 1e-4, 0.3, 1.5, 3.0, np.pi - 1e-4, np.pi - 1e-7, np.pi - 1e-10)


def axis_angles(angle: float, count: int = 40, seed: int = 0) -> torch.Tensor:
    """(count, 3) float64 vectors of length `angle`; the coordinate axes are among them."""
    axes = np.concatenate([np.eye(3), -np.eye(3), np.random.RandomState(seed).standard_normal((count - 6, 3))])
    return torch.from_numpy(axes / np.linalg.norm(axes, axis=1, keepdims=True) * angle)


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_there_and_back(angle: float) -> None:
    vectors = axis_angles(angle)
    matrices = R.axis_angle_to_matrix(vectors)
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(vectors.numpy()).as_matrix(), atol=3e-8)
    back = R.matrix_to_axis_angle(matrices)
    assert (back.norm(dim=-1) <= np.pi + 1e-12).all()
    np.testing.assert_allclose(R.axis_angle_to_matrix(back), matrices, atol=3e-8)
    if angle < np.pi - 1e-6:
        np.testing.assert_allclose(back, vectors, atol=1e-7)


@pytest.mark.parametrize("angle", ANGLES)
def test_matrix_to_quaternion_and_back_is_exact(angle: float) -> None:
    exact = torch.from_numpy(Rotation.from_rotvec(axis_angles(angle).numpy()).as_matrix())
    quaternions = R.matrix_to_quaternion(exact)
    assert (quaternions[..., 0] >= 0).all()
    np.testing.assert_allclose(quaternions.norm(dim=-1), 1, atol=1e-14)
    np.testing.assert_allclose(R.quaternion_to_matrix(quaternions), exact, atol=1e-14)
    expected = Rotation.from_matrix(exact.numpy()).as_rotvec()
    close = np.abs(R.matrix_to_axis_angle(exact).numpy() - expected).max(-1) < 1e-9
    # Near a half turn the axis may point either way.
    opposite = np.abs(R.matrix_to_axis_angle(exact).numpy() + expected).max(-1) < 1e-5
    assert (close | (opposite & (angle > 3.14))).all()


def test_official_angle_shift() -> None:
    """The angle is that of the vector with 1e-8 added to each component, the axis is the vector itself."""
    vector = np.array([3e-8, -1e-8, 2e-8])
    angle = np.linalg.norm(vector + 1e-8)
    quaternion = np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * vector / angle])
    quaternion /= np.linalg.norm(quaternion)
    expected = Rotation.from_quat(quaternion[[1, 2, 3, 0]]).as_matrix()
    actual = R.axis_angle_to_matrix(torch.from_numpy(vector))
    np.testing.assert_allclose(actual, expected, atol=1e-17, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-6, 1.0, float(np.pi)])
def test_gradients_are_finite_and_dtype_is_kept(dtype: torch.dtype, angle: float) -> None:
    vectors = axis_angles(angle).to(dtype).requires_grad_()
    matrices = R.axis_angle_to_matrix(vectors)
    weights = torch.arange(9, dtype=dtype).reshape(3, 3)
    six = R.rotation_6d_to_matrix(R.matrix_to_rotation_6d(matrices))
    back = R.matrix_to_axis_angle(matrices)
    assert matrices.dtype == six.dtype == back.dtype == dtype
    ((matrices * weights).sum() + (six * weights).sum() + back.sum()).backward()
    assert torch.isfinite(vectors.grad).all()


def test_the_vector_that_the_shift_cancels_is_no_rotation() -> None:
    vector = torch.full((3,), -1e-8, dtype=torch.float64, requires_grad=True)
    matrix = R.axis_angle_to_matrix(vector)
    np.testing.assert_allclose(matrix.detach(), np.eye(3), atol=2e-8)
    matrix.sum().backward()
    assert torch.isfinite(vector.grad).all()


def test_gradients_match_finite_differences() -> None:
    vectors = axis_angles(0.7, 8).requires_grad_()
    assert torch.autograd.gradcheck(R.axis_angle_to_matrix, (vectors,))
    assert torch.autograd.gradcheck(lambda v: R.matrix_to_axis_angle(R.axis_angle_to_matrix(v)), (vectors,))
    numbers = torch.from_numpy(np.random.RandomState(1).standard_normal((5, 6))).requires_grad_()
    for robust in (False, True):
        assert torch.autograd.gradcheck(lambda n, robust=robust: R.rotation_6d_to_matrix(n, robust), (numbers,))


@pytest.mark.parametrize("robust", [False, True])
def test_six_numbers_give_rotations(robust: bool) -> None:
    numbers = torch.from_numpy(np.random.RandomState(2).standard_normal((4, 7, 6)))
    matrices = R.rotation_6d_to_matrix(numbers, robust=robust)
    assert matrices.shape == (4, 7, 3, 3)
    np.testing.assert_allclose(matrices.mT @ matrices, np.broadcast_to(np.eye(3), matrices.shape), atol=1e-12)
    np.testing.assert_allclose(torch.linalg.det(matrices), 1, atol=1e-12)
    np.testing.assert_allclose(
        R.rotation_6d_to_matrix(R.matrix_to_rotation_6d(matrices), robust=robust), matrices, atol=1e-12
    )
    first = numbers[..., :3] / numbers[..., :3].norm(dim=-1, keepdim=True)
    second = numbers[..., 3:] / numbers[..., 3:].norm(dim=-1, keepdim=True)
    to_first, to_second = (matrices[..., 0] * first).sum(-1), (matrices[..., 1] * second).sum(-1)
    if robust:  # both raw directions are equally far from their columns
        np.testing.assert_allclose(to_first, to_second, atol=1e-12)
    else:
        np.testing.assert_allclose(to_first, 1, atol=1e-12)


def test_nearest_rotation_negates_a_reflections_third_column() -> None:
    raw = np.random.RandomState(3).standard_normal((20, 3, 3))
    for matrix, actual in zip(raw, nearest_rotation(torch.from_numpy(raw)).numpy(), strict=True):
        left, _, right = np.linalg.svd(matrix)
        expected = left @ right
        if np.linalg.det(expected) < 0:
            expected[:, 2] *= -1
        np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_nearest_orthogonal_has_the_gradient_of_the_optimum() -> None:
    raw = torch.from_numpy(np.random.RandomState(4).standard_normal((6, 3, 3))).requires_grad_()
    for reflections in (True, False):
        assert torch.autograd.gradcheck(lambda m, reflections=reflections: nearest_orthogonal(m, reflections), (raw,))
    rotations = R.axis_angle_to_matrix(axis_angles(1.2)).requires_grad_()
    assert torch.autograd.gradcheck(nearest_orthogonal, (rotations,))
