"""Similarity alignment against the plain loop over samples, and inputs where the best alignment is not unique."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.conftest import assert_agrees, reference
from tore.geometry.alignment import align_similarity


def align_one(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Umeyama's closed form for one sample, (N,3) each."""
    middle, goal = source.mean(0), target.mean(0)
    left, values, right = np.linalg.svd((target - goal).T @ (source - middle))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ np.diag(signs) @ right
    scale = (values * signs).sum() / ((source - middle) ** 2).sum()
    return scale * (source - middle) @ rotation.T + goal


def test_agrees_with_a_loop() -> None:
    r = np.random.RandomState(0)
    source, target = r.standard_normal((30, 14, 3)), r.standard_normal((30, 14, 3))
    actual = align_similarity(torch.from_numpy(source), torch.from_numpy(target)).numpy()
    for sample in range(30):
        np.testing.assert_allclose(actual[sample], align_one(source[sample], target[sample]), atol=1e-12)


def test_undoes_a_similarity_but_not_a_reflection() -> None:
    r = np.random.RandomState(1)
    target = torch.from_numpy(r.standard_normal((5, 21, 3)))
    turn = torch.linalg.qr(torch.from_numpy(r.standard_normal((5, 3, 3))))[0]
    turn = turn * torch.linalg.det(turn)[:, None, None]
    source = 3.7 * target @ turn.mT + 11
    np.testing.assert_allclose(align_similarity(source, target), target, atol=1e-12)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    assert (align_similarity(mirrored, target) - target).norm(dim=-1).mean() > 0.1


def test_reference_metric() -> None:
    values = reference("metrics")
    r = np.random.RandomState(78)
    predicted, truth = (torch.from_numpy(r.standard_normal((6, 14, 3)).astype(np.float32)) for _ in range(2))
    aligned = align_similarity(predicted, truth)
    assert aligned.dtype == torch.float32
    assert_agrees((aligned - truth).norm(dim=-1).mean(-1), values["pa_mpjpe"], 1e-6)


def degenerate(name: str) -> torch.Tensor:
    r = np.random.RandomState(2)
    full = r.standard_normal((14, 3))
    shapes = {
        "point": np.ones((14, 3)),
        "zeros": np.zeros((14, 3)),
        "line": full[:, :1] * np.array([[1.0, 2.0, 3.0]]),
        "plane": full * np.array([1.0, 1.0, 0.0]),
        "mirrored": full * np.array([-1.0, 1.0, 1.0]),
        "octahedron": np.concatenate([np.eye(3), -np.eye(3), np.zeros((8, 3))]),
        "tiny": full * 1e-30,
    }
    return torch.from_numpy(shapes[name])[None]


NAMES = ("point", "zeros", "line", "plane", "mirrored", "octahedron", "tiny")


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_degenerate_inputs_stay_finite(source: str, target: str) -> None:
    moved, goal = degenerate(source).requires_grad_(), degenerate(target).requires_grad_()
    aligned = align_similarity(moved, goal)
    assert torch.isfinite(aligned).all()
    aligned.square().sum().backward()
    assert torch.isfinite(moved.grad).all()
    assert torch.isfinite(goal.grad).all()


@pytest.mark.parametrize("name", ["line", "plane", "octahedron", "mirrored"])
def test_degenerate_sources_align_with_themselves(name: str) -> None:
    np.testing.assert_allclose(align_similarity(degenerate(name), degenerate(name)), degenerate(name), atol=1e-12)


def test_coinciding_points_land_on_the_middle() -> None:
    goal = degenerate("plane")
    expected = goal.mean(1, keepdim=True).expand_as(goal)
    np.testing.assert_allclose(align_similarity(degenerate("point"), goal), expected, atol=1e-12)


def test_gradients_match_finite_differences() -> None:
    r = np.random.RandomState(3)
    source, target = (torch.from_numpy(r.standard_normal((3, 6, 3))).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(align_similarity, (source, target))
