"""The demo's photograph and its held-out images: what inference writes of them, the report's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tore.demo.data import Person
from tore.detection import MoveNetDetector
from tore.inference.predictor import MeshRecovery
from tore.paths import example_photograph
from tore_runtime.drawing import mean_heatmap, view
from tore_runtime.images import read_image
from tore_runtime.outputs import Wanted, crop_overlay, draw_people
from tore_runtime.pipeline import Job, Run
from tore_runtime.result import Recovery

COLUMNS = ("input", "recovered", "kept tokens", "from the side", "truth", "truth, side")
SIDE = 90.0
MESHES, PHOTOGRAPH = "meshes.npz", "photograph.png"


def recover_photograph(recovery: MeshRecovery, folder: Path) -> dict[str, Any]:
    """Finds the people of the photograph that comes with the package, and writes meshes and overlay as `tore infer`.

    `folder` then also holds the meshes of all that were found. Returns `seconds` by stage, `people`, the number, and
    `written`, the names of the files.
    """
    detector = MoveNetDetector(device=recovery.device)
    wanted = Wanted(overlay=True, mesh="glb", results="json")
    folder.mkdir(parents=True, exist_ok=True)
    photograph = example_photograph()
    run = Run(recovery, wanted, overwrite=True, finder=partial(recovery.find, detector))
    (report,) = run([Job(photograph, folder / photograph.stem)])
    if report.error:
        raise ValueError(report.error)
    image = np.asarray(read_image(photograph))
    Image.fromarray(draw_people(image, report.people, recovery.faces)).save(folder / PHOTOGRAPH)
    vertices = [person.vertices for person in report.people]
    np.savez_compressed(
        folder / MESHES, faces=recovery.faces, recovered=np.array(vertices).reshape(len(vertices), -1, 3)
    )
    return {"seconds": run.seconds, "people": len(vertices), "written": [path.name for path in report.written]}


def recover_people(recovery: MeshRecovery, people: Sequence[Person], folder: Path) -> dict[str, Any]:
    """Runs inference into `folder/results` and draws the grid into `folder/grid`.

    Returns `seconds` of reading, network, drawing and writing; `people`, the number; `files`, the number written.
    Raises ValueError naming an image that could not be recovered.
    """
    wanted = Wanted(overlay=True, tokens=recovery.prunes_tokens, mesh="glb", results="json")
    jobs = [Job(one.image, folder / "results" / one.image.stem, [one.box]) for one in people]
    (folder / "results").mkdir(parents=True, exist_ok=True)
    run = Run(recovery, wanted, overwrite=True)
    files, found = 0, []
    for report in run(jobs):
        if report.error:
            raise ValueError(report.error)
        files += len(report.written)
        found += report.people
    truths = [true_person(recovery, one, person) for one, person in zip(found, people, strict=True)]
    for place, (one, truth) in enumerate(zip(found, truths, strict=True)):
        write_row(folder / "grid" / f"{place:03d}", row_of(one, truth, recovery.faces))
    np.savez_compressed(
        folder / MESHES,
        faces=recovery.faces,
        recovered=np.stack([person.vertices for person in found]),
        truth=np.stack([person.vertices for person in truths]),
    )
    return {"seconds": run.seconds, "people": len(found), "files": files}


@torch.inference_mode()
def true_person(recovery: MeshRecovery, found: Recovery, person: Person) -> Recovery:
    """The true mesh before its true camera, in the crop of the one that was found."""
    device = recovery.device
    vertices = recovery.body(person.pose.to(device), person.betas.to(device))[0].cpu().numpy()
    before = np.array([1.0, 0.0, 0.0])  # any scale above 0: it lies before the camera
    return replace(found, vertices=vertices, image_camera=person.camera, translation=person.translation, camera=before)


def row_of(found: Recovery, truth: Recovery, faces: np.ndarray) -> list[np.ndarray]:
    """One image for each of COLUMNS, (n, n, 3) uint8; a network that keeps every token has no heatmap to show."""
    crop = found.crop.pixels
    heatmap = crop if found.heatmap is None else mean_heatmap(crop, found.heatmap)
    sides = [view(one.vertices, faces, degrees=SIDE, size=len(crop)).color for one in (found, truth)]
    return [crop, crop_overlay(found, faces), heatmap, sides[0], crop_overlay(truth, faces), sides[1]]


def write_row(stem: Path, images: Sequence[np.ndarray]) -> None:
    """Keeps a row of the grid as files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for column, pixels in enumerate(images):
        Image.fromarray(pixels).save(f"{stem}_{column}.png")


def read_rows(folder: Path, count: int) -> list[list[np.ndarray]]:
    """The grid that `recover_people` drew."""
    names = [
        [folder / "grid" / f"{place:03d}_{column}.png" for column in range(len(COLUMNS))] for place in range(count)
    ]
    return [[np.asarray(Image.open(name)) for name in row] for row in names]
