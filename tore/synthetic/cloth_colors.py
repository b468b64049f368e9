"""Colors of clothes and hair: dyes, patterns and prints, so that few pieces become many."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tore.synthetic.assets import Piece, read_texture
from tore.synthetic.clothes_files import parts_of
from tore.synthetic.garments import free_mesh
from tore.synthetic.texels import texel_faces, texel_values

Array = NDArray[np.floating]
Color = NDArray[np.uint8]

CLOTH_SIZE, HAIR_SIZE = 384, 256  # pixels of textures
WAIST = -0.17  # height on the mean person
CHEST = 0.12
SHADE_STEPS = 100  # from black to the cloth's median
LIFT = 20.0  # added to a texture's gray before it is compared with its median, so that black cloth has folds too
# Marks of MakeHuman on its suits: left, top, right, bottom as shares of the texture. They are painted over.
MARKS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "female_casualsuit01": ((0.71, 0.155, 0.875, 0.31),),
    "male_casualsuit02": ((0.495, 0.105, 0.63, 0.235),),
    "male_casualsuit04": ((0.495, 0.1, 0.625, 0.23),),
    "male_casualsuit06": ((0.445, 0.12, 0.625, 0.205), (0.2, 0.112, 0.29, 0.168), (0.735, 0.155, 0.755, 0.185)),
}
SKIN_DISTANCE = 60  # gray levels
FOLDS = 14  # of a skirt
MISPLACED = 0.04  # meters
MARK_DISTANCE = 22  # of a mark's color from the cloth's, in gray levels
# sRGB of common cloth, and of trousers, with their shares
CLOTHS = np.array(
    [(235, 235, 232), (24, 24, 26), (120, 122, 126), (70, 72, 76), (28, 38, 66), (190, 170, 140), (110, 84, 62),
     (128, 28, 34), (60, 84, 60), (86, 116, 160)], float
)  # fmt: skip
TROUSERS = np.array(
    [(34, 42, 62), (28, 28, 30), (64, 82, 112), (96, 96, 98), (172, 152, 120), (88, 74, 58), (62, 70, 52),
     (222, 220, 214)], float
)  # fmt: skip
AS_IT_IS, COLORFUL, PATTERNED = 0.25, 0.4, 0.35
HAIRS = {  # sRGB and share
    "black": ((22, 19, 18), 5), "dark brown": ((48, 34, 26), 5), "brown": ((86, 60, 40), 4),
    "auburn": ((110, 58, 34), 1), "blond": ((176, 142, 92), 2), "gray": ((140, 138, 136), 0),
    "white": ((205, 203, 200), 0),
}  # fmt: skip


@dataclass(frozen=True)
class Cloth:
    """What a piece's texture is before it is dyed, and where each texel lies on the body.

    `image (S, S, 4)` RGBA without marks; `shade (S, S, 3)` its gray over its cloth's median, thrice, in steps of one
    SHADE_STEPS; `group (S, S)` number of the
    cloth; `rest (S, S, 3)` meters on the mean person; `names` "top" or "bottom" of each group. `shared`: parts of the
    mesh lie on one another in the texture, so that a pattern by places would show where it does not belong.
    """

    image: Color
    shade: Color
    group: NDArray[np.uint8]
    rest: NDArray[np.float32]
    names: tuple[str, ...]
    shared: bool


@lru_cache(maxsize=64)
def cloth(piece: Piece) -> Cloth:
    """A piece's cloth, computed on first use."""
    mesh, vertices = piece.mesh, piece.hold.place(free_mesh().base)
    faces, covered = texel_faces(mesh.places, mesh.face_places, CLOTH_SIZE)
    rest = texel_values(mesh.places, mesh.face_places, mesh.faces, vertices, CLOTH_SIZE)
    of_vertex, names = _groups(piece, vertices)
    group = of_vertex[mesh.faces[:, 0]][faces]
    image = _without_marks(piece)
    gray = cv2.cvtColor(image[..., :3], cv2.COLOR_RGB2GRAY).astype(np.float32) + LIFT
    shade = np.ones_like(gray)
    for number in range(len(names)):
        mine = group == number
        seen = gray[mine & covered]
        shade[mine] = gray[mine] / (np.median(seen) if len(seen) else 1.0)
    shade = np.repeat(_bytes(np.rint(shade * SHADE_STEPS))[..., None], 3, axis=2)
    return Cloth(image, shade, group.astype(np.uint8), rest, names, _is_shared(piece, vertices, rest))


def _is_shared(piece: Piece, vertices: Array, rest: NDArray[np.float32]) -> bool:
    """Whether one face in twenty finds another place of the body at its middle texel."""
    mesh = piece.mesh
    spots = (mesh.places[mesh.face_places].mean(1) % 1 * CLOTH_SIZE).astype(np.int64)
    found = rest[np.clip(CLOTH_SIZE - 1 - spots[:, 1], 0, CLOTH_SIZE - 1), spots[:, 0]]
    away = np.linalg.norm(found - vertices[mesh.faces].mean(1), axis=1)
    return bool((away > MISPLACED).mean() > 0.05)


def _groups(piece: Piece, vertices: Array) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The cloth (N,) of each vertex, and each cloth's name. Large connected parts are cloths of their own."""
    if piece.kind == "skirt":
        return np.zeros(len(vertices), np.int64), ("top",)  # in the colors and patterns of tops
    part = parts_of(piece.mesh)
    large = [number for number, count in enumerate(np.bincount(part)) if count >= 0.1 * len(part)]
    if len(large) < 2:
        below = vertices[:, 1] < WAIST
        if piece.texture is not None or not below.any() or below.all():
            return np.zeros(len(part), np.int64), ("bottom" if vertices[:, 1].max() < 0.1 else "top",)
        return below.astype(np.int64), ("top", "bottom")
    middle = np.array([vertices[part == number].mean(0) for number in range(part.max() + 1)])
    nearest = np.array([np.abs(middle[large, 1] - here[1]).argmin() for here in middle])
    nearest[large] = np.arange(len(large))
    return nearest[part], tuple("bottom" if middle[number, 1] < WAIST else "top" for number in large)


def _without_marks(piece: Piece) -> Color:
    """A piece's texture (CLOTH_SIZE, CLOTH_SIZE, 4), with cloth painted over MakeHuman's marks."""
    if piece.texture is None:
        folds = 200 + 14 * np.sin(np.linspace(0, 2 * np.pi * FOLDS, CLOTH_SIZE)) * (piece.kind == "skirt")
        image = np.full((CLOTH_SIZE, CLOTH_SIZE, 4), 255, np.uint8)
        image[..., :3] = folds[:, None]
        return image
    image = read_texture(piece.texture, CLOTH_SIZE).copy()
    for box in MARKS.get(piece.path.stem, ()):
        left, top, right, bottom = (round(share * CLOTH_SIZE) for share in box)
        part = np.ascontiguousarray(image[top:bottom, left:right, :3])
        apart = np.abs(part.astype(np.float32) - np.median(part, axis=(0, 1))).max(2)
        mark = cv2.dilate((apart > MARK_DISTANCE).astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2)
        image[top:bottom, left:right, :3] = cv2.inpaint(part, mark, 3, cv2.INPAINT_TELEA)
    return image


def dyed(piece: Piece, rng: np.random.Generator, skin: Array) -> Color:
    """A suit's texture (CLOTH_SIZE, CLOTH_SIZE, 4) in drawn colors, each of its cloths in its own.

    `skin` is the sRGB color (3,) that cloth must not have, lest it look like bare skin.
    """
    held = cloth(piece)
    out = np.ascontiguousarray(held.image[..., :3])
    for number, name in enumerate(held.names):
        mine = np.asarray(held.group == number, np.uint8)
        if piece.texture is not None and rng.random() < AS_IT_IS:
            tint = np.asarray(rng.uniform(0.75, 1.2) * rng.uniform(0.92, 1.08, 3), np.float32)
            cv2.copyTo(_bytes(held.image[..., :3] * tint), mine, out)
            continue
        color = cloth_color(rng, name, skin)
        second = None
        if name == "top" and not held.shared and rng.random() < PATTERNED:
            other, second = pattern(held.rest.reshape(-1, 3), rng)
        depth = rng.uniform(0.6, 1.0)
        cv2.copyTo(_shaded(color, held.shade, depth), mine, out)
        if second is not None:
            cv2.copyTo(_shaded(other, held.shade, depth), mine & second.reshape(mine.shape), out)
    return np.concatenate([out, held.image[..., 3:]], 2)


def _shaded(color: Array, shade: Color, depth: float) -> Color:
    """Cloth of a color (3,) with folds of shade (S, S, 3) in steps, of drawn depth."""
    table = color * (np.arange(256)[:, None] / SHADE_STEPS) ** depth
    return cv2.LUT(shade, _bytes(table)[:, None])


def _bytes(values: Array) -> Color:
    return np.clip(values, 0, 255).astype(np.uint8)


def cloth_color(rng: np.random.Generator, name: str, skin: Array | None = None) -> Array:
    """A drawn sRGB color (3,) of a "top" or a "bottom" that is unlike a skin's color (3,)."""
    color = _drawn_color(rng, name)
    while skin is not None and np.linalg.norm(color - skin) < SKIN_DISTANCE:
        color = _drawn_color(rng, name)
    return color


def _drawn_color(rng: np.random.Generator, name: str) -> Array:
    if rng.random() < (COLORFUL if name == "top" else COLORFUL / 3):
        color = 255 * np.array(
            colorsys.hsv_to_rgb(rng.random(), 0.2 + 0.65 * rng.random() ** 1.3, rng.uniform(0.25, 0.9))
        )
    else:
        table = CLOTHS if name == "top" else TROUSERS
        color = table[rng.integers(len(table))] * rng.uniform(0.8, 1.15) + rng.normal(0, 5, 3)
    return np.clip(color, 12, 245)


def patterned(rest: Array, color: Array, rng: np.random.Generator) -> Array:
    """Colors (N, 3) of cloth at places (N, 3) in meters: stripes, checks, dots, blocks or a print on the chest."""
    other, second = pattern(rest, rng)
    return np.where(second[:, None], other, color)


def pattern(rest: Array, rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """A second color (3,) of cloth, and at which of the places (N, 3) in meters it is."""
    other = cloth_color(rng, "top")
    return other, PATTERNS[rng.integers(len(PATTERNS))](rest, rng)


def _stripes(rest: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    width, share = rng.uniform(0.015, 0.12), rng.uniform(0.15, 0.6)
    across = rest[:, 1] if rng.random() < 0.7 else rest[:, 0]
    return (across / width) % 1 < share


def _checks(rest: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    width, share = rng.uniform(0.02, 0.08), rng.uniform(0.2, 0.5)
    return ((rest[:, 0] / width) % 1 < share) ^ ((rest[:, 1] / width) % 1 < share)


def _dots(rest: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    width, share = rng.uniform(0.02, 0.07), rng.uniform(0.15, 0.35)
    x, y = rest[:, 0] / width, rest[:, 1] / width
    return np.hypot((x + np.floor(y) % 2 / 2) % 1 - 0.5, y % 1 - 0.5) < share


def _blocks(rest: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A yoke, a band or sleeves of another color."""
    kind = rng.integers(3)
    if kind == 0:
        return rest[:, 1] > rng.uniform(0.0, 0.2)
    if kind == 1:
        low = rng.uniform(-0.1, 0.12)
        return (rest[:, 1] > low) & (rest[:, 1] < low + rng.uniform(0.03, 0.15))
    return np.abs(rest[:, 0]) > rng.uniform(0.15, 0.24)


def _print(rest: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A shape or rows of letters on the chest."""
    x, y = rest[:, 0] / rng.uniform(0.05, 0.11), (rest[:, 1] - CHEST) / rng.uniform(0.04, 0.1)
    front = rest[:, 2] > 0
    kind = rng.integers(3)
    if kind == 0:
        return front & (np.hypot(x, y) < 1)
    if kind == 1:
        away = np.maximum(np.abs(x), np.abs(y))
        return front & (away < 1) & (away > rng.uniform(-0.4, 0.8))
    letters = (np.sin(x * 19 + 3 * np.sin(x * 7)) > -0.2) & ((y * 2) % 1 < 0.6)
    return front & (np.abs(x) < 1) & (np.abs(y) < 0.75) & letters


PATTERNS: tuple[Callable[[Array, np.random.Generator], NDArray[np.bool_]], ...] = (
    _stripes, _stripes, _checks, _dots, _blocks, _blocks, _print, _print
)  # fmt: skip


def shoe_texture(piece: Piece, rng: np.random.Generator) -> Color:
    """The texture of shoes, half of them in another color."""
    image = read_texture(_texture_of(piece), HAIR_SIZE).copy()
    gray = cv2.cvtColor(image[..., :3], cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None] + LIFT
    if rng.random() < 0.5:
        image[..., :3] = np.clip(cloth_color(rng, "bottom") * gray / np.median(gray), 0, 255)
    return image


def hair_color(rng: np.random.Generator, age: float, tone: float) -> Array:
    """The sRGB color (3,) of a person's hair: gray comes with age, and dark skin (tone near 1) goes with dark hair."""
    old = np.clip((age - 0.75) / 0.2, 0, 1)
    shares = np.array([share for _, share in HAIRS.values()], float)
    shares[list(HAIRS).index("black")] += 20 * max(tone - 0.45, 0)
    shares[3:5] *= max(1 - 2 * tone, 0)
    shares *= 1 - old
    shares[-2:] = 12 * old, 6 * old
    color = np.array(list(HAIRS.values())[rng.choice(len(shares), p=shares / shares.sum())][0], float)
    return np.clip(color * rng.uniform(0.85, 1.2) + rng.normal(0, 3, 3), 8, 235)


def hair_texture(piece: Piece, color: Array) -> Color:
    """The texture of hair, brows or lashes in a color; its painted highlights are softened."""
    image, shade = _hair(piece.texture) if piece.texture is not None else _strands()
    out = image.copy()
    dark = {"hair": 1.0, "eyebrows": 0.7}.get(piece.kind, 0.3)
    out[..., :3] = np.clip((color * dark).astype(np.float32) * shade[..., None], 0, 255)
    return out


@lru_cache(maxsize=64)
def _hair(path: Path) -> tuple[Color, NDArray[np.float32]]:
    """A hair texture and its gray over its median, with softened contrast."""
    image = read_texture(path, HAIR_SIZE)
    gray = cv2.cvtColor(image[..., :3], cv2.COLOR_RGB2GRAY).astype(np.float32) + LIFT
    there = image[..., 3] > 127
    return image, np.clip((gray / np.median(gray[there] if there.any() else gray)) ** 0.6, 0.4, 1.6)


@lru_cache(maxsize=1)
def _strands() -> tuple[Color, NDArray[np.float32]]:
    """Strands for hair without a texture: its meshes have the texture's v along their strands."""
    noise = np.random.default_rng(0).normal(0, 1, (HAIR_SIZE, HAIR_SIZE)).astype(np.float32)
    long = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.7, sigmaY=30)
    broad = cv2.GaussianBlur(noise, (0, 0), sigmaX=3, sigmaY=30)
    shade = 1 + 0.13 * long / long.std() + 0.07 * broad / broad.std()
    return np.full((HAIR_SIZE, HAIR_SIZE, 4), 255, np.uint8), np.clip(shade, 0.4, 1.6)


def _texture_of(piece: Piece) -> Path:
    if piece.texture is None:
        raise ValueError(f"{piece.path} has no texture, which {piece.kind} need")
    return piece.texture
