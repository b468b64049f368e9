"""Refinement: derivatives against differences, sums of few points against whole meshes, and what stays as predicted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests import rules
from tore.body.body_model import SMPL, load_body
from tore.body.gauss_newton import BodyState
from tore.cli import infer
from tore.image_format import ImageFormat
from tore.inference.predictor import MeshRecovery
from tore.inference.refinement import (
    FEWEST,
    STAYED,
    SURE,
    Nearness,
    Refiner,
    Rotations,
    anchors,
    coco_rows,
    crop_keypoints,
)
from tore.modeling.heads import MeshPrediction
from tore.modeling.movenet import decode_keypoints, load_movenet
from tore.synthetic.joint_limits import beyond_limits, mirrored
from tore_runtime.crop import Crop, rotation_2d
from tore_runtime.result import save_result

CAMERA = torch.tensor([[0.9, 0.05, -0.1]])


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    body = load_body("body", "synthetic")
    assert isinstance(body, SMPL)
    return Refiner(body)


def drawn(refiner: Refiner, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses (count, 72) of the prior, upright before the camera, and betas (count, 10)."""
    rng = np.random.default_rng(seed)
    poses = np.stack([refiner.prior.draw(rng).pose for _ in range(count)])
    poses[:, 0] = [np.pi, 0, 0]
    return torch.tensor(poses).float().flatten(1), torch.tensor(rng.standard_normal((count, 10))).float()


def seen(refiner: Refiner, vertices: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Keypoints (B, 17, 3) where the camera sees those of the meshes, all certain."""
    points = torch.from_numpy(coco_rows(refiner.body)[0]).float() @ vertices
    flat = camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])
    return torch.cat([flat, torch.full_like(flat[..., :1], 0.9)], -1)


def disturbed(refiner: Refiner, poses: torch.Tensor, radians: float = 0.25) -> torch.Tensor:
    """The poses with hips, knees, shoulders and elbows turned."""
    noise = torch.randn(len(poses), 24, 3, generator=torch.Generator().manual_seed(1)) * radians
    noise[:, [0, 3, 6, 9, 7, 8, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23]] = 0
    return poses + noise.flatten(1)


def test_few_points_give_the_keypoints_of_whole_meshes(refiner: Refiner) -> None:
    poses, betas = drawn(refiner, 4)
    state = BodyState.start(refiner.body.rotations(poses), betas, torch.zeros(4, 3))
    found = refiner.kinematics.pose(state).points(refiner.points) @ refiner.sums
    expected = torch.from_numpy(coco_rows(refiner.body)[0]).float() @ refiner.body(poses, betas)
    assert refiner.sums.shape[0] < 100 and (found.mT - expected).norm(dim=-1).max() < 5e-4


def test_derivatives_are_those_of_differences(refiner: Refiner) -> None:
    poses, betas = drawn(refiner, 3)
    rotations = refiner.body.rotations(poses)
    state = BodyState.start(rotations, betas, torch.randn(3, 3) * 0.1, torch.full((3, 1), 0.1))
    elsewhere = BodyState.start(refiner.body.rotations(poses + 0.3), betas + 1, torch.zeros(3, 3), torch.zeros(3, 1))
    target, weight = torch.randn(3, 17, 2) * 0.3, torch.rand(3, 17) * 20
    flipped = refiner.body.rotations(
        torch.tensor(mirrored(poses.unflatten(1, (24, 3)).double().numpy())).flatten(1).float()
    )
    blocks = [
        Nearness(refiner.points, refiner.sums, CAMERA.expand(3, -1), target, weight),
        *anchors(elsewhere, refiner.turns),
        Rotations(elsewhere.rotations, torch.rand(3, 24)),
        refiner.prior.nearest(rotations).weighted(0.5),
        refiner.prior.nearest(flipped).weighted(0.5),
    ]
    kinematics, step = refiner.kinematics, 3e-3
    for block in blocks:
        posed = kinematics.pose(state)
        slopes = block.jacobian(posed)  # (B, P, M)
        for unknown in (0, 5, 13, 40, 55, 71, 72, 80, 82, 83, 84, 85):
            moved = torch.zeros(3, 86)
            moved[:, unknown] = step
            up, down = (block.residual(kinematics.pose(kinematics.moved(posed, sign * moved))) for sign in (1, -1))
            difference = (up - down) / (2 * step)
            assert (difference - slopes[:, unknown]).abs().max() < 2e-3 * slopes.abs().max(), (block, unknown)


def test_half_the_squares_of_the_prior_are_its_energy(refiner: Refiner) -> None:
    """Near a component, the mixture's energy moves as the residuals' squares do; mirrored poses alike."""
    prior = refiner.prior
    rows = [3, 40, 200]
    centers = torch.tensor(prior.mixture.mean[rows])
    for poses in (centers, torch.tensor(mirrored(centers.numpy()))):
        rotations = refiner.body.rotations(poses.float().flatten(1))
        term = prior.nearest(rotations)
        state = BodyState.start(rotations, torch.zeros(3, 10), torch.zeros(3, 3))
        at_center = term.residual(refiner.kinematics.pose(state)).square().sum(1) / 2
        assert at_center.max() < 1e-3
        away = poses.clone()
        away[:, 4] += 0.3
        state = BodyState.start(refiner.body.rotations(away.float().flatten(1)), torch.zeros(3, 10), torch.zeros(3, 3))
        half = term.residual(refiner.kinematics.pose(state)).square().sum(1) / 2
        risen = prior.energy(away.double()) - prior.energy(poses.double())
        assert torch.allclose(half.double(), risen, rtol=0.35, atol=0.5), (half, risen)


def test_people_move_to_their_keypoints_and_toward_the_truth(refiner: Refiner) -> None:
    poses, betas = drawn(refiner, 12)
    body, camera = refiner.body, CAMERA.expand(12, -1)
    truth = body(poses, betas)
    given = body(disturbed(refiner, poses), betas)
    wrong = camera * torch.tensor([1.06, 1, 1]) + torch.tensor([0, 0.03, -0.03])
    keypoints = seen(refiner, truth, camera)
    keypoints[:, 16] = torch.tensor([0.9, 0.9, 0.5])  # a wrong one: far off in most of them
    found = refiner(given, wrong, keypoints)
    apart = [
        (seen(refiner, mesh, view) - keypoints)[:, :16, :2].norm(dim=-1).mean(1)
        for mesh, view in ((given, wrong), (found.vertices, found.camera))
    ]
    assert found.moved.all() and (apart[1] < apart[0]).all() and apart[1].mean() < 0.35 * apart[0].mean()
    errors = [
        (body.regress_joints(mesh) - body.root(mesh) - body.regress_joints(truth) + body.root(truth))
        .norm(dim=-1)
        .mean()
        for mesh in (given, found.vertices)
    ]
    assert errors[1] < 0.8 * errors[0]
    rebuilt = body(found.pose, found.betas) + found.translation[:, None]
    assert torch.allclose(rebuilt, found.vertices, atol=1e-4)
    assert torch.allclose(body.root(found.vertices), body.root(given), atol=1e-5)
    beyond = [
        np.degrees(beyond_limits(pose.unflatten(1, (24, 3)).double().numpy()))
        for pose in (disturbed(refiner, poses), found.pose)
    ]
    assert (beyond[1] < beyond[0] + 8).all()  # what the prediction kept within the limits stays there, nearly
    assert set(found.notes) == {"moved to 17 keypoints"}


def test_exact_keypoints_leave_a_likely_person_where_it_is(refiner: Refiner) -> None:
    poses, betas = drawn(refiner, 4)
    mesh = refiner.body(poses, betas)
    keypoints = seen(refiner, mesh, CAMERA.expand(4, -1))
    keypoints[..., :2] += 0.002 * torch.randn(4, 17, 2, generator=torch.Generator().manual_seed(0))
    found = refiner(mesh, CAMERA.expand(4, -1), keypoints)
    assert (found.vertices - mesh).norm(dim=-1).mean() < 0.02 and (found.camera - CAMERA).abs().max() < 0.03


def test_with_few_keypoints_or_no_body_people_stay_as_predicted(refiner: Refiner) -> None:
    poses, betas = drawn(refiner, 3)
    mesh = refiner.body(disturbed(refiner, poses), betas)
    keypoints = seen(refiner, refiner.body(poses, betas), CAMERA.expand(3, -1))
    keypoints[0, FEWEST - 1 :, 2] = SURE / 2
    keypoints[0, 0, :2] = torch.nan
    mesh = torch.cat([mesh, torch.full_like(mesh[:1], torch.nan), mesh[2:] * 1000])
    keypoints = torch.cat([keypoints, keypoints[2:], keypoints[2:]])
    mesh[1] += 0.2 * torch.randn(mesh[1].shape, generator=torch.Generator().manual_seed(0))
    found = refiner(mesh, CAMERA.expand(5, -1), keypoints)
    assert torch.equal(found.vertices[:2], mesh[:2]) and torch.equal(found.camera[:2], CAMERA.expand(2, -1))
    assert found.notes[0] == f"{STAYED}: {FEWEST - 2} of 17 keypoints are certain, and {FEWEST} are needed"
    assert found.notes[1].startswith(f"{STAYED}: the mesh lies ") and found.notes[1].endswith("any body of the model")
    assert found.moved.tolist() == [False, False, True, False, False] and not torch.equal(found.vertices[2], mesh[2])
    assert found.vertices[3].isnan().all() and torch.equal(found.vertices[4], mesh[4])
    assert found.notes[3] == found.notes[4] == f"{STAYED}: the mesh lies far beside any body of the model"


def test_nobody_is_moved_away_from_the_keypoints(refiner: Refiner) -> None:
    """Keypoints that already lie where the mesh has them leave nothing to gain, whatever the pose is."""
    poses, betas = drawn(refiner, 2)
    mesh = refiner.body(disturbed(refiner, poses, 0.8), betas)
    mesh += 0.02 * torch.randn(mesh.shape, generator=torch.Generator().manual_seed(0))  # no body of the model
    found = refiner(mesh, CAMERA.expand(2, -1), seen(refiner, mesh, CAMERA.expand(2, -1)))
    assert torch.equal(found.vertices, mesh) and torch.equal(found.camera, CAMERA.expand(2, -1))
    assert found.notes == [f"{STAYED}: no body of the model lies nearer to the 17 keypoints"] * 2


@pytest.mark.parametrize("angle", [0.0, 90.0, 37.0])
def test_rotated_crops_give_the_rotated_person(refiner: Refiner, angle: float) -> None:
    poses, betas = drawn(refiner, 1)
    given, truth = refiner.body(disturbed(refiner, poses), betas), refiner.body(poses, betas)
    keypoints = seen(refiner, truth, CAMERA)
    shares = torch.cat([(keypoints[..., :2] + 1) / 2, keypoints[..., 2:]], -1)
    turn = torch.eye(3)
    turn[:2, :2] = torch.from_numpy(rotation_2d(angle)).float()
    camera = torch.cat([CAMERA[:, :1], CAMERA[:, 1:] @ turn[:2, :2].mT], 1)
    joints = refiner.body.regress_joints(given)
    plain, _ = refiner.of_crops(MeshPrediction(CAMERA, joints, given, None, given, None), shares, [0.0])
    turned = MeshPrediction(camera, joints @ turn.mT, given, None, given @ turn.mT, None)
    found, notes = refiner.of_crops(turned, shares, [angle])
    assert notes == ["moved to 17 keypoints"]
    assert torch.allclose(found.vertices, plain.vertices @ turn.mT, atol=8e-3)  # the steps end before they converge
    assert torch.allclose(found.camera[:, 0], plain.camera[:, 0], atol=2e-3)
    assert found.rotations is not None and found.betas is not None
    mesh = refiner.body(found.rotations, found.betas)
    assert torch.allclose(mesh - refiner.body.root(mesh), found.vertices - refiner.body.root(found.vertices), atol=1e-4)


def test_keypoints_of_crops_are_movenets_in_the_surer_look(refiner: Refiner) -> None:
    photo = torch.from_numpy(rules.photo(3, 256, 256)).permute(2, 0, 1)[None].float()
    network, middle = load_movenet("thunder"), slice(26, 230)
    with torch.no_grad():
        whole = decode_keypoints(network(photo))
        inner = F.interpolate(photo[..., middle, middle], (256, 256), mode="bilinear", antialias=True)
        inner = decode_keypoints(network(inner))
        inner[..., :2] = (26 + 204 * inner[..., :2]) / 256
        expected = max(whole, inner, key=lambda look: float(look[0, 5:, 2].mean()))
        for shown in (ImageFormat(256, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ImageFormat(256)):
            mean, deviation = (torch.tensor(values)[:, None, None] for values in (shown.mean, shown.std))
            found = crop_keypoints((photo / 255 - mean) / deviation, shown)
            assert torch.allclose(found, expected, atol=1e-3)


def test_predictions_say_what_became_of_them(recovery: MeshRecovery, tmp_path: Path) -> None:
    photo, crop = rules.photo(3, 300, 420), Crop((210, 140), 180)
    (plain,) = recovery.predict(photo, [crop])
    (refined,) = recovery.predict(photo, [crop], refine=True)
    assert plain.refinement == "" and plain.parameters is None
    assert refined.refinement.startswith(STAYED)  # noise shows nobody, and a random network gives no body
    assert np.array_equal(refined.vertices, plain.vertices) and np.array_equal(refined.camera, plain.camera)
    assert np.array_equal(refined.translation, plain.translation)
    assert refined.parameters is not None and refined.parameters.pose.shape == (72,)
    held = json.loads(save_result(tmp_path / "a.json", refined).read_text())
    assert held["refinement"] == refined.refinement and "smpl_pose" in held


def test_the_command_says_who_was_not_refined(
    small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    Image.fromarray(rules.photo(1, 64, 64)).save(tmp_path / "a.png")
    given = [str(tmp_path / "a.png"), "--checkpoint", str(small_checkpoint), "--detector", "none", "--refine"]
    assert infer.main([*given, "--device", "cpu", "--save_results", "json"]) == 0
    assert "1 of 1 people were not refined but are as predicted: " in capsys.readouterr().err


def test_hands_are_not_refined() -> None:
    recovery = MeshRecovery.from_pretrained(body="hand", device="cpu")
    with pytest.raises(ValueError, match=r"only people are refined, .* leave refine \(--refine\) out for hands"):
        recovery.predict(rules.photo(1, 64, 64), refine=True)
