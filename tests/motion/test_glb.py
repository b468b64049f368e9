"""Skinned, animated GLB files say what the body model says, by a reader of our own and by Khronos' validator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.motion.conftest import RATE, Case, case_of
from tests.motion.node import validated
from tests.motion.readers import Glb
from tore.files import OutputError
from tore.motion import rig_of, save_glb
from tore.synthetic.free_body import texture

NEAR = 1e-5  # meters; float32 places a body of two meters at a distance of some to a millionth


def test_joints_stand_where_the_body_model_puts_them_at_exact_times(case: Case, tmp_path: Path) -> None:
    glb = Glb(save_glb(tmp_path / "walk.glb", [rig_of(case.motion, case.body)]))
    joints = case.said()[1]
    assert np.array_equal(glb.times, (np.arange(len(joints)) / RATE).astype(np.float32))
    for frame, expected in enumerate(joints):
        assert np.abs(np.stack(list(glb.joints(frame).values())) - expected).max() < NEAR


def test_the_skin_is_the_body_models_without_pose_correctives(synthetic_body_dir: Path, tmp_path: Path) -> None:
    for kind in ("body", "hand"):
        case = case_of(kind, synthetic_body_dir)
        glb = Glb(save_glb(tmp_path / f"{kind}.glb", [rig_of(case.motion, case.body)]))
        attributes, expected = glb.attributes(), case.said()[0]
        assert np.abs(np.linalg.norm(attributes["NORMAL"], axis=1) - 1).max() < 1e-6
        assert np.abs(attributes["WEIGHTS_0"].sum(1, dtype=float) - 1).max() < 1e-6
        for frame in (0, 7):
            corners, faces = glb.vertices(frame)[attributes["indices"]], case.arrays["f"]
            away = np.linalg.norm(corners - expected[frame][faces], axis=2)
            few = ((case.arrays["weights"] > 0).sum(1) <= 4)[faces]
            assert few.mean() > 0.8 and away[few].max() < NEAR
            assert away.mean() < 1e-4  # vertices of more than four joints lose the smallest shares


def test_texture_places_are_those_of_the_body(synthetic_body_dir: Path, tmp_path: Path) -> None:
    case, layout = case_of("body", synthetic_body_dir), texture("body")
    attributes = Glb(save_glb(tmp_path / "a.glb", [rig_of(case.motion, case.body)])).attributes()
    expected = layout.places[layout.faces]
    found = attributes["TEXCOORD_0"][attributes["indices"]]
    assert np.abs(found - np.stack([expected[..., 0], 1 - expected[..., 1]], -1)).max() < 1e-6


def test_a_left_hand_is_the_mirror_image_of_the_right_one(synthetic_body_dir: Path, tmp_path: Path) -> None:
    case = case_of("hand", synthetic_body_dir)
    mirror, turn = np.array([-1.0, 1.0, 1.0]), np.tile([1.0, -1.0, -1.0], 16)
    motion = replace(case.motion, pose=case.motion.pose * turn, translation=case.motion.translation * mirror, left=True)
    right = Glb(save_glb(tmp_path / "right.glb", [rig_of(case.motion, case.body)]))
    left = Glb(save_glb(tmp_path / "left.glb", [rig_of(motion, case.body)]))
    assert right.nodes != left.nodes
    for frame in (0, 5):
        ours, theirs = (glb.vertices(frame)[glb.attributes()["indices"]] for glb in (left, right))
        assert np.abs(ours[:, ::-1] - theirs * mirror).max() < NEAR


def test_several_people_are_one_scene(synthetic_body_dir: Path, tmp_path: Path) -> None:
    case = case_of("body", synthetic_body_dir)
    rig = rig_of(case.motion, case.body)
    apart = np.array([1.0, 0.0, 0.5])
    glb = Glb(save_glb(tmp_path / "two.glb", [rig, replace(rig.moved(apart), name="other")], [(1, 0, 0), (0, 0, 1)]))
    first, second = glb.joints(3, 0), glb.joints(3, 1)
    assert all(np.allclose(second[name] - first[name], apart, atol=1e-6) for name in first)
    assert len(glb.document["scenes"][0]["nodes"]) == 4
    colors = [entry["pbrMetallicRoughness"]["baseColorFactor"] for entry in glb.document["materials"]]
    assert colors == [[1, 0, 0, 1], [0, 0, 1, 1]]


def test_quaternions_go_the_short_way_between_frames(synthetic_body_dir: Path, tmp_path: Path) -> None:
    case = case_of("body", synthetic_body_dir)
    glb = Glb(save_glb(tmp_path / "a.glb", [rig_of(case.motion, case.body)]))
    (animation,) = glb.document["animations"]
    for channel in animation["channels"]:
        if channel["target"]["path"] == "rotation":
            numbers = glb.array(animation["samplers"][channel["sampler"]]["output"])
            assert ((numbers[1:] * numbers[:-1]).sum(1) > 0).all()


def test_the_files_pass_khronos_validator(case: Case, tmp_path: Path) -> None:
    rig = rig_of(case.motion, case.body)
    single = replace(rig.part(slice(1)), name="still")
    for name, rigs in (("one.glb", [rig]), ("two.glb", [rig, single])):
        issues = validated(save_glb(tmp_path / name, rigs))
        assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"][:5]


def test_what_cannot_be_written_is_told(synthetic_body_dir: Path, tmp_path: Path) -> None:
    case = case_of("hand", synthetic_body_dir)
    rig = rig_of(case.motion, case.body)
    with pytest.raises(ValueError, match=r"walk\.fbx: skinned animations are written as \.glb"):
        save_glb(tmp_path / "walk.fbx", [rig])
    with pytest.raises(ValueError, match="needs one body at least"):
        save_glb(tmp_path / "walk.glb", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_glb(tmp_path / "file" / "walk.glb", [rig])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
