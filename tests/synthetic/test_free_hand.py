"""The free hand and the forearm behind it: the rim, texture, side, tips, curling, shape."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plain_figure import Figure, edges_of
from tore.synthetic.free_body import forearm, texture


def test_the_hand_is_open_at_the_wrist_alone(hand: Figure) -> None:
    for count, faces, rim in zip((778, 195), hand.levels["F"], (16, 8), strict=True):
        edges, uses = edges_of(faces)
        assert count - len(edges) + len(faces) == 1
        assert (uses == 1).sum() == rim
        assert set(uses) == {1, 2}
    edges, uses = edges_of(hand.faces)
    behind = hand.template[np.unique(edges[uses == 1]), 0] - (hand.rows[0] @ hand.template)[0]
    assert (behind > 0.02).all(), "the fingers point to -x, the rim lies behind the wrist"


def test_forearm_goes_on_at_the_rim_whatever_the_shape(hand: Figure) -> None:
    arm = forearm()
    for number in range(10):
        own = 2 * np.eye(10)[number]
        hands, arms = hand.template + hand.model["shapedirs"] @ own, arm.vertices + arm.shapes @ own
        assert np.abs(hands[arm.rim] - arms[: len(arm.rim)]).max() < 5e-4
    edges, uses = edges_of(arm.faces)
    assert set(uses) == {1, 2}
    assert len(arm.vertices) - len(edges) + len(arm.faces) == 0, "a tube"
    both = {tuple(side) for side in np.sort(arm.rim[edges[(uses == 1) & (edges < len(arm.rim)).all(1)]], axis=1)}
    hand_edges, hand_uses = edges_of(hand.faces)
    assert both == {tuple(side) for side in hand_edges[hand_uses == 1]}, "the rims are one"
    assert arm.vertices[:, 0].max() > hand.template[:, 0].max() + 0.12


@pytest.mark.parametrize("part", ["hand", "forearm"])
def test_hand_and_forearm_have_texture(hand: Figure, part: str) -> None:
    skin = texture(part)
    assert len(skin.faces) == len(hand.faces if part == "hand" else forearm().faces)
    assert 0 <= skin.places.min() < skin.places.max() <= 1
    corners = skin.places[skin.faces]
    assert np.percentile(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1), 97) < 0.06
    with pytest.raises(ValueError, match="part 'foot' has no texture coordinates; use 'body', 'hand' or 'forearm'"):
        texture("foot")


def test_hand_is_a_right_hand_with_its_tips_numbered(hand: Figure) -> None:
    joints = hand.rows @ hand.template
    tips = {"index": 317, "middle": 445, "pinky": 673, "ring": 556, "thumb": 745}
    for finger, (name, vertex) in enumerate(tips.items()):
        bone = joints[3 * finger + 3] - joints[3 * finger + 2]
        along = (hand.template - joints[3 * finger + 3]) @ bone / np.linalg.norm(bone)
        own = hand.weights[:, 3 * finger + 3] > 0.5
        assert own[vertex], name
        assert along[vertex] > along[own].max() - 0.006, name
    assert np.linalg.norm(hand.template[444] - hand.template[445]) < 0.01
    across = [hand.template[tips[name]][2] for name in ("thumb", "index", "middle", "ring", "pinky")]
    assert (np.diff(across) < -0.01).all(), "palm down, fingers to -x: the thumb of a right hand lies to +z"
    assert 0.16 < np.ptp(hand.template[:, 0]) < 0.23


def test_curling_brings_the_tips_to_the_palm(hand: Figure) -> None:
    mean = hand.model["hands_mean"].reshape(15, 3)
    eased, closed = (hand.skin(np.concatenate([np.zeros((1, 3)), k * mean])) for k in (1.0, 3.0))
    wrist = hand.rows[0] @ hand.template
    for vertex in (317, 445, 556, 673):
        reach = [np.linalg.norm(v[vertex] - wrist) for v in (hand.template, eased, closed)]
        assert reach[0] > reach[1] > reach[2]
        assert eased[vertex, 1] < hand.template[vertex, 1] - 0.01, "the palm looks down"


def test_hand_poses_have_directions_of_their_own(hand: Figure) -> None:
    components = hand.model["hands_components"]
    assert np.abs(components @ components.T - np.eye(45)).max() < 1e-5
    assert np.abs(components[0]).max() < 0.6, "the strongest direction moves several joints"


def test_hand_grows_with_its_first_shape_number(hand: Figure) -> None:
    def length(betas: np.ndarray) -> float:
        joints = hand.rows @ (hand.template + hand.model["shapedirs"] @ betas)
        return float(np.linalg.norm(joints[6] - joints[0]))

    assert length(np.eye(10)[0]) > 1.1 * length(-np.eye(10)[0])
