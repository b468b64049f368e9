"""Held things are closed bodies that touch the hand and take no space of its own."""

from __future__ import annotations

import numpy as np
import pytest

from tore.synthetic.free_body import build_free
from tore.synthetic.held_things import KINDS, held_thing, palm_of
from tore.synthetic.surfaces import Surface, plain_texture

TEXTURE = plain_texture((200, 80, 40))


def open_hand() -> tuple[np.ndarray, np.ndarray]:
    """The mean hand and its 21 joints: wrist, then four of thumb to little finger (tips stand in for themselves)."""
    model = build_free("hand").model
    joints = model["J_regressor"] @ model["v_template"]
    order = [0, 13, 14, 15, 15, 1, 2, 3, 3, 4, 5, 6, 6, 10, 11, 12, 12, 7, 8, 9, 9]
    return model["v_template"], joints[order]


def things() -> list[Surface]:
    mesh, joints = open_hand()
    found = [held_thing(np.random.default_rng(seed), mesh, joints, TEXTURE) for seed in range(40)]
    return [thing for thing in found if thing is not None]


def winding(points: np.ndarray, thing: Surface) -> np.ndarray:
    """How often a closed surface winds around points (N, 3): 1 inside, 0 outside, by its faces' solid angles."""
    corners = thing.vertices[thing.faces][None] - points[:, None, None]
    a, b, c = (corners[:, :, k] for k in range(3))
    la, lb, lc = (np.linalg.norm(side, axis=2) for side in (a, b, c))
    volume = (a * np.cross(b, c)).sum(2)
    below = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    return 2 * np.arctan2(volume, below).sum(1) / (4 * np.pi)


def test_the_open_hand_holds_every_kind() -> None:
    assert {thing.name for thing in things()} == set(KINDS)


@pytest.mark.parametrize("thing", things(), ids=lambda thing: thing.name)
def test_things_are_closed_and_outside_of_the_hand(thing: Surface) -> None:
    thing.check()
    mesh, joints = open_hand()
    assert winding(thing.vertices.mean(0)[None], thing)[0] == pytest.approx(1, abs=0.01)
    assert np.abs(winding(mesh, thing)).max() < 0.3  # a vertex inside has 1, one on the skin of a flat side 1/2
    palm = palm_of(joints)
    nearest = ((thing.vertices - palm.middle) @ palm.out).min()
    assert nearest < 0.05  # the skin lies a centimeter from the joints, and a flat thing on the ball of the thumb


def test_the_palm_faces_down_and_the_frame_is_right_handed() -> None:
    palm = palm_of(open_hand()[1])
    assert palm.out[1] < -0.9 and palm.ahead[0] < -0.9
    assert np.allclose(np.cross(palm.ahead, palm.across), palm.out) and 0.8 < palm.size < 1.2


def test_a_hand_without_room_holds_nothing() -> None:
    mesh, joints = open_hand()
    palm = palm_of(joints)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.06, 0.06, 25)] * 3), -1).reshape(-1, 3) + palm.middle
    assert held_thing(np.random.default_rng(0), np.concatenate([mesh, grid]), joints, TEXTURE) is None
