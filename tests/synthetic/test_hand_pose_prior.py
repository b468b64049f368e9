"""Hands: same seed, same hand; limits; fingers apart; what is held fits; joints as a plain loop places them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from manopth.lbs import SkinnedModel, linear_blend_skinning
from tore.geometry.rotations import axis_angle_to_matrix
from tore.synthetic.free_body import build_free
from tore.synthetic.hand_pose_prior import ANGLES, LIMITS, DrawnHand, HandPosePrior, segment_distance

DRAWS = 150


@pytest.fixture(scope="module")
def prior() -> HandPosePrior:
    return HandPosePrior.load()


@pytest.fixture(scope="module")
def drawn(prior: HandPosePrior) -> list[DrawnHand]:
    rng = np.random.default_rng(2)
    return [prior.draw(rng) for _ in range(DRAWS)]


def test_same_seed_same_hand(prior: HandPosePrior, drawn: list[DrawnHand]) -> None:
    rng = np.random.default_rng(2)
    for first in drawn[:5]:
        again = prior.draw(rng)
        assert np.array_equal(first.fingers, again.fingers)
        assert first.kind == again.kind


def test_an_unknown_kind_is_named(prior: HandPosePrior) -> None:
    with pytest.raises(ValueError, match="kind 'paw' of a hand is not known; use one of relaxed; flat"):
        prior.draw(np.random.default_rng(0), "paw")


def test_limits_hold(prior: HandPosePrior, drawn: list[DrawnHand]) -> None:
    assert LIMITS.shape == (len(ANGLES), 2)
    most = np.radians([92 + 23, 112 + 1, 46] * 4 + [90, 61, 81])  # of a knuckle's bend and fan together
    for one in drawn:
        assert (np.linalg.norm(one.fingers, axis=1) <= most).all()


def test_straight_fingers_rest(prior: HandPosePrior) -> None:
    assert not prior.pose(np.zeros(len(ANGLES))).any()
    assert prior.overlap(np.zeros((15, 3))) == 0


def test_joints_are_those_of_the_model(prior: HandPosePrior, drawn: list[DrawnHand]) -> None:
    arrays = build_free("hand").model
    dense = {**arrays, "J_regressor": arrays["J_regressor"].toarray()}
    dense["kintree_table"] = dense["kintree_table"].astype(np.int64)
    model = SkinnedModel(dense).double()
    _, ends = prior.placed(drawn[0].fingers)
    rotations = axis_angle_to_matrix(torch.tensor(np.concatenate([np.zeros((1, 3)), drawn[0].fingers])))
    joints = linear_blend_skinning(rotations[None], torch.zeros(1, 10, dtype=torch.float64), model)[1][0].numpy()
    assert np.allclose(ends[:, :3].reshape(15, 3), joints[1:], atol=1e-5)


def test_fingers_are_apart(prior: HandPosePrior, drawn: list[DrawnHand]) -> None:
    depth = np.array([prior.overlap(one.fingers) for one in drawn])
    assert np.percentile(depth, 90) < 0.008
    through = np.zeros(len(ANGLES))
    through[[2, 5]] = -22, 22  # the index finger across the middle one
    assert prior.overlap(prior.pose(through)) > 0.01


def test_thumb_and_finger_close_on_what_they_hold(prior: HandPosePrior) -> None:
    rng = np.random.default_rng(0)
    for kind, low, high in (("pinch", 0.0, 0.012), ("phone", 0.004, 0.02), ("box", 0.02, 0.085)):
        sizes = [prior.draw(rng, kind).held.size[2] for _ in range(6)]
        assert low <= min(sizes) <= max(sizes) <= high, (kind, sizes)
    rod, can = (np.median([prior.draw(rng, kind).held.size[1] for _ in range(9)]) for kind in ("rod", "can"))
    assert 0.01 < rod < 0.6 * can < 0.06


def test_held_objects_have_proper_frames(drawn: list[DrawnHand]) -> None:
    held = [one.held for one in drawn if one.held is not None]
    assert len(held) > 20
    for one in held:
        assert np.allclose(one.frame.T @ one.frame, np.eye(3), atol=1e-6)
        assert (one.size > 0).all() and one.size.max() < 0.2
        assert np.linalg.norm(one.center - [0.0, -0.03, 0.0]) < 0.12
    assert {one.shape for one in held} >= {"coin", "cylinder", "ball", "slab"}


def test_fans_part_the_fingers_towards_the_thumb(prior: HandPosePrior) -> None:
    fan = np.zeros(len(ANGLES))
    fan[2] = 15
    _, ends = prior.placed(prior.pose(fan))
    _, rest = prior.placed(np.zeros((15, 3)))
    assert ends[0, 3, 2] > rest[0, 3, 2] + 0.01
    bent = np.zeros(len(ANGLES))
    bent[0] = 60
    _, ends = prior.placed(prior.pose(bent))
    assert ends[0, 3, 1] < rest[0, 3, 1] - 0.03
    turn = Rotation.from_rotvec(prior.pose(bent)[0]).magnitude()
    assert np.isclose(turn, np.radians(60))


def test_segment_distance_against_sampling() -> None:
    rng = np.random.RandomState(2)
    start, along, other, other_along = rng.standard_normal((4, 30, 3))
    steps = np.linspace(0, 1, 101)
    first = start[:, None] + steps[:, None] * along[:, None]
    second = other[:, None] + steps[:, None] * other_along[:, None]
    sampled = np.linalg.norm(first[:, :, None] - second[:, None], axis=-1).min((1, 2))
    assert np.abs(segment_distance(start, along, other, other_along) - sampled).max() < 0.02
