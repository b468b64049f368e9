"""Draws the synthetic body and hand, their poses, people and gestures, into docs/images.

python scripts/make_figure_sheets.py [--output_dir DIR]
"""

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
from tore.paths import SYNTHETIC_BODY_FILES, SYNTHETIC_HAND_FILES
from tore.synthetic.body_contact import EASY
from tore.synthetic.free_body import people_shapes, synthetic_body_dir
from tore.synthetic.hand_pose_prior import HandPosePrior
from tore.synthetic.pose_prior import PosePrior
from tore_runtime.drawing import contact_sheet
from tore_runtime.renderer import render

CELL, SMALL_CELL = 240, 150
POSES, SHAPES = 36, 12
SIDES = (20, 110)  # degrees that a body is turned by: front and side
HAND_SIDES = ((90, 0), (-90, 0), (20, -60))  # tilt and turn: back of the hand, palm, side
ROOT = Path(__file__).resolve().parents[1]


def draw(vertices: np.ndarray, faces: np.ndarray, tilt: float, turn: float, width: float) -> np.ndarray:
    """(CELL, CELL, 3) image of a mesh (y up, +z to the viewer), turned about y, then tilted about x, in degrees."""
    turns = torch.tensor([[0.0, turn, 0.0], [tilt, 0.0, 0.0]]).deg2rad()
    about_y, about_x = axis_angle_to_matrix(turns).numpy()
    seen = vertices @ about_y.T @ about_x.T * [1, -1, -1]
    seen = seen - (seen.min(0) + seen.max(0)) / 2 + [0, 0, 8 * width]
    camera = PinholeCamera(8 * CELL, (CELL / 2, CELL / 2))
    paper = np.full((CELL, CELL, 3), 246, np.uint8)
    return render(seen, faces, camera, (CELL, CELL), background=paper, colors=(0.80, 0.66, 0.58)).color


def skin(model: SkinnedModel, pose: np.ndarray, shape: np.ndarray | None = None) -> np.ndarray:
    """(V, 3) vertices of axis-angles (K, 3) in radians and shape numbers (10,)."""
    betas = torch.zeros(1, 10) if shape is None else torch.tensor(shape, dtype=torch.float32)[None]
    rotations = axis_angle_to_matrix(torch.tensor(pose, dtype=torch.float32))[None]
    return linear_blend_skinning(rotations, betas, model)[0][0].numpy()


def save(images: list[np.ndarray], captions: list[str], columns: int, path: Path, cell: int = CELL) -> None:
    """Writes a sheet."""
    Image.fromarray(contact_sheet(images, captions, columns=columns, cell=cell)).save(path, quality=88)


def draw_synthetic(out: Path) -> None:
    """synthetic_body_poses.jpg, synthetic_body_shapes.jpg, synthetic_hand_poses.jpg: drawn poses, people, gestures."""
    arrays = load_body_arrays(synthetic_body_dir() / SYNTHETIC_BODY_FILES.model)
    model, prior, rng = SkinnedModel(arrays), PosePrior.load(), np.random.default_rng(1)
    images, captions = [], []
    for _ in range(POSES):
        drawn = prior.draw(rng)
        mesh = skin(model, drawn.pose)
        width = max(1.5, 1.05 * np.ptp(mesh, axis=0).max())
        images += [draw(mesh, arrays["f"], 8, turn, width) for turn in SIDES]
        captions += [drawn.kind] * len(SIDES)
    save(images, captions, 9, out / "synthetic_body_poses.jpg", SMALL_CELL)
    shapes, ages = people_shapes()
    images, captions = [], []
    for row in np.linspace(0, len(shapes) - 1, SHAPES).astype(int):
        mesh = skin(model, EASY[1], shapes[row])
        images += [draw(mesh, arrays["f"], 0, turn, 1.95) for turn in SIDES]
        captions += [f"person {row}, age {ages[row]:.2f}"] * len(SIDES)
    save(images, captions, 8, out / "synthetic_body_shapes.jpg", SMALL_CELL)
    arrays = load_body_arrays(synthetic_body_dir() / SYNTHETIC_HAND_FILES.model)
    model, hands = SkinnedModel(arrays), HandPosePrior.load()
    images, captions = [], []
    for kind in hands.kinds:
        pose = np.concatenate([np.zeros((1, 3)), hands.draw(rng, kind).fingers])
        images += [draw(skin(model, pose), arrays["f"], tilt, turn, 0.24) for tilt, turn in HAND_SIDES]
        captions += [kind] * len(HAND_SIDES)
    save(images, captions, 9, out / "synthetic_hand_poses.jpg", SMALL_CELL)


def main() -> None:
    """Writes all sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", "--out", type=Path, default=ROOT / "docs" / "images")
    out = parser.parse_args().output_dir
    out.mkdir(parents=True, exist_ok=True)
    draw_synthetic(out)


if __name__ == "__main__":
    main()
