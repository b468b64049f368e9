"""The official ManoLayer's results, and every one of its arguments against plain arithmetic."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from manopth.files import load_body_arrays
from manopth.lbs import SkinnedModel, linear_blend_skinning, tree_levels
from manopth.manolayer import ManoLayer
from manopth.rotations import axis_angle_to_matrix, rotation_6d_to_matrix
from tests import rules
from tests.body import naive
from tests.conftest import assert_agrees, reference

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def values() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in reference("mano_hand").items()}


@pytest.fixture(scope="module")
def hand_arrays(rule_body_dir: Path) -> dict[str, np.ndarray]:
    return load_body_arrays(rule_body_dir / "MANO_RIGHT.pkl")


def check(layer_result: tuple, values: dict[str, torch.Tensor], name: str) -> None:
    vertices, joints = layer_result
    assert_agrees(vertices[:, ::3], values[f"{name}_vertices_mm_every_3"].numpy(), 1e-5)
    assert_agrees(joints, values[f"{name}_joints_mm"].numpy(), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_official_values(rule_body_dir: Path, values: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    v = {name: tensor.to(dtype) for name, tensor in values.items()}

    def layer(**arguments: object) -> ManoLayer:
        return ManoLayer(mano_root=str(rule_body_dir), **arguments).to(dtype)

    check(layer(use_pca=False, flat_hand_mean=False)(v["pose"], v["betas"]), v, "axisang")
    check(layer()(v["pose_pca"], v["betas"], v["trans"]), v, "pca6_trans")
    check(layer(center_idx=9)(v["pose_pca"]), v, "pca6_center9_nobetas")
    matrices = axis_angle_to_matrix(v["pose"].unflatten(1, (16, 3)))
    result = layer(use_pca=False, joint_rot_mode="rotmat")(matrices, v["betas"])
    check(result, v, "rotmat")
    assert result[0].dtype == dtype


def test_naive_layer(rule_body_dir: Path, hand_arrays: dict[str, np.ndarray]) -> None:
    r = np.random.RandomState(0)
    pose, betas = torch.from_numpy(r.standard_normal((3, 48))), torch.from_numpy(r.standard_normal((3, 10)))
    layer = ManoLayer(mano_root=rule_body_dir, use_pca=False, flat_hand_mean=False).double()
    expected = naive.mano_layer(pose, betas, hand_arrays, hand_arrays["hands_mean"])
    for actual, wanted in zip(layer(pose, betas), expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-11, atol=1e-8)


@pytest.mark.parametrize("robust", [False, True])
def test_root_of_six_numbers(rule_body_dir: Path, values: dict[str, torch.Tensor], robust: bool) -> None:
    six = torch.from_numpy(np.random.RandomState(1).standard_normal((4, 6)))
    pose, betas = values["pose"].double(), values["betas"].double()
    layer = ManoLayer(mano_root=rule_body_dir, use_pca=False, root_rot_mode="rot6d", robust_rot=robust).double()
    rotations = axis_angle_to_matrix(pose.unflatten(1, (16, 3)))
    rotations[:, 0] = rotation_6d_to_matrix(six, robust)
    as_matrices = ManoLayer(mano_root=rule_body_dir, use_pca=False, joint_rot_mode="rotmat").double()
    actual = layer(torch.cat([six, pose[:, 3:]], 1), betas)
    for ours, expected in zip(actual, as_matrices(rotations, betas), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-8)


def test_call_arguments(rule_body_dir: Path, values: dict[str, torch.Tensor]) -> None:
    pose, betas, trans = (values[name].double() for name in ("pose_pca", "betas", "trans"))
    layer = ManoLayer(mano_root=rule_body_dir, center_idx=4).double()
    plain = ManoLayer(mano_root=rule_body_dir).double()
    vertices, joints = plain(pose, betas)
    close = torch.testing.assert_close

    close(layer(pose, betas)[1], joints - joints[:, 4:5])
    close(layer(pose, betas)[0], vertices - joints[:, 4:5])
    close(layer(pose, betas, torch.zeros(1))[1], joints - joints[:, 4:5])
    close(layer(pose, betas, trans)[1], joints + 1000 * trans[:, None])
    shared = plain(pose, betas, share_betas=torch.Tensor([1]))[0]
    close(shared, plain(pose, betas.mean(0).expand_as(betas))[0])
    close(plain(pose, torch.zeros(1))[0], plain(pose, torch.zeros_like(betas))[0])
    palm = plain(pose, betas, root_palm=torch.Tensor([1]))[1]
    close(palm[:, 0], (vertices[:, 95] + vertices[:, 22]) / 2)
    close(palm[:, 1:], joints[:, 1:])
    assert layer.th_selected_comps.shape == (6, 45)


def test_file_betas_are_the_default_shape(tmp_path: Path, rule_body_dir: Path) -> None:
    betas = np.random.RandomState(3).standard_normal(10)
    path = tmp_path / "hand.pkl"
    path.write_bytes(pickle.dumps(rules.mano_model() | {"betas": betas}))
    pose = torch.zeros(2, 9)
    expected = ManoLayer(mano_root=rule_body_dir)(pose, torch.from_numpy(betas).float().expand(2, -1))[0]
    torch.testing.assert_close(ManoLayer(mano_root=path)(pose)[0], expected)


def test_left_hand(tmp_path: Path, rule_body_dir: Path, hand_arrays: dict[str, np.ndarray]) -> None:
    (tmp_path / "MANO_LEFT.pkl").write_bytes((rule_body_dir / "MANO_RIGHT.pkl").read_bytes())
    pose = torch.from_numpy(np.random.RandomState(4).standard_normal((2, 9))).float()
    right, left = ManoLayer(mano_root=rule_body_dir)(pose), ManoLayer(mano_root=tmp_path, side="left")(pose)
    torch.testing.assert_close(left[0], right[0])
    torch.testing.assert_close(left[1][:, 12], left[0][:, 445])
    torch.testing.assert_close(right[1][:, 12], right[0][:, 444])
    np.savez(tmp_path / "hand.npz", **hand_arrays)
    torch.testing.assert_close(ManoLayer(mano_root=tmp_path / "hand.npz")(pose)[0], right[0])


def test_official_buffer_names(rule_body_dir: Path, hand_arrays: dict[str, np.ndarray]) -> None:
    layer = ManoLayer(mano_root=rule_body_dir, flat_hand_mean=False)
    for name in ("shapedirs", "posedirs", "J_regressor", "weights"):
        np.testing.assert_array_equal(getattr(layer, f"th_{name}"), hand_arrays[name].astype(np.float32))
    np.testing.assert_array_equal(layer.th_v_template[0], hand_arrays["v_template"].astype(np.float32))
    np.testing.assert_array_equal(layer.th_faces, hand_arrays["f"])
    np.testing.assert_array_equal(layer.th_hands_mean[0], hand_arrays["hands_mean"].astype(np.float32))


def test_wrong_arguments_are_named(tmp_path: Path, rule_body_dir: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"MANO_LEFT\.pkl from MANO's site, https://mano\.is\.tue\.mpg\.de"):
        ManoLayer(mano_root=rule_body_dir, side="left")
    with pytest.raises(ValueError, match="side='both' is not known"):
        ManoLayer(mano_root=rule_body_dir, side="both")
    with pytest.raises(ValueError, match=r"pose has shape \(2, 5\), not \(B, 9\)"):
        ManoLayer(mano_root=rule_body_dir)(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"pose has shape \(2, 48\), not \(B, 16, 3, 3\)"):
        ManoLayer(mano_root=rule_body_dir, use_pca=False, joint_rot_mode="rotmat")(torch.zeros(2, 48))
    body = tmp_path / "body.pkl"
    body.write_bytes(pickle.dumps(rules.smpl_model()))
    with pytest.raises(ValueError, match="no hands_components of shape"):
        ManoLayer(mano_root=body)


def test_gradients_reach_every_input(rule_body_dir: Path) -> None:
    layer = ManoLayer(mano_root=rule_body_dir, use_pca=False, joint_rot_mode="rotmat").double()
    eye = torch.eye(3, dtype=DOUBLE).repeat(2, 16, 1, 1).requires_grad_()
    betas = torch.zeros(2, 10, dtype=DOUBLE, requires_grad=True)
    vertices, joints = layer(eye, betas)
    (vertices.square().sum() + joints.sum()).backward()
    assert torch.isfinite(eye.grad).all()
    assert (eye.grad.abs().sum((-1, -2)) > 0).all()
    assert (betas.grad.abs() > 0).all()


def test_levels_of_the_tree() -> None:
    assert tree_levels([-1, 0, 1, 0, 3, 1]) == [[0], [1, 3], [2, 4, 5]]
    assert len(tree_levels(list(rules.BODY_PARENTS))) == 9


@pytest.mark.parametrize("model", [rules.smpl_model, rules.mano_model])
def test_skinning_against_the_loop(model: object, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model()))
    arrays = load_body_arrays(path)
    skinned = SkinnedModel(arrays).double()
    r = np.random.RandomState(5)
    rotations = axis_angle_to_matrix(torch.from_numpy(r.standard_normal((3, skinned.num_joints, 3))))
    betas = torch.from_numpy(r.standard_normal((3, 10)))
    result = linear_blend_skinning(rotations, betas, skinned)
    for actual, expected in zip(result, naive.skin(rotations, betas, arrays), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)
    for row in range(3):
        single = linear_blend_skinning(rotations[row : row + 1], betas[row : row + 1], skinned)
        torch.testing.assert_close(single[0][0], result[0][row], rtol=1e-12, atol=1e-12)
