"""Animation files in three.js, the reader of most web pages: joints, skin, times, and what they look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.motion.conftest import RATE, case_of
from tests.motion.node import read_by_three
from tests.motion.readers import Glb
from tore.motion import rig_of, save_bvh, save_glb

JOINT_ERROR = 1e-4  # meters


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["body", "hand"])
def test_three_sees_the_body_models_joints(kind: str, synthetic_body_dir: Path, tmp_path: Path) -> None:
    case = case_of(kind, synthetic_body_dir)
    rig = rig_of(case.motion, case.body)
    glb, joints = Glb(save_glb(tmp_path / "a.glb", [rig])), case.said()[1]
    save_bvh(tmp_path / "a.bvh", rig)
    times = np.arange(len(joints)) / RATE
    rows = list(range(0, len(glb.attributes()["POSITION"]), 97))
    size = 1.5 if kind == "body" else 0.15
    found, image = read_by_three(tmp_path, "a.glb", "a.bvh", times, vertices=rows, drawn=times[::4], distance=size)
    assert np.array_equal(np.float32(found["glb"]["times"]), times.astype(np.float32))
    assert np.abs(np.array(found["bvh"]["times"]) - times).max() < 1e-7
    for frame, expected in enumerate(joints):
        for name, unit in (("glb", 1.0), ("bvh", 0.01)):
            places = found[name]["frames"][frame]["joints"]
            away = np.stack([places[joint] for joint in rig.joint_names]) * unit - expected
            assert np.linalg.norm(away, axis=1).max() < JOINT_ERROR
        vertices = np.array(found["glb"]["frames"][frame]["vertices"])
        assert np.linalg.norm(vertices - glb.vertices(frame)[rows], axis=1).max() < JOINT_ERROR
    for part in np.split(image, len(times[::4]), axis=1):
        covered = (np.abs(part.astype(int) - part[0, 0]).sum(2) > 30).mean()
        assert 0.03 < covered < 0.6  # a figure on an empty ground
