"""`--config`: a run's own file repeats it, flags go over it, and what it says is checked as flags are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.training_runs import QUICK, SMALL_FM, data_flags
from tore.engine.state import CheckpointFolder, load_training_state
from tore.tools import run_tore_fm_bodymesh, run_tore_fm_handmesh
from tore.training.config import RunConfig

SHORT = "--per_gpu_train_batch_size 4 --num_workers 0 --logging_steps 1 --num_train_epochs 2 --val_yaml none"
OTHER = "--ema 0.9 --schedule cosine --warm_up_share 0.2 --seed 5 --camera_start 0.9,0,0 --joints_loss_weight 500"


def losses(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in found]


@pytest.fixture(scope="module")
def trained(tiny_sets: Path, rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("config") / "first"
    flags = [*data_flags(tiny_sets, rule_body_dir, output), *SMALL_FM, *QUICK, *SHORT.split(), *OTHER.split()]
    assert run_tore_fm_bodymesh.main(flags) == 0
    return output


def test_the_file_of_a_run_repeats_it(trained: Path, tmp_path: Path) -> None:
    flags = ["--config", str(trained / "config.yaml"), "--output_dir", str(tmp_path / "again")]
    assert run_tore_fm_bodymesh.main(flags) == 0
    assert losses(tmp_path / "again") == losses(trained) and len(losses(trained)) == 6
    first, again = (RunConfig.from_yaml(folder / "config.yaml") for folder in (trained, tmp_path / "again"))
    assert again == first.changed(output_dir=str(tmp_path / "again")) and again.given == first.given


def test_a_file_has_the_names_of_flags(trained: Path, tmp_path: Path) -> None:
    """Written so, and read by the configuration's own names too, of which a file may have one."""
    written = yaml.safe_load((trained / "config.yaml").read_text())
    assert written["network"]["camera_initialization"] == [0.9, 0.0, 0.0]
    assert "camera_initialization" in written["given"]
    assert not {"camera_start", "warm_start", "resume_checkpoint"} & written["network"].keys()
    for name in ("camera_initialization", "camera_start"):
        (tmp_path / "a.yaml").write_text(yaml.safe_dump({"network": {name: [0.8, 0, 0]}}))
        config = RunConfig.from_yaml(tmp_path / "a.yaml")
        assert config.network.camera_initialization == (0.8, 0, 0) and config.given == {"camera_initialization"}
    (tmp_path / "b.yaml").write_text("network: {pretrained: a.bin, warm_start: b.bin}\n")
    with pytest.raises(ValueError, match=r"b\.yaml: warm_start and pretrained are names of one option"):
        RunConfig.from_yaml(tmp_path / "b.yaml")


def test_flags_go_over_the_file(trained: Path, tmp_path: Path) -> None:
    flags = ["--config", str(trained / "config.yaml"), "--output_dir", str(tmp_path), "--seed", "6", "--lr", "0"]
    assert run_tore_fm_bodymesh.main([*flags, "--num_train_epochs", "1"]) == 0
    assert len(losses(tmp_path)) == 3 and losses(tmp_path)[0]["loss"] != losses(trained)[0]["loss"]
    newest = CheckpointFolder(tmp_path, keep=1).newest()
    assert newest is not None
    saved = load_training_state(newest)["config"]["run"]
    assert (saved["run"]["seed"], saved["optimization"]["lr"], saved["optimization"]["ema"]) == (6, 0.0, 0.9)


REFUSED = [
    ({"network": {"keep_ratio": 0.8}}, ["--keep_ratio 0.8, but the file has 9 tokens"]),
    ({"network": {"model_name": "FastMETRO_L"}}, ["--model_name FastMETRO_L, but the file has FastMETRO_S"]),
    ({"network": {"pretrained": "x.bin"}}, ["--pretrained x.bin", "--resume_checkpoint gives every weight"]),
    ({"optimization": {"gradient_clip": "none", "gradient_clip_limit": 1}}, ["limits nothing"]),
    ({"losses": {"smpl_param_loss_weight": 1000}}, ["--smpl_param_loss_weight 1000 weighs"]),
]


@pytest.mark.parametrize(("content", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_the_file_says_is_compared_with_a_checkpoint(
    content: dict, words: list[str], trained: Path, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd
) -> None:
    """Defaults that a person wrote down count as typed flags do."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    newest = CheckpointFolder(trained, keep=1).newest()
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "out"), *QUICK[2:], *SHORT.split()]
    flags += ["--resume_checkpoint", str(newest), "--arch", "test_resnet", "--config", str(tmp_path / "run.yaml")]
    assert run_tore_fm_bodymesh.main(flags) == 2
    said = capfd.readouterr().err
    assert all(word in said for word in words) and "Traceback" not in said, said


def test_a_file_of_another_command_is_refused(trained: Path, capfd) -> None:
    assert run_tore_fm_handmesh.main(["--config", str(trained / "config.yaml")]) == 2
    assert "it is of fastmetro of a body, and this command's is fastmetro of a hand" in capfd.readouterr().err
    assert run_tore_fm_handmesh.main(["--config", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capfd.readouterr().err
