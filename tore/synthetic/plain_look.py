"""The plain look, which needs no file: painted skin, a layer of painted cloth and hair over it, and drawn surroundings.

All is painted on the body's own texture layout, by where each texel lies on the mean person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tore.synthetic.cloth_colors import cloth_color, hair_color, patterned
from tore.synthetic.garments import free_mesh
from tore.synthetic.skin_tones import MOUTH, SKIN_SIZE, SkinLayout, bearded, skin_layout, tone_color

Array = NDArray[np.floating]
Color = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# How far sleeves reach from the middle and trouser legs downward on the mean person, meters, and how common they are.
SLEEVES = ((0.19, 2), (0.3, 6), (0.4, 2), (0.63, 6))
LEGS = ((-0.42, 3), (-0.62, 1), (-0.8, 1), (-0.99, 9))
UNDER_SKIRT = -0.26
HEMS = (-0.14, -0.28)
BELT = -0.13
SHOE_TOPS = (-0.985, -0.86)
BROW = 0.452
CLOTH_DEPTH, SHOE_DEPTH, HAIR_DEPTH = 0.007, 0.009, 0.016  # meters of the layers
LONG_HAIR, BALD = 0.5, 0.12


@dataclass(frozen=True)
class Shell:
    """A layer over the skin: its texture (S, S, 4) on the body's layout, whose alpha says where it is.

    `depth (6890,)` meters, `faces (F,)` the rows of the mesh's faces that it lies on.
    """

    texture: Color
    depth: NDArray[np.float32]
    faces: NDArray[np.int64]


def plain_person(
    rng: np.random.Generator, age: float, gender: str, *, skirt: bool = False
) -> tuple[Color, Shell, float]:
    """A painted skin (S, S, 4), the layer of clothes and hair over it, and the skin's tone from light, 0, to dark.

    With a skirt, which is a piece of its own, the legs are bare.
    """
    layout, tone = skin_layout(), float(rng.random())
    hair = hair_color(rng, age, tone)
    skin = bearded(_skin(layout, rng, tone, hair), rng, age, gender, hair)
    colors = np.zeros((SKIN_SIZE, SKIN_SIZE, 3), np.float32)
    cover = np.zeros((SKIN_SIZE, SKIN_SIZE), np.uint8)  # 0 bare, 1 cloth, 2 shoes, 3 hair
    for mask, number, paint in _layers(layout, rng, gender, hair, UNDER_SKIRT if skirt else None):
        cover[mask] = number
        colors[mask] = paint
    colors *= 1 + 0.05 * layout.grain[..., None]
    covered = cover > 0
    texture = np.full((SKIN_SIZE, SKIN_SIZE, 4), 255, np.uint8)
    texture[..., :3] = np.clip(colors, 0, 255)
    texture[..., 3] = np.where(covered, 255, 0)
    skin[covered] = texture[covered]
    return skin, _shell(layout, texture, cover), tone


def _layers(
    layout: SkinLayout, rng: np.random.Generator, gender: str, hair: Array, legs_end: float | None
) -> list[tuple[Mask, int, Array]]:
    """Where each layer lies (S, S), its kind, and its colors there, the lowest layer first."""
    x, y, z = (layout.rest[..., axis] for axis in range(3))
    side = np.abs(x)
    legs = (y < BELT) & (y > (_drawn(rng, LEGS) if legs_end is None else legs_end)) & (side < 0.35)
    sleeve, hem, neck = _drawn(rng, SLEEVES), rng.uniform(*HEMS[::-1]), rng.uniform(0.065, 0.1)
    opening = (y > np.where(z > -0.05, 0.2, 0.275)) & (np.hypot(x, z + 0.045) < neck)
    top = (y > hem) & (side < sleeve) & ~opening & ~layout.head
    color = cloth_color(rng, "top")
    dyed = patterned(layout.rest[top], color, rng) if rng.random() < 0.4 else color
    layers = [(legs, 1, cloth_color(rng, "bottom")), (top, 1, dyed)]
    if rng.random() < 0.93:
        high = SHOE_TOPS[int(rng.random() < 0.2)]
        layers.append((y < high, 2, cloth_color(rng, "bottom")))
    if gender == "female" or rng.random() > BALD:
        layers.append((_hair(layout, rng, gender == "female" and rng.random() < LONG_HAIR), 3, hair))
    return layers


def _hair(layout: SkinLayout, rng: np.random.Generator, long: bool) -> Mask:
    """Where hair grows (S, S): above a line that falls from the forehead to the nape; long hair covers the neck."""
    x, y, z = (layout.rest[..., axis] for axis in range(3))
    ahead = np.clip((z + 0.035) / 0.07, 0, 1)
    line = 0.385 + (0.105 + rng.uniform(-0.01, 0.012)) * ahead**1.3 - 0.02 * np.clip(np.abs(x) / 0.08, 0, 1) * ahead
    hair = layout.head & (y > line)
    if long:
        hair |= (z < -0.02) & (y > rng.uniform(0.16, 0.3)) & (np.abs(x) < 0.11) & (y < 0.55)
    return np.asarray(hair)


def _drawn(rng: np.random.Generator, table: tuple[tuple[float, int], ...]) -> float:
    shares = np.array([share for _, share in table], float)
    return table[int(rng.choice(len(table), p=shares / shares.sum()))][0] + rng.normal(0, 0.01)


def _skin(layout: SkinLayout, rng: np.random.Generator, tone: float, hair: Array) -> Color:
    """Skin with brows, lips and nostrils."""
    x, y, z = (layout.rest[..., axis] for axis in range(3))
    side, color = np.abs(x), tone_color(tone)
    out = color * (1 + 0.04 * layout.grain[..., None])
    front = layout.head & (z > 0.02)
    lips = front & (side < 0.024) & (np.abs(y - MOUTH) < rng.uniform(0.006, 0.009) * (1 - (side / 0.026) ** 2))
    out[lips] = color * np.array([0.86, 0.62, 0.62])
    out[lips & (np.abs(y - MOUTH) < 0.0015)] *= 0.5
    out[front & (np.abs(side - 0.007) < 0.004) & (np.abs(y - 0.396) < 0.0025)] *= 0.55
    arch = BROW + 0.004 - 8 * (side - 0.034) ** 2
    brow = front & (side > 0.013) & (side < 0.05) & (np.abs(y - arch) < rng.uniform(0.0025, 0.005))
    out[brow] = hair * 0.7
    texture = np.full((SKIN_SIZE, SKIN_SIZE, 4), 255, np.uint8)
    texture[..., :3] = np.clip(out, 0, 255)
    return texture


def _shell(layout: SkinLayout, texture: Color, cover: NDArray[np.uint8]) -> Shell:
    """The layer over the faces that a covered texel lies on; each vertex has the depth of its faces' deepest kind."""
    faces = np.unique(layout.face[cover > 0]).astype(np.int64)
    depth = np.full(len(free_mesh().template), CLOTH_DEPTH, np.float32)
    for number, meters in ((2, SHOE_DEPTH), (3, HAIR_DEPTH)):
        depth[free_mesh().faces[np.unique(layout.face[cover == number])]] = meters
    return Shell(texture, depth, faces)


def plain_panorama(rng: np.random.Generator, height: int = 128) -> NDArray[np.float32]:
    """Drawn surroundings (height, 2 height, 3) in linear light: a sky over a ground, or four walls with lamps."""
    up = np.linspace(1, -1, height)[:, None] * np.pi / 2
    around = np.linspace(-np.pi, np.pi, 2 * height, endpoint=False)[None]
    directions = np.stack(np.broadcast_arrays(np.cos(up) * np.sin(around), np.sin(up), np.cos(up) * np.cos(around)), -1)
    image = _indoors(directions, rng) if rng.random() < 0.4 else _outdoors(directions, rng)
    rough = gaussian_filter(rng.normal(0, 1, image.shape[:2]), 2, mode=("nearest", "wrap"))
    return np.asarray(np.maximum(image * (1 + 0.5 * rough[..., None]), 0), np.float32)


def _outdoors(directions: Array, rng: np.random.Generator) -> Array:
    """A sky from the horizon to above with a sun of drawn strength, over a ground."""
    high = directions[..., 1:2]
    horizon, above = (
        rng.uniform(0.5, 0.9) * np.array([1.0, 1.0, 1.05]),
        np.array([0.25, 0.42, 0.8]) * rng.uniform(0.5, 1.1),
    )
    sky = horizon + (above - horizon) * np.clip(high, 0, 1) ** 0.5
    ground = np.array([0.3, 0.28, 0.24]) * rng.uniform(0.5, 1.3) * rng.uniform(0.8, 1.2, 3)
    image = np.where(high > 0, sky, ground + 0.15 * (1 + high) ** 6)
    height, turn = rng.uniform(0.15, 1.3), rng.uniform(-np.pi, np.pi)
    sun = np.array([np.cos(height) * np.sin(turn), np.sin(height), np.cos(height) * np.cos(turn)])
    near = np.clip(directions @ sun, 0, 1)[..., None]
    return np.asarray(image + rng.uniform(0, 60) * np.array([1.0, 0.93, 0.8]) * near**600 + 0.3 * near**8)


def _indoors(directions: Array, rng: np.random.Generator) -> Array:
    """Walls, ceiling and floor of a box around the camera, with lamps or a window."""
    half = np.array([rng.uniform(1.5, 4), rng.uniform(1.1, 1.8), rng.uniform(1.5, 4)])
    reach = half / np.maximum(np.abs(directions), 1e-6)
    wall, distance = reach.argmin(-1), reach.min(-1)[..., None]
    colors = np.array([0.5, 0.6, 0.5])[:, None] * rng.uniform(0.6, 1.2, (3, 3)) * rng.uniform(0.4, 1.1)
    floor = np.array([0.35, 0.27, 0.2]) * rng.uniform(0.5, 1.3)
    image = np.where(((wall == 1) & (directions[..., 1] < 0))[..., None], floor, colors[wall])
    image = image * np.clip(1.6 / distance**0.5, 0.3, 1.3)
    for _ in range(int(rng.integers(1, 4))):
        turn, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 1.3)
        lamp = np.array([np.cos(height) * np.sin(turn), np.sin(height), np.cos(height) * np.cos(turn)])
        image = np.where((directions @ lamp > rng.uniform(0.96, 0.995))[..., None], rng.uniform(4, 20), image)
    return np.asarray(image)
