"""One synthetic picture with its label, from figure, people and a random generator of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from tore.datasets.synthesis.forearm import add_forearm, rim_of
from tore.datasets.synthesis.lens import draw_occluder, encode, expose
from tore.datasets.synthesis.paint import Wardrobe, draw_colors, draw_lighting, make_wardrobe
from tore.datasets.synthesis.people import Figure, People, draw_people, draw_shot, label_of, load_figure
from tore.datasets.synthesis.scene import draw_background, draw_shadow
from tore.visualize.renderer import render

BATCH = 16  # people posed together; a batch is always full, so that a picture never depends on how many are made
SPLITS = {"train": 0, "val": 1}
SHADOWED = 0.6
EDGE_SAMPLES = 2
KNUCKLES = slice(1, None, 3)  # of a hand's skeleton joints


class Sample(NamedTuple):
    """One row of the data set."""

    jpeg: bytes
    label: dict
    mask: np.ndarray  # (n, n) bool: the person's pixels (a hand's with its forearm), before anything hides them


class Studio:
    """Everything that stays the same from picture to picture."""

    def __init__(
        self, kind: str, size: int, data_dir: str | Path | None = None, photographs: tuple[Path, ...] = ()
    ) -> None:
        self.figure: Figure = load_figure(kind, data_dir)
        self.size, self.photographs = size, photographs
        self.wardrobe: Wardrobe = make_wardrobe(self.figure)
        self.rim = rim_of(self.figure.faces) if kind == "hand" else np.zeros(0, np.int64)

    def batch(self, seed: int, split: str, number: int, wanted: int = BATCH) -> list[Sample]:
        """The first `wanted` pictures of a batch, number * BATCH and on; each depends on (seed, split, index) alone."""
        start = number * BATCH
        rngs = [RandomState([seed, SPLITS[split], index]) for index in range(start, start + BATCH)]
        people = draw_people(self.figure, rngs)
        return [self._picture(people, index, rngs[index]) for index in range(wanted)]

    def _picture(self, people: People, index: int, rng: RandomState) -> Sample:
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
        drawn = render(
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
        picture = expose(rng, draw_occluder(rng, drawn.color, drawn.mask))
        return Sample(encode(rng, picture), label_of(figure, people, index, shot, size), drawn.mask)
