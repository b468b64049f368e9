"""Draws the synthetic body and hand into docs/images: python scripts/make_figure_sheets.py [--out DIR]."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from manopth.files import load_body_arrays
from manopth.lbs import SkinnedModel, linear_blend_skinning
from manopth.rotations import axis_angle_to_matrix
from tore.geometry.camera import PinholeCamera
from tore.paths import CAPSULE_BODY_FILES, CAPSULE_HAND_FILES
from tore.synthetic.body_files import capsule_body_dir
from tore.visualize.drawing import contact_sheet
from tore.visualize.renderer import render

CELL = 240
ROOT = Path(__file__).resolve().parents[1]
Angles = dict[int, tuple[float, float, float]]

DOWN: Angles = {16: (0, 0, -75), 17: (0, 0, 75)}
SITTING: Angles = DOWN | {1: (-90, 0, 12), 2: (-90, 0, -12), 4: (90, 0, 0), 5: (90, 0, 0)}
WALKING: Angles = DOWN | {1: (-35, 0, 0), 2: (20, 0, 0), 4: (15, 0, 0), 5: (35, 0, 0), 18: (0, -35, 0), 19: (0, 35, 0)}
# caption, axis-angles of joints in degrees, shape numbers, turn about y in degrees, width shown in meters
BODY: list[tuple[str, Angles, dict[int, float], float, float]] = [
    ("front", {}, {}, 0, 1.9),
    ("side", {}, {}, 90, 1.9),
    ("back", {}, {}, 180, 1.9),
    ("arms down", DOWN, {}, 25, 1.9),
    ("arms up", {16: (0, 0, 75), 17: (0, 0, -75)}, {}, 25, 2.3),
    ("elbows 120", {18: (0, -120, 0), 19: (0, 120, 0)}, {}, 15, 1.9),
    ("knees 100", DOWN | {1: (-90, 0, 0), 4: (100, 0, 0), 5: (100, 0, 0)}, {}, 70, 1.9),
    ("sitting", SITTING, {}, 50, 1.9),
    ("walking", WALKING, {}, 60, 1.9),
    ("bowing", DOWN | {3: (30, 10, 0), 6: (25, 10, 0), 9: (20, 0, 0)}, {}, 60, 1.9),
    ("short, light", DOWN, {0: -2.0, 1: -1.5}, 0, 1.9),
    ("tall, heavy", DOWN, {0: 2.0, 1: 2.0, 7: 1.0}, 0, 1.9),
]
# caption, curl of index, middle, little, ring finger and thumb in mean hands, turn about x and y, shape numbers
HAND: list[tuple[str, tuple[float, ...], tuple[float, float], dict[int, float]]] = [
    ("back of the hand", (0, 0, 0, 0, 0), (90, 0), {}),
    ("palm", (0, 0, 0, 0, 0), (-90, 0), {}),
    ("mean hand", (1, 1, 1, 1, 1), (30, -30), {}),
    ("fist", (3.3, 3.3, 3.3, 3.3, 3.2), (30, -30), {}),
    ("fist, from below", (3.3, 3.3, 3.3, 3.3, 3.2), (-80, 0), {}),
    ("pinch", (2.0, 0.5, 0.5, 0.5, 2.2), (20, -30), {}),
    ("pointing", (0, 3.3, 3.3, 3.3, 2.5), (35, -20), {}),
    ("long fingers", (0, 0, 0, 0, 0), (90, 0), {2: 3.0}),
]


def draw(vertices: np.ndarray, faces: np.ndarray, tilt: float, turn: float, width: float) -> np.ndarray:
    """(CELL, CELL, 3) image of a mesh (y up, +z to the viewer), turned about y, then tilted about x, in degrees."""
    turns = torch.tensor([[0.0, turn, 0.0], [tilt, 0.0, 0.0]]).deg2rad()
    about_y, about_x = axis_angle_to_matrix(turns).numpy()
    seen = vertices @ about_y.T @ about_x.T * [1, -1, -1]
    seen = seen - (seen.min(0) + seen.max(0)) / 2 + [0, 0, 8 * width]
    camera = PinholeCamera(8 * CELL, (CELL / 2, CELL / 2))
    paper = np.full((CELL, CELL, 3), 246, np.uint8)
    return render(seen, faces, camera, (CELL, CELL), background=paper, colors=(0.80, 0.66, 0.58)).color


def skin(model: SkinnedModel, pose: np.ndarray, shape: dict[int, float]) -> np.ndarray:
    """(V, 3) vertices of axis-angles (K, 3) in radians and the shape numbers given."""
    betas = torch.zeros(1, 10)
    for number, value in shape.items():
        betas[0, number] = value
    rotations = axis_angle_to_matrix(torch.tensor(pose, dtype=torch.float32))[None]
    return linear_blend_skinning(rotations, betas, model)[0][0].numpy()


def main() -> None:
    """Writes synthetic_body_model.jpg and synthetic_hand_model.jpg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    arrays = load_body_arrays(capsule_body_dir() / CAPSULE_BODY_FILES.model)
    model, images = SkinnedModel(arrays), []
    for _, angles, shape, turn, width in BODY:
        pose = np.zeros((24, 3))
        for joint, degrees in angles.items():
            pose[joint] = np.radians(degrees)
        images.append(draw(skin(model, pose, shape), arrays["f"], 8, turn, width))
    sheet = contact_sheet(images, [row[0] for row in BODY], columns=4, cell=CELL)
    Image.fromarray(sheet).save(out / "synthetic_body_model.jpg", quality=88)

    arrays = load_body_arrays(capsule_body_dir() / CAPSULE_HAND_FILES.model)
    model, mean, images = SkinnedModel(arrays), arrays["hands_mean"].reshape(5, 3, 3), []
    for _, curl, (tilt, turn), shape in HAND:
        fingers = mean * np.array(curl)[:, None, None]
        pose = np.concatenate([np.zeros((1, 3)), fingers.reshape(15, 3)])
        images.append(draw(skin(model, pose, shape), arrays["f"], tilt, turn, 0.25))
    sheet = contact_sheet(images, [row[0] for row in HAND], columns=4, cell=CELL)
    Image.fromarray(sheet).save(out / "synthetic_hand_model.jpg", quality=88)


if __name__ == "__main__":
    main()
