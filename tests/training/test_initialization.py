"""The deviations for short runs: a network that starts at a resting body, and an image side that is warmed up."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training_runs import QUICK, SMALL_FM, data_flags
from tore import create_model, load_model, save_model, save_published
from tore.body.topology import template_points
from tore.cli import pretrain
from tore.engine.state import CheckpointFolder
from tore.files import read_tensors
from tore.modeling.backbones import Backbone
from tore.modeling.initialization import (
    WarmUpNetwork,
    WarmUpPrediction,
    cell_centers,
    load_parts,
    save_image_side,
    start_camera,
    start_from_template,
)
from tore.tools import run_tore_fm_bodymesh
from tore.training.pretraining import heatmap_targets, warm_up_terms

SMALL = {"size": "S", "widths": (32, 32), "hidden": (32, 32), "heads": 4, "arch": "test_resnet"}


@pytest.mark.parametrize("network, reduction", [("fastmetro", "tore"), ("metro", "tore"), ("fastmetro", "none")])
def test_network_starts_at_the_template(network: str, reduction: str, synthetic_body_dir: Path) -> None:
    torch.manual_seed(0)
    options = SMALL if network == "fastmetro" else {"arch": "test_resnet", "layers": 1, "hidden": 32}
    model = create_model(network, token_reduction=reduction, body_dir=synthetic_body_dir, **options).eval()
    template = template_points("body", synthetic_body_dir)[1]
    images = torch.randn(3, 3, 224, 224)
    with torch.no_grad():
        before = (model(images).vertices_coarse - template).norm(dim=-1).mean()
        start_from_template(model, template)
        start_camera(model, (0.9, 0.1, -0.2))
        prediction = model(images)
        after = (prediction.vertices_coarse - template).norm(dim=-1).mean()
    assert not model.training and after < 0.15 < before, (before, after)
    assert torch.equal(model.camera_head.bias.detach(), torch.tensor([0.9, 0.1, -0.2]))


def test_starts_refuse_networks_that_have_no_place_for_them(synthetic_body_dir: Path) -> None:
    plain = create_model(
        "metro", token_reduction="none", body_dir=synthetic_body_dir, arch="test_resnet", layers=1, hidden=32
    )
    with pytest.raises(ValueError, match="networks with vertex tokens"):
        start_from_template(plain, torch.zeros(431, 3))
    with pytest.raises(ValueError, match="reads it off its points"):
        start_camera(plain, (1, 0, 0))


def test_heatmap_targets_have_their_mean_at_the_joint() -> None:
    joints = torch.from_numpy(np.random.RandomState(0).uniform(-0.85, 0.85, (2, 5, 2)))
    grid = (7, 9)
    aims = heatmap_targets(joints, grid)
    torch.testing.assert_close(aims.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    torch.testing.assert_close(aims @ cell_centers(grid).double(), joints, rtol=0, atol=1e-6)
    corner = heatmap_targets(torch.tensor([[[-3.0, 3.0]]]), grid)
    assert corner[0, 0].argmax() == 6 * 9 and corner.sum() == 1


def test_warm_up_terms_equal_a_plain_loop() -> None:
    r = np.random.RandomState(1)
    grid, batch, tokens, joint_of = (3, 3), 4, 7, torch.tensor([0, 1, 2, 3, 4, 0, 1])
    seen = torch.from_numpy(np.concatenate([r.uniform(-1.3, 1.3, (batch, 5, 2)), r.randint(0, 2, (batch, 5, 1))], 2))
    space = torch.from_numpy(np.concatenate([r.standard_normal((batch, 5, 3)), r.randint(0, 2, (batch, 5, 1))], 2))
    has = torch.tensor([1, 0, 1, 1])
    logits, flat_said, deep_said = (torch.from_numpy(r.standard_normal((batch, tokens, size))) for size in (9, 2, 3))
    prediction = WarmUpPrediction(logits.softmax(-1), flat_said, deep_said)
    labels = {"joints_2d": seen, "joints_3d": space, "has_3d_joints": has}
    terms = warm_up_terms(prediction, labels, joint_of, grid)
    heat = flat = deep = 0.0
    for b in range(batch):
        for m, j in enumerate(joint_of.tolist()):
            x, y, sure = seen[b, j].tolist()
            if sure and abs(x) < 1 and abs(y) < 1:
                aim = heatmap_targets(seen[b : b + 1, j : j + 1, :2], grid)[0, 0]
                heat -= float((aim * prediction.heatmap[b, m].log()).sum()) / (batch * tokens)
            flat += sure * float((flat_said[b, m] - seen[b, j, :2]).abs().mean()) / (batch * tokens)
            if has[b]:
                deep += float(space[b, j, 3] * (deep_said[b, m] - space[b, j, :3]).abs().mean()) / (3 * tokens)
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {"heatmap": heat, "joints_2d": flat, "joints_3d": deep}
    )


def small_warm_up(size: int = 96, tokens: int = 9) -> WarmUpNetwork:
    return WarmUpNetwork(backbone=Backbone("test_resnet"), width=32, tokens=tokens, joints=4, size=size)


def test_warm_up_network_takes_images_down_and_refuses_odd_sizes() -> None:
    network = small_warm_up()
    prediction = network(torch.randn(2, 3, 224, 224))
    assert network.joint_of.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert [tuple(value.shape) for value in prediction] == [(2, 9, 9), (2, 9, 2), (2, 9, 3)]
    torch.testing.assert_close(prediction.heatmap.sum(-1), torch.ones(2, 9))
    with pytest.raises(ValueError, match="--size 100"):
        small_warm_up(100)


def test_image_side_fits_networks_of_its_own_kind(synthetic_body_dir: Path, tmp_path: Path) -> None:
    network, path = small_warm_up(), tmp_path / "side.bin"
    save_image_side(network, path)
    model = create_model(body_dir=synthetic_body_dir, keep_ratio=0.2, **SMALL)
    load_parts(model, path)
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in read_tensors(path).items())
    metro = create_model("metro", body_dir=synthetic_body_dir, arch="test_resnet", layers=1, hidden=32)
    load_parts(metro, path)
    name = next(iter(network.backbone.state_dict()))
    assert torch.equal(metro.backbone.state_dict()[name], network.backbone.state_dict()[name])
    with pytest.raises(ValueError, match=r"does not fit in \d+ entries .*--keep_ratio"):
        load_parts(create_model(body_dir=synthetic_body_dir, keep_ratio=0.8, **SMALL), path)
    other = create_model(body_dir=synthetic_body_dir, keep_ratio=0.8, **SMALL)
    before = copy.deepcopy(other.token_reduction.state_dict())
    load_parts(other, path, ["backbone", "image_projection"])
    assert all(torch.equal(other.state_dict()[n], v) for n, v in read_tensors(path).items() if "reduction" not in n)
    assert all(torch.equal(other.token_reduction.state_dict()[n], value) for n, value in before.items())
    torch.save({"else": torch.zeros(1)}, tmp_path / "other.bin")
    with pytest.raises(ValueError, match="no checkpoint of FastMETRO"):
        load_parts(model, tmp_path / "other.bin")


@pytest.mark.parametrize("save", [save_model, save_published])
def test_rooms_start_from_a_whole_network(save: Callable, synthetic_body_dir: Path, tmp_path: Path) -> None:
    options = SMALL | {"arch": "resnet18" if save is save_model else "resnet50"}
    trained = create_model(body_dir=synthetic_body_dir, keep_ratio=0.8, **options)
    save(trained, tmp_path / "trained.bin")
    other = create_model(body_dir=synthetic_body_dir, token_reduction="topk", keep_ratio=0.2, **options)
    load_parts(other, tmp_path / "trained.bin", ["backbone", "image_projection", "rest"])
    same = {name: torch.equal(value, trained.state_dict()[name]) for name, value in other.state_dict().items()
            if not name.startswith("token_reduction.")}  # fmt: skip
    assert len(same) > 100 and all(same.values())
    with pytest.raises(ValueError, match=r"does not fit in \d+ entries .*--pretrained_parts"):
        load_parts(other, tmp_path / "trained.bin")


def test_warmed_up_image_side_goes_into_training(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warm = ["--data_dir", str(tiny_sets), "--train_yaml", "train/set.yaml", "--arch", "test_resnet", "--size", "64"]
    warm += ["--per_gpu_train_batch_size", "4", "--num_workers", "0", "--device", "cpu", "--no_tensorboard"]
    warm += ["--model_dim_1", "32", "--keep_ratio", "0.2"]
    first, second = ["--output_dir", str(tmp_path / "first")], ["--output_dir", str(tmp_path / "second")]
    assert pretrain.main([*warm, *first, "--num_train_epochs", "1"]) == 0
    file, again = tmp_path / "first" / "config.yaml", tmp_path / "again"
    assert pretrain.main(["--config", str(file), "--output_dir", str(again)]) == 0
    states = [torch.load(next(out.glob("*/state_dict.bin")), weights_only=True) for out in (tmp_path / "first", again)]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items()), "the file repeats the run"
    assert pretrain.main([*warm, *first, "--num_train_epochs", "2"]) == 2, "an earlier run is there"
    longer = [*warm, *first, "--num_train_epochs", "2", "--resume", "auto"]
    assert pretrain.main(longer) == 2, "another schedule"
    assert pretrain.main([*longer, "--allow_changes"]) == 0
    newest = CheckpointFolder(tmp_path / "first", keep=1).newest()
    assert newest is not None and newest.name == "checkpoint-2-6"
    weights = newest / "state_dict.bin"
    shutil.copytree(newest, damaged := tmp_path / "damaged" / newest.name)
    (damaged / "training.pt").write_bytes(b"cut short")
    assert pretrain.main([*longer, "--output_dir", str(damaged.parent)]) == 2, "nothing starts anew without a word"
    assert f"none of 1 checkpoints in {damaged.parent} can be read" in capsys.readouterr().err
    assert pretrain.main([*warm, *second, "--num_train_epochs", "1", "--warm_start", str(weights), "--lr", "0"]) == 0
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "run"), *SMALL_FM, *QUICK, "--num_workers", "0"]
    flags += ["--per_gpu_train_batch_size", "8", "--num_train_epochs", "1", "--warm_start", str(weights)]
    flags += ["--schedule", "cosine", "--warm_up_share", "0.5", "--gradient_clip", "norm", "--gradient_clip_limit", "1"]
    flags += ["--template_start", "--camera_start", "0.9,0,0", "--lr", "0"]
    assert run_tore_fm_bodymesh.main(flags) == 0
    saved = CheckpointFolder(tmp_path / "run", keep=1).newest()
    assert saved is not None
    model = load_model(saved / "state_dict.bin", rule_body_dir, "cpu", arch="test_resnet", heads=4)
    assert torch.equal(model.camera_head.bias.detach(), torch.tensor([0.9, 0, 0])), "rate 0 leaves the start"
    state, learned = model.state_dict(), read_tensors(weights)
    for name, value in learned.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, state[name]), name
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "swap"), *SMALL_FM, *QUICK, "--num_workers", "0"]
    flags += ["--per_gpu_train_batch_size", "8", "--num_train_epochs", "1", "--lr", "0", "--token_reduction", "topk"]
    flags += ["--warm_start", str(saved), "--warm_start_rooms", "backbone", "image_projection", "rest"]
    assert run_tore_fm_bodymesh.main(flags) == 0
    saved = CheckpointFolder(tmp_path / "swap", keep=1).newest()
    assert saved is not None
    swapped = load_model(saved / "state_dict.bin", rule_body_dir, "cpu")
    assert swapped.config.image_reduction == "topk"
    same = [torch.equal(state[name], value) for name, value in swapped.named_parameters() if name in state]
    assert len(same) > 50 and all(same)
