"""SMPL and MANO: the reference values, the common interface, and what a missing or wrong file says."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from manopth.files import load_body_arrays
from manopth.rotations import axis_angle_to_matrix
from tests import rules
from tests.body import naive
from tests.conftest import assert_agrees, object_array, reference
from tore.body import MANO, SMPL, load_body, load_topology
from tore.body.joints import H36M_TO_J14
from tore.paths import MANO_FILES, SMPL_FILES, SMPL_GENDERED, SYNTHETIC_BODY_FILES


@pytest.fixture(scope="module")
def smpl(rule_body_dir: Path) -> SMPL:
    return load_body("body", rule_body_dir)


@pytest.fixture(scope="module")
def mano(rule_body_dir: Path) -> MANO:
    return load_body("hand", rule_body_dir)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smpl_reference_values(rule_body_dir: Path, dtype: torch.dtype) -> None:
    smpl, values, given = load_body("body", rule_body_dir).to(dtype), reference("smpl_body"), rules.annotations(21, 5)
    pose, betas = (torch.from_numpy(given[name]).to(dtype) for name in ("pose", "betas"))
    vertices = smpl(pose, betas)
    assert vertices.dtype == dtype
    middle, coarse = smpl.levels.downsample(vertices)
    rest = smpl(torch.zeros_like(pose[:1]), torch.zeros_like(betas[:1]))
    actual = {
        "vertices_every_13": vertices[:, ::13],
        "rest_every_13": rest[:, ::13],
        "joints24": smpl.joints24(vertices),
        "joints_h36m17": smpl.joints_h36m(vertices),
        "down1_every_7": middle[:, ::7],
        "down2": coarse,
    }
    assert actual.keys() == values.keys()
    for name, tensor in actual.items():
        assert_agrees(tensor, values[name], 1e-5)


def test_mano_reference_values(mano: MANO) -> None:
    values = reference("mano_hand")
    pose, betas = (torch.from_numpy(values[name]) for name in ("pose", "betas"))
    vertices, joints = mano.layer_joints(pose, betas)
    assert_agrees(1000 * vertices[:, ::3], values["axisang_vertices_mm_every_3"], 1e-5)
    assert_agrees(1000 * joints, values["axisang_joints_mm"], 1e-5)
    assert_agrees(1000 * mano.regress_joints(vertices), values["regressed_joints21_mm"], 1e-5)
    torch.testing.assert_close(mano.root(vertices), mano.regress_joints(vertices)[:, :1])


def test_smpl_against_the_loop_and_batch_against_singles(rule_body_dir: Path) -> None:
    smpl = load_body("body", rule_body_dir).double()
    r = np.random.RandomState(0)
    pose, betas = torch.from_numpy(r.standard_normal((4, 72))), torch.from_numpy(r.standard_normal((4, 10)))
    pose[0] = 0
    vertices, joints = smpl.skin(pose, betas)
    rotations = torch.stack([naive.rotation_of(pose[:, 3 * j : 3 * j + 3]) for j in range(24)], 1)
    expected = naive.skin(rotations, betas, load_body_arrays(rule_body_dir / SMPL_FILES.model))
    torch.testing.assert_close(vertices, expected[0], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(joints, expected[1], rtol=1e-11, atol=1e-11)
    for row in range(4):
        torch.testing.assert_close(smpl(pose[[row]], betas[[row]])[0], vertices[row], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(smpl(rotations, betas), vertices, rtol=1e-11, atol=1e-11)


def test_body_interface(smpl: SMPL) -> None:
    given = rules.annotations(22, 3)
    pose, betas = torch.from_numpy(given["pose"]), torch.from_numpy(given["betas"])
    vertices = smpl(pose, betas)
    assert (smpl.kind, smpl.num_joints, smpl.faces.shape) == ("body", 14, (13776, 3))
    assert smpl.faces.dtype == torch.long
    h36m = smpl.joints_h36m(vertices)
    torch.testing.assert_close(smpl.regress_joints(vertices), h36m[:, list(H36M_TO_J14)])
    torch.testing.assert_close(smpl.root(vertices), h36m[:, :1])
    targets = smpl.targets(pose, betas)
    assert targets.joints is None
    assert [level.shape[1] for level in targets.vertices] == [431, 1723, 6890]
    torch.testing.assert_close(targets.vertices[2], vertices - h36m[:, :1])
    torch.testing.assert_close(targets.vertices[0], smpl.levels.downsample(vertices)[1] - h36m[:, :1])
    assert not smpl.state_dict()


def test_hand_interface(mano: MANO) -> None:
    values = reference("mano_hand")
    pose, betas = torch.from_numpy(values["pose"]), torch.from_numpy(values["betas"])
    assert (mano.kind, mano.num_joints, mano.faces.shape) == ("hand", 21, (1538, 3))
    targets = mano.targets(pose, betas)
    assert [level.shape[1] for level in targets.vertices] == [195, 778]
    joints = torch.from_numpy(values["axisang_joints_mm"]) / 1000
    assert_agrees(targets.joints, (joints - joints[:, :1]).numpy(), 2e-5)
    vertices = mano(pose, betas)
    torch.testing.assert_close(targets.vertices[1], vertices - joints[:, :1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        targets.vertices[0], mano.levels.downsample(vertices)[0] - joints[:, :1], atol=1e-5, rtol=0
    )
    with_mean = pose.clone()
    with_mean[:, 3:] += mano.layer.th_hands_mean
    matrices = axis_angle_to_matrix(with_mean.unflatten(1, (16, 3)))
    torch.testing.assert_close(mano(matrices, betas), vertices, rtol=1e-5, atol=1e-6)
    assert not mano.state_dict()


def test_pose_gradients_are_finite_at_rest(smpl: SMPL) -> None:
    pose, betas = torch.zeros(2, 72, requires_grad=True), torch.zeros(2, 10, requires_grad=True)
    smpl.joints24(smpl(pose, betas)).square().sum().backward()
    assert torch.isfinite(pose.grad).all()
    assert (betas.grad != 0).all()
    with pytest.raises(ValueError, match=r"pose has shape \(2, 69\), not \(B, 72\)"):
        smpl(torch.zeros(2, 69), betas)


def test_one_graph_when_compiled(smpl: SMPL) -> None:
    compiled = torch.compile(smpl, fullgraph=True, backend="aot_eager")
    pose, betas = torch.randn(2, 72, requires_grad=True), torch.randn(2, 10)
    torch.testing.assert_close(compiled(pose, betas), smpl(pose, betas), rtol=1e-4, atol=1e-5)


def test_buffers_follow(rule_body_dir: Path) -> None:
    """On the meta device every tensor must come from the inputs and the buffers."""
    for kind, numbers in (("body", 72), ("hand", 48)):
        body = load_body(kind, rule_body_dir).to("meta")
        pose, betas = torch.empty(2, numbers, device="meta"), torch.empty(2, 10, device="meta")
        targets = body.targets(pose, betas)
        assert {level.device.type for level in targets.vertices} == {"meta"}
        assert body.regress_joints(body(pose, betas)).shape == (2, body.num_joints, 3)


def test_gendered_models(tmp_path: Path, rule_body_dir: Path) -> None:
    shutil.copytree(rule_body_dir, tmp_path, dirs_exist_ok=True)
    with pytest.raises(FileNotFoundError, match=r"get basicModel_f_lbs\S+\.pkl from SMPL's site, https://smpl\.is"):
        load_body("body", tmp_path, gender="female")
    (tmp_path / SMPL_GENDERED["female"]).write_bytes(pickle.dumps(rules.smpl_model(seed=70)))
    pose, betas = torch.zeros(1, 72), torch.zeros(1, 10)
    female = load_body("body", tmp_path, gender="female")(pose, betas)
    assert (female - load_body("body", tmp_path)(pose, betas)).abs().max() > 0.1
    with pytest.raises(ValueError, match="gender 'x' of a body model is not known; choose from neutral, female, male"):
        load_body("body", tmp_path, gender="x")
    with pytest.raises(ValueError, match="gender 'male' of a hand"):
        load_body("hand", tmp_path, gender="male")
    with pytest.raises(ValueError, match="body kind 'foot' is not known"):
        load_body("foot", tmp_path)


@pytest.mark.parametrize("kind", ["body", "hand"])
def test_topology(rule_body_dir: Path, kind: str) -> None:
    topology = load_topology(kind, rule_body_dir)
    expected = rules.adjacency() if kind == "body" else rules.adjacency(195, 13)
    np.testing.assert_array_equal(topology.adjacency, expected)
    assert topology.num_joints == (14 if kind == "body" else 21)
    assert topology.levels.sizes[0] == len(expected)
    assert topology.template_joints is None


def test_template_joints_of_the_body(rule_body_dir: Path) -> None:
    joints = load_topology("body", rule_body_dir, template=True).template_joints
    smpl = load_body("body", rule_body_dir).double()
    pose, betas = torch.zeros(1, 72).double(), torch.zeros(1, 10).double()
    pose[0, 0] = 3.1416
    h36m = smpl.joints_h36m(smpl(pose, betas))[0]
    torch.testing.assert_close(joints, (h36m - h36m[0])[list(H36M_TO_J14)], rtol=0, atol=1e-12)
    upright = smpl.joints_h36m(smpl(torch.zeros_like(pose), betas))[0]
    half_turn = (upright - upright[0])[list(H36M_TO_J14)] * torch.tensor([1.0, -1.0, -1.0])
    assert 1e-8 < (joints - half_turn).abs().max() < 1e-4


def test_template_vertices(rule_body_dir: Path) -> None:
    body = load_topology("body", rule_body_dir, template=True)
    smpl = load_body("body", rule_body_dir).double()
    pose = torch.tensor([[3.1416] + [0.0] * 71], dtype=torch.float64)
    mesh = smpl(pose, torch.zeros(1, 10).double())[0].numpy()
    first, second = rules.mesh_levels()["D"]
    expected = second @ (first @ mesh) - smpl.joints_h36m(torch.from_numpy(mesh))[0].numpy()
    np.testing.assert_allclose(body.template_vertices, expected, rtol=0, atol=1e-12)
    hand = load_topology("hand", rule_body_dir, template=True)
    zeros = torch.zeros(1, 48).double(), torch.zeros(1, 10).double()
    mesh, joints = (part[0] for part in load_body("hand", rule_body_dir).double().layer_joints(*zeros))
    expected = rules.hand_mesh_levels()["D"][0] @ mesh.numpy() - joints[0].numpy()
    np.testing.assert_allclose(hand.template_vertices, expected, rtol=0, atol=1e-12)


def test_template_joints_of_the_hand(rule_body_dir: Path) -> None:
    joints = load_topology("hand", rule_body_dir, template=True).template_joints
    arrays = load_body_arrays(rule_body_dir / MANO_FILES.model)
    zeros = torch.zeros(1, 48).double(), torch.zeros(1, 10).double()
    expected = naive.mano_layer(*zeros, arrays, arrays["hands_mean"])[1][0] / 1000
    torch.testing.assert_close(joints, expected - expected[0], rtol=0, atol=1e-12)
    assert joints.dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "site"),
    [
        (SMPL_FILES.model, r"SMPLify's site, https://smplify\.is\.tue\.mpg\.de"),
        (SMPL_FILES.mesh_levels, r"FastMETRO's repository, https://github\.com/postech-ami/FastMETRO"),
        ("smpl_431_adjmat_values.pt", "FastMETRO's repository"),
        (SMPL_FILES.regressor_h36m, "FastMETRO's repository"),
    ],
)
def test_a_missing_file_is_named_with_its_site_and_place(
    tmp_path: Path, rule_body_dir: Path, name: str, site: str
) -> None:
    shutil.copytree(rule_body_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"missing: get {name} from {site}.* put it into {tmp_path}"):
        (load_topology if "adjmat" in name else load_body)("body", tmp_path)


def test_files_of_a_made_body_are_read_like_the_official_ones(tmp_path: Path, rule_body_dir: Path) -> None:
    for part in ("model", "mesh_levels", "regressor_extra", "regressor_h36m"):
        shutil.copy(rule_body_dir / getattr(SMPL_FILES, part), tmp_path / getattr(SYNTHETIC_BODY_FILES, part))
    pose, betas = torch.zeros(1, 72), torch.zeros(1, 10)
    torch.testing.assert_close(load_body("body", tmp_path)(pose, betas), load_body("body", rule_body_dir)(pose, betas))
    with pytest.raises(FileNotFoundError, match="tore synth body"):
        load_topology("body", tmp_path)


def write_levels(path: Path, **levels: list) -> None:
    np.savez(path, **{name: object_array(matrices) for name, matrices in levels.items()})


WRONG_FILES = {  # change -> the sentence it must give
    "levels of a hand": r"mesh_downsampling\.npz does not hold 2 up- and down-sampling matrices",
    "levels turned round": r"mesh_downsampling\.npz: mesh levels do not fit together",
    "levels without D": r"mesh_downsampling\.npz lacks D",
    "regressor of 16 rows": r"J_regressor_h36m_correct\.npy has shape \(16, 6890\), not \(17, 6890\)",
    "a hand as body": r"has 16 joints, not SMPL's 24",
    "adjacency of a hand": r"names a vertex outside 0\.\.194",
    "adjacency cut": r"holds indices \(2, \d+\) for values \(5,\), not \(2, N\) for \(N,\)",
    "adjacency not square": r"no square matrix's size",
}


@pytest.mark.parametrize("change", WRONG_FILES)
def test_wrong_files_are_named(tmp_path: Path, rule_body_dir: Path, change: str) -> None:
    shutil.copytree(rule_body_dir, tmp_path, dirs_exist_ok=True)
    levels, body = rules.mesh_levels(), tmp_path / SMPL_FILES.mesh_levels
    if change == "levels of a hand":
        shutil.copy(tmp_path / MANO_FILES.mesh_levels, body)
    elif change == "levels turned round":
        write_levels(body, U=levels["U"][::-1], D=levels["D"][::-1])
    elif change == "levels without D":
        write_levels(body, U=levels["U"])
    elif change == "regressor of 16 rows":
        np.save(tmp_path / str(SMPL_FILES.regressor_h36m), np.zeros((16, 6890)))
    elif change == "a hand as body":
        shutil.copy(tmp_path / MANO_FILES.model, tmp_path / SMPL_FILES.model)
    elif change == "adjacency of a hand":
        shutil.copy(tmp_path / "mano_195_adjmat_size.pt", tmp_path / "smpl_431_adjmat_size.pt")
    elif change == "adjacency cut":
        torch.save(torch.ones(5), tmp_path / "smpl_431_adjmat_values.pt")
    else:
        torch.save(torch.Size((431, 195)), tmp_path / "smpl_431_adjmat_size.pt")
    with pytest.raises(ValueError, match=WRONG_FILES[change]) as error:
        (load_topology if "adjacency" in change else load_body)("body", tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_models_and_levels_of_different_meshes(tmp_path: Path, rule_body_dir: Path) -> None:
    shutil.copytree(rule_body_dir, tmp_path, dirs_exist_ok=True)
    for part in ("indices", "values", "size"):
        shutil.copy(tmp_path / f"mano_195_adjmat_{part}.pt", tmp_path / f"smpl_431_adjmat_{part}.pt")
    with pytest.raises(ValueError, match="adjacency has 195 vertices and its coarsest mesh 431"):
        load_topology("body", tmp_path)
    levels = rules.mesh_levels()
    write_levels(tmp_path / MANO_FILES.mesh_levels, U=levels["U"], D=levels["D"])
    with pytest.raises(ValueError, match="has 778 vertices, not the 6890 of the mesh levels"):
        load_body("hand", tmp_path)
