"""Lies a true mesh, drawn by its true camera, on the person? Silhouettes in the whole image and in the crop.

    python -m benchmarks.silhouette [--images 50] [--sheet overlays.jpg]

A network that answers with the label's mesh and camera stands in for a trained one, so that all that comes after the
network is measured: box, crop camera, the whole image's camera, drawing. The true silhouette is that of the labeled
mesh without clothes, met by rays of the camera that took the image. Both are counted in covered pixel centers; the
crop's true one is the image's, shrunk. Exit code 1 where one image overlaps less than 97%.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from tests.inference.conftest import KnownNetwork
from tore.geometry.camera import crop_camera
from tore.inference.predictor import MeshRecovery
from tore.synthetic.free_body import synthetic_body_dir
from tore.synthetic.look import open_look
from tore.synthetic.photo_effects import photographed
from tore.synthetic.rendering import World
from tore.synthetic.scenes import Drawn, PeopleStudio
from tore.synthetic.surfaces import Surface, plain_texture
from tore_runtime.crop import BOX_MARGIN
from tore_runtime.crops import crop_of_box, cut_crop
from tore_runtime.drawing import contact_sheet
from tore_runtime.outputs import crop_overlay, draw_people
from tore_runtime.renderer import render
from tore_runtime.result import Recovery

LIMIT = 0.97
SHOWN = 6


class Overlap(NamedTuple):
    """Intersection over union of true and drawn silhouette."""

    whole: float
    crop: float


def silhouette(studio: PeopleStudio, drawn: Drawn) -> np.ndarray:
    """(size, size) bool: the pixels whose rays meet the labeled mesh."""
    skin, faces = drawn.people[0].skin, studio.figure.faces
    nothing = np.zeros((1, 2)), np.zeros_like(faces), plain_texture((0, 0, 0))
    directions = drawn.camera.all_directions(studio.size).reshape(-1, 3)
    origins = np.broadcast_to(drawn.camera.position.astype(np.float32), directions.shape)
    found = World([Surface("skin", skin, faces, *nothing)]).first(origins, directions)
    return (found["primID"] >= 0).reshape(studio.size, studio.size)


def recovered(studio: PeopleStudio, label: dict[str, Any], image: np.ndarray) -> Recovery:
    """The label's mesh and camera, through the predictor."""
    true, size = label["camera"], (studio.size, studio.size)
    with torch.no_grad():
        vertices = studio.figure.model(torch.tensor([label["pose"]]), torch.tensor([label["betas"]]))[0].numpy()
    side = 200 * label["scale"] / BOX_MARGIN
    box = (label["center"][0] - side / 2, label["center"][1] - side / 2, side, side)
    region = crop_of_box(box, size)
    values = (true["translation"], region.center, region.size, true["principal_point"], true["focal_length"])
    camera = crop_camera(*(torch.tensor([value], dtype=torch.float64) for value in values)).numpy()
    network = MeshRecovery(KnownNetwork(camera, vertices), studio.figure.model)
    return network.predict(image, box, focal_length=true["focal_length"])[0]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Of two masks."""
    return float((one & other).sum() / (one | other).sum())


def measure(mask: np.ndarray, person: Recovery, faces: np.ndarray) -> Overlap:
    """Silhouettes of the drawn mesh against the true one (size, size)."""
    whole = render(person.vertices + person.translation, faces, person.image_camera, mask.shape, samples=1).mask
    drawn = render(person.crop_vertices, faces, person.crop_view, person.crop.pixels.shape[:2], samples=1).mask
    planes = np.stack([mask, np.ones_like(mask), mask], 2).astype(np.uint8) * 255
    shrunk = cut_crop(planes, person.crop.region) > 127  # the person, and where the crop lies inside the image
    return Overlap(overlap(whole, mask), overlap(drawn & shrunk[:, :, 1], shrunk[:, :, 0]))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the overlaps and writes the sheet where one is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", "--pictures", type=int, default=50)
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--sheet", type=Path, help="write overlays to look at: whole images and crops")
    args = parser.parse_args(argv)
    studio = PeopleStudio(args.size, synthetic_body_dir(), open_look(None, None, "val"))
    found, cells, faces = [], [], studio.figure.faces
    for number in count():
        rng = np.random.default_rng([args.seed, number])
        drawn = studio.draw(rng)
        if drawn.camera.lens.principal_point != (args.size / 2, args.size / 2):
            continue  # cut out of a larger image, whose center an image alone does not tell
        mask = silhouette(studio, drawn)
        image = photographed(rng, drawn.rendering.radiance, mask)
        person = recovered(studio, studio.label(drawn), image)
        found.append(measure(mask, person, faces))
        if args.sheet and len(found) <= SHOWN:
            cells += [image, draw_people(image, [person], faces), crop_overlay(person, faces)]
        if len(found) == args.images:
            break
    if args.sheet:
        Image.fromarray(contact_sheet(cells, columns=6, cell=256)).save(args.sheet, quality=85)
    values = np.array(found)
    for name, column in zip(Overlap._fields, values.T, strict=True):
        print(f"{name:<6} silhouette IoU of {len(found)} images: mean {column.mean():.4f}, least {column.min():.4f}")
    return int(values.min() < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
