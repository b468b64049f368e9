"""Configurations: official defaults, YAML there and back, and every value that cannot be refused by its name."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tore.cli import train
from tore.training.config import OFFICIAL, LossOptions, RunConfig, official

# What the official scripts set: epochs, images of a step, training set.
SCRIPTS = {
    ("fastmetro", "body"): (60, 16, "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml"),
    ("fastmetro", "hand"): (200, 16, "freihand/train.yaml"),
    ("metro", "body"): (200, 30, "Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml"),
    ("metro", "hand"): (200, 32, "freihand/train.yaml"),
}


@pytest.mark.parametrize(("network", "body"), SCRIPTS)
def test_a_command_without_flags_is_the_official_run(network: str, body: str, tmp_path: Path) -> None:
    config = RunConfig.from_flags(train.parse([], network, body), network, body)
    assert config == official(network, body) and config.given == frozenset()
    found = (config.optimization.num_train_epochs, config.data.per_gpu_train_batch_size, config.data.train_yaml)
    assert found == SCRIPTS[network, body] and config.optimization.lr == 1e-4
    config.to_yaml(tmp_path / "config.yaml")
    assert RunConfig.from_yaml(tmp_path / "config.yaml") == config


def test_a_changed_configuration_leaves_the_first_as_it_is(tmp_path: Path) -> None:
    first = official("fastmetro", "body")
    second = first.changed(camera_initialization=(0.9, 0, 0), lr=1e-5, pretrained_parts=["backbone"], ema=0.9)
    assert first == official("fastmetro", "body") and second != first
    assert second.network.camera_initialization == (0.9, 0.0, 0.0) and second.network.pretrained_parts == ("backbone",)
    assert second.given == {"camera_initialization", "lr", "pretrained_parts", "ema"}
    assert second.gives("lr") and not second.gives("seed")
    with pytest.raises(FrozenInstanceError):
        second.run.seed = 3  # type: ignore[misc]
    second.to_yaml(tmp_path / "config.yaml")
    again = RunConfig.from_yaml(tmp_path / "config.yaml")
    assert (again, again.given) == (second, second.given)


def test_what_a_person_writes_counts_as_given(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("network: {keep_ratio: 0.8, smpl_regressor: false, arch: null}\noptimization: {lr: 1e-3}\n")
    with pytest.raises(ValueError, match=r"run\.yaml: --arch"):
        RunConfig.from_yaml(path)
    path.write_text("network: {keep_ratio: 0.8, smpl_regressor: false}\noptimization: {lr: 1e-3}\n")
    config = RunConfig.from_yaml(path, "fastmetro", "hand")
    assert config == official("fastmetro", "hand").changed(lr=0.001)  # YAML takes 1e-3 for a text
    assert config.given == {"keep_ratio", "lr"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optimization: {lrr: 1}", ["optimization has no option lrr", "num_train_epochs"]),
        ("optimiser: {lr: 1}", ["has no option optimiser"]),
        ("lr: 1", ["sections of options"]),
        ("- 1", ["sections of options"]),
        ("network: {num_hidden_layers: 4}", ["network has no option num_hidden_layers"]),
        ("network: {name: metro}", ["it is of metro of a body, and this command's is fastmetro of a body"]),
        ("network: {name: bert}", ["no network bert"]),
        ("optimization: {lr: fast}", ["--lr fast cannot be; use a number"]),
        ("optimization: {lr: true}", ["--lr true cannot be; use a number"]),
        ("optimization: {num_train_epochs: 0}", ["--num_train_epochs 0 cannot be; use 1 or more"]),
        ("optimization: {num_train_epochs: 1.5}", ["--num_train_epochs 1.5 cannot be; use a whole number"]),
        ("optimization: {amp: fp8}", ["--amp fp8 cannot be; use one of none, bf16, fp16"]),
        ("optimization: {ema: 1}", ["--ema 1 is no decay"]),
        ("optimization: {warm_up_share: 1}", ["--warm_up_share 1"]),
        ("network: {warm_start_rooms: [roof]}", ["--pretrained_parts roof cannot be"]),
        ("network: {camera_initialization: [1, 2]}", ["--camera_initialization", "three numbers"]),
        ("losses: {recipe: metro}", ["--recipe metro cannot be; use one of tore, fastmetro"]),
        ("given: [speed]", ["a run has no option speed"]),
        ("data: {train_yaml: [a", ["is not a yaml file"]),
    ],
)
def test_a_file_that_cannot_be_is_told_with_its_name(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as refused:
        RunConfig.from_yaml(path, "fastmetro", "body")
    assert all(word in str(refused.value) for word in [*words, str(path)]), refused.value


@pytest.mark.parametrize(
    ("network", "body", "values", "words"),
    [
        ("fastmetro", "hand", {"vloss_w_sub2": 0.3}, "a hand has two mesh levels"),
        ("fastmetro", "hand", {"smpl_regressor": True}, "reads a body's mesh"),
        ("metro", "body", {"itp_loss_weight": 1e-3}, "METRO has no such loss"),
        ("metro", "body", {"token_reduction": "none", "geometry_reduction": True}, "give one of the two"),
        ("metro", "body", {"hidden_feat_dim": (64, 32)}, "three numbers, one for each block"),
        ("metro", "body", {"input_feat_dim": (2051, 1, 1)}, "half the width before them, 512 and 128"),
        ("fastmetro", "body", {"speed": 1}, "a run has no option speed"),
    ],
)
def test_options_that_do_not_go_together_are_refused(network: str, body: str, values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        official(network, body).changed(**values)


def test_every_official_difference_is_an_option() -> None:
    for network, body in OFFICIAL:
        assert OFFICIAL[network, body].keys() <= official(network, body).values().keys()
    assert LossOptions().plain()["recipe"] == "tore"
