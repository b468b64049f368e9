"""Lies a true mesh, drawn by its true camera, on the person? Silhouettes in the whole image and in the crop.

    python -m benchmarks.silhouette [--images 50] [--sheet overlays.jpg]

A network that answers with the label's mesh and camera stands in for a trained one, so that all that comes after the
network is measured: box, crop camera, the whole image's camera, drawing. Both silhouettes are counted in covered
pixel centers; the crop's true one is the image's, shrunk. Exit code 1 where one image overlaps less than 97%.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image

from tests.inference.conftest import KnownNetwork
from tore.geometry.camera import crop_camera
from tore.geometry.crop import BOX_MARGIN
from tore.inference.crops import crop_of_box, cut_crop
from tore.inference.outputs import crop_overlay, draw_people
from tore.inference.predictor import MeshRecovery
from tore.inference.result import Recovery
from tore.synthetic.image import BATCH, Sample, Studio
from tore.synthetic.models import capsule_body_dir
from tore.visualize.drawing import contact_sheet
from tore.visualize.renderer import render

LIMIT = 0.97
SHOWN = 6


class Overlap(NamedTuple):
    """Intersection over union of true and drawn silhouette."""

    whole: float
    crop: float


def recovered(studio: Studio, sample: Sample, image: np.ndarray) -> Recovery:
    """The label's mesh and camera, through the predictor."""
    label, true, size = sample.label, sample.label["camera"], (studio.size, studio.size)
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


def measure(sample: Sample, person: Recovery, faces: np.ndarray) -> Overlap:
    """Silhouettes of the drawn mesh against the one that the image was made with."""
    whole = render(person.vertices + person.translation, faces, person.image_camera, sample.mask.shape, samples=1).mask
    drawn = render(person.crop_vertices, faces, person.crop_view, person.crop.pixels.shape[:2], samples=1).mask
    planes = np.stack([sample.mask, np.ones_like(sample.mask), sample.mask], 2).astype(np.uint8) * 255
    shrunk = cut_crop(planes, person.crop.region) > 127  # the person, and where the crop lies inside the image
    return Overlap(overlap(whole, sample.mask), overlap(drawn & shrunk[:, :, 1], shrunk[:, :, 0]))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the overlaps and writes the sheet where one is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", "--pictures", type=int, default=50)
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--sheet", type=Path, help="write overlays to look at: whole images and crops")
    args = parser.parse_args(argv)
    studio = Studio("body", args.size, capsule_body_dir())
    found, cells = [], []
    for index in range(args.images):
        if index % BATCH == 0:
            batch = studio.batch(args.seed, "val", index // BATCH, min(BATCH, args.images - index))
        sample = batch[index % BATCH]
        image = cv2.imdecode(np.frombuffer(sample.jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        person = recovered(studio, sample, image)
        found.append(measure(sample, person, studio.figure.faces))
        if args.sheet and index < SHOWN:
            faces = studio.figure.faces
            cells += [image, draw_people(image, [person], faces), crop_overlay(person, faces)]
    if args.sheet:
        Image.fromarray(contact_sheet(cells, columns=6, cell=256)).save(args.sheet, quality=85)
    values = np.array(found)
    for name, column in zip(Overlap._fields, values.T, strict=True):
        print(f"{name:<6} silhouette IoU of {len(found)} images: mean {column.mean():.4f}, least {column.min():.4f}")
    return int(values.min() < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
