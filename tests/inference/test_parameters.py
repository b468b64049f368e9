"""Parameters fitted to recovered meshes give the meshes of people and of both hands back, and say what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from manopth.lbs import SkinnedModel, linear_blend_skinning
from manopth.rotations import axis_angle_to_matrix
from tests import rules
from tests.inference.conftest import KnownNetwork
from tore.body import MANO, load_body
from tore.body.joints import MANO_NAMES, SMPL_NAMES
from tore.inference.parameters import REFINED, fitted, parameter_schema, regressed
from tore.inference.predictor import MeshRecovery
from tore.modeling.heads import MeshPrediction
from tore_runtime.outputs import PoseFile
from tore_runtime.result import as_plain, save_result

CAMERA = np.array([[0.9, 0.1, 0.0]])


@pytest.fixture(scope="module")
def hand(synthetic_body_dir: Path) -> MANO:
    body = load_body("hand", synthetic_body_dir)
    assert isinstance(body, MANO)
    return body


def posed(numbers: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, numbers, generator=random) * 0.3, torch.randn(2, 10, generator=random)


def left_hand(body: MANO, pose: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """(V, 3) of the left hand's model: everything of the right one's file mirrored, the mean hand too."""
    arrays = body.skinned
    mirrored = SkinnedModel.__new__(SkinnedModel)
    mirrored.__dict__.update(arrays.__dict__)
    joints = arrays.num_joints
    flip = torch.tensor([-1.0, 1.0, 1.0])
    turn = torch.tensor([1.0, -1.0, -1.0])
    basis = arrays.basis * flip[:, None]
    # A pose direction belongs to one number of a rotation, which changes its sign with the axes that it is between.
    basis[1 + arrays.num_betas :] *= (flip[:, None] * flip).flatten().repeat(joints - 1)[:, None, None]
    mirrored.basis = basis
    mean = torch.cat([torch.zeros(3), body.layer.th_hands_mean[0]]).unflatten(0, (joints, 3)) * turn
    rotations = axis_angle_to_matrix(torch.from_numpy(pose).unflatten(0, (joints, 3)) + mean)
    return linear_blend_skinning(rotations[None], torch.from_numpy(betas)[None], mirrored)[0][0].numpy()


def test_fitted_people_stand_where_their_meshes_stand(standing) -> None:
    vertices, body = standing
    recovery = MeshRecovery(KnownNetwork(CAMERA, vertices), body)
    (person,) = recovery.predict(rules.photo(1, 200, 200), fit=True)
    known = person.parameters
    assert known is not None and known.source == "fit" and known.residual_mm < 1
    again = body(torch.from_numpy(known.pose)[None], torch.from_numpy(known.betas)[None])[0].numpy()
    away = np.linalg.norm(again + known.translation - person.vertices - person.translation, axis=1).mean() * 1000
    assert away == pytest.approx(known.residual_mm, abs=0.05)


def test_left_hands_have_the_left_models_parameters(hand: MANO) -> None:
    pose, betas = posed(48)
    right = hand(pose, betas)
    flip = np.array([-1.0, 1.0, 1.0], np.float32)
    meshes = torch.stack([right[0], right[1] * torch.from_numpy(flip)])
    one, other = fitted(hand, meshes, np.zeros((2, 3)), [False, True])
    assert one is not None and other is not None
    again = hand(torch.from_numpy(one.pose)[None], torch.from_numpy(one.betas)[None])[0].numpy() + one.translation
    assert np.linalg.norm(again - meshes[0].numpy(), axis=1).mean() < 1e-3
    again = left_hand(hand, other.pose, other.betas) + other.translation
    assert np.linalg.norm(again - meshes[1].numpy(), axis=1).mean() < 1e-3
    for known in (one, other):
        assert known.pca is not None
        fingers = known.pca @ hand.layer.th_comps.numpy()
        turn = 1 if known is one else np.tile([1, -1, -1], 15)
        np.testing.assert_allclose(known.pose[3:], fingers * turn, atol=1e-5)


def test_numbers_that_are_not_finite_stop_nobody_else(hand: MANO) -> None:
    meshes = hand(*posed(48))
    meshes[0, 5] = torch.nan
    none, one = fitted(hand, meshes, np.zeros((2, 3)), [False, False])
    assert none is None and one is not None and one.finite
    rotations, betas = hand.rotations(torch.zeros(2, 48)), torch.zeros(2, 10)
    prediction = MeshPrediction(
        camera=torch.zeros(2, 3),
        joints=torch.zeros(2, 21, 3),
        vertices_coarse=torch.zeros(2, 195, 3),
        vertices_mid=None,
        vertices=meshes,
        heatmap=None,
        rotations=rotations,
        betas=betas,
    )
    none, one = regressed(hand, prediction, meshes, np.zeros((2, 3)), [REFINED, REFINED])
    assert none is None and one is not None and one.finite


@pytest.mark.parametrize("kind", ["body", "hand"])
def test_files_name_units_frame_and_joints(kind: str, tmp_path: Path, synthetic_body_dir: Path) -> None:
    body = load_body(kind, synthetic_body_dir)
    numbers, prefix, names = {"body": (72, "smpl", SMPL_NAMES), "hand": (48, "mano", MANO_NAMES)}[kind]
    pose, betas = posed(numbers)
    with torch.no_grad():
        mesh = body(pose, betas)[0].numpy()
    network = KnownNetwork(CAMERA, mesh, body.num_joints)
    (person,) = MeshRecovery(network, body).predict(rules.photo(1, 200, 200), fit=True, left=kind == "hand")
    plain = as_plain(person)
    assert plain[f"{prefix}_source"] == "fit" and plain[f"{prefix}_residual_mm"] >= 0
    with np.load(save_result(tmp_path / "one.npz", person)) as held:
        units, words = json.loads(str(held["units"])), parameter_schema(kind)
        assert all(units[name] == text for name, text in words.items())
        assert set(words) <= set(held.files)
        assert tuple(held[f"{prefix}_joint_names"]) == names
        assert json.loads(str(held["body_model"]))["name"] == body.identity.name
    save_result(tmp_path / "one.json", person)
    file = PoseFile(tmp_path / "poses.npz", ["a.png", "b.png"])
    file.add("b.png", [person])
    file.write()
    with np.load(tmp_path / "poses.npz") as held:
        assert held["poses"].shape == (2, numbers) and held["valid"].tolist() == [False, True]
        assert set(json.loads(str(held["schema"]))) >= set(held.files) - {"gender", "frame", "picture", "schema"}
        assert ("side" in held) == (kind == "hand")
        if kind == "hand":
            assert held["side"][1] == "left" and np.allclose(held["pca"][1], person.parameters.pca)
