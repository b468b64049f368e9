"""What a person wears, and the surfaces of a dressed person in any pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tore.synthetic.assets import Assets, Piece, fitting, read_texture
from tore.synthetic.cloth_colors import dyed, hair_color, hair_texture, shoe_texture
from tore.synthetic.eyes import eye_texture, eyes_on
from tore.synthetic.garments import (
    Garment,
    PosedSkin,
    fit,
    fit_shell,
    free_mesh,
    halves,
    reaches_ankles,
    with_vertices,
    without_socks,
)
from tore.synthetic.plain_look import Shell, plain_person
from tore.synthetic.skin_tones import bearded, skin_texture, tone_color
from tore.synthetic.skirts import draw_skirt
from tore.synthetic.surfaces import Surface

Array = NDArray[np.floating]
Color = NDArray[np.uint8]

HEAD = 15
CHILD = 0.5  # on the age scale of `people_shapes`
SKIN_GLOSS, CLOTH_GLOSS, SHOE_GLOSS, HAIR_GLOSS = 0.2, 0.02, 0.15, 0.08
OTHERS_SUIT = 0.15  # share of people who wear a suit made for the other gender
MIXED = 0.5  # share of suits whose bottom is another suit's
ON_HEAD = ("hair", "eyebrows", "eyelashes")
SKIRTS = 0.25  # share of women in two pieces whose bottom is a skirt
BAREFOOT = 0.08
# How much more each shape number is a woman's, and an offset; adults' and children's numbers lie apart.
FEMALE = np.array([-0.42, 0.70, -0.43, 0.22, 0.04, 0.11, -0.03, -0.07, 0.06, -0.02, 0.08])
FEMALE_CHILD = np.array([-0.05, 1.44, -0.91, -0.04, 1.84, 0.41, -0.57, -0.58, 0.18, -0.44, 0.62])


@dataclass(frozen=True)
class Worn:
    """A piece in the colors that it is worn in: its RGBA texture."""

    piece: Piece
    texture: Color
    cut_out: bool
    gloss: float


@dataclass(frozen=True)
class Outfit:
    """All that covers a body: the textures of its skin and eyes, and pieces or a painted layer, the lowest first."""

    skin: Color
    eyes: Color
    worn: tuple[Worn, ...]
    shell: Shell | None = None


@dataclass(frozen=True)
class DressedPerson:
    """An unposed person in clothes."""

    skin: Surface
    eyes: Surface
    garments: tuple[Garment, ...]

    def posed(self, transforms: Array, offsets: Array, vertices: Array) -> list[Surface]:
        """The surfaces of the posed person: the skin that shows, eyes, and what is worn.

        `transforms (24, 4, 4)` take unposed points to posed ones, `offsets (6890, 3)` are what the pose directions add
        to the unposed mesh, `vertices (6890, 3)` are the posed mesh, the skin itself.
        """
        skin = PosedSkin.of(vertices)
        head = transforms[HEAD]
        eyes = self.eyes.vertices @ head[:3, :3].T + head[:3, 3]
        worn = [garment.posed(transforms, offsets, skin) for garment in self.garments]
        return [with_vertices(self.skin, vertices), with_vertices(self.eyes, eyes), *worn]


def gender_of(betas: Array, age: float) -> str:
    """ "female" or "male", as a body with these shape numbers (10,) of an age of `people_shapes` looks."""
    direction = FEMALE_CHILD if age < CHILD else FEMALE
    return "female" if direction[:10] @ betas + direction[10] > 0 else "male"


def choose_outfit(assets: Assets | None, rng: np.random.Generator, age: float, gender: str) -> Outfit:
    """Draws skin, suit, shoes, hair and brows for a person; `age` is on the scale of `people_shapes`.

    Without assets all of it is painted.
    """
    if assets is None:
        skirts = [draw_skirt(rng)] if gender == "female" and rng.random() < SKIRTS else []
        skin, shell, tone = plain_person(rng, age, gender, skirt=bool(skirts))
        worn = [Worn(piece, dyed(piece, rng, tone_color(tone)), False, CLOTH_GLOSS) for piece in skirts]
        return Outfit(skin, eye_texture(rng, 1 - tone), tuple(worn), shell)
    skin, tone = skin_texture(assets.skins, rng, age, gender)
    suit = _suit(assets, rng, gender, tone_color(tone))
    worn = [*_shoes(assets, rng, covered=any(reaches_ankles(layer.piece) for layer in suit)), *suit]
    color = hair_color(rng, age, tone)
    worn += _head(assets, rng, gender, age, color)
    skin = bearded(skin, rng, age, gender, color)
    return Outfit(skin, eye_texture(rng, 1 - tone), tuple(worn))


def _pick(rng: np.random.Generator, entries: list[Piece]) -> Piece:
    return entries[int(rng.integers(len(entries)))]


def _suit(assets: Assets, rng: np.random.Generator, gender: str, skin: Array) -> list[Worn]:
    """A suit, or the top of one over the bottom of another."""
    own = fitting(assets.suits, gender)
    wardrobe = list(assets.suits) if rng.random() < OTHERS_SUIT or not own else own
    suit = _pick(rng, wardrobe)
    parts = halves(suit)
    if parts is None:
        pieces = [suit]
    else:
        others = [other for other in map(halves, wardrobe) if other is not None]
        bottom = others[int(rng.integers(len(others)))][1] if rng.random() < MIXED else parts[1]
        skirted = gender == "female" and rng.random() < SKIRTS
        pieces = [parts[0], draw_skirt(rng)] if skirted else [bottom, parts[0]]
    return [Worn(piece, dyed(piece, rng, skin), _has_holes(piece), CLOTH_GLOSS) for piece in pieces]


def _shoes(assets: Assets, rng: np.random.Generator, covered: bool) -> list[Worn]:
    """Shoes, without their socks where trousers cover the ankles."""
    if not assets.shoes or rng.random() < BAREFOOT:
        return []
    piece = _pick(rng, list(assets.shoes))
    texture = shoe_texture(piece, rng)
    return [Worn(without_socks(piece) if covered else piece, texture, False, SHOE_GLOSS)]


def _head(assets: Assets, rng: np.random.Generator, gender: str, age: float, color: Array) -> list[Worn]:
    """Hair, unless bald, brows and lashes."""
    bald = rng.random() < (0.02 if gender == "female" or age < CHILD else 0.1 + 0.2 * (age > 0.85))
    worn = []
    hair = fitting(assets.hair, gender)
    if hair and not bald:
        worn.append(_pick(rng, hair))
    worn += [_pick(rng, list(kind)) for kind in (assets.eyebrows, assets.eyelashes) if kind]
    return [Worn(piece, hair_texture(piece, color), True, HAIR_GLOSS) for piece in worn]


def _has_holes(piece: Piece) -> bool:
    """Whether a suit's texture has transparent places, as lace has."""
    return False if piece.texture is None else bool((read_texture(piece.texture)[..., 3] < 128).any())


def dress(outfit: Outfit, vertices: Array, betas: Array) -> DressedPerson:
    """Puts an outfit on the unposed mesh (6890, 3) of the free body with shape numbers (10,)."""
    body = free_mesh()
    base = body.held.points(np.asarray(vertices, np.float64), np.asarray(betas, np.float64))
    skin = PosedSkin.of(vertices)
    cloth = np.zeros(len(vertices)) if outfit.shell is None else outfit.shell.depth.astype(np.float64)
    garments = [
        fit(
            worn.piece,
            base,
            skin,
            worn.texture,
            cut_out=worn.cut_out,
            gloss=worn.gloss,
            below=None if worn.piece.kind in ON_HEAD else cloth,
        )
        for worn in outfit.worn
    ]
    if outfit.shell is not None:
        garments.append(fit_shell(outfit.shell.texture, outfit.shell.depth, outfit.shell.faces, skin))
    hidden = [garment.bound.hidden for garment in garments]
    shows = ~np.any([np.zeros(len(body.faces), bool), *hidden], axis=0)
    surface = Surface(
        "skin",
        vertices,
        body.faces[shows],
        body.places.places,
        body.places.faces[shows],
        outfit.skin,
        gloss=SKIN_GLOSS,
    )
    return DressedPerson(surface, eyes_on(base, outfit.eyes), tuple(garments))
