"""What people wear and what light falls on them: a color for every vertex, lamps for every image."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from tore.synthetic.people import Figure
from tore_runtime.renderer import Light, Lighting

# RGB in [0, 1] before light; a person's skin lies between two neighbors
SKIN = np.array([(0.97, 0.81, 0.70), (0.90, 0.69, 0.55), (0.76, 0.54, 0.40), (0.57, 0.38, 0.27), (0.36, 0.24, 0.17)])
HAIR = np.array([(0.07, 0.06, 0.05), (0.20, 0.12, 0.07), (0.38, 0.24, 0.12), (0.72, 0.56, 0.32), (0.62, 0.60, 0.58)])
PELVIS, HEAD = 0, 15
TRUNK = (3, 6, 9, 12, 13, 14)
UPPER_ARMS, FOREARMS = (16, 17), (18, 19)
THIGHS, SHINS, FEET = (1, 2), (4, 5), (7, 8, 10, 11)
# how far a sleeve or a trouser leg reaches: share of upper arm and forearm, of thigh and shin
SLEEVES = ((0.12, 0.0), (0.55, 0.0), (1.0, 0.35), (1.0, 0.93))
TROUSERS = ((0.45, 0.0), (0.85, 0.0), (1.0, 0.45), (1.0, 0.94))
SLEEVE_SHARES, TROUSER_SHARES = (0.12, 0.43, 0.1, 0.35), (0.1, 0.22, 0.08, 0.6)


@dataclass(frozen=True)
class Wardrobe:
    """What of a figure's shape decides where cloth lies; made once, in the rest pose."""

    part: np.ndarray  # (V,) the joint that a vertex follows
    along: np.ndarray  # (V,) 0 at that joint, 1 at the next one down the limb
    rest: np.ndarray  # (V, 3) meters
    waist: np.ndarray  # (V,) bool, the upper part of the pelvis
    scalp: np.ndarray  # (V,) 0..1: from where on the head is hair; 1 at the crown, 0 on the face
    neck: np.ndarray  # (V,) bool, the upper half of the neck


def make_wardrobe(figure: Figure) -> Wardrobe:
    """The parts of a body or a hand; a hand has no clothes but its forearm's."""
    part, rest, joints = figure.part, figure.rest, figure.joints
    along, scalp = np.zeros(len(rest)), np.zeros(len(rest))
    none = np.zeros(len(rest), bool)
    if figure.kind == "hand":
        return Wardrobe(part, along, rest, none, scalp, none)
    for joint, child in ((16, 18), (17, 19), (18, 20), (19, 21), (1, 4), (2, 5), (4, 7), (5, 8)):
        bone = joints[child] - joints[joint]
        mine = part == joint
        along[mine] = (rest[mine] - joints[joint]) @ bone / (bone @ bone)
    head = part == HEAD
    low, high = rest[head].min(0), rest[head].max(0)
    height = (rest[:, 1] - low[1]) / (high[1] - low[1])
    ahead = (rest[:, 2] - low[2]) / (high[2] - low[2])
    scalp[head] = (height - 0.75 * (ahead - 0.3).clip(0, 0.4))[head].clip(0, 1)
    neck = (part == 12) & (rest[:, 1] > joints[12, 1] + 0.02)
    return Wardrobe(part, along, rest, (part == PELVIS) & (rest[:, 1] > joints[PELVIS, 1] + 0.02), scalp, neck)


def draw_colors(rng: RandomState, wardrobe: Wardrobe, kind: str) -> np.ndarray:
    """(V, 3) in [0, 1]: skin, and for a body hair, top, trousers or skirt, shoes."""
    colors = np.tile(draw_skin(rng), (len(wardrobe.rest), 1))
    if kind == "body":
        _dress(rng, wardrobe, colors)
    return (colors * _mottle(rng, wardrobe.rest, 0.05)).clip(0, 1)


def draw_skin(rng: RandomState) -> np.ndarray:
    """(3,) skin."""
    return _between(rng, SKIN)


def draw_cloth(rng: RandomState) -> np.ndarray:
    """(3,) a dye: half of the clothes are greyish, the others of any hue."""
    hue, depth = rng.random_sample(), rng.random_sample()
    saturation = 0.15 * rng.random_sample() if rng.random_sample() < 0.4 else rng.uniform(0.3, 0.85)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, 0.08 + 0.87 * depth))


def _between(rng: RandomState, palette: np.ndarray) -> np.ndarray:
    place = rng.uniform(0, len(palette) - 1)
    first = min(int(place), len(palette) - 2)
    share = place - first
    tint = 1 + 0.05 * rng.standard_normal(3)
    return ((1 - share) * palette[first] + share * palette[first + 1]) * tint


def _dress(rng: RandomState, wardrobe: Wardrobe, colors: np.ndarray) -> None:
    part, along = wardrobe.part, wardrobe.along
    top, second, trousers, shoes = (draw_cloth(rng) for _ in range(4))
    sleeve = SLEEVES[int(rng.choice(len(SLEEVES), p=SLEEVE_SHARES))]
    trouser = TROUSERS[int(rng.choice(len(TROUSERS), p=TROUSER_SHARES))]
    suit, barefoot, hairline = rng.random_sample() < 0.1, rng.random_sample() < 0.07, rng.uniform(0.25, 0.62)
    bald, hair = rng.random_sample() < 0.08, _between(rng, HAIR)
    pattern, period = rng.random_sample(), rng.uniform(0.05, 0.12)

    covered_top = np.isin(part, TRUNK) & ~wardrobe.neck | wardrobe.waist
    covered_top |= np.isin(part, UPPER_ARMS) & (along < sleeve[0]) | np.isin(part, FOREARMS) & (along < sleeve[1])
    covered_legs = (part == PELVIS) & ~wardrobe.waist
    covered_legs |= np.isin(part, THIGHS) & (along < trouser[0]) | np.isin(part, SHINS) & (along < trouser[1])
    colors[covered_legs] = top if suit else trousers
    colors[covered_top] = top
    if pattern < 0.3:
        axis = 1 if pattern < 0.22 else 0
        stripe = np.sin(wardrobe.rest[:, axis] * 2 * np.pi / period) > 0
        colors[covered_top & stripe] = second
    if not barefoot:
        colors[np.isin(part, FEET) | np.isin(part, SHINS) & (along > 0.95)] = shoes
    if not bald:
        colors[(part == HEAD) & (wardrobe.scalp > hairline)] = hair


def _mottle(rng: RandomState, rest: np.ndarray, strength: float) -> np.ndarray:
    """(V, 1) factors about 1 that change slowly over the skin."""
    waves = rng.standard_normal((3, 4)) * 25
    phase = rng.uniform(0, 2 * np.pi, 4)
    return 1 + strength * np.sin(rest @ waves + phase).mean(1, keepdims=True) * 2


def draw_lighting(rng: RandomState, up: np.ndarray) -> Lighting:
    """A sun or lamp above the ground, a weaker light from the camera's side, and light from all around."""
    warmth = 1 + np.array([0.10, 0.0, -0.12]) * rng.uniform(-1, 1)
    around = rng.standard_normal(3)
    around -= (around @ up) * up
    around /= np.linalg.norm(around)
    if around[2] > 0.5:  # mostly not from behind
        around *= rng.choice([-1, 1], p=[0.7, 0.3])
    key = up * rng.uniform(0.35, 1.5) + around
    key_strength, fill, ambient = rng.uniform(0.45, 0.95), rng.uniform(0.0, 0.25), rng.uniform(0.32, 0.55)
    lights = (_light(key, key_strength * warmth), _light(np.array([0.2, -0.2, -1.0]), fill * np.ones(3)))
    sky, ground = ambient * (2 - warmth), 0.7 * ambient * warmth
    return Lighting(lights, _triple(sky), _triple(ground), gloss=float(rng.choice([0.0, 0.06], p=[0.7, 0.3])))


def _light(direction: np.ndarray, color: np.ndarray) -> Light:
    return Light(_triple(direction), _triple(color))


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
