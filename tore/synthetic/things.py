"""Things beside people: seats and beds below them, and boxes, posts, tables, leaves and cars before them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tore.synthetic.body_contact import FLESH
from tore.synthetic.clearance import Balls, corner_balls, solid_gaps, solids_gap
from tore.synthetic.surfaces import Camera, Surface

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]

TEXELS = 64
BOX_CORNERS = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
BOX_SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
SQUARE = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
ROUND = 16  # corners of a cylinder
SEAT_HEIGHT = 0.13  # meters from which on somebody who sits needs a seat
SEAT_JOINTS = (0, 1, 2)  # whose skin rests on it
SINK = 0.015  # meters by which it gives way
BUTTOCKS = 0.2  # meters around the hips, seen from above
SEAT_GIVE, SADDLE_GIVE = 0.05, 0.05  # meters that flesh and cushion give where they bear somebody
CROTCH, SADDLE_RADIUS = 0.07, (0.05, 0.11)
HANDS = (22, 23)  # SMPL's joints of the hands
GRASPING = (20, 21, *HANDS)
KINDS = {"box": 0.24, "post": 0.2, "table": 0.22, "leaves": 0.2, "car": 0.14}  # in front, shares
THINGS_DRAWN = 5  # until one runs through nobody
CAR_GLASS = (0.12, 0.14, 0.17)


def draw_color(rng: Generator) -> Array:
    """(3,) sRGB in [0, 1]: many dull ones, some bright, some gray, white or black."""
    saturation = rng.random() ** 1.6
    return np.array(colorsys.hsv_to_rgb(rng.random(), float(saturation), float(rng.uniform(0.08, 0.95))))


def draw_pattern(rng: Generator) -> Bytes:
    """A texture (64, 64, 4): one color with grain, stripes, checks, spots or planks."""
    first, second = draw_color(rng), draw_color(rng)
    y, x = np.mgrid[:TEXELS, :TEXELS] / TEXELS
    count = int(rng.integers(1, 9))
    kind = rng.choice(["plain", "plain", "stripes", "checks", "spots", "planks"])
    if kind == "stripes":
        share = (np.floor(2 * count * (x if rng.random() < 0.5 else y)) % 2)[..., None]
    elif kind == "checks":
        share = ((np.floor(2 * count * x) + np.floor(2 * count * y)) % 2)[..., None]
    elif kind == "spots":
        share = ((((count * x) % 1 - 0.5) ** 2 + ((count * y) % 1 - 0.5) ** 2) < 0.08)[..., None] * 1.0
    elif kind == "planks":
        share = 0.5 * rng.random((1, count, 1)).repeat(-(-TEXELS // count), 1)[:, :TEXELS]
    else:
        share = np.zeros((1, 1, 1))
    cells = int(rng.integers(4, 24))
    grain = cv2.resize(rng.standard_normal((cells, cells)), (TEXELS, TEXELS), interpolation=cv2.INTER_CUBIC)
    fine = rng.standard_normal((TEXELS, TEXELS))
    color = first * (1 - share) + second * share
    return _opaque(color * (1 + rng.uniform(0, 0.15) * grain + rng.uniform(0, 0.08) * fine)[..., None])


def box(
    name: str, size: Array | Sequence[float], base: Array | Sequence[float], turn: float, texture: Bytes
) -> Surface:
    """A box of size (3,) meters whose bottom's middle is at base (3,), turned about the vertical by radians."""
    vertices = _turned(BOX_CORNERS * size, turn) + base
    corners = np.array([(side[0], side[1], side[2]) for side in BOX_SIDES] + [(s[0], s[2], s[3]) for s in BOX_SIDES])
    places = np.array([(0, 1, 2)] * 6 + [(0, 2, 3)] * 6)
    split = corners.reshape(-1)  # each face has corners of its own, so that its edges stay sharp
    return Surface(name, vertices[split], np.arange(len(split)).reshape(-1, 3), SQUARE, places, texture)


def cylinder(name: str, radius: float, start: Array, end: Array, texture: Bytes) -> Surface:
    """A closed cylinder between two points (3,) in meters."""
    bottom, top = np.asarray(start, float), np.asarray(end, float)
    along = (top - bottom) / np.linalg.norm(top - bottom)
    side = np.cross(along, [0.3, 0.5, 0.8])
    side /= np.linalg.norm(side)
    angle = np.linspace(0, 2 * np.pi, ROUND + 1)
    ring = radius * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(along, side))
    vertices = np.concatenate([bottom + ring, top + ring, bottom + ring, top + ring, [bottom, top]])
    here, rows = np.arange(ROUND), ROUND + 1
    wall = np.concatenate(
        [np.stack([here, here + 1, here + rows], 1), np.stack([here + 1, here + 1 + rows, here + rows], 1)]
    )
    middle = np.full(ROUND, 4 * rows)
    lids = np.concatenate(
        [
            np.stack([middle, here + 1 + 2 * rows, here + 2 * rows], 1),
            np.stack([middle + 1, here + 3 * rows, here + 1 + 3 * rows], 1),
        ]
    )
    share = angle / (2 * np.pi)
    disc = 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], 1)
    flat = np.stack([share, np.zeros(rows)], 1), np.stack([share, np.ones(rows)], 1)
    places = np.concatenate([*flat, disc, disc, [(0.5, 0.5), (0.5, 0.5)]])
    faces = np.concatenate([wall, lids])
    return Surface(name, vertices, faces, places, faces, texture)


def leaves(rng: Generator, middle: Array, reach: float) -> Surface:
    """A loose cloud of leaves around a point (3,), most of them within `reach` meters."""
    count = int(rng.integers(12, 40))
    size = reach * rng.uniform(0.15, 0.45, (count, 1, 1))
    frame = np.linalg.qr(rng.standard_normal((count, 3, 3)))[0]
    square = np.concatenate([2 * SQUARE - 1, np.zeros((4, 1))], 1)
    place = np.asarray(middle) + 0.6 * reach * rng.standard_normal((count, 1, 3))
    vertices = (size * (square @ frame) + place).reshape(-1, 3)
    first = 4 * np.arange(count)[:, None]
    faces = np.concatenate([first + [0, 1, 2], first + [0, 2, 3]])
    places = np.concatenate([np.tile([0, 1, 2], (count, 1)), np.tile([0, 2, 3], (count, 1))])
    return Surface("leaves", vertices, faces, SQUARE, places, _leaf(rng), cut_out=True, gloss=0.1)


def car(rng: Generator, base: Array, turn: float) -> list[Surface]:
    """A block with a cabin and wheels, in size and outline like a car, standing at base (3,)."""
    paint = _opaque(np.broadcast_to(draw_color(rng), (4, 4, 3)))
    glass = _opaque(np.broadcast_to(np.array(CAR_GLASS), (4, 4, 3)))
    length, width = rng.uniform(3.8, 4.8), rng.uniform(1.6, 1.9)
    center = np.asarray(base, float)
    out = [
        box("car", (length, 0.55, width), center + [0, 0.28, 0], turn, paint),
        box("car windows", (0.55 * length, 0.42, 0.88 * width), center + [0, 0.83, 0], turn, glass),
        box("car roof", (0.5 * length, 0.05, 0.86 * width), center + [0, 1.25, 0], turn, paint),
    ]
    tire = _opaque(np.full((4, 4, 3), 0.07))
    for x in (-0.32 * length, 0.32 * length):
        for z in (-0.46 * width, 0.46 * width):
            ends = _turned(np.array([(x, 0.32, z - 0.1), (x, 0.32, z + 0.1)]), turn) + center
            out.append(cylinder("wheel", 0.32, ends[0], ends[1], tire))
    return out


def support(
    rng: Generator, kind: str, skin: Array, parts: NDArray[np.integer], facing: float, balls: Balls
) -> list[Surface] | None:
    """What bears somebody in the world: a "seat", a "saddle" or, of the "hands", a bar; nothing for other kinds, and
    None where it would run through the body.

    skin: (6890, 3) meters, the ground at y = 0; parts: (6890,) joints that it follows; facing: radians from +z;
    balls: the body's.
    """
    ahead = np.array([np.sin(facing), 0.0, np.cos(facing)])
    if kind == "hands":
        left, right = (skin[parts == hand].mean(0) for hand in HANDS)
        along = (right - left) / max(float(np.linalg.norm(right - left)), 1e-6)
        bar = cylinder("bar", 0.018, left - 0.5 * along, right + 0.5 * along, draw_pattern(rng))
        return _if_free(balls, bar, GRASPING, np.inf)
    seat = skin[np.isin(parts, SEAT_JOINTS)]
    if kind not in ("seat", "saddle") or float(seat[:, 1].min()) + SINK < SEAT_HEIGHT:
        return []
    if kind == "saddle":
        crotch = seat[np.linalg.norm((seat - seat.mean(0)) @ np.diag([1.0, 0.0, 1.0]), axis=1) < CROTCH]
        height = float((crotch if len(crotch) else seat)[:, 1].min()) + SINK
        radius = min(rng.uniform(*SADDLE_RADIUS), 0.45 * height)
        low = seat.mean(0) * [1, 0, 1] + [0, height - radius, 0]
        mount = cylinder("mount", radius, low - 0.6 * ahead, low + 0.7 * ahead, draw_pattern(rng))
        return _if_free(balls, mount, SEAT_JOINTS, SADDLE_GIVE)
    return _seat(rng, seat, ahead, facing, balls)


def _seat(rng: Generator, seat: Array, ahead: Array, facing: float, balls: Balls) -> list[Surface] | None:
    """A box under the buttocks of the skin `seat (N, 3)`, as wide and as far forward as the legs and hands leave it."""
    hips = balls.center[np.isin(balls.owner, SEAT_JOINTS[:1])].mean(0)
    buttocks = seat[np.linalg.norm((seat - hips)[:, [0, 2]], axis=1) < BUTTOCKS]
    lowest = float(buttocks[:, 1].min())
    middle = buttocks[buttocks[:, 1] < lowest + 0.03].mean(0) * [1, 0, 1]
    wide, deep, texture = rng.uniform(0.4, 1.2), rng.uniform(0.34, 0.42), draw_pattern(rng)
    for front in (0.2, 0.14, 0.08, 0.04):
        for width in (wide, 0.38, 0.28):
            base = middle + (front - 0.5 * deep) * ahead
            block = box("seat", (width, lowest + SINK, deep), base, facing, texture)
            found = _if_free(balls, block, SEAT_JOINTS, SEAT_GIVE)
            if found:
                return found
    return None


def _if_free(balls: Balls, solid: Surface, bearing: Sequence[int], give: float) -> list[Surface] | None:
    """The solid, or None where it runs through the body: by more than `give` meters where it bears the body."""
    gaps = solid_gaps(balls, solid)
    gaps = gaps + np.where(np.isin(balls.owner, bearing), give, FLESH)
    return [solid] if gaps.min() >= 0 else None


def in_front(rng: Generator, camera: Camera, skin: Array, size: int) -> list[Surface]:
    """One thing between the camera and somebody whose skin (N, 3) it may hide in part; the ground is at y = 0.

    It may run through other things and people: `clear_in_front` draws until it does not.
    """
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    point = skin[int(rng.integers(len(skin)))]
    middle = camera.position + rng.uniform(0.45, 0.85) * (point - camera.position)
    depth = max(float(camera.to_camera(middle)[2]), 0.15)
    meters = size * depth / camera.lens.focal_length  # that the image is wide there
    extent = meters * rng.uniform(0.08, 0.32, 3)
    turn = float(rng.uniform(-np.pi, np.pi))
    texture = draw_pattern(rng)
    floor = middle * [1, 0, 1]
    if kind == "post":
        return [cylinder("post", 0.25 * extent[0], floor, floor + [0, middle[1] + 2 * meters, 0], texture)]
    if kind == "leaves":
        return [leaves(rng, middle, 0.6 * float(extent[0]))]
    if kind == "car" and depth > 2.5:
        return car(rng, floor, turn)
    if kind == "table":
        wide = (meters * rng.uniform(0.8, 2.0), 0.03 + 0.1 * extent[1], extent[2] + 0.2 * meters)
        return [box("table", wide, middle - [0, wide[1], 0], turn if rng.random() < 0.3 else 0.1 * turn, texture)]
    if rng.random() < 0.5:  # on the ground
        return [box("crate", (extent[0], max(middle[1], 0.1), extent[2]), floor, turn, texture)]
    return [box("board", extent, middle - [0, 0.5 * extent[1], 0], turn, texture)]


def clear_in_front(
    rng: Generator, camera: Camera, skin: Array, size: int, people: Sequence[Balls], solids: Sequence[Surface]
) -> list[Surface]:
    """As `in_front`, and through none of the people and the solids; nothing where `THINGS_DRAWN` tries all do."""
    for _ in range(THINGS_DRAWN):
        made = in_front(rng, camera, skin, size)
        corners, others = corner_balls([thing for thing in made if not thing.cut_out]), corner_balls(solids)
        apart = solids_gap(corners, solids), solids_gap(others, made), *(solids_gap(p, made) for p in people)
        if min(apart) > 0:
            return made
    return []


def _leaf(rng: Generator) -> Bytes:
    """A leaf's texture (64, 64, 4): an ellipse with a vein, transparent around it."""
    y, x = np.mgrid[:TEXELS, :TEXELS] / (TEXELS / 2) - 1
    color = np.array([0.25, 0.4, 0.12]) * rng.uniform(0.5, 1.6) + rng.uniform(-0.1, 0.15, 3)
    vein = 1 - 0.25 * (np.abs(x) < 0.05)[..., None]
    out = _opaque(color * vein * (1 + 0.08 * rng.standard_normal((TEXELS, TEXELS, 1))))
    out[..., 3] = 255 * ((x / 0.55) ** 2 + y**2 < 0.95)
    return out


def _opaque(color: Array) -> Bytes:
    out = np.full((*color.shape[:2], 4), 255, np.uint8)
    out[..., :3] = np.rint(np.clip(color, 0, 1) * 255)
    return out


def _turned(points: Array, turn: float) -> Array:
    c, s = np.cos(turn), np.sin(turn)
    return np.asarray(points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]))
