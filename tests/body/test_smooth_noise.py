"""Noise that is alike at neighboring vertices is recognized, and costs less accuracy where a fit is told of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tore.body import BodyModel, fit_parameters, load_body
from tore.body.smooth_noise import LEVELS, SmoothNoise, smooth_noise

COUNT = 4


@pytest.fixture(scope="module")
def hand() -> BodyModel:
    return load_body("hand", "synthetic")


def neighbor_means(faces: np.ndarray, vertices: int) -> Tensor:
    """(V, V), by a plain loop."""
    found = torch.zeros(vertices, vertices)
    for triangle in faces:
        for one in triangle:
            for other in triangle:
                found[one, other] = float(one != other)
    return found / found.sum(1, keepdim=True)


def test_neighbors_are_those_of_the_mesh(hand: BodyModel) -> None:
    noise, means = smooth_noise(hand, 1), neighbor_means(hand.faces.numpy(), 778)
    torch.testing.assert_close(noise.means.to_dense(), means)
    values = torch.randn(len(LEVELS), 2, 3, 778, generator=torch.Generator().manual_seed(0))
    found = noise.independent(values, torch.arange(len(LEVELS)), noise.unit)
    for row, (share, times) in enumerate(LEVELS):
        whitening = torch.linalg.matrix_power(torch.eye(778) - share * means, times)
        torch.testing.assert_close(found[row], values[row] @ whitening.mT * noise.unit[row], rtol=1e-4, atol=1e-4)
    assert smooth_noise(hand, 1) is noise


def test_every_used_vertex_of_a_sparser_mesh_has_neighbors_near_by() -> None:
    body = load_body("body", "synthetic")
    means = smooth_noise(body, 8).means.to_dense()
    assert ((means > 0).sum(1) >= 1).all()
    places = body.skinned.basis[0, :, ::8].mT
    one, other = (means > 0).nonzero().T
    assert (places[one] - places[other]).norm(dim=1).median() < 0.06


@pytest.mark.parametrize("drawn", range(len(LEVELS)))
def test_the_level_of_noise_is_recognized(hand: BodyModel, drawn: int) -> None:
    share, times = LEVELS[drawn]
    means = neighbor_means(hand.faces.numpy(), 778)
    whitening = torch.linalg.matrix_power(torch.eye(778) - share * means, times)
    random = torch.Generator().manual_seed(3)
    values = torch.randn(COUNT, 3, 778, generator=random) @ torch.linalg.inv(whitening).mT
    found = smooth_noise(hand, 1).level(values)
    assert (found - drawn).abs().max() <= 1  # (0.8, 1) and (0.7, 2) are nearly the same
    assert (found > 0).all() == (drawn > 0)


def test_a_told_fit_lies_nearer_to_the_true_hand(hand: BodyModel) -> None:
    random = torch.Generator().manual_seed(5)
    pose, betas = torch.randn(COUNT, 48, generator=random) * 0.3, torch.rand(COUNT, 10, generator=random) * 8 - 4
    true, means = hand(pose, betas), neighbor_means(hand.faces.numpy(), 778)
    smooth = torch.linalg.matrix_power((torch.eye(778) + means) / 2, 12)
    for kept, share in ((smooth, 0.7), (torch.eye(778), 1.001)):
        values = kept @ torch.randn(COUNT, 778, 3, generator=random)
        noisy = true + 0.01 * values / values.square().sum(-1).mean(1).sqrt()[:, None, None]
        plain, told = (fit_parameters(hand, noisy, noise=0.01, smooth=smooth) for smooth in (False, True))
        off, better = (
            (hand(found.pose, found.betas) + found.translation[:, None] - true).norm(dim=-1).mean()
            for found in (plain, told)
        )
        assert better < share * off


def test_a_fit_decides_by_the_residual_whether_noise_is_smooth(hand: BodyModel) -> None:
    """Of a clean hand, independent noise, and smooth noise, the last alone is fitted as such."""
    random = torch.Generator().manual_seed(5)
    pose, betas = torch.randn(3, 48, generator=random) * 0.3, torch.rand(3, 10, generator=random) * 8 - 4
    values = torch.randn(3, 778, 3, generator=random)
    values[0] = 0
    values[2] = (
        torch.linalg.matrix_power((torch.eye(778) + neighbor_means(hand.faces.numpy(), 778)) / 2, 12) @ values[2]
    )
    noise = 0.01 * values / values.square().sum(-1).mean(1).sqrt().clamp_min(1e-9)[:, None, None]
    given = hand(pose, betas) + noise
    for told in (0.001, 0.01):
        found = fit_parameters(hand, given, noise=told)
        assert found.smooth.tolist() == [False, False, True]
        plain, sure = (fit_parameters(hand, given, noise=told, smooth=smooth) for smooth in (False, True))
        assert not plain.smooth.any()
        torch.testing.assert_close(found.pose[:2], plain.pose[:2], rtol=0, atol=1e-4)
        torch.testing.assert_close(found.pose[2], sure.pose[2], rtol=0, atol=1e-4)
    none = fit_parameters(hand, given[:0])
    assert none.smooth.shape == (0,)


def test_vertices_without_neighbors_stay_as_they_are() -> None:
    noise = SmoothNoise(np.array([[0, 1, 2]]), 4, 1)
    values = torch.ones(1, 3, 4)
    kept = noise.independent(values, torch.tensor([1]), torch.ones(len(LEVELS)))
    torch.testing.assert_close(kept[0, 0], torch.tensor([0.5, 0.5, 0.5, 1.0]))
