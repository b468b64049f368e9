"""Hands have the tone wanted, paler palms and nails where nails are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.synthetic.small_assets import write_assets
from tore.synthetic.assets import Assets, find_assets
from tore.synthetic.free_body import build_free, texture
from tore.synthetic.hand_skin import hand_layout, hand_skin
from tore.synthetic.surfaces import vertex_normals


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    return find_assets(write_assets(tmp_path_factory.mktemp("assets")))


def at_faces(image: np.ndarray) -> np.ndarray:
    """(F, 3) the texels at the middle of the hand's faces."""
    places = texture("hand")
    middle = places.places[places.faces].mean(1)
    spot = (middle * [1, -1] + [0, 1]) * len(image)
    return image[spot[:, 1].astype(int), spot[:, 0].astype(int), :3].astype(float)


@pytest.mark.parametrize("plain", [True, False])
def test_palms_of_dark_hands_are_paler_than_their_backs(assets: Assets, plain: bool) -> None:
    model = build_free("hand").model
    vertices, faces = model["v_template"], model["f"].astype(int)
    up = vertex_normals(vertices, faces)[faces].mean(1)[:, 1]
    fingers_and_palm = vertices[faces].mean(1)[:, 0] < 0.05
    paler, brightness = [], []
    for seed in range(12):
        colors = at_faces(hand_skin(None if plain else assets, np.random.default_rng(seed))).mean(1)
        back, palm = (np.median(colors[fingers_and_palm & mask]) for mask in (up > 0.7, up < -0.7))
        paler.append(palm / back)
        brightness.append(back)
    dark = np.argsort(brightness)
    assert min(brightness) < 100 < max(brightness)
    assert np.median(np.array(paler)[dark[:3]]) > 1.2 and abs(np.median(np.array(paler)[dark[-3:]]) - 1) < 0.15


def test_the_same_draw_is_the_same_hand(assets: Assets) -> None:
    for given in (None, assets):
        first, second = (hand_skin(given, np.random.default_rng(4)) for _ in range(2))
        assert first.shape == (1024, 1024, 4) and first.dtype == np.uint8 and np.array_equal(first, second)


def test_every_finger_has_a_nail_on_its_back_alone() -> None:
    model = build_free("hand").model
    vertices, faces = model["v_template"], model["f"].astype(int)
    nails = np.repeat(hand_layout().nail[..., None], 3, 2)
    found, follows = at_faces(nails)[:, 0], model["weights"].argmax(1)
    up = vertex_normals(vertices, faces)[faces].mean(1)[:, 1]
    last = {tip: (follows[faces] == tip).all(1) for tip in (3, 6, 9, 12, 15)}
    assert all((found[mine] > 0.9).any() for mine in last.values())
    assert (
        found[~np.any(list(last.values()), axis=0)].max() < 0.5 and (found[(up < -0.2) & ~last[15]] > 0.5).mean() < 0.02
    )
