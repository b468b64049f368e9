"""Skin textures in tones from light to dark, without a tint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tore.synthetic.assets import Skin, fitting, read_texture
from tore.synthetic.garments import free_mesh
from tore.synthetic.texels import texel_faces, texel_values

Array = NDArray[np.floating]
Color = NDArray[np.uint8]

SKIN_SIZE = 512
MOUTH = 0.368  # its height on the mean person
GROWN, BEARDED = 0.57, 0.35  # on the age scale of `people_shapes`; a share
# sRGB of skin at tones 0, .25 ... 1, about evenly spaced in lightness
TONES = np.array([(226, 184, 158), (208, 158, 129), (176, 124, 95), (130, 86, 62), (78, 51, 38)], float)
# How much lighter than the texture's own a tone may be, lest dark hair and pale palms burn out; and how near is near.
LIGHTER, NEAR = 0.15, 0.35
AGES = ((0.5, ("child", "young")), (0.8, ("young", "")), (0.9, ("middleage", "")), (2.0, ("old", "middleage")))


def tone_color(tone: float) -> Array:
    """The sRGB color (3,) of a tone from 0, light, to 1, dark."""
    return np.array([np.interp(tone, np.linspace(0, 1, len(TONES)), TONES[:, channel]) for channel in range(3)])


@dataclass(frozen=True)
class SkinLayout:
    """What lies under each texel of a skin texture."""

    rest: NDArray[np.float32]  # (S, S, 3) meters on the mean person
    face: NDArray[np.int32]  # (S, S) of the mesh
    covered: NDArray[np.bool_]  # (S, S) by a face
    head: NDArray[np.bool_]  # (S, S)
    beard: NDArray[np.float32]  # (S, S) 1 where a beard grows
    grain: NDArray[np.float32]  # (S, S) smooth noise around 0


@lru_cache(maxsize=1)
def skin_layout() -> SkinLayout:
    """The layout, computed on first use."""
    body = free_mesh()
    places, faces = body.places.places, body.places.faces
    rest = texel_values(places, faces, body.faces, body.template, SKIN_SIZE)
    head = texel_values(places, faces, body.faces, body.weights[:, 15:16], SKIN_SIZE)[..., 0] > 0.5
    noise = np.random.default_rng(0).normal(0, 1, (2, SKIN_SIZE, SKIN_SIZE)).astype(np.float32)
    grain = 4 * cv2.GaussianBlur(noise[0], (0, 0), 4) + cv2.GaussianBlur(noise[1], (0, 0), 1)
    face, covered = texel_faces(places, faces, SKIN_SIZE)
    return SkinLayout(rest, face, covered, head, _beard(rest) * head, grain)


def _beard(rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where a beard grows (S, S): jaw and chin up to a line from the ear to below the cheek, and the upper lip."""
    x, y, z = (rest[..., axis] for axis in range(3))
    side = np.abs(x)
    line = 0.385 - 0.02 * np.clip(z / 0.07, 0, 1) + 0.035 * np.clip((0.03 - z) / 0.05, 0, 1)
    jaw = np.clip((line - y) / 0.006, 0, 1) * np.clip((y - 0.318) / 0.008, 0, 1) * np.clip((z + 0.012) / 0.01, 0, 1)
    upper = np.clip((0.393 - y) / 0.004, 0, 1) * (y > MOUTH) * np.clip((0.033 - side) / 0.006, 0, 1) * (z > 0.05)
    mouth = (side < 0.023) & (np.abs(y - MOUTH) < 0.0085)
    return np.asarray(np.where(mouth, 0, np.maximum(jaw, upper)), np.float32)


def bearded(texture: Color, rng: np.random.Generator, age: float, gender: str, hair: Array) -> Color:
    """A skin (S, S, 4), for one man in three with stubble or a beard in the color of his hair."""
    if gender != "male" or age < GROWN or rng.random() > BEARDED:
        return texture
    layout = skin_layout()
    depth = rng.uniform(0.1, 0.35) if rng.random() < 0.6 else rng.uniform(0.6, 0.9)
    share = (depth * layout.beard * np.clip(1 + 0.4 * layout.grain, 0, 1.3))[..., None]
    out = texture.copy()
    mine = layout.beard > 0
    out[mine, :3] = texture[mine, :3] + share[mine] * (hair * 0.8 - texture[mine, :3])
    return out


@lru_cache(maxsize=64)
def _grain(path: Path) -> tuple[Color, NDArray[np.float32], NDArray[np.float32], float]:
    """A skin's image, its gray over the skin's median, its colors over their gray, and its own tone."""
    image = read_texture(path, SKIN_SIZE)
    colors = image[..., :3].astype(np.float32) + 1
    median = np.median(colors[skin_layout().covered], axis=0)
    gray = cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY)
    middle = float(cv2.cvtColor(median[None, None], cv2.COLOR_RGB2GRAY)[0, 0])
    hue = colors / median / (gray / middle)[..., None]
    steps = np.linspace(0, 1, 101)
    lightness = np.array([tone_color(step).mean() for step in steps])
    return image, gray / middle, hue, float(steps[np.abs(lightness - median.mean()).argmin()])


def skin_texture(
    skins: Sequence[Skin], rng: np.random.Generator, age: float, gender: str, tone: float | None = None
) -> tuple[Color, float]:
    """A skin (512, 512, 4) for a person, and its tone, drawn evenly from light (0) to dark (1) where none is given."""
    tone = float(rng.random()) if tone is None else tone
    skin = draw_skin(skins, rng, age, gender, tone)
    return toned(skin.texture, tone, rng), tone


def draw_skin(skins: Sequence[Skin], rng: np.random.Generator, age: float, gender: str, tone: float) -> Skin:
    """A skin of the person's gender and age whose own tone can become the one wanted; what cannot be had is waived."""
    able = [skin for skin in skins if _grain(skin.texture)[3] < tone + LIGHTER]
    wanted = next(ages for limit, ages in AGES if age < limit)
    able = fitting(able, gender) or able or list(skins)
    able = [skin for skin in able if skin.age in wanted] or able
    near = [skin for skin in able if abs(_grain(skin.texture)[3] - tone) < NEAR]
    return (near or able)[int(rng.integers(len(near or able)))]


def toned(path: Path, tone: float, rng: np.random.Generator) -> Color:
    """A skin's texture in a tone. The farther it lies from the texture's own, the more even its hues become."""
    image, shade, hue, own = _grain(path)
    color = tone_color(tone) * rng.uniform(0.96, 1.04) + np.array([1.0, 0.0, -1.0]) * rng.normal(0, 2)
    even = np.float32(1 - 0.6 * min(abs(tone - own), 1))
    out = np.empty_like(image)
    out[..., 3] = 255
    out[..., :3] = np.clip(color.astype(np.float32) * (shade[..., None] * (1 + even * (hue - 1))), 0, 255)
    return out
