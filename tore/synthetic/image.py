"""One synthetic image: background, shadow, figure, forearm, occluder, exposure and JPEG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.random import RandomState

from tore.synthetic.paint import Wardrobe, draw_cloth, draw_colors, draw_lighting, make_wardrobe
from tore.synthetic.people import (
    BATCH,
    SPLITS,
    Figure,
    People,
    Sample,
    draw_people,
    draw_shot,
    label_of,
    load_figure,
)
from tore.synthetic.ray_casting import cast_image
from tore.synthetic.scene import draw_background, draw_shadow

OCCLUDED = 0.35  # share of the images with something in front
MOST_HIDDEN = 0.4  # of a person
QUALITY = (60, 96)


def draw_occluder(rng: RandomState, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image (n, n, 3) uint8, perhaps with a thing before the person whose pixels are mask (n, n) bool.

    A thing that would hide more than `MOST_HIDDEN` of the person is left out.
    """
    wanted = rng.random_sample() < OCCLUDED
    kind = rng.choice(["post", "table", "ball", "board"])
    share, extent = rng.random_sample(), rng.uniform(0.05, 0.22, 2) * len(image)
    angle, color, second = float(rng.uniform(-25, 25)), draw_cloth(rng), draw_cloth(rng)
    grain = rng.standard_normal((12, 12)).astype(np.float32)
    if not wanted or not mask.any():
        return image
    rows, columns = np.nonzero(mask)
    pick = int(share * len(rows))
    cover = _cover(kind, len(image), float(columns[pick]), float(rows[pick]), extent, angle)
    if cover[mask].mean() > MOST_HIDDEN:
        return image
    size = len(image)
    light = cv2.resize(grain, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    ramp = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    surface = ((1 - ramp) * color + ramp * (0.7 * color + 0.3 * second) + 0.03 * light).clip(0, 1) * 255
    return np.rint(cover[..., None] * surface + (1 - cover[..., None]) * image).astype(np.uint8)


def _cover(kind: str, size: int, x: float, y: float, extent: np.ndarray, angle: float) -> np.ndarray:
    """(size, size) float32 in [0, 1]: how much of each pixel the thing covers."""
    canvas = np.zeros((size, size), np.uint8)
    if kind == "ball":
        cv2.ellipse(canvas, ((x, y), tuple(map(float, extent * 1.5)), angle), 255, -1, cv2.LINE_AA)
    else:
        width, height = float(extent[0]), float(extent[1])
        shape = {
            "post": (0.5 * width, 3.0 * size),
            "table": (3.0 * size, 2 * height),
            "board": (1.6 * width, 1.6 * height),
        }
        tilt = angle * {"post": 0.3, "table": 0.2, "board": 1.0}[kind]
        middle = (x, size - 0.3 * height) if kind == "table" else (x, y)
        corners = cv2.boxPoints((middle, shape[kind], tilt))
        cv2.fillPoly(canvas, [np.rint(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


def expose(rng: RandomState, image: np.ndarray) -> np.ndarray:
    """Exposure, white balance, contrast, a slight blur and sensor noise: (n, n, 3) uint8 -> the same."""
    gain = np.exp(0.12 * rng.standard_normal() + 0.04 * rng.standard_normal(3))
    contrast, blur, noise = rng.uniform(0.8, 1.15), rng.uniform(0, 0.8), 5.0 * rng.random_sample() ** 2
    grain = rng.standard_normal(image.shape[:2]).astype(np.float32)
    if blur > 0.35:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    bright = ((image.astype(np.float32) - 110) * contrast + 110) * gain.astype(np.float32)
    for channel, shift in enumerate((0, 7, 19)):  # one field of noise serves three channels
        bright[..., channel] += noise * np.roll(grain, shift, axis=1)
    return np.rint(bright.clip(0, 255)).astype(np.uint8)


def encode(rng: RandomState, image: np.ndarray) -> bytes:
    """JPEG bytes of a drawn quality."""
    quality = int(rng.randint(*QUALITY))
    done, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


# meters behind the rim; they come in pairs, so that a sleeve has a sharp end wherever it starts
STATIONS = np.array([0.015, 0.018, 0.045, 0.048, 0.09, 0.093, 0.15, 0.153, 0.25, 0.45])
GROWTH = np.interp(STATIONS, [0, 0.05, 0.1, 0.2, 0.3, 0.45], [1.0, 1.08, 1.2, 1.36, 1.44, 1.5])  # of the rim's outline
SLEEVED = 0.5
CUFF = 1.14  # a sleeve is wider than the arm


def rim_of(faces: np.ndarray) -> np.ndarray:
    """The vertices (R,) along the one open rim, in the direction in which its faces run; empty for a closed mesh."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in there if (b, a) not in there}
    if not following:
        return np.zeros(0, np.int64)
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    return np.array(loop)


def add_forearm(
    rng: RandomState, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, rim: np.ndarray, knuckles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and colors with a forearm behind the rim (R,), away from the knuckles (N, 3)."""
    bend, sleeved, start = 0.18 * rng.standard_normal(3), rng.random_sample() < SLEEVED, 2 * int(rng.randint(0, 4)) + 1
    cloth = draw_cloth(rng)
    edge = vertices[rim]
    middle = edge.mean(0)
    straight = middle - knuckles.mean(0)
    straight /= np.linalg.norm(straight)
    away = straight + bend
    away /= np.linalg.norm(away)
    cuffed = sleeved & (np.arange(len(STATIONS)) >= start)
    widths = np.where(cuffed, GROWTH * CUFF, GROWTH)
    # the axis leaves the wrist straight and then follows the bend
    turned = (STATIONS / 0.1).clip(0, 1)[:, None]
    axis = STATIONS[:, None] * ((1 - turned) * straight + turned * away)
    rings = middle + axis[:, None] + widths[:, None, None] * (edge - middle)  # (S, R, 3)
    count, first, rows = len(rim), len(vertices), len(STATIONS)
    index = np.concatenate([rim[None], first + np.arange(rows * count).reshape(rows, count)])
    here, there = index[:-1], index[1:]
    after_here, after_there = np.roll(here, -1, 1), np.roll(there, -1, 1)
    sides = np.stack([np.stack([after_here, here, there], -1), np.stack([after_here, there, after_there], -1)])
    skin = colors[rim].mean(0)
    paint = np.where(cuffed[:, None], cloth, skin)
    return (
        np.concatenate([vertices, rings.reshape(-1, 3)]),
        np.concatenate([faces, sides.reshape(-1, 3)]),
        np.concatenate([colors, np.repeat(paint, count, axis=0)]),
    )


SHADOWED = 0.6
EDGE_SAMPLES = 2
KNUCKLES = slice(1, None, 3)  # of a hand's skeleton joints


class Studio:
    """Everything that stays the same from image to image."""

    def __init__(
        self, kind: str, size: int, body_dir: str | Path | None = None, photographs: tuple[Path, ...] = ()
    ) -> None:
        self.figure: Figure = load_figure(kind, body_dir)
        self.size, self.photographs = size, photographs
        self.wardrobe: Wardrobe = make_wardrobe(self.figure)
        self.rim = rim_of(self.figure.faces) if kind == "hand" else np.zeros(0, np.int64)

    def batch(self, seed: int, split: str, number: int, wanted: int = BATCH) -> list[Sample]:
        """The first `wanted` images of a batch, number * BATCH and on; each depends on (seed, split, index) alone."""
        start = number * BATCH
        rngs = [RandomState([seed, SPLITS[split], index]) for index in range(start, start + BATCH)]
        people = draw_people(self.figure, rngs)
        return [self._image(people, index, rngs[index]) for index in range(wanted)]

    def _image(self, people: People, index: int, rng: RandomState) -> Sample:
        figure, size = self.figure, self.size
        body = figure.kind == "body"
        shot = draw_shot(rng, figure.kind, people.vertices[index], size)
        vertices, faces = people.vertices[index] + shot.translation, figure.faces
        colors = draw_colors(rng, self.wardrobe, figure.kind)
        lighting = draw_lighting(rng, people.up[index])
        canvas = draw_background(rng, size, self.photographs)
        if body and rng.random_sample() < SHADOWED:
            direction = lighting.lights[0].direction
            canvas = draw_shadow(rng, canvas, vertices, shot.camera, people.up[index], direction)
        if len(self.rim):
            knuckles = people.skeleton[index, KNUCKLES] + shot.translation
            vertices, faces, colors = add_forearm(rng, vertices, faces, colors, self.rim, knuckles)
        drawn = cast_image(
            vertices,
            faces,
            shot.camera,
            (size, size),
            colors=colors,
            lighting=lighting,
            background=canvas,
            samples=EDGE_SAMPLES,
            edges_only=True,
            front_faces_only=body,
        )
        image = expose(rng, draw_occluder(rng, drawn.color, drawn.mask))
        return Sample(encode(rng, image), label_of(figure, people, index, shot, size), drawn.mask)
