"""What the people of a set look like: their poses, skins and clothes, the light and what lies behind them.

With a folder of assets people wear its skins and clothes and stand in its panoramas; without one they are plain.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import NDArray

from tore.synthetic.assets import Assets, find_assets, read_panorama
from tore.synthetic.dressing import choose_outfit, dress, gender_of
from tore.synthetic.hand_skin import hand_skin
from tore.synthetic.lighting import Light, film_radiance, light_of_panorama
from tore.synthetic.plain_look import plain_panorama
from tore.synthetic.posing import PosedMesh
from tore.synthetic.scene import draw_background, find_photographs
from tore.synthetic.surfaces import Surface

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

VERSION = 5  # counts up when the same recipe gives other rendered images
PART_OF = {"train": "train", "val": "heldout"}  # of the assets, by the split
PHOTOGRAPHED = 0.5  # share of the images before a photograph, where panoramas are there too
KEY_LIGHT = 0.3  # share of the images with a sun beside the panorama's own
KEY_STRENGTH = (0.3, 1.3)
EXPOSURE = 0.25
PHOTOGRAPH_TINT = 0.5  # how far the light takes the mean color of a photograph behind people; 1: wholly


class Look:
    """Draws all of it; `assets` None is the plain look, `photographs` are backgrounds."""

    def __init__(self, assets: Assets | None, photographs: tuple[Path, ...] = ()) -> None:
        self.assets, self.photographs = assets, photographs

    def dress(self, rng: Generator, mesh: PosedMesh, betas: Array, age: float) -> tuple[Surface, ...]:
        """The surfaces of a dressed person around the posed mesh, in its frame; `age` on `people_shapes`' scale."""
        outfit = choose_outfit(self.assets, rng, age, gender_of(betas, age))
        return tuple(dress(outfit, mesh.shaped, betas).posed(mesh.transforms, mesh.offsets, mesh.vertices))

    def hand_skin(self, rng: Generator) -> NDArray[np.uint8]:
        """A skin texture (H, W, 4) for a hand and its forearm."""
        return hand_skin(self.assets, rng)

    def light(self, rng: Generator, background: Floats | None = None) -> Light:
        """The light of a scene, from any side, in part in the color of the photograph `background (H, W, 3)`."""
        entries = self.assets.panoramas if self.assets else ()
        if entries:
            light = _panorama_light(entries[int(rng.integers(len(entries)))].path)
        else:
            light = light_of_panorama(plain_panorama(rng))
        light = light.turned(float(rng.uniform(-np.pi, np.pi))).dimmed(float(np.exp(EXPOSURE * rng.standard_normal())))
        if rng.random() < KEY_LIGHT:
            toward = rng.standard_normal(3) * [1, 0.5, 1] + [0, 0.6, 0]
            color = rng.uniform(*KEY_STRENGTH) * rng.uniform(0.92, 1.08, 3) * light.tint()
            light = light.with_sun(toward, color)
        if background is not None:
            mean = np.maximum(background[::4, ::4].mean((0, 1)), 1e-3)
            light = light.tinted((mean / mean.mean() / light.tint()) ** PHOTOGRAPH_TINT)
        return light

    def photograph(self, rng: Generator, size: int) -> Floats | None:
        """A background (size, size, 3), linear radiance, in place of the panorama, or None."""
        drawn = self.assets is None or not self.assets.panoramas
        if not self.photographs or (rng.random() >= PHOTOGRAPHED and not drawn):
            return None
        old = RandomState(int(rng.integers(2**32)))
        return film_radiance(np.asarray(draw_background(old, size, self.photographs), np.float32) / np.float32(255))


def open_look(assets: str | Path | None, backgrounds: str | Path | None, split: str) -> Look:
    """The look of a set: the part of the assets that the split, "train" or "val", may use, and all backgrounds.

    Raises ValueError where a folder holds nothing that can be used.
    """
    photographs = find_photographs(Path(backgrounds)) if backgrounds else ()
    return Look(_found(Path(assets)).part(PART_OF[split]) if assets else None, photographs)


def asset_names(assets: str | Path | None) -> str | None:
    """A short text that is the same for folders with the same names of assets; None without a folder."""
    if assets is None:
        return None
    found = _found(Path(assets))
    kinds = (found.skins, found.suits, found.shoes, found.hair, found.eyebrows, found.eyelashes, found.panoramas)
    names = "\n".join(entry.name for kind in kinds for entry in kind)
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def asset_notes(assets: str | Path) -> tuple[str, ...]:
    """Lines about files of a folder that are left out, and about what both splits share."""
    return _found(Path(assets)).part(PART_OF["train"]).notes


@lru_cache(maxsize=2)
def _found(folder: Path) -> Assets:
    return find_assets(folder)


@lru_cache(maxsize=64)
def _panorama_light(path: Path) -> Light:
    return light_of_panorama(read_panorama(path))
