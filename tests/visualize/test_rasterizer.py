"""The z-buffer against a loop over rays and triangles, and what must hold of any image of a mesh."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState

from tests.plain_figure import drawn_meshes
from tore.geometry.camera import PinholeCamera
from tore.synthetic.rendering import World
from tore.synthetic.surfaces import Camera, Surface, plain_texture
from tore_runtime import renderer
from tore_runtime.rasterizer import NEAR, clip_near, project_triangles, rasterize
from tore_runtime.renderer import Lighting, is_closed, render

FLAT = Lighting(lights=(), sky=(1, 1, 1), ground=(1, 1, 1))
SIZE = (24, 30)
CAMERA = PinholeCamera(25.0, (14.0, 11.0))


def naive(points: np.ndarray, faces: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (h, w) and mixed values (h, w, C): for every pixel the nearest triangle that its ray meets beyond NEAR."""
    depth, mixed = np.full(SIZE, np.inf), np.zeros((*SIZE, values.shape[1]))
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            x, y = (np.array([column, row]) + 0.5 - CAMERA.principal_point) / CAMERA.focal_length
            for face in faces:
                # z (x, y, 1) = sum of weights w of the corners, which sum to 1
                system = np.vstack([np.hstack([points[face].T, [[-x], [-y], [-1]]]), [[1, 1, 1, 0]]])
                if abs(np.linalg.det(system)) < 1e-12:
                    continue
                *weights, z = np.linalg.solve(system, [0, 0, 0, 1])
                if min(weights) >= 0 and NEAR < z < depth[row, column]:
                    depth[row, column], mixed[row, column] = z, np.array(weights) @ values[face]
    return depth, mixed


@pytest.mark.parametrize("lowest", [1.0, -2.0])  # all before the viewer, and some behind
def test_every_pixel_shows_the_nearest_triangle_of_its_ray(lowest: float) -> None:
    rng = RandomState(3)
    points = np.hstack([rng.uniform(-2, 2, (36, 2)), rng.uniform(lowest, 5, (36, 1))])
    faces, values = rng.permutation(36).reshape(12, 3), rng.uniform(0, 1, (36, 2))
    depth, mixed = naive(points, faces, values)
    cut_points, cut_faces, cut_values = clip_near(points, faces, values)
    assert (cut_points[cut_faces, 2] > NEAR).all()
    x, y = CAMERA.project(cut_points).T[:, cut_faces.T]
    linear = np.vstack([np.ones(len(cut_points)), cut_values.T]) / cut_points[:, 2]
    seen = rasterize(project_triangles(x, y, linear[:, cut_faces.T]), SIZE)
    found, shown = np.full(SIZE, np.inf), np.zeros((*SIZE, 2))
    found.ravel()[seen.samples] = seen.depth
    shown.reshape(-1, 2)[seen.samples] = seen.values.T
    assert np.isfinite(depth).sum() > 200 and len(set(seen.samples)) == len(seen.samples)
    np.testing.assert_allclose(found, depth, rtol=2e-4)
    np.testing.assert_allclose(shown, mixed, atol=2e-3)


def test_neighbors_leave_no_crack_and_share_no_pixel() -> None:
    """A plane of small triangles whose corners lie anywhere covers every pixel once."""
    rng = RandomState(4)
    rows, columns = np.mgrid[:13, :16]
    corners = np.stack([columns, rows], -1) * 2.0 + rng.uniform(-0.6, 0.6, (13, 16, 2)).round(
        1
    )  # also on pixel centers
    index = np.arange(13 * 16).reshape(13, 16)
    one, two, three, four = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([one, two, three], -1), np.stack([one, three, four], -1)]).reshape(-1, 3)
    x, y = corners.reshape(-1, 2).T[:, faces.T]
    counts = np.zeros(SIZE, int)
    for face in range(len(faces)):
        alone = rasterize(project_triangles(x[:, [face]], y[:, [face]], np.ones((2, 3, 1))), SIZE)
        counts.ravel()[alone.samples] += 1
    assert (counts[2:-2, 2:-2] == 1).all() and counts.max() == 1
    everything = rasterize(project_triangles(x, y, np.ones((2, 3, len(faces)))), SIZE)
    assert (np.sort(everything.samples) == np.flatnonzero(counts)).all()


def test_what_reaches_behind_the_viewer_is_cut() -> None:
    """A floor of two triangles that runs on below the viewer: its part ahead is drawn, up to the image's lower rim."""
    floor = np.array([[-50.0, 1, -50], [50, 1, -50], [50, 1, 60], [-50, 1, 60]])
    drawn = render(floor, np.array([[0, 1, 2], [0, 2, 3]]), CAMERA, SIZE, lighting=FLAT, samples=1)
    y = (np.arange(SIZE[0]) + 0.5 - 11) / 25
    below = y > 1 / 60
    assert drawn.mask[below].all() and not drawn.mask[~below].any()
    np.testing.assert_allclose(drawn.depth[below], np.tile(1 / y[below][:, None], SIZE[1]), rtol=1e-4)


@pytest.mark.parametrize("kind", ["body", "hand"])
def test_a_body_is_drawn_where_rays_meet_it(kind: str) -> None:
    """Two methods, one mesh: of 1000 pixels at most one lies on another side of the outline."""
    meshes, faces = drawn_meshes(kind, 2)
    lens, size = PinholeCamera(350.0, (120.0, 100.0)), (200, 240)
    y, x = np.mgrid[: size[0], : size[1]] + np.float32(0.5)
    camera = Camera(lens, np.eye(3), np.zeros(3))
    directions = camera.directions(np.stack([x.ravel(), y.ravel()], 1).astype(np.float32))
    for index, vertices in enumerate(meshes):
        middle, extent = vertices.mean(0), np.ptp(vertices, axis=0).max()
        placed = (vertices - middle) / extent + [0.3 * index, 0, 2]  # the second one is cut by the image's border
        ours = render(placed, faces, lens, size, samples=1)
        skin = Surface("skin", placed, faces, np.zeros((1, 2)), np.zeros_like(faces), plain_texture((9, 9, 9)))
        found = World([skin]).first(np.zeros_like(directions), directions)
        met = (found["primID"] >= 0).reshape(size)
        assert met.sum() > 3000 and (ours.mask != met).sum() <= met.sum() / 1000
        depth = (found["tfar"] * directions[:, 2]).reshape(size)
        assert np.allclose(ours.depth[ours.mask & met], depth[ours.mask & met], rtol=1e-3)


def test_of_people_who_overlap_the_nearer_one_shows() -> None:
    bodies, alone = drawn_meshes("body", 2)
    camera, size = PinholeCamera(300.0, (100.0, 100.0)), (200, 200)
    near, far = bodies[0] + [0.1, 0, 3.0], bodies[1] + [-0.1, 0, 4.5]
    faces = np.concatenate([alone, alone + len(near)])
    assert is_closed(faces)
    masks = [render(body, alone, camera, size, samples=1).mask for body in (near, far)]
    assert (masks[0] & masks[1]).sum() > 500
    for order, colors in (((far, near), [[0, 0, 1.0], [1, 0, 0]]), ((near, far), [[1, 0, 0], [0, 0, 1.0]])):
        paint = np.repeat(colors, len(near), axis=0)
        drawn = render(np.concatenate(order), faces, camera, size, colors=paint, lighting=FLAT, samples=1)
        assert (drawn.color[masks[0]] == (255, 0, 0)).all()
        assert (drawn.color[masks[1] & ~masks[0]] == (0, 0, 255)).all()
        assert (drawn.mask == (masks[0] | masks[1])).all()


def test_outlines_are_smoothed_and_thin_things_do_not_vanish() -> None:
    """The share of a pixel that a square covers, and a needle between the pixels' centers."""
    square = np.array([[-1.0, -1, 10], [1.1, -1, 10], [1.1, 1.1, 10], [-1, 1.1, 10]])
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    white = np.full((*SIZE, 3), 255, np.uint8)
    left, right, top, bottom = 14 - 2.5, 14 + 2.75, 11 - 2.5, 11 + 2.75
    x, y = np.arange(SIZE[1]), np.arange(SIZE[0])
    along = np.clip(np.minimum(x + 1, right) - np.maximum(x, left), 0, 1)
    down = np.clip(np.minimum(y + 1, bottom) - np.maximum(y, top), 0, 1)
    drawn = render(square, faces, CAMERA, SIZE, background=white, colors=(0, 0, 0), lighting=FLAT, samples=4)
    np.testing.assert_allclose(drawn.coverage, down[:, None] * along, atol=1e-6)
    np.testing.assert_allclose(drawn.color[..., 0], 255 * (1 - down[:, None] * along), atol=1)
    hard = render(square, faces, CAMERA, SIZE, background=white, colors=(0, 0, 0), lighting=FLAT, samples=1)
    assert set(np.unique(hard.color)) == {0, 255} and hard.mask.sum() == 36
    needle = square * [1, 0.05, 1]
    thin = render(needle, faces, CAMERA, SIZE, colors=(1, 1, 1), lighting=FLAT, samples=4)
    assert not thin.mask.any() and 0 < thin.coverage.sum() < 3
    with pytest.raises(ValueError, match="samples is 0"):
        render(square, faces, CAMERA, SIZE, samples=0)


def test_the_inside_of_an_open_mesh_is_lit_and_of_a_closed_one_hidden() -> None:
    corners = np.array([[x, y, z] for z in (4.0, 6.0) for y in (-1.0, 1) for x in (-1.0, 1)])
    box = np.array(
        [[0, 2, 3], [0, 3, 1], [4, 5, 7], [4, 7, 6], [0, 1, 5], [0, 5, 4], [2, 6, 7], [2, 7, 3], [0, 4, 6], [0, 6, 2],
         [1, 3, 7], [1, 7, 5]]
    )  # fmt: skip
    assert is_closed(box) and not is_closed(box[2:]) and not is_closed(np.vstack([box, box[:1]]))
    whole = render(corners, box, CAMERA, SIZE, samples=1)
    opened = render(corners, box[2:], CAMERA, SIZE, samples=1)
    assert whole.depth[11, 14] == pytest.approx(4) and opened.depth[11, 14] == pytest.approx(6)
    assert (whole.mask == opened.mask).all() and opened.color[11, 14].min() > 20


@pytest.mark.parametrize("pixels", [40, 300, 3001])
def test_bands_of_a_large_image_are_those_of_the_whole(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of one row and more, outlines across their borders included."""
    (vertices,), faces = drawn_meshes("body", 1)
    placed, lens = vertices - vertices.mean(0) + [0.5, 0.2, 3.0], PinholeCamera(120.0, (45.0, 45.0))
    background = RandomState(1).randint(0, 256, (90, 90, 3)).astype(np.uint8)
    whole = render(placed, faces, lens, (90, 90), background=background, samples=3)
    monkeypatch.setattr(renderer, "BAND", pixels)
    parts = render(placed, faces, lens, (90, 90), background=background, samples=3)
    assert whole.mask.sum() > 300
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other)
