"""Tiny data sets in the formats of the official sources, for the converters' tests."""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from PIL import Image
from scipy.spatial.transform import Rotation

from tests import rules


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2's protocol 2 wrote its strings: one kind, latin1, no encoding named."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_python2_string(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        short = len(data) < 256
        self.write((b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data))) + data)
        self.memoize(value)

    dispatch[str] = save_python2_string
    dispatch[bytes] = save_python2_string


def python2_pickle(value) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def write_jpeg(path: Path, seed: int, height: int, width: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rules.photo(seed, height, width)).save(path, quality=70)
    return path.read_bytes()


# ---- GraphCMR / SPIN


def spin_arrays(count: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    r = RandomState(seed)
    part = np.concatenate([r.uniform(0, 60, (count, 24, 2)), r.randint(0, 2, (count, 24, 1))], 2)
    joints = np.concatenate([r.standard_normal((count, 24, 3)), r.randint(0, 2, (count, 24, 1))], 2)
    return {
        "imgname": np.array([f"S1/Images/walk.{i % 3:06d}.jpg" for i in range(count)]),
        "center": r.uniform(20, 40, (count, 2)),
        "scale": r.uniform(0.2, 0.4, count),
        "part": part,
        "S": joints,
        "pose": r.standard_normal((count, 72)).astype(np.float32),
        "shape": r.standard_normal((count, 10)).astype(np.float32),
        "has_smpl": np.array([1, 0] * count)[:count],
        "gender": np.array(["m", "f", "none"] * count)[:count],
        "openpose": r.standard_normal((count, 25, 3)),
    }


def write_spin(folder: Path, arrays: dict[str, np.ndarray] | None = None) -> Path:
    arrays = spin_arrays() if arrays is None else arrays
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(np.unique(arrays["imgname"].astype(str))):
        write_jpeg(folder / "images" / name, i, 48 + 8 * i, 64)
    path = folder / "h36m_train.npz"
    np.savez(path, **arrays)
    return path


# ---- 3DPW


def threedpw_sequence(seed: int, frames: int, genders: str, name: str = "downtown_walk_00") -> dict:
    """A record as a 3DPW sequence file holds it: people in a world frame whose y points up, a moving camera."""
    r, people = RandomState(seed), len(genders)
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    for frame in range(frames):
        turn = Rotation.from_euler(
            "xyz", [180 + r.uniform(-20, 20), r.uniform(-40, 40), r.uniform(-10, 10)], degrees=True
        )
        cameras[frame, :3, :3] = turn.as_matrix()
        cameras[frame, :3, 3] = [r.uniform(-0.3, 0.3), r.uniform(-0.3, 0.3), r.uniform(4, 6)]
    valid = [np.ones(frames, dtype=bool) for _ in range(people)]
    valid[0][1] = False
    return {
        "sequence": name,
        "betas": [r.standard_normal(12) * 0.5 for _ in range(people)],
        "poses": [r.standard_normal((frames, 72)) * 0.4 for _ in range(people)],
        "trans": [r.uniform(-0.5, 0.5, (frames, 3)) for _ in range(people)],
        "poses2d": [r.uniform(0, 60, (frames, 3, 18)) for _ in range(people)],
        "jointPositions": [r.standard_normal((frames, 72)) for _ in range(people)],
        "genders": list(genders),
        "campose_valid": valid,
        "cam_poses": cameras,
        "cam_intrinsics": np.array([[96.0, 0, 32], [0, 98.0, 40], [0, 0, 1]]),
        "img_frame_ids": np.arange(frames) * 2,
        "texture_maps": [],
    }


def write_threedpw(root: Path, split: str, records: list[dict]) -> None:
    folder = root / "sequenceFiles" / split
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        (folder / f"{record['sequence']}.pkl").write_bytes(python2_pickle(record))
        for frame in range(len(record["cam_poses"])):
            write_jpeg(root / "imageFiles" / record["sequence"] / f"image_{frame:05d}.jpg", frame, 80, 64)


# ---- FreiHAND


def posed_hands(body, hands: int) -> dict[str, np.ndarray]:
    """Labels of a body model's hands before the camera: joints, vertices and numbers of the model agree."""
    r = RandomState(5)
    mano = np.concatenate([r.standard_normal((hands, 58)) * 0.3, np.zeros((hands, 3))], 1)
    pose, betas = (torch.from_numpy(mano[:, part]).float() for part in (slice(0, 48), slice(48, 58)))
    vertices, joints = (points.numpy().astype(float) for points in body.layer_joints(pose, betas))
    away = np.array([0, 0, 0.7]) - joints[:, :1]
    return {"xyz": joints + away, "verts": vertices + away, "mano": mano}


def write_freihand(root: Path, hands: int = 3, evaluation_labels: bool = False, body=None) -> dict[str, np.ndarray]:
    """A folder as FreiHAND's site gives it; with a `body` model, whose hands are shown, also evaluation_verts.json."""
    r = RandomState(4)
    labels = {
        "K": np.tile([[480.0, 0, 112], [0, 470.0, 110], [0, 0, 1]], (hands, 1, 1)),
        "xyz": r.uniform(-0.08, 0.08, (hands, 21, 3)) + [0, 0, 0.7],
        "mano": r.standard_normal((hands, 61)),
        "scale": r.uniform(0.02, 0.04, hands),
    }
    labels |= posed_hands(body, hands) if body is not None else {}
    root.mkdir(parents=True, exist_ok=True)
    for split, images in (("training", 4 * hands), ("evaluation", hands)):
        for i in range(images):
            write_jpeg(root / split / "rgb" / f"{i:08d}.jpg", i, 224, 224)
        names = ("K", "scale", "xyz", "mano") if split == "training" else ("K", "scale")
        names += ("xyz",) if evaluation_labels and split == "evaluation" else ()
        names += ("verts",) if body is not None and split == "evaluation" else ()
        for name in names:
            values = labels[name][:, None] if name == "mano" else labels[name]  # mano rows are [[61 numbers]]
            (root / f"{split}_{name}.json").write_text(json.dumps(values.tolist()))
    return labels
