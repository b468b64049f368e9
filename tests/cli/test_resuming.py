"""Going on with another set, schedule or seed: refused with what it would do, or done knowingly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.datasets.data_sets import write_set
from tests.training_runs import QUICK, SMALL_FM, data_flags, labels
from tore.body.body_model import SMPL, load_body
from tore.cli import evaluate
from tore.engine.state import CheckpointFolder, load_training_state
from tore.tools import run_tore_fm_bodymesh
from tore.training.resuming import recorded

EPOCHS, STEPS = 4, 3  # 13 samples in batches of 4
TWO_DONE = f"checkpoint-2-{2 * STEPS}"
PACE = ["--per_gpu_train_batch_size", "4", "--num_workers", "0", "--logging_steps", "1", "--val_yaml", "none"]
LONG = ["--num_train_epochs", str(EPOCHS)]


def train(sets: Path, bodies: Path | str, output: Path, *more: str) -> int:
    flags = [*data_flags(sets, bodies, output), *SMALL_FM, *QUICK, *PACE, *LONG, *more]
    return run_tore_fm_bodymesh.main(flags)


@pytest.fixture(scope="module")
def half(tiny_sets: Path, rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run of four epochs that was cut off behind its second."""
    output = tmp_path_factory.mktemp("half")
    assert train(tiny_sets, rule_body_dir, output, "--keep_checkpoints", "9") == 0
    for later in (f"checkpoint-3-{3 * STEPS}", f"checkpoint-4-{4 * STEPS}"):
        shutil.rmtree(output / later)
    return output


@pytest.fixture
def run(half: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to resume in."""
    return Path(shutil.copytree(half, tmp_path / "run"))


def of_size(sets: Path, bodies: Path, count: int) -> Path:
    """A set of the first `count` samples, by a line list of its own."""
    folder = sets / f"train-{count}"
    if not folder.is_dir():
        folder.mkdir()
        write_set(folder, [(100 + item, 96, 80) for item in range(count)], labels(count, SMPL(bodies)), suffix=".jpg")
    return folder / "set.yaml"


# Flags, and the words that name old value, new value and consequence.
CHANGES = [
    (["--num_train_epochs", "8"], ["--num_train_epochs 4 -> 8", "the rate would climb from 1e-05 back to 1e-04"]),
    (["--num_train_epochs", "3"], ["--num_train_epochs 4 -> 3", "the run ends after epoch 3"]),
    (["--lr", "1e-3"], ["--lr 0.0001 -> 0.001", "the rate would climb from 1e-05 back to 1e-04"]),
    (["--seed", "7"], ["--seed 88 -> 7", "augmentation"]),
    (["--per_gpu_train_batch_size", "2"], ["4 -> 2", "one step takes 2 samples instead of 4", "6 steps instead of 3"]),
    (["--accumulate", "2"], ["--accumulate 1 -> 2", "one step takes 8 samples instead of 4"]),
    (["--schedule", "cosine"], ["--schedule official -> cosine", "the rate would climb"]),
    (["--vertices_loss_weight", "5"], ["--vertices_loss_weight unset -> 5"]),
    (["--gradient_clip", "none"], ["--gradient_clip unset -> none"]),
    (["--ema", "0.9"], ["--ema 0 -> 0.9"]),
    (["--amp", "bf16"], ["--amp none -> bf16"]),
    (["--transformer_dropout", "0.2"], ["--transformer_dropout 0.1 -> 0.2"]),
]


@pytest.mark.parametrize(("flags", "words"), CHANGES, ids=lambda value: value[0])
def test_a_change_is_refused_with_what_it_does(
    flags: list[str], words: list[str], run: Path, tiny_sets: Path, rule_body_dir: Path, capfd
) -> None:
    assert train(tiny_sets, rule_body_dir, run, "--resume", "auto", *flags) == 2
    said = capfd.readouterr().err
    assert all(word in said for word in [*words, "--allow_changes"]), said
    assert CheckpointFolder(run, keep=1).newest() == run / TWO_DONE, "nothing was trained"


@pytest.mark.parametrize(("count", "steps"), [(24, 6), (8, 2)])
def test_epochs_carry_over_to_a_set_of_another_size(
    count: int, steps: int, run: Path, tiny_sets: Path, rule_body_dir: Path, capfd
) -> None:
    """Whichever way the size goes, the third of four epochs runs at a tenth of the rate, as the schedule says."""
    another = ["--resume", "auto", "--train_yaml", str(of_size(tiny_sets, rule_body_dir, count))]
    assert train(tiny_sets, rule_body_dir, run, *another) == 2
    assert f"--train_yaml 13 -> {count} samples" in capfd.readouterr().err
    assert train(tiny_sets, rule_body_dir, run, *another, "--allow_changes", "--num_workers", "0") == 0
    said = capfd.readouterr().err
    assert f"an epoch has {steps} steps instead of {STEPS}" in said and "stays at 1e-05" in said
    rates = {int(line.split("step ")[1].split("/")[0]): line for line in said.splitlines() if "epoch 3/4 step" in line}
    assert len(rates) == steps and all("lr 1e-05" in line for line in rates.values())
    newest = CheckpointFolder(run, keep=1).newest()
    assert newest is not None and newest.name == f"checkpoint-4-{4 * steps}"


def test_what_changes_no_result_changes_freely(
    run: Path, half: Path, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd
) -> None:
    """Another place of the same set, other steps of logging and saving: the weights stay those of the plain run."""
    moved = Path(shutil.copytree(tiny_sets, tmp_path / "moved"))
    plain = Path(shutil.copytree(half, tmp_path / "plain"))
    assert train(tiny_sets, rule_body_dir, plain, "--resume", "auto") == 0
    capfd.readouterr()
    free = ["--logging_steps", "2", "--save_steps", "2", "--keep_checkpoints", "2", "--quiet"]
    assert train(moved, rule_body_dir, run, "--resume", "auto", *free) == 0
    assert "the same set at another place" in (run / "log.txt").read_text()
    states = [load_training_state(folder / f"checkpoint-4-{4 * STEPS}")["model"] for folder in (plain, run)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert train(moved, rule_body_dir, run, "--resume", "auto") == 0
    assert "all 4 epochs of the run are done" in capfd.readouterr().err


def test_a_start_that_cannot_come_again_is_refused(run: Path, tiny_sets: Path, rule_body_dir: Path, capfd) -> None:
    for flags in (["--warm_start", "other.bin"], ["--camera_start", "0.9,0,0"], ["--template_start"]):
        assert train(tiny_sets, rule_body_dir, run, "--resume", "auto", *flags) == 2
        said = capfd.readouterr().err
        assert flags[0] in said and "resumes with its own weights" in said


def test_a_checkpoint_that_records_less_goes_on_with_a_line(
    run: Path, tiny_sets: Path, rule_body_dir: Path, capfd
) -> None:
    state = load_training_state(run / TWO_DONE)
    del state["per_epoch"], state["config"]["sets"]
    flags = recorded(state)  # as version 0.1 recorded them: flat, with flags of no configuration among them
    del flags["warm_up_share"], flags["schedule"], flags["body"], state["config"]["run"]
    old = {"warm_start": flags.pop("pretrained"), "camera_start": flags.pop("camera_initialization")}
    state["config"]["flags"] = {**flags, **old, "conv_1x1_dim": None, "local_rank": None}
    torch.save(state, run / TWO_DONE / "training.pt")
    note = run / TWO_DONE / "complete.json"
    size = (run / TWO_DONE / "training.pt").stat().st_size
    content = json.loads(note.read_text())
    content["files"]["training.pt"] = size
    note.write_text(json.dumps(content))
    another = str(of_size(tiny_sets, rule_body_dir, 24))
    assert train(tiny_sets, rule_body_dir, run, "--resume", "auto", "--train_yaml", another) == 2
    assert "6 steps instead of 3" in capfd.readouterr().err
    assert train(tiny_sets, rule_body_dir, run, "--resume", "auto", "--pretrained", "other.bin") == 2
    assert (
        "--pretrained other.bin: the run resumes with its own weights and began with it unset" in capfd.readouterr().err
    )
    assert train(tiny_sets, rule_body_dir, run, "--resume", "auto") == 0
    said = capfd.readouterr().err
    assert "does not record --schedule: taken as given" in said and "is of version 0.1" in said
    assert "that it is the same is not checked" in said


def test_a_run_resumes_on_its_own_body_model_alone(run: Path, tiny_sets: Path, rule_body_dir: Path, capfd) -> None:
    assert train(tiny_sets, "synthetic", run, "--resume", "auto", "--allow_changes") == 2
    said = capfd.readouterr().err
    assert f"{TWO_DONE} was trained on the body model 'SMPL' (" in said and "the one in use is 'synthetic'" in said
    state = load_training_state(run / TWO_DONE)
    assert state["config"]["trained_on"] == load_body("body", rule_body_dir).identity.described()
    assert CheckpointFolder(run, keep=1).newest() == run / TWO_DONE, "nothing was trained"


def test_a_body_of_the_projects_own_is_taken_from_the_record(
    synthetic_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd
) -> None:
    """Resuming, fine-tuning and evaluation need no --body_dir, and refuse another one."""
    once = ["--num_train_epochs", "1"]
    assert train(synthetic_sets, "synthetic", tmp_path / "run", *once) == 0
    checkpoint = str(tmp_path / "run" / f"checkpoint-1-{STEPS}")
    where = ["--data_dir", str(synthetic_sets), "--train_yaml", "train/set.yaml"]
    flags = [*where, *SMALL_FM, *QUICK, *PACE, *once]
    assert run_tore_fm_bodymesh.main([*flags, "--output_dir", str(tmp_path / "run"), "--resume", "auto"]) == 0
    assert "all 1 epochs of the run are done" in capfd.readouterr().err
    tuned = [*flags, "--output_dir", str(tmp_path / "tuned"), "--checkpoint", checkpoint]
    assert run_tore_fm_bodymesh.main([*tuned, "--body_dir", str(rule_body_dir)]) == 2
    assert "trained on the body model 'synthetic'" in capfd.readouterr().err
    assert run_tore_fm_bodymesh.main(tuned) == 0
    judged = ["--checkpoint", checkpoint, "--arch", "test_resnet", "--transformer_nhead", "4", "--num_workers", "0"]
    judged += ["--data_dir", str(synthetic_sets), "--val_yaml", "val/set.yaml", "--device", "cpu"]
    assert evaluate.main(judged) == 0
    capfd.readouterr()
    assert evaluate.main([*judged, "--body_dir", str(rule_body_dir)]) == 2
    assert "use --body_dir synthetic" in capfd.readouterr().err
