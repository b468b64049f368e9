"""Ray casting against the z-buffer, and its fast path against the slow one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState

from tests.visualize.test_visualize import sphere
from tore.geometry.camera import PinholeCamera
from tore.synthetic.people import draw_people, load_figure
from tore.synthetic.ray_casting import cast_image
from tore_runtime.renderer import outline, render


def test_the_fast_path_draws_the_same_image() -> None:
    vertices, faces = sphere()
    camera, background = PinholeCamera(120.0, (20.0, 40.0)), np.full((64, 80, 3), 90, np.uint8)
    scene = (vertices + [0.3, 0, 4], faces, camera, (64, 80))
    full = cast_image(*scene, background=background, samples=2)
    fast = cast_image(*scene, background=background, samples=2, edges_only=True, front_faces_only=True)
    assert (full.mask == fast.mask).all() and np.allclose(full.depth, fast.depth, atol=1e-4)
    edges = outline(full.depth)
    assert np.abs(full.coverage - fast.coverage).max() == 0
    assert np.abs(full.color.astype(int) - fast.color)[~edges].max() <= 3
    assert np.abs(full.color.astype(int) - fast.color)[edges].max() <= 12


@pytest.mark.parametrize("kind", ["body", "hand"])
def test_it_agrees_with_the_z_buffer(kind: str, synthetic_body_dir: object) -> None:
    """Two methods, one image: of 1000 pixels at most one lies on another side of the outline, one in 100 differs."""
    figure = load_figure(kind, str(synthetic_body_dir))
    background = RandomState(0).randint(0, 256, (200, 240, 3)).astype(np.uint8)
    for index, vertices in enumerate(draw_people(figure, [RandomState(5), RandomState(6)]).vertices):
        middle, extent = vertices.mean(0), np.ptp(vertices, axis=0).max()
        placed = (vertices - middle) / extent + [0.3 * index, 0, 2]  # the second one is cut by the image's border
        scene = (placed, figure.faces, PinholeCamera(350.0, (120.0, 100.0)), (200, 240))
        ours, rays = (draw(*scene, background=background, samples=2) for draw in (render, cast_image))
        assert (ours.mask != rays.mask).sum() <= rays.mask.sum() / 1000
        assert np.allclose(ours.depth[ours.mask & rays.mask], rays.depth[ours.mask & rays.mask], rtol=1e-3)
        assert (np.abs(ours.color.astype(int) - rays.color).max(2) > 8).sum() <= rays.mask.sum() / 100
