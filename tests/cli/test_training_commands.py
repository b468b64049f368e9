"""The training and evaluation scripts on a tiny set: every flag, processes, bad input."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from tests.exports import without_onnx
from tests.processes import run_ranks
from tests.training_runs import FM_SCRIPT, QUICK, SMALL_FM, SMALL_M, STEPS, data_flags, lines, newest, run_command
from tore import load_model
from tore.cli import main as tore_command
from tore.engine.state import CheckpointFolder, load_training_state
from tore.tools import run_tore_fm_bodymesh, run_tore_m_bodymesh

EVALUATE = "tore.cli.evaluate:main"


@pytest.fixture(scope="module")
def trained(tiny_sets: Path, rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one epoch of FastMETRO."""
    output = tmp_path_factory.mktemp("trained")
    flags = [*data_flags(tiny_sets, rule_body_dir, output), *SMALL_FM, *QUICK, *STEPS]
    assert run_tore_fm_bodymesh.main([*flags, "--num_train_epochs", "1", "--num_workers", "0"]) == 0
    return output


# the official commands, their data made small ----------------------------------------------------------------------

FM_COMMAND = """--num_workers 1 --per_gpu_train_batch_size 2 --per_gpu_eval_batch_size 2 --lr 1e-4 --arch test_resnet
    --num_train_epochs 1 --keep_ratio 0.8 --model_name FastMETRO_S --itp_loss_weight 1e-3
    --edge_and_normal_vector_loss false --data_dir DATA --train_yaml train/set.yaml --val_yaml val/set.yaml
    --transformer_dropout 0.05 --transformer_nhead 4 --model_dim_1 32 --model_dim_2 32 --feedforward_dim_1 32
    --feedforward_dim_2 32 --vloss_w_full 0.2 --vloss_w_sub 0.3 --vloss_w_sub2 0.4 --joints_loss_weight 500
    --vertices_loss_weight 50 --joints_2d_loss_weight 70 --seed 5 --logging_steps 2 --device cuda --oracle true
    --conv_1x1_dim 2048 --pos_type sine --img_scale_factor 1 --drop_out 0.1"""
M_COMMAND = """--arch test_resnet --num_workers 1 --per_gpu_train_batch_size 2 --per_gpu_eval_batch_size 2
    --num_hidden_layers 1 --num_attention_heads 4 --lr 1e-4 --num_train_epochs 1 --input_feat_dim 2051,32,16
    --hidden_feat_dim 64,32,16 --intermediate_size 32 --drop_out 0.05 --data_dir DATA --train_yaml train/set.yaml
    --val_yaml val/set.yaml --vloss_w_full 0.2 --vloss_w_sub 0.3 --vloss_w_sub2 0.4 --joints_loss_weight 500
    --vertices_loss_weight 50 --seed 5 --logging_steps 2 --device cpu --model_name_or_path x --config_name y
    --hidden_size -1 --legacy_setting --img_scale_factor 1"""
NEEDED = "--backbone_weights none --body_dir BODIES --output_dir OUT --no_tensorboard --visual_steps 0"


@pytest.mark.slow
@pytest.mark.parametrize(("network", "command"), [("fm", FM_COMMAND), ("m", M_COMMAND)])
def test_official_command_as_its_script_says_it(
    network: str, command: str, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path
) -> None:
    places = {"DATA": str(tiny_sets), "BODIES": str(rule_body_dir), "OUT": str(tmp_path)}
    flags = [places.get(word, word) for word in f"{command} {NEEDED}".split()]
    done = run_command(["bash", f"train_tore_{network}.sh", *flags], NPROC="2")  # later flags win
    assert done.returncode == 0, done.stdout
    assert len(lines(tmp_path)) == 2 and len(lines(tmp_path, "validation")) == 1, "13 samples // (2 x 2) = 3 steps"
    assert f"{'--conv_1x1_dim 2048' if network == 'fm' else '--model_name_or_path'} has no effect" in done.stdout
    weights = {"joints_3d": 500, "vertices": 50, "joints_2d": 70 if network == "fm" else 50}
    weights |= {"normal": 0.1, "edge": 1.0} if network == "m" else {"itp": lines(tmp_path)[-1].get("weight_itp", 0)}
    first = lines(tmp_path)[-1]
    assert first["loss"] == pytest.approx(sum(w * first[n] for n, w in weights.items()), rel=1e-5)
    config = load_training_state(newest(tmp_path))["config"]
    assert config["model"]["dropout"] == 0.05 and config["run"]["run"]["seed"] == 5
    flags = ["--body_dir", str(rule_body_dir), "--num_workers", "0", "--device", "cpu", "--no_tensorboard"]
    flags += ["--transformer_nhead", "4"] if network == "fm" else []
    places = {"CHECKPOINT": str(newest(tmp_path)), "DATA_DIR": str(tiny_sets), "VAL_YAML": "val/set.yaml"}
    places |= {"ARCH": "test_resnet", "OUTPUT_DIR": str(tmp_path / "evaluated")}
    done = run_command(["bash", f"eval_tore_{network}.sh", *flags, "--oracle", str(network == "fm")], **places)
    assert done.returncode == 0, done.stdout
    found = json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())
    assert found["metrics"]["pa_mpjpe"] == pytest.approx(lines(tmp_path, "validation")[-1]["pa_mpjpe"], rel=1e-5)


@pytest.mark.slow
def test_old_launcher_passes_its_local_rank(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL_FM, *QUICK, *STEPS, "--num_train_epochs", "1"]
    launcher = [sys.executable, "-m", "torch.distributed.launch", "--nproc_per_node=1", "--master_port=0"]
    done = run_command([*launcher, FM_SCRIPT, *flags, "--num_workers", "0"])
    assert done.returncode == 0, done.stdout
    assert (newest(tmp_path) / "state_dict.bin").is_file()


OTHER_FLAGS = [
    ["--accumulate", "2", "--ema", "0.9", "--freeze_batch_norm", "--channels_last", "--on_nan", "skip"],
    ["--amp", "bf16", "--on_bad_sample", "skip", "--edge_and_normal_vector_loss", "true", "--val_yaml", "none"],
    ["--visual_steps", "2", "--save_steps", "2", "--keep_checkpoints", "1"],
]


@pytest.mark.parametrize("more", OTHER_FLAGS, ids=lambda flags: flags[0])
def test_own_flags(more: list[str], tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL_FM, *QUICK, *STEPS, "--num_train_epochs", "1"]
    assert run_tore_fm_bodymesh.main([*flags, "--num_workers", "0", *more]) == 0
    found = lines(tmp_path)
    assert found and all(line["loss"] == line["loss"] for line in found)
    assert ("edge" in found[0]) == ("--edge_and_normal_vector_loss" in more)
    assert len(lines(tmp_path, "validation")) == (0 if "none" in more else 1)
    assert ("all 13 samples could be used" in (tmp_path / "log.txt").read_text()) == ("--on_bad_sample" in more)
    if "--visual_steps" in more:
        assert len(list((tmp_path / "pictures").glob("iteration_*.jpg"))) == 3
        assert len(CheckpointFolder(tmp_path, keep=1).complete()) == 1


@pytest.mark.slow
def test_compiled_network_trains_to_the_same_losses(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled(self, backend="aot_eager"))
    for name, more in (("plain", []), ("compiled", ["--compile"])):
        flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path / name), *SMALL_FM, *QUICK, *STEPS]
        flags += ["--num_train_epochs", "1", "--num_workers", "0", "--transformer_dropout", "0", "--val_yaml", "none"]
        assert run_tore_fm_bodymesh.main([*flags, *more]) == 0
    for a, b in zip(lines(tmp_path / "plain"), lines(tmp_path / "compiled"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


# evaluation ---------------------------------------------------------------------------------------------------------


def test_one_two_and_three_processes_evaluate_the_same(
    trained: Path, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path
) -> None:
    found = {}
    for size in (1, 2, 3):
        flags = ["--checkpoint", str(newest(trained)), "--data_dir", str(tiny_sets), "--val_yaml", "val/set.yaml"]
        flags += ["--body_dir", str(rule_body_dir), "--arch", "test_resnet", "--per_gpu_eval_batch_size", "2"]
        flags += ["--num_workers", "0", "--device", "cpu", "--json", str(tmp_path / f"{size}.json")]
        flags += ["--samples", str(tmp_path / f"{size}.jsonl")]
        run_ranks(EVALUATE, [flags], size, tmp_path / str(size))
        found[size] = json.loads((tmp_path / f"{size}.json").read_text())
        rows = [json.loads(line) for line in (tmp_path / f"{size}.jsonl").read_text().splitlines()]
        assert [row["index"] for row in rows] == list(range(7))
        labeled = [row["pa_mpjpe"] for row in rows if row["pa_mpjpe"] is not None]
        aligned = sum(labeled) / 6  # one of the seven has no 3D joints
        assert len(labeled) == found[size]["metric_samples"]["pa_mpjpe"] == 6
        assert found[size]["metrics"]["pa_mpjpe"] == pytest.approx(aligned, rel=1e-9)
    assert found[1]["counts"] == {"samples": 7, "with_joints_3d": 6, "with_mesh": 5}
    for size in (2, 3):
        assert found[size]["counts"] == found[1]["counts"]
        assert found[size]["metrics"] == pytest.approx(found[1]["metrics"], rel=1e-6)
        for joint, errors in found[1]["per_joint"].items():
            assert found[size]["per_joint"][joint] == pytest.approx(errors, rel=1e-6)


def test_evaluate_prints_protocol_and_draws_the_worst(
    trained: Path, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--checkpoint", str(newest(trained)), "--data_dir", str(tiny_sets), "--val_yaml", "val/set.yaml"]
    flags += ["--body_dir", str(rule_body_dir), "--arch", "test_resnet", "--num_workers", "0", "--device", "cpu"]
    assert tore_command(["evaluate", *flags, "--worst", "2", "--worst_sheet", str(tmp_path / "worst.png")]) == 0
    said = capsys.readouterr().out
    for word in ("pa_mpvpe", "R_Ankle", "regressed from the predicted full mesh", "leaves out 1 without 3D", "paper"):
        assert word in said, word
    assert (tmp_path / "worst.png").stat().st_size > 1000
    assert tore_command(["evaluate", *flags, "--oracle", "true"]) == 0
    direct = capsys.readouterr().out
    assert "predicted directly" in direct
    score = re.compile(r"^mpjpe +([0-9.]+)", re.MULTILINE)
    assert score.search(direct).group(1) != score.search(said).group(1)


def test_evaluation_of_an_export(
    trained: Path, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By --fast and by the folder of the export that this keeps."""
    without_onnx(monkeypatch, tmp_path / "cache")
    flags = ["--data_dir", str(tiny_sets), "--val_yaml", "val/set.yaml", "--num_workers", "2", "--device", "cpu"]
    flags += ["--body_dir", str(rule_body_dir), "--arch", "test_resnet"]
    checkpoint = ["--checkpoint", str(newest(trained))]
    plain, fast, folder = (tmp_path / name for name in ("plain.json", "fast.json", "folder.json"))
    assert tore_command(["evaluate", *checkpoint, *flags, "--json", str(plain)]) == 0
    sheet = ["--worst", "1", "--worst_sheet", str(tmp_path / "worst.png")]
    assert tore_command(["evaluate", *checkpoint, *flags, "--json", str(fast), *sheet, "--fast"]) == 0
    (kept,) = (tmp_path / "cache" / "exports").iterdir()
    assert tore_command(["evaluate", "--checkpoint", str(kept), *flags, "--json", str(folder)]) == 0
    expected, *others = (json.loads(path.read_text()) for path in (plain, fast, folder))
    assert expected["protocol"].pop("network") == "the plain network"
    for found in others:
        assert found["metrics"] == pytest.approx(expected["metrics"], rel=1e-4)
        assert found["counts"] == expected["counts"]
        assert found["protocol"].pop("network") == f"the export {kept} in openvino, float32"
        assert found["protocol"] == expected["protocol"]
    assert tore_command(["evaluate", *checkpoint, *flags, "--amp"]) == 2


def test_compiling_without_a_compiler_is_refused(
    tiny_sets: Path,
    rule_body_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL_FM, *QUICK, *STEPS, "--compile"]
    assert run_tore_fm_bodymesh.main(flags) == 2
    assert "'no-such-compiler' is not there" in capsys.readouterr().err


def test_run_eval_only_gives_what_validation_gave(
    trained: Path, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path
) -> None:
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL_FM, *QUICK, "--run_eval_only"]
    flags += ["--resume_checkpoint", str(newest(trained) / "state_dict.bin"), "--num_workers", "0"]
    assert run_tore_fm_bodymesh.main(flags) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    validated = lines(trained, "validation")[-1]
    for name, value in found["metrics"].items():
        assert value == pytest.approx(validated[name], rel=1e-6), name
    assert found["protocol"]["ground_truth"].startswith("neutral body model for every sample")


def test_official_layout_loads_as_the_trained_network(trained: Path, rule_body_dir: Path) -> None:
    place = newest(trained)
    model = load_model(place / "state_dict.bin", rule_body_dir, "cpu", arch="test_resnet", heads=4)
    state = load_training_state(place)["model"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_resume_checkpoint_starts_from_its_weights(
    trained: Path, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path
) -> None:
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL_FM, *QUICK, *STEPS, "--num_workers", "0"]
    flags += ["--resume_checkpoint", str(newest(trained)), "--lr", "0", "--num_train_epochs", "1", "--val_yaml", "none"]
    assert run_tore_fm_bodymesh.main(flags) == 0
    state = load_training_state(newest(tmp_path))
    assert state["iteration"] == 6
    before = load_training_state(newest(trained))["model"]
    for name, value in state["model"].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, before[name]), name


# what a user can mend -----------------------------------------------------------------------------------------------

BAD_INPUT = [
    (["--train_yaml", "nowhere.yaml"], "nowhere.yaml"),
    (["--backbone_weights", "gone.pth"], "--backbone_weights none"),
    (["--per_gpu_train_batch_size", "20"], "13 samples but one step takes 20"),
    (["--resume", "nowhere"], "training.pt is missing"),
    (["--resume_checkpoint", "nowhere.bin"], "nowhere.bin is missing"),
    (["--run_eval_only"], "needs --checkpoint"),
    (["--body_dir", "nowhere"], "nowhere"),
    (["--keep_ratio", "0"], "0"),
    (["--arch", "no_such_net"], "no_such_net"),
    (["--device", "quantum"], "quantum"),
    (["--ema", "2"], "between 0 and 1"),
]


@pytest.mark.parametrize(("more", "words"), BAD_INPUT, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_bad_input_is_one_line_and_code_2(
    more: list[str], words: str, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL_FM, *QUICK, *STEPS, "--num_workers", "0", *more]
    assert run_tore_fm_bodymesh.main(flags) == 2
    said = capfd.readouterr().err
    assert words in said and "Traceback" not in said


def test_missing_imagenet_file_is_said_and_not_overlooked(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setenv("TORE_MODELS_DIR", str(tmp_path))
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *STEPS, "--arch", "resnet50", "--device", "cpu"]
    assert run_tore_fm_bodymesh.main(flags) == 2
    said = capfd.readouterr().err
    assert "resnet50-0676ba61.pth" in said and "--backbone_weights none" in said


def test_an_earlier_run_is_not_overwritten(
    trained: Path, tiny_sets: Path, rule_body_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = [*data_flags(tiny_sets, rule_body_dir, trained), *SMALL_FM, *QUICK, *STEPS, "--num_workers", "0"]
    before = newest(trained)
    assert run_tore_fm_bodymesh.main(flags) == 2
    assert "resume with --resume auto" in capfd.readouterr().err
    assert run_tore_fm_bodymesh.main([*flags, "--resume", "auto", "--model_name", "FastMETRO_M"]) == 2
    assert "trained with layers 1 (flags: 2)" in capfd.readouterr().err
    assert newest(trained) == before


def test_metro_widths_that_do_not_fit_are_said(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL_M, *QUICK, *STEPS, "--input_feat_dim", "99,31,16"]
    assert run_tore_m_bodymesh.main(flags) == 2
    assert "half the width before them, 32 and 16" in capfd.readouterr().err


def test_not_finite_leaves_with_its_own_code(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL_FM, *QUICK, *STEPS, "--num_workers", "0"]
    assert run_tore_fm_bodymesh.main([*flags, "--vertices_loss_weight", "inf", "--num_train_epochs", "1"]) == 76
    said = capfd.readouterr().err
    assert "not finite: loss" in said and "pictures/" in said and "--on_nan skip" in said
