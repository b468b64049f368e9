"""Clothes follow the body and stay outside of it; the same draw gives the same person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.synthetic.small_assets import write_assets
from tore.synthetic.assets import Assets, Piece, find_assets, read_texture
from tore.synthetic.clothes_files import ClothesMesh, Hold
from tore.synthetic.dressing import choose_outfit, dress, gender_of
from tore.synthetic.free_body import build_free, people_shapes
from tore.synthetic.garments import (
    PosedSkin,
    binding,
    fit,
    free_mesh,
    halves,
    hidden_faces,
    reaches_ankles,
    without_socks,
)
from tore.synthetic.skin_tones import skin_texture, tone_color
from tore.synthetic.texels import texel_faces, texel_values


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    return find_assets(write_assets(tmp_path_factory.mktemp("assets")))


def rest_pose() -> tuple[np.ndarray, np.ndarray]:
    return np.tile(np.eye(4), (24, 1, 1)), np.zeros((6890, 3), np.float32)


def test_a_piece_at_rest_lies_where_its_file_says_or_just_outside(assets: Assets) -> None:
    body = free_mesh()
    skin = PosedSkin.of(body.template)
    piece = assets.suits[0]
    placed = piece.hold.place(body.base)
    garment = fit(piece, body.base, skin, read_texture(piece.texture))
    height = skin.height(garment.surface.vertices, binding(piece))[0]
    assert (height >= garment.gap - 1e-6).all()
    outside = skin.height(placed, binding(piece))[0] > garment.gap + 1e-6
    assert outside.any() and np.allclose(garment.surface.vertices[outside], placed[outside], atol=1e-6)
    transforms, offsets = rest_pose()
    assert np.allclose(garment.posed(transforms, offsets, skin).vertices, garment.surface.vertices, atol=1e-6)


def test_a_rigid_motion_moves_all_surfaces_alike(assets: Assets) -> None:
    body = free_mesh()
    person = dress(choose_outfit(assets, np.random.default_rng(3), 0.7, "male"), body.template, np.zeros(10))
    transforms, offsets = rest_pose()
    at_rest = person.posed(transforms, offsets, body.template)
    turn, shift = Rotation.from_rotvec([0.3, 1.0, -0.4]).as_matrix(), np.array([0.2, -0.1, 3.0])
    transforms[:, :3, :3], transforms[:, :3, 3] = turn, shift
    for before, after in zip(at_rest, person.posed(transforms, offsets, body.template @ turn.T + shift), strict=True):
        after.check()
        assert np.allclose(after.vertices, before.vertices @ turn.T + shift, atol=1e-5)


def test_clothes_follow_pose_directions_and_leave_the_skin(assets: Assets) -> None:
    body, piece = free_mesh(), assets.suits[0]
    garment = fit(piece, body.base, PosedSkin.of(body.template), read_texture(piece.texture))
    transforms, offsets = rest_pose()
    up = np.tile(np.float32([0, 0.03, 0]), (6890, 1))
    moved = garment.posed(transforms, up, PosedSkin.of(body.template + up))
    assert np.allclose(moved.vertices, garment.surface.vertices + up[0], atol=1e-5)
    swollen = PosedSkin.of(body.template * np.array([1.0, 1.0, 2.0]))  # the chest comes out of the clothes
    pushed = garment.posed(transforms, offsets, swollen)
    assert (swollen.height(garment.surface.vertices, garment.bound)[0] < 0).any()
    assert (swollen.height(pushed.vertices, garment.bound)[0] > garment.gap - 1e-5).all()


def test_what_is_worn_over_something_lies_outside_of_it(assets: Assets) -> None:
    body, piece = free_mesh(), assets.suits[0]
    skin, texture, below = PosedSkin.of(body.template), read_texture(piece.texture), np.zeros(6890)
    first, second = (fit(piece, body.base, skin, texture, below=below) for _ in range(2))
    heights = [skin.height(garment.surface.vertices, garment.bound)[0] for garment in (first, second)]
    close = heights[0] < 0.03
    assert close.any() and (heights[1] > heights[0] + 0.0049)[close].all()
    untouched = np.setdiff1d(np.arange(6890), first.bound.corners)
    assert (below[untouched] == 0).all() and (below[first.bound.corners[close]].max(1) > 0.004).all()
    loose = second.posed(*rest_pose(), skin)
    assert np.allclose(loose.vertices, second.surface.vertices, atol=1e-5)


def test_skin_is_hidden_only_where_all_near_points_are(assets: Assets) -> None:
    body, hold = free_mesh(), assets.suits[0].hold
    assert not hidden_faces(hold).any()  # 22 points far from one another
    everything = type(hold)(hold.points, hold.shares, hold.offsets, hold.scales, np.arange(13380))
    assert hidden_faces(everything).all()
    left = type(hold)(hold.points, hold.shares, hold.offsets, hold.scales, np.flatnonzero(body.base[:13380, 0] > 0))
    hidden = hidden_faces(left)
    middle = body.template[body.faces].mean(1)[:, 0]
    assert hidden.sum() > 6000 and not hidden[middle < -0.01].any()


def test_the_same_draw_is_the_same_person(assets: Assets) -> None:
    first, second = (choose_outfit(assets, np.random.default_rng(5), 0.7, "female") for _ in range(2))
    assert [worn.piece.name for worn in first.worn] == [worn.piece.name for worn in second.worn]
    for one, other in zip(first.worn, second.worn, strict=True):
        assert np.array_equal(one.texture, other.texture)
    assert np.array_equal(first.skin, second.skin) and np.array_equal(first.eyes, second.eyes)


def test_a_drawn_texture_leaves_the_read_one_as_it_is(assets: Assets) -> None:
    before = {suit.texture: read_texture(suit.texture).copy() for suit in assets.suits}
    for seed in range(5):
        choose_outfit(assets, np.random.default_rng(seed), 0.7, "male")
    for path, texture in before.items():
        assert np.array_equal(read_texture(path), texture)


@pytest.mark.parametrize("tone", [0.0, 0.5, 1.0])
def test_a_skin_has_the_tone_wanted(assets: Assets, tone: float) -> None:
    texture, _ = skin_texture(assets.skins, np.random.default_rng(0), 0.7, "female", tone)
    found = np.median(texture[..., :3].reshape(-1, 3), axis=0)
    assert np.abs(found - tone_color(tone)).max() < 25  # gray levels; the tone itself is drawn a little off


def test_both_genders_are_told_apart() -> None:
    shapes, ages = people_shapes()
    women = sum(gender_of(betas, age) == "female" for betas, age in zip(shapes, ages, strict=True))
    assert 120 < women < 180
    template, directions = build_free("body").model["v_template"], build_free("body").model["shapedirs"]
    adults = [betas for betas, age in zip(shapes, ages, strict=True) if age > 0.6]
    bodies = {gender: [] for gender in ("female", "male")}
    for betas in adults:
        vertices = template + directions @ betas
        bodies[gender_of(betas, 0.7)].append(np.ptp(vertices[:, 1]))
    assert np.mean(bodies["male"]) > np.mean(bodies["female"]) + 0.05  # stature in meters


def test_texels_know_what_lies_under_them() -> None:
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    faces = np.array([[0, 1, 2]])
    found, covered = texel_faces(places, faces, 32)
    assert (found == 0).all() and 0.45 < covered.mean() < 0.6 and covered[31, 0] and not covered[0, 31]
    values = texel_values(places, faces, faces, places, 32)  # their own coordinates
    middle = (np.arange(32) + 0.5) / 32
    inside = covered & (middle[None] + (1 - middle[:, None]) < 0.95)
    assert np.abs(values - np.stack(np.meshgrid(middle, 1 - middle), -1))[inside].max() < 1e-5


def test_a_suit_is_taken_apart_at_its_connected_parts() -> None:
    """A top and a bottom, and shoes whose sock is a part of its own."""
    body = free_mesh()
    places = [
        (0.0, 0.28, 0.08),
        (0.1, 0.1, 0.08),
        (-0.1, 0.1, 0.08),
        (0.1, -0.2, 0.05),
        (0.1, -0.9, 0.0),
        (0.12, -1.0, 0.0),
    ]
    rows = np.array([np.linalg.norm(body.base[:13380] - place, axis=1).argmin() for place in places])
    hold = Hold(
        np.repeat(rows[:, None], 3, 1), np.tile([1.0, 0, 0], (6, 1)), np.zeros((6, 3)), (None,) * 3, np.sort(rows)
    )
    mesh = ClothesMesh(6, np.array([[0, 1, 2], [3, 4, 5]]), np.eye(3)[:, :2], np.array([[0, 1, 2], [2, 1, 0]]))
    suit = Piece("suit", Path("suit.mhclo"), "suits", "", hold, mesh, None)
    top, bottom = halves(suit) or (suit, suit)
    assert top.hold.points[:, 0].tolist() == rows[:3].tolist() and top.mesh.faces.tolist() == [[0, 1, 2]]
    assert bottom.hold.points[:, 0].tolist() == rows[3:].tolist() and bottom.mesh.face_places.tolist() == [[2, 1, 0]]
    assert set(top.hold.deleted) | set(bottom.hold.deleted) == set(rows[[0, 4, 5]])  # none so near to the cut
    assert reaches_ankles(bottom) and not reaches_ankles(top)
    assert without_socks(suit) is suit and without_socks(bottom) is bottom  # nothing would remain
