"""Animation files in Blender, and the FBX file that it makes of one: as docs/ANIMATION.md says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.motion.conftest import case_of
from tore.motion import rig_of, save_bvh, save_glb

VARIABLE = "TORE_BLENDER"  # the Blender program, or a Python that has its package bpy
SCRIPT = Path(__file__).with_name("blender_script.py")
RATE = 30


def command() -> list[str]:
    """How Blender runs a script; skips the test where there is none."""
    program = os.environ.get(VARIABLE) or shutil.which("blender")
    if program is None:
        pytest.skip(f"no Blender here; ${VARIABLE} names the program, or a Python with the package bpy")
    inside = Path(program).name.startswith("blender")
    return (
        [program, "--background", "--factory-startup", "--python", str(SCRIPT), "--"]
        if inside
        else [program, str(SCRIPT)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["body", "hand"])
def test_blender_sees_the_body_models_joints(kind: str, synthetic_body_dir: Path, tmp_path: Path) -> None:
    run, case = command(), case_of(kind, synthetic_body_dir)
    rig = rig_of(replace(case.motion, frame_rate=float(RATE)), case.body)
    save_glb(tmp_path / "a.glb", [rig])
    save_bvh(tmp_path / "a.bvh", rig)
    joints = case.said()[1]
    done = subprocess.run(
        [*run, str(tmp_path), str(RATE), str(len(joints))], capture_output=True, text=True, timeout=300
    )
    assert (tmp_path / "found.json").is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    for name, frames in json.loads((tmp_path / "found.json").read_text()).items():
        for expected, found in zip(joints, frames, strict=True):
            places = np.array([found[joint] for joint in rig.joint_names])
            assert np.abs(places[:, [0, 2, 1]] * (1, 1, -1) - expected).max() < 1e-4, name
