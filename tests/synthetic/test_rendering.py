"""Light, rendering and the camera's effects against spheres, planes and sums that are known."""

import builtins

import numpy as np
import pytest
import trimesh

from tore.geometry.camera import PinholeCamera
from tore.synthetic.framing import VIEWS, draw_camera, look_from, placed
from tore.synthetic.lighting import (
    Light,
    film_radiance,
    harmonic_basis,
    light_of_panorama,
    panorama_directions,
    tone_mapped,
)
from tore.synthetic.photo_effects import encoded, exposure, photographed
from tore.synthetic.rendering import World, need_render_packages, render
from tore.synthetic.surfaces import Camera, Surface, plain_texture
from tore.synthetic.things import box, car, cylinder, draw_pattern, in_front, leaves
from tore.synthetic.visibility import (
    HIDDEN,
    OUTSIDE,
    VISIBLE,
    covered_share,
    joint_states,
    visible_share,
    visible_shares,
)

SIZE = 64


def sphere(name="ball", middle=(0.0, 0.0, 0.0), radius=1.0, color=(200, 100, 50), **options):
    mesh = trimesh.creation.icosphere(4)
    faces = np.asarray(mesh.faces)
    places = np.full((1, 2), 0.5), np.zeros_like(faces)
    vertices = radius * np.asarray(mesh.vertices) + middle
    return Surface(name, vertices, faces, *places, plain_texture(color), **options)


def camera(distance=4.0):
    lens = PinholeCamera(1.2 * SIZE, (SIZE / 2, SIZE / 2))
    return Camera(lens, look_from(0.0, 0.0, 0.0), np.array([0, 0, distance]))


def even_light(brightness=0.5):
    return light_of_panorama(np.full((32, 64, 3), brightness))


def drawn(surfaces, light=None, **options):
    return render(World(surfaces), camera(), light or even_light(), SIZE, np.random.default_rng(0), **options)


def test_a_sphere_covers_the_disc_that_it_should():
    got = drawn([sphere()])
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2
    tangent = 1 / np.sqrt(4.0**2 - 1)  # of the cone that touches the sphere
    disc = np.hypot(x, y) < 1.2 * SIZE * tangent
    assert (disc != (got.surface == 0)).mean() < 0.01
    assert abs(got.coverage.sum() - disc.sum()) < 0.01 * disc.sum()
    assert ((got.coverage > 0) & (got.coverage < 1)).any()


def test_even_light_shades_a_lone_sphere_evenly_in_its_color():
    shown = tone_mapped(drawn([sphere()]).radiance)[28:36, 28:36].reshape(-1, 3)
    assert np.ptp(shown, axis=0).max() < 0.03
    assert shown[:, 0].mean() > shown[:, 1].mean() > shown[:, 2].mean()


def test_the_nearer_surface_hides_the_farther_one():
    got = drawn([sphere(), sphere("near", (0, 0, 1.5), 0.5)])
    assert got.surface[SIZE // 2, SIZE // 2] == 1 and (got.surface == 0).any()


def test_a_hole_shows_what_is_behind():
    texture = plain_texture((0, 0, 0))
    texture[..., 3] = 0
    hole = sphere("hole", (0, 0, 1.5), 0.5)
    hole = Surface(hole.name, hole.vertices, hole.faces, hole.places, hole.face_places, texture, cut_out=True)
    assert (drawn([sphere(), hole]).surface == drawn([sphere()]).surface).all()


def test_the_sun_lights_its_side_and_casts_a_shadow():
    sun = np.array([1.0, 0.2, 0.2])
    light = even_light(0.3).with_sun(sun, np.ones(3))
    color = tone_mapped(drawn([sphere()], light).radiance).mean(2)
    right, left = color[SIZE // 2, SIZE // 2 + 12], color[SIZE // 2, SIZE // 2 - 12]
    assert right > left + 0.1
    shaded = tone_mapped(drawn([sphere(), sphere("moon", (2.5, 0.5, 0.5), 0.9)], light).radiance).mean(2)
    assert shaded[SIZE // 2, SIZE // 2 + 12] < right - 0.1


def test_the_ground_is_darker_below_a_ball():
    wall = film_radiance(np.full((SIZE, SIZE, 3), 0.5, np.float32))
    high = Camera(camera().lens, look_from(0.0, 0.7, 0.0), 4 * np.array([0, np.sin(0.7), np.cos(0.7)]))
    world, rng = World([sphere(radius=0.4)]), np.random.default_rng(0)
    bare, shadowed = (
        render(world, high, even_light(), SIZE, rng, background=wall, ground=ground) for ground in (None, -0.4)
    )
    dark = (bare.coverage == 0) & (tone_mapped(shadowed.radiance).mean(2) < 0.47)
    assert dark.any() and not dark[: SIZE // 3].any() and dark.mean() < 0.2
    assert np.allclose(bare.radiance[bare.coverage == 0], wall[0, 0])


def test_harmonics_are_orthonormal_and_give_the_light_on_a_matt_surface():
    directions, solid = panorama_directions(64, 128)
    flat, weight = directions.reshape(-1, 3), solid.reshape(-1)
    basis = harmonic_basis(flat)
    assert np.abs(basis.T @ (basis * weight[:, None]) - np.eye(9)).max() < 0.01
    image = np.maximum(flat @ np.array([0.6, 0.8, 0]), 0).reshape(64, 128, 1).repeat(3, 2) + 0.2
    light = light_of_panorama(image)
    normal = np.array([[0.0, 1, 0], [0.6, 0.8, 0], [-0.6, -0.8, 0]], np.float32)
    near = np.maximum(flat @ normal.T, 0) * weight[:, None]
    wanted = (near.T @ (light.panorama.reshape(-1, 3))) / np.pi
    assert np.abs(light.irradiance(normal) / wanted - 1).max() < 0.06


def test_the_panorama_is_seen_where_it_lies_and_turns():
    image = np.zeros((32, 64, 3)) + 0.1
    image[:, 40:44] = 1.0  # right of the middle, toward -x
    light = Light(image.astype(np.float32), np.zeros((9, 3), np.float32), np.eye(3)[1], np.zeros(3))
    angle = (42 / 64 - 0.5) * 2 * np.pi
    toward = np.array([[[-np.sin(angle), 0, np.cos(angle)]]], np.float32)
    assert light.radiance(toward).mean() == pytest.approx(1.0)
    assert light.radiance(-toward).mean() == pytest.approx(0.1)
    turned = light.turned(0.7)
    c, s = np.cos(0.7), np.sin(0.7)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    assert turned.radiance((toward @ rotation.T).astype(np.float32)).mean() == pytest.approx(1.0)


@pytest.mark.parametrize("view", list(VIEWS))
def test_a_drawn_camera_sees_the_part_that_it_should(view):
    rng = np.random.default_rng(3)
    points = rng.uniform([-0.3, 0, -0.2], [0.3, 1.7, 0.2], (2400, 3))
    parts = np.repeat(np.arange(24), 100)
    for _ in range(20):
        seen = draw_camera(rng, points, parts, view, 0.3, SIZE, ground=0.0)
        assert np.abs(seen.rotation @ seen.rotation.T - np.eye(3)).max() < 1e-9 and seen.position[1] > 0
        assert seen.to_camera(points)[:, 2].min() > 0.1
        shown = seen.project(points[np.isin(parts, VIEWS[view][1])])
        extent = np.ptp(shown, axis=0).max() / SIZE
        assert VIEWS[view][2][0] - 0.06 < extent < VIEWS[view][2][1] + 0.06


def test_placed_puts_points_where_asked():
    points = np.random.default_rng(1).uniform(-1, 1, (300, 3)) + [3, 2, 1]
    lens = PinholeCamera(80.0, (30.0, 40.0))
    seen = placed(lens, look_from(1.0, 0.3, 0.1), points, 40.0, np.array([33.0, 29.0])).project(points)
    assert np.ptp(seen, axis=0).max() == pytest.approx(40, abs=0.5)
    assert (seen.min(0) + seen.max(0)) / 2 == pytest.approx([33, 29], abs=0.5)


def test_visibility_of_a_ball_behind_a_ball_and_beside_the_image():
    ball, cover, far = sphere(), sphere("cover", (0, 0, 1.5), 0.45), sphere("far", (9, 0, 0))
    mine = np.array([True, False, False])
    open_share = visible_share(World([ball, far, far]), mine, camera(), SIZE)
    hidden_share = visible_share(World([ball, cover, far]), mine, camera(), SIZE)
    assert open_share > 0.99 and hidden_share < 0.75
    joints = np.array([[0, 0, 0.95], [0.5, 0.5, 0.6], [9.0, 0, 0]])
    states = joint_states(World([ball, cover]), camera(), joints, 0.3, SIZE)
    assert states == [HIDDEN, VISIBLE, OUTSIDE]


def test_what_is_seen_within_the_image_and_how_much_of_it():
    mine = np.array([True])
    world = World([sphere("half", (4 * SIZE / 2 / (1.2 * SIZE), 0, 0))])  # its middle on the image's border
    seen = visible_shares(world, mine, camera(), SIZE)
    assert 0.3 < seen.share < 0.7 and seen.framed > 0.97
    covered = (drawn(world.surfaces).surface == 0).mean()
    assert covered_share(world, mine, camera(), SIZE) == pytest.approx(covered, abs=0.01)


def test_a_camera_has_four_joints_of_limbs_in_view_where_it_can():
    rng = np.random.default_rng(3)
    points = rng.uniform([-0.3, 0, -0.2], [0.3, 1.7, 0.2], (2400, 3))
    parts, limbs = np.repeat(np.arange(24), 100), points[::200]
    for view in ("aside", "bust"):
        for _ in range(20):
            seen = draw_camera(rng, points, parts, view, 0.3, SIZE, 0.0, limbs).project(limbs)
            assert ((seen >= 0) & (seen < SIZE)).all(1).sum() >= 4


def test_a_panoramas_ground_begins_at_the_horizon_and_is_as_near_as_the_people():
    height, width = 256, 512
    down = (np.arange(height) + 0.5) / height * np.pi - np.pi / 2
    rings = 1.6 / np.tan(np.maximum(down, 1e-3)) < 2.0  # dark within two meters of the panorama's tripod
    panorama = np.where(down > 0, np.where(rings, 0.05, 0.3), 1.0)[:, None, None] * np.ones((1, width, 3))
    light = light_of_panorama(panorama)
    far = sphere("far", (0, 50, 0), 0.1)
    for eye in (1.0, 1.6, 2.4):
        lens = PinholeCamera(0.6 * SIZE, (SIZE / 2, SIZE / 2))
        seen = Camera(lens, look_from(0.0, np.radians(25), 0.0), np.array([0.0, eye, 0.0]))
        shown = render(World([far]), seen, light, SIZE, np.random.default_rng(0), ground=0.0)
        column = tone_mapped(shown.radiance)[:, SIZE // 2, 0]
        horizon, ring = (seen.project(np.array(point))[1] for point in ((0, eye, -1e6), (0, 0, -2.0)))
        assert abs(np.argmax(column < 0.5 * (column[0] + column[int(horizon) + 4])) - horizon) < 1.5
        assert abs(np.argmax(column < column[int(horizon) + 4] - 0.1) - ring) < 1.5


def test_film_radiance_inverts_the_films_curve():
    radiance = np.linspace(0.01, 5, 50, dtype=np.float32)
    assert film_radiance(tone_mapped(radiance)) == pytest.approx(radiance, rel=1e-2)


def person_before(behind, brightness, spread=(0.4, 1.0)):
    """Radiance around somebody whose radiance is `brightness` times numbers from `spread`, and where that is."""
    person = np.zeros((SIZE, SIZE), bool)
    person[10:50, 20:40] = True
    radiance = np.full((SIZE, SIZE, 3), behind, np.float32)
    radiance[person] = brightness * np.random.default_rng(0).uniform(*spread, (person.sum(), 1))
    return radiance, person


@pytest.mark.parametrize("brightness", [0.08, 0.3, 0.5, 2.0, 6.0])
def test_the_person_is_exposed_neither_clipped_nor_a_lump(brightness):
    radiance, person = person_before(0.2, brightness)
    own = tone_mapped(radiance * exposure(radiance, person))[person]
    assert np.percentile(own, 96) < 0.92 and np.percentile(own, 90) > 0.35 - 0.01
    assert np.ptp(own) > 0.15  # bright cloth keeps its folds
    for seed in range(20):
        shot = photographed(np.random.default_rng(seed), radiance, person)[person]
        assert (shot >= 250).mean() < 0.08 and np.percentile(shot, 90) > 55
    assert exposure(radiance, person & False) == 1 == exposure(np.full_like(radiance, 0.2), person)


def test_a_bright_background_takes_light_from_the_image():
    radiance, person = person_before(3.0, 0.3, (1.0, 1.0))
    assert 0.8 < tone_mapped(radiance * exposure(radiance, person))[0, 0, 0] < 0.93


def test_things_are_sound_surfaces():
    rng = np.random.default_rng(0)
    texture = draw_pattern(rng)
    made = [
        box("crate", (1, 2, 3), (0, 0, 0), 0.5, texture),
        cylinder("post", 0.1, np.zeros(3), np.array([0, 2.0, 0]), texture),
        leaves(rng, np.zeros(3), 0.3),
        *car(rng, np.zeros(3), 0.2),
    ]
    skin = rng.uniform(-0.3, 0.3, (100, 3)) + [0, 0.9, 0]
    for _ in range(30):
        made += in_front(rng, camera(), skin, SIZE)
    for surface in made:
        surface.check()
        assert np.isfinite(surface.vertices).all()
    crate = trimesh.Trimesh(made[0].vertices, made[0].faces)
    crate.merge_vertices()
    assert crate.is_watertight and crate.volume == pytest.approx(6.0)
    post = trimesh.Trimesh(made[1].vertices, made[1].faces)
    post.merge_vertices()
    assert post.is_watertight and post.volume == pytest.approx(np.pi * 0.01 * 2, rel=0.05)


def test_effects_keep_the_image_and_repeat():
    image = np.linspace(0, 1, SIZE * SIZE * 3, dtype=np.float32).reshape(SIZE, SIZE, 3)
    radiance, nobody = film_radiance(image), np.zeros((SIZE, SIZE), bool)
    for seed in range(40):
        one, two = (photographed(np.random.default_rng(seed), radiance, nobody) for _ in range(2))
        assert one.shape == image.shape and one.dtype == np.uint8 and (one == two).all()
        assert np.corrcoef(one.mean((1, 2)), image.mean((1, 2)))[0, 1] > 0.97
    rng = np.random.default_rng(0)
    assert encoded(rng, one)[:2] == b"\xff\xd8"


def test_missing_packages_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def without(name: str, *rest: object, **named: object) -> object:
        if name.startswith("embreex"):
            raise ImportError(f"No module named {name!r}")
        return there(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"making images needs the packages .* pip install .*tore\[synthetic\]"):
        need_render_packages("making images")
