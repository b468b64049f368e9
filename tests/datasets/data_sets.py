"""Small TSV data sets for the tests: rule-made photos and labels."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tests import rules
from tore.datasets.sets import write_yaml
from tore.datasets.tsv import TSVWriter

BODY_SOURCES = ((1, 480, 640), (2, 300, 300), (3, 700, 500))
HAND_SOURCES = ((21, 224, 224), (22, 256, 320))


def encode(image: np.ndarray, suffix: str = ".png", flags: Sequence[int] = ()) -> bytes:
    """RGB image (or grey, or with alpha) as the bytes of a file."""
    if image.ndim == 3:
        image = np.concatenate([image[:, :, 2::-1], image[:, :, 3:]], 2)
    return cv2.imencode(suffix, image, list(flags))[1].tobytes()


def image_row(key: str, data: bytes) -> list[str]:
    return [key, base64.b64encode(data).decode()]


def write_set(
    folder: Path,
    sources: Sequence[tuple[int, int, int]] = BODY_SOURCES,
    labels: Sequence[list[dict]] | None = None,
    suffix: str = ".png",
) -> Path:
    """A set of `rules.photo` and `rules.label` (or the labels given); returns its yaml file."""
    names = {table: f"set.{table}.tsv" for table in ("img", "hw", "label")}
    with (
        TSVWriter(folder / names["img"]) as img,
        TSVWriter(folder / names["hw"]) as hw,
        TSVWriter(folder / names["label"]) as label,
    ):
        for item, (seed, h, w) in enumerate(sources):
            key = f"pictures/{item}.png"
            person = rules.label(seed, h, w) if labels is None else labels[item]
            img.write(image_row(key, encode(rules.photo(seed, h, w), suffix)))
            hw.write([key, json.dumps([{"height": h, "width": w}])])
            label.write([key, json.dumps(person)])
    return write_yaml(folder / "set.yaml", names["img"], names["label"], names["hw"])


def consistent_person(seed: int, height: int, width: int) -> dict:
    """A label whose 2D joints are its 3D joints seen by a weak-perspective camera, all inside the image."""
    r = np.random.RandomState(seed)
    joints = r.uniform(-1, 1, (24, 3)) * [0.4, 0.8, 0.2]
    pixels = joints[:, :2] * 0.5 * height + [width / 2, height / 2]
    ones = np.ones((24, 1))
    return {
        "center": [width / 2, height / 2],
        "scale": height / 200,
        "2d_joints": np.hstack([pixels, ones]).round(3).tolist(),
        "3d_joints": np.hstack([joints, ones]).round(5).tolist(),
        "has_2d_joints": 1,
        "has_3d_joints": 1,
        "has_smpl": 1,
        "pose": (r.standard_normal(72) * 0.3).round(4).tolist(),
        "betas": r.standard_normal(10).round(4).tolist(),
    }
