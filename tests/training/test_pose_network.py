"""Training MoveNet with its network: what is trained, on which labels, and from where a run goes on."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch

import tore
from tests.training_runs import QUICK, data_flags, newest
from tore.body import load_body
from tore.body.joints import J14_NAMES
from tore.engine.distributed import Processes
from tore.engine.pose_network import NEAREST, PoseNetworkStep
from tore.engine.step import step_of
from tore.inference.refinement import coco_rows
from tore.losses.criterion import Targets
from tore.losses.recipes import FASTMETRO_BODY
from tore.modeling.movenet import KEYPOINT_NAMES, LIMBS
from tore.tools import run_tore_fm_bodymesh

SMALL = {"widths": (64, 32), "hidden": (64, 64), "heads": 4}
RUN = [
    *QUICK[2:],
    "--num_workers",
    "0",
    "--val_yaml",
    "none",
    "--per_gpu_train_batch_size",
    "4",
    "--logging_steps",
    "1",
]
MAPS = ["--keypoint_maps_loss_weight", "100"]
TRAINED = ["--freeze_backbone", "false", *MAPS, "--pose_network_lr", "0.001", "--pose_network_from", "14"]


@pytest.fixture(scope="module")
def start(rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network on the MoveNet that ships."""
    torch.manual_seed(0)
    model = tore.create_model(
        "fastmetro_tore_xs_movenet_thunder", body_dir=rule_body_dir, backbone_weights="shipped", **SMALL
    )
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    tore.save_model(model, path)
    return path


def test_movenet_is_trained_from_a_block_on(
    tiny_sets: Path, rule_body_dir: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that goes on from its first epoch ends as it did: it keeps the maps of the start."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    weights = []
    for folder in (whole, parts):
        flags = [*data_flags(tiny_sets, rule_body_dir, folder), *RUN, *TRAINED, "--checkpoint", str(start)]
        more = ["--num_train_epochs", "2", "--resume", "auto"]
        assert run_tore_fm_bodymesh.main([*flags, *more]) == 0, capsys.readouterr().err
        weights.append(tore.load_model(newest(folder), rule_body_dir, "cpu").state_dict())
        if folder == whole:
            shutil.copytree(whole, parts)
            shutil.rmtree(newest(parts))
    assert "resumed at epoch 2" in (parts / "log.txt").read_text()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    before, after = tore.load_model(start, rule_body_dir, "cpu").state_dict(), weights[0]
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    network = "backbone.trunk.network."
    assert {f"{network}blocks.14.expand.weight", f"{network}heads.heatmap.1.weight"} <= changed
    assert any(name.startswith("keypoint_queries.") for name in changed)
    stays = ("stem.", "heads.center.", *(f"blocks.{index}." for index in range(14)))
    assert not [name for name in changed if name.startswith(tuple(network + part for part in stays))]
    assert "  keypoint_maps " in (whole / "log.txt").read_text()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (MAPS, "trains MoveNet; add --freeze_backbone false"),
        (["--pose_network_lr", "0.1"], "--pose_network_lr is the rate of a pose network that is trained"),
        (["--freeze_backbone", "false", "--pose_network_from", "3"], "goes with --keypoint_maps_loss_weight"),
    ],
)
def test_what_cannot_take_effect_is_refused(
    flags: list[str],
    text: str,
    start: Path,
    tiny_sets: Path,
    rule_body_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "out"), *RUN]
    assert run_tore_fm_bodymesh.main([*common, "--checkpoint", str(start), *flags]) == 2
    assert text in capsys.readouterr().err


def test_other_networks_and_starts_are_refused(
    tiny_sets: Path, rule_body_dir: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "out"), *RUN]
    far = ["--checkpoint", str(start), "--freeze_backbone", "false", *MAPS, "--pose_network_from", "18"]
    assert run_tore_fm_bodymesh.main([*common, *far]) == 2
    assert "MoveNet has 17 blocks; use 0 to 17" in capsys.readouterr().err
    fresh = ["--arch", "movenet-thunder", "--model_name", "FastMETRO_XS", "--transformer_nhead", "4"]
    assert run_tore_fm_bodymesh.main([*common, *fresh, "--freeze_backbone", "false", *MAPS]) == 2
    assert "name it with --checkpoint" in capsys.readouterr().err
    assert run_tore_fm_bodymesh.main([*common, "--arch", "resnet50", "--backbone_weights", "none", *MAPS]) == 2
    assert "weighs the maps of a network with MoveNet's keypoints" in capsys.readouterr().err


def test_labels_are_the_keypoints_of_the_mesh_where_joints_are_labeled(rule_body_dir: Path) -> None:
    """Joints are in the image as a weak-perspective camera has them: the keypoints lie where that has theirs."""
    body = load_body("body", rule_body_dir)
    model = tore.create_model("fastmetro_tore_xs_movenet_thunder", body_dir=rule_body_dir, **SMALL)
    rows = torch.from_numpy(coco_rows(body)[0]).float()

    def step(**options: object) -> PoseNetworkStep:
        return PoseNetworkStep(before=deepcopy(model.backbone.trunk.network), rows=rows, **options)

    made = step_of(model, body, FASTMETRO_BODY, processes=Processes(device=torch.device("cpu")), make_step=step)
    assert isinstance(made, PoseNetworkStep)
    with torch.no_grad():
        vertices = body.targets(torch.randn(3, 72) * 0.2, torch.randn(3, 10)).vertices
    joints = body.regress_joints(vertices[-1])[..., :2]
    shift, scale = torch.tensor([0.1, -0.2]), 0.6
    flat = torch.cat([joints * scale + shift, torch.ones(3, 14, 1)], -1)
    elbow = J14_NAMES.index("L_Elbow")
    flat[0, elbow] = 0.0  # this one is not labeled
    flat[1, :, 0] += 1.0  # half of this person is outside
    targets = Targets(
        vertices=vertices,
        joints_3d=flat.new_zeros(3, 14, 4),
        joints_2d=flat,
        has_mesh=torch.tensor([1.0, 1.0, 0.0]),
        has_joints_3d=torch.ones(3),
    )
    points, there = made.labels(targets)
    expected = (rows[LIMBS] @ vertices[-1])[..., :2] * scale + shift
    own = NEAREST.index(elbow)
    assert KEYPOINT_NAMES[LIMBS][own] == "left_elbow"
    known = torch.arange(12) != own
    torch.testing.assert_close(points[0, known], expected[0, known], rtol=0, atol=1e-4)
    outside = (expected[1] + torch.tensor([1.0, 0.0])).abs().max(-1).values >= 1
    assert outside.any() and torch.equal(there[1], ~outside)
    assert torch.equal(there[0], known & (expected[0].abs() < 1).all(-1)) and not there[2].any()
