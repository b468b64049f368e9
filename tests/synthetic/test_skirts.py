"""Skirts hang around the body, whole and outside of it."""

from __future__ import annotations

import numpy as np
import pytest

from tore.synthetic.cloth_colors import cloth, dyed
from tore.synthetic.free_body import build_free, people_shapes
from tore.synthetic.garments import PosedSkin, binding, fit, free_mesh
from tore.synthetic.skirts import AROUND, skirt, skirt_rings


def test_rings_lie_below_one_another_and_go_around_the_body() -> None:
    points = free_mesh().base[skirt_rings()]
    assert points.shape == (20, AROUND, 3) and len(np.unique(skirt_rings())) == 720
    assert (np.diff(points[..., 1].mean(1)) < -0.01).all()
    steps = np.linalg.norm(points - np.roll(points, 1, axis=1), axis=2)
    assert steps.max() < 0.07
    assert np.abs(points.mean(1)[:, 0]).max() < 1e-3  # as wide to the left as to the right


@pytest.mark.parametrize(("rings", "flare"), [(7, 0.0), (13, 0.25)])
def test_a_skirt_is_a_tube_of_its_length_and_width(rings: int, flare: float) -> None:
    piece = skirt(rings, flare)
    edges, counts = np.unique(
        np.sort(
            np.concatenate([piece.mesh.faces[:, [0, 1]], piece.mesh.faces[:, [1, 2]], piece.mesh.faces[:, [2, 0]]])
        ),
        axis=0,
        return_counts=True,
    )
    assert (counts <= 2).all() and (counts == 1).sum() == 2 * AROUND  # open at the waist and at the hem
    placed = piece.hold.place(free_mesh().base).reshape(rings, AROUND, 3)
    straight = free_mesh().base[skirt_rings()[:rings]]
    out = np.linalg.norm((placed - straight)[..., [0, 2]], axis=2)
    assert np.allclose(out, flare * (straight[:1, :, 1] - straight[..., 1]), atol=1e-6)
    assert len(edges) == len(np.unique(edges, axis=0))


def test_a_childs_skirt_is_shorter_and_keeps_off_the_skin() -> None:
    body, piece = free_mesh(), skirt(12, 0.1)
    shapes, ages = people_shapes()
    betas = shapes[ages.argmin()]
    vertices = body.template + build_free("body").model["shapedirs"] @ betas
    skin = PosedSkin.of(vertices)
    garment = fit(piece, body.held.points(vertices, betas), skin, dyed(piece, np.random.default_rng(0), np.zeros(3)))
    assert np.ptp(garment.surface.vertices[:, 1]) < 0.7 * np.ptp(piece.hold.place(body.base)[:, 1])
    assert (skin.height(garment.surface.vertices, garment.bound)[0] > 0.0019).all()
    garment.surface.check()


def test_a_skirt_belongs_to_both_legs_in_the_middle() -> None:
    weights = binding(skirt(12, 0.0)).weights.reshape(12, AROUND, 24)
    assert np.allclose(weights.sum(-1), 1, atol=1e-5)
    places = free_mesh().base[skirt_rings()[:12]]
    front = np.abs(places[8, :, 0]).argmin()
    left = places[8, :, 0].argmax()
    assert weights[8, front, 1:3].min() > 0.2 and weights[8, left, 1] - weights[8, left, 2] > 0.4


def test_its_colors_cover_all_of_it() -> None:
    piece = skirt(7, 0.0)
    assert cloth(piece).names == ("top",) and dyed(piece, np.random.default_rng(1), np.zeros(3))[..., 3].min() == 255
    with pytest.raises(ValueError, match="a skirt has 2 to 20 rings, not 21"):
        skirt(21, 0.0)
