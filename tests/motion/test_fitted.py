"""What `tore infer --fit` writes comes back as a body that stands where the network's mesh stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tore.inference.predictor import MeshRecovery
from tore.motion import Reading, read_motions, rig_of
from tore.paths import default_checkpoint, example_photograph
from tore_runtime.outputs import PoseFile
from tore_runtime.result import save_result

LEFT_OUT = {"body": 15.0, "hand": 5.0}  # millimeters on average, by skins without pose correctives


@pytest.mark.parametrize(("kind", "left"), [("body", False), ("hand", False), ("hand", True)])
def test_the_fitted_body_lies_on_the_mesh(kind: str, left: bool, tmp_path: Path) -> None:
    recovery = MeshRecovery.from_checkpoint(default_checkpoint(kind), device="cpu")
    (person,) = recovery.predict(example_photograph(), left=left, fit=True)
    assert person.parameters is not None and person.parameters.residual_mm is not None
    poses = PoseFile(tmp_path / "poses.npz", ["a.jpg"])
    poses.add("a.jpg", [person])
    poses.write()
    files = [tmp_path / "poses.npz", *(save_result(tmp_path / f"a.{kind}", person) for kind in ("npz", "json"))]
    mesh = (person.vertices + person.translation) * (1, -1, -1)
    joints = []
    for file in files:
        (motion,) = read_motions([file], Reading())
        assert motion.body == recovery.body.identity and motion.left == left and motion.axes == "camera"
        rig = rig_of(motion, recovery.body)
        away = 1000 * np.linalg.norm(rig.skinned()[0] - mesh, axis=1).mean()
        assert away < person.parameters.residual_mm + LEFT_OUT[kind]
        joints.append(rig.posed()[1])
    assert np.abs(np.diff(joints, axis=0)).max() < 1e-6
