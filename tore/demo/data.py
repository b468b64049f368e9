"""The demo's images: held-out ones that come with the package, sets in the cache, and images as plain files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tore import paths
from tore.datasets.images import image_bytes
from tore.datasets.label import person_of
from tore.datasets.sets import TSVSet, write_linelist, write_yaml
from tore.files import write_whole
from tore.geometry.camera import PinholeCamera
from tore.synthetic.look import VERSION as LOOK_VERSION
from tore.synthetic.writing import TABLES, VERSION, Recipe, write_images
from tore_runtime.crop import BOX_MARGIN, PIXELS_PER_SCALE
from tore_runtime.crops import Box

SIZES = {"body": 256, "hand": 224}  # side in pixels


@dataclass(frozen=True)
class Person:
    """A held-out image as a file, with its true person."""

    image: Path
    box: Box
    pose: torch.Tensor  # (1, 3 K)
    betas: torch.Tensor  # (1, 10)
    camera: PinholeCamera  # of the whole image
    translation: np.ndarray  # (3,) meters, of the mesh of pose and betas


def held_out_set(kind: str, count: int, seed: int, workers: int, folder: Path) -> Path:
    """The yaml file of `count` images: of people those that come with the package, of hands rendered ones in the cache.

    Where not all of the package's are wanted, the file is written into `folder`. ValueError where it has fewer.
    """
    if kind == "hand":
        return image_set(kind, "val", count, seed, workers)
    yaml = paths.example_people()
    if count > (most := len(TSVSet(yaml))):
        raise ValueError(
            f"--val_images {count}: {most} held-out images of people come with the package; give that or less"
        )
    return yaml if count == most else repeated_set(yaml, range(count), folder / f"held_out_{count}.yaml")


def image_set(kind: str, split: str, count: int, seed: int, workers: int) -> Path:
    """The yaml file of a rendered set of the plain look in the cache folder; what is there of it is kept."""
    version = f"{paths.SYNTHETIC_VERSION}.{VERSION}.{LOOK_VERSION}"
    folder = paths.cache_dir() / "pictures" / f"{kind}-v{version}-seed{seed}-{split}{count}"
    recipe = Recipe(kind=kind, split=split, seed=seed, size=SIZES[kind], body_dir=paths.SYNTHETIC)
    with tqdm(total=count, desc=f"{split} images", unit="image", leave=False, disable=None) as bar:
        return write_images(recipe, count, folder, workers=workers, progress=bar.update)


def repeated_set(yaml: Path, rows: Sequence[int], target: Path) -> Path:
    """Writes a set at `target` that reads `rows` of the synthetic set `yaml`, in this order, some of them often."""
    target.parent.mkdir(parents=True, exist_ok=True)
    linelist = target.with_suffix(".linelist.tsv")
    write_linelist(linelist, list(rows))
    names: dict[str, Any] = {table: str(yaml.with_name(f"{yaml.stem}.{table}.tsv").resolve()) for table in TABLES}
    return write_yaml(target, linelist=linelist.name, **names, body_model=TSVSet(yaml).body_model)


def held_out_people(yaml: Path, count: int, folder: Path) -> list[Person]:
    """The first `count` people of a synthetic set, their images written into `folder` as they are."""
    rows = TSVSet(yaml)
    folder.mkdir(parents=True, exist_ok=True)
    people = []
    for index in range(min(count, len(rows))):
        label = person_of(rows.columns("label", index), rows.place("label", index))
        path = folder / f"{index:03d}.jpg"
        write_whole(path, image_bytes(rows.columns("img", index), rows.place("img", index)))
        (x, y), side = label["center"], label["scale"] * PIXELS_PER_SCALE / BOX_MARGIN
        seen = label["camera"]
        people.append(
            Person(
                image=path,
                box=(x - side / 2, y - side / 2, side, side),
                pose=torch.tensor([label["pose"]], dtype=torch.float32),
                betas=torch.tensor([label["betas"]], dtype=torch.float32),
                camera=PinholeCamera(seen["focal_length"], (seen["principal_point"][0], seen["principal_point"][1])),
                translation=np.array(seen["translation"]),
            )
        )
    return people
