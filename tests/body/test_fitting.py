"""Fitted parameters give back the bodies that the vertices were made from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tore.body import MANO, BodyModel, load_body
from tore.body.fitting import NETWORK, fit_parameters

COUNT = 6


@pytest.fixture(scope="module", params=["body", "hand"])
def body(request: pytest.FixtureRequest) -> BodyModel:
    return load_body(request.param, "synthetic")


def truth(body: BodyModel, strength: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """Poses turned by some 30 degrees a joint, betas within 4, places some meters off."""
    random = torch.Generator().manual_seed(5)
    pose = torch.randn(COUNT, 3 * body.skinned.num_joints, generator=random) * strength
    pose[:, :3] = torch.randn(COUNT, 3, generator=random) * 1.5
    betas = torch.rand(COUNT, 10, generator=random) * 8 - 4
    return pose, betas, torch.randn(COUNT, 3, generator=random) * 3


def test_bodies_are_recovered(body: BodyModel) -> None:
    pose, betas, place = truth(body)
    found = fit_parameters(body, body(pose, betas) + place[:, None], noise=1e-4)
    assert found.residual_mm.max() < 0.1
    again = body(found.pose, found.betas) + found.translation[:, None]
    distances = (again - body(pose, betas) - place[:, None]).norm(dim=-1).mean(1) * 1000
    torch.testing.assert_close(found.residual_mm, distances, rtol=0, atol=2e-3)
    torch.testing.assert_close(body.rotations(found.pose), body.rotations(pose), rtol=0, atol=0.02)


def test_strong_pose_directions_are_recovered() -> None:
    body = load_body("body", "synthetic")
    body.skinned.basis[1 + body.skinned.num_betas :] *= 3
    pose, betas, place = truth(body)
    found = fit_parameters(body, body(pose, betas) + place[:, None])
    assert found.residual_mm.max() < 0.2


def test_noise_holds_shapes_near_the_mean() -> None:
    body = load_body("body", "synthetic")
    pose, betas, place = truth(body)
    random = torch.Generator().manual_seed(0)
    clean = body(pose, betas) + place[:, None]
    noisy = clean + torch.randn(clean.shape, generator=random) * 0.01
    found = fit_parameters(body, noisy, noise=0.01)
    again = body(found.pose, found.betas) + found.translation[:, None]
    assert (again - clean).norm(dim=-1).mean() < 0.003
    strict = fit_parameters(body, noisy, noise=0.1)
    assert (strict.betas.norm(dim=1) < found.betas.norm(dim=1)).all()


def test_waves_of_a_networks_mesh_do_not_become_shape() -> None:
    """A mean-shaped body, bent by waves of some centimeters that are smooth over it, as networks' meshes are."""
    body = load_body("body", "synthetic")
    random = torch.Generator().manual_seed(0)
    waves, sizes = 6 * torch.randn(8, 3, generator=random), 0.015 * torch.randn(8, 3, generator=random)
    phases = 6.28 * torch.rand(8, generator=random)
    bent = torch.sin(body.skinned.basis[0].mT @ waves.mT + phases) @ sizes
    pose = 0.3 * torch.randn(1, 72, generator=random)
    found = fit_parameters(body, body(pose, torch.zeros(1, 10)) + bent, noise=NETWORK[body.kind])
    assert 0.03 < bent.norm(dim=1).mean() < 0.06
    assert found.betas.square().mean().sqrt() < 1


def test_pca_coefficients_give_the_fingers_back() -> None:
    body = load_body("hand", "synthetic")
    assert isinstance(body, MANO)
    pose = truth(body)[0]
    torch.testing.assert_close(body.pca_of(pose) @ body.layer.th_comps, pose[:, 3:])
    rotations = body.rotations(pose)
    torch.testing.assert_close(body.rotations(body.pose_of(rotations)), rotations)


def test_what_cannot_be_fitted_is_refused(body: BodyModel) -> None:
    vertices = body(torch.zeros(2, 3 * body.skinned.num_joints), torch.zeros(2, 10))
    with pytest.raises(ValueError, match=r"shape .*, not \(B, "):
        fit_parameters(body, vertices[:, :-1])
    with pytest.raises(ValueError, match="divide by 1000"):
        fit_parameters(body, vertices * 1000)
    vertices[1, 3] = torch.nan
    with pytest.raises(ValueError, match="sample 1 are not finite"):
        fit_parameters(body, vertices)


def test_nobody_and_vertices_that_are_all_one_give_no_error(body: BodyModel) -> None:
    none = fit_parameters(body, torch.zeros(0, len(body.skinned.weights[0]), 3))
    assert none.pose.shape == (0, 3 * body.skinned.num_joints)
    flat = fit_parameters(body, torch.zeros(1, len(body.skinned.weights[0]), 3))
    assert all(torch.isfinite(numbers).all() for numbers in flat)
