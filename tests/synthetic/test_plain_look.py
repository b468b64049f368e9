"""The look without files: cloth lies where it should, over the skin, and surroundings are light."""

from __future__ import annotations

import numpy as np
import pytest

from tore.synthetic.dressing import choose_outfit, dress
from tore.synthetic.garments import PosedSkin, free_mesh
from tore.synthetic.plain_look import plain_panorama, plain_person
from tore.synthetic.skin_tones import SKIN_SIZE, bearded, skin_layout
from tore.synthetic.texels import texel_values

SEEDS = range(6)


def at_vertices(texture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The texels (N, 4) of a texture at the first place of the mesh's vertices nearest to points (N, 3)."""
    body = free_mesh()
    out = []
    for point in points:
        vertex = np.linalg.norm(body.template - point, axis=1).argmin()
        face, corner = np.argwhere(body.faces == vertex)[0]
        u, v = body.places.places[body.places.faces[face, corner]]
        out.append(texture[int((1 - v) * len(texture)), int(u * len(texture))])
    return np.array(out)


@pytest.mark.parametrize("seed", SEEDS)
def test_chest_and_thighs_are_covered_and_hands_and_face_are_bare(seed: int) -> None:
    _, shell, _ = plain_person(np.random.default_rng(seed), 0.7, ("female", "male")[seed % 2])
    covered = at_vertices(shell.texture, np.array([[0.0, 0.05, 0.08], [0.09, -0.3, 0.03], [-0.09, -0.3, 0.03]]))
    bare = at_vertices(shell.texture, np.array([[0.75, 0.2, -0.04], [-0.75, 0.2, -0.04], [0.0, 0.41, 0.1]]))
    assert (covered[:, 3] == 255).all() and (bare[:, 3] == 0).all()


def test_the_layer_lies_over_the_skin() -> None:
    body = free_mesh()
    person = dress(choose_outfit(None, np.random.default_rng(1), 0.7, "male"), body.template, np.zeros(10))
    skin, eyes, clothes = person.posed(np.tile(np.eye(4), (24, 1, 1)), np.zeros((6890, 3)), body.template)
    for surface in (skin, eyes, clothes):
        surface.check()
    height = ((clothes.vertices - body.template) * PosedSkin.of(body.template).normals).sum(1)
    assert clothes.cut_out and (height > 0.006).all() and height.max() < 0.02
    assert len(skin.faces) == len(body.faces)  # a painted layer hides no skin


def test_the_same_draw_is_painted_alike() -> None:
    first, second = (plain_person(np.random.default_rng(2), 0.2, "male") for _ in range(2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1].texture, second[1].texture)


@pytest.mark.parametrize("seed", SEEDS)
def test_surroundings_are_light_and_close_at_the_seam(seed: int) -> None:
    image = plain_panorama(np.random.default_rng(seed))
    assert image.shape == (128, 256, 3) and image.dtype == np.float32 and np.isfinite(image).all()
    assert image.min() >= 0 and 0.03 < np.median(image) < 3
    seam, inside = (np.median(np.abs(image[:, k] - image[:, k - 1])) for k in (0, 128))
    assert seam < 3 * inside + 0.02


def test_no_face_reaches_across_the_layout() -> None:
    """Each vertex's own position, painted and read back, is where the vertex is."""
    body = free_mesh()
    size = 512
    rest = texel_values(body.places.places, body.places.faces, body.faces, body.template, size)
    middle = body.places.places[body.places.faces].mean(1)
    found = rest[np.clip(((1 - middle[:, 1]) * size).astype(int), 0, size - 1), (middle[:, 0] * size).astype(int)]
    away = np.linalg.norm(found - body.template[body.faces].mean(1), axis=1)
    assert (away > 0.03).mean() < 0.02  # small faces of toes and ears share a texel with their neighbors


def test_beards_grow_on_chins_of_men_alone() -> None:
    bare = np.full((SKIN_SIZE, SKIN_SIZE, 4), 200, np.uint8)
    black = np.zeros(3)
    darker = [bearded(bare, np.random.default_rng(seed), 0.7, "male", black) for seed in range(30)]
    grown = [np.abs(skin[..., :3].astype(int) - 200).max(2) for skin in darker if not np.array_equal(skin, bare)]
    assert 3 < len(grown) < 20
    rest = skin_layout().rest
    for change in grown:
        changed = rest[change > 10]
        assert changed[:, 1].min() > 0.3 and changed[:, 1].max() < 0.43 and np.abs(changed[:, 0]).max() < 0.1
        chin = (np.abs(rest[..., 0]) < 0.01) & (np.abs(rest[..., 1] - 0.345) < 0.004) & (rest[..., 2] > 0.05)
        assert change[chin].mean() > 10
    for age, gender in ((0.7, "female"), (0.3, "male")):
        for seed in range(10):
            assert np.array_equal(bearded(bare, np.random.default_rng(seed), age, gender, black), bare)
