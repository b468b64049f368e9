"""The pose prior: same seed, same pose; limits; shares of kinds; ground; collisions; energy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tore.synthetic.body_contact import EASY, ground_height, joint_frames
from tore.synthetic.free_body import BODY_PARENTS, build_free, people_shapes
from tore.synthetic.joint_limits import (
    beyond_limits,
    from_swing_twist,
    mirrored,
    swing_twist,
    within_limits,
)
from tore.synthetic.pose_energy import WIDER, PoseEnergy
from tore.synthetic.pose_prior import FILE, DrawnPose, PosePrior, read_prior

DRAWS = 300


@pytest.fixture(scope="module")
def prior() -> PosePrior:
    return PosePrior.load()


@pytest.fixture(scope="module")
def drawn(prior: PosePrior) -> list[DrawnPose]:
    rng = np.random.default_rng(5)
    return [prior.draw(rng) for _ in range(DRAWS)]


def auc(low: np.ndarray, high: np.ndarray) -> float:
    """Share of pairs of which the second is larger."""
    return float((low[:, None] < high[None]).mean())


def random_poses(count: int) -> np.ndarray:
    return Rotation.random(24 * count, random_state=3).as_rotvec().reshape(count, 24, 3)


def test_the_file_is_small_and_finite() -> None:
    assert FILE.stat().st_size <= 1e6
    for name, array in read_prior().items():
        assert array.dtype.kind == "U" or np.isfinite(array.astype(np.float64)).all(), name


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz is missing"):
        PosePrior.load(tmp_path / "nothing.npz")


def test_same_seed_same_pose(prior: PosePrior, drawn: list[DrawnPose]) -> None:
    rng = np.random.default_rng(5)
    for first in drawn[:10]:
        again = prior.draw(rng)
        assert np.array_equal(first.pose, again.pose)
        assert (first.kind, first.support) == (again.kind, again.support)


def test_swing_and_twist_are_those_of_a_plain_decomposition() -> None:
    poses = random_poses(20)
    parts = swing_twist(poses)
    whole = Rotation.from_rotvec(from_swing_twist(parts).reshape(-1, 3))
    assert (whole.inv() * Rotation.from_rotvec(poses.reshape(-1, 3))).magnitude().max() < 1e-6
    elbow = Rotation.from_rotvec([0.0, -1.2, 0.3]) * Rotation.from_rotvec([0.5, 0.0, 0.0])
    pose = np.zeros((24, 3))
    pose[18] = elbow.as_rotvec()
    assert np.allclose(swing_twist(pose)[18], [0.5, -1.2, 0.3])


def test_limits_hold(drawn: list[DrawnPose]) -> None:
    poses = np.stack([one.pose for one in drawn])
    assert beyond_limits(poses).max() < 1e-6
    wild = random_poses(50)
    assert beyond_limits(wild).min() > 0.1
    assert beyond_limits(within_limits(wild)).max() < 1e-6
    assert np.allclose(beyond_limits(mirrored(wild)), beyond_limits(wild), atol=1e-6)


def test_kinds_have_their_shares(prior: PosePrior, drawn: list[DrawnPose]) -> None:
    assert abs(sum(prior.shares.values()) - 1) < 1e-6
    for kind, share in prior.shares.items():
        found = np.mean([one.kind == kind for one in drawn])
        assert abs(found - share) < 4 * np.sqrt(share / DRAWS), kind
    everyday = {"standing", "walking", "bending", "sitting", "floor sitting", "kneeling", "crouching", "lying"}
    assert 0.4 < sum(prior.shares[kind] for kind in everyday) < 0.65


def test_a_kind_can_be_chosen(prior: PosePrior) -> None:
    rng = np.random.default_rng(0)
    assert {prior.draw(rng, "upside down").kind for _ in range(5)} == {"upside down"}
    with pytest.raises(ValueError, match="kind 'floating' of a pose is not known; use one of standing"):
        prior.draw(rng, "floating")


def test_joint_frames_are_those_of_a_plain_loop(prior: PosePrior, drawn: list[DrawnPose]) -> None:
    rest = prior.body.joints
    turned, placed = joint_frames(drawn[0].pose, rest)
    for joint, parent in enumerate(BODY_PARENTS):
        own = Rotation.from_rotvec(drawn[0].pose[joint]).as_matrix()
        above = np.eye(3) if parent < 0 else turned[parent]
        place = rest[joint] if parent < 0 else placed[parent] + above @ (rest[joint] - rest[parent])
        assert np.allclose(turned[joint], above @ own)
        assert np.allclose(placed[joint], place)


def test_limbs_are_free_of_each_other(prior: PosePrior, drawn: list[DrawnPose]) -> None:
    body = prior.body
    assert all(body.overlap(pose) == 0 for pose in EASY)
    depth = np.array([body.overlap(one.pose) for one in drawn])
    assert np.percentile(depth, 95) < 0.015
    through = np.zeros((24, 3))
    through[1], through[2] = (0, 0, -0.12), (0, 0, 0.12)  # the shins in each other
    assert body.overlap(through) > 0.03 > body.overlap(body.free(through))


def test_standing_people_stand(prior: PosePrior, drawn: list[DrawnPose]) -> None:
    feet = np.isin(prior.body.touch_owner, (7, 8, 10, 11))
    for one in drawn:
        if one.kind == "standing" and one.support == "ground":
            height = prior.body.touching(one.pose)[:, 1]
            assert height[feet].min() - height.min() < 0.03
    assert {one.grounded for one in drawn if one.kind in ("sitting", "standing")} == {True}
    assert not any(one.grounded for one in drawn if one.kind == "riding")


def test_energy_tells_poses_from_random_ones(prior: PosePrior, drawn: list[DrawnPose]) -> None:
    poses = torch.tensor(np.stack([one.pose for one in drawn[:80]]))
    shaken = within_limits(poses.numpy() + np.random.default_rng(0).normal(0, 0.5, poses.shape))
    energy = prior.energy(poses)
    assert auc(energy.numpy(), prior.energy(torch.tensor(random_poses(80))).numpy()) > 0.999
    assert auc(energy.numpy(), prior.energy(torch.tensor(shaken)).numpy()) > 0.95
    assert torch.allclose(energy, prior.energy(torch.tensor(mirrored(poses.numpy()))), rtol=1e-4, atol=1e-3)
    spun = poses.clone()
    spun[:, 0] = torch.tensor([0.3, 2.0, -0.1])
    assert torch.equal(energy, prior.energy(spun))


def test_energy_has_the_gradient_of_differences(prior: PosePrior) -> None:
    pose = torch.tensor(random_poses(2) * 0.2).requires_grad_(True)
    prior.energy(pose).sum().backward()
    assert pose.grad is not None
    for joint, axis in ((1, 0), (16, 2), (18, 1)):
        step = torch.zeros_like(pose)
        step[0, joint, axis] = 1e-5
        with torch.no_grad():
            slope = (prior.energy(pose + step) - prior.energy(pose - step))[0] / 2e-5
        assert abs(slope - pose.grad[0, joint, axis]) < 1e-3 * max(1.0, abs(float(slope)))


def test_energy_of_the_mixture_is_its_density(prior: PosePrior) -> None:
    away = np.random.default_rng(1).normal(0, 1e-3, (24, 3))
    mixture = prior.mixture
    energies = []
    for pose in (mixture.mean[3], mixture.mean[3] + away):
        one = replace(mixture, **{name: getattr(mixture, name)[3:4] for name in ("weight", "mean", "factor", "noise")})
        energies.append(float(PoseEnergy(one)._scores(torch.tensor(pose)[None])))
    offset = away_from(mixture.mean[3], mixture.mean[3] + away)[1:].ravel()
    factor = WIDER * mixture.factor[3][:, 1:].reshape(-1, 69)
    spread = factor.T @ factor + np.diag(np.repeat(WIDER * mixture.noise[3, 1:], 3) ** 2)
    assert np.isclose(energies[0] - energies[1], 0.5 * offset @ np.linalg.solve(spread, offset), rtol=1e-3)


def away_from(mean: np.ndarray, pose: np.ndarray) -> np.ndarray:
    return (Rotation.from_rotvec(mean).inv() * Rotation.from_rotvec(pose)).as_rotvec()


def test_balls_fit_other_people(prior: PosePrior) -> None:
    model = build_free("body").model
    same = prior.body.shaped(model["v_template"], model["J_regressor"] @ model["v_template"])
    assert np.allclose(same.center, prior.body.center, atol=2e-3)
    assert np.allclose(same.radius, prior.body.radius, atol=2e-3)
    shapes, ages = people_shapes()
    child = model["v_template"] + model["shapedirs"] @ shapes[ages.argmin()]
    small = prior.body.shaped(child, model["J_regressor"] @ child)
    assert small.radius.min() > 0
    assert np.median(small.radius / same.radius) < 0.75
    drawn = prior.draw(np.random.default_rng(0), "standing", body=small)
    assert np.ptp(small.touching(drawn.pose)[:, 1]) < 0.75 * np.ptp(prior.body.touching(drawn.pose)[:, 1])
    assert prior.seat_height(model["v_template"]) > 0.5
    assert ground_height(model["v_template"]) == model["v_template"][:, 1].min()
