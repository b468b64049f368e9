"""`tore ablate`: its grid, its runs through the training script's engine, resuming, its table."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.training_runs import QUICK, SMALL_FM, data_flags
from tore import cli
from tore.analysis import ablation
from tore.analysis.ablation import Cell, cells_of, claim, last_validation, row_of
from tore.analysis.tables import _widened
from tore.cli.train import parse
from tore.tools import run_tore_fm_bodymesh
from tore.training.config import RunConfig

SMALL = [flag for flag in SMALL_FM if flag not in ("--keep_ratio", "0.2")]
BATCHES = ["--per_gpu_train_batch_size", "4", "--per_gpu_eval_batch_size", "4", "--num_workers", "0"]
STEPS_OF_FIVE = 6  # 13 images in batches of 4 are epochs of 3 steps


def flags_for(sets: Path, bodies: Path, out: Path, *more: str) -> list[str]:
    data = data_flags(sets, bodies, out)[:-2]  # without --output_dir
    return ["ablate", *data, *SMALL, *QUICK, *BATCHES, "--out", str(out), "--steps", "5", *more]


@pytest.fixture(scope="module")
def grid(tiny_sets: Path, rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished grid of two cells, and its command."""
    out = tmp_path_factory.mktemp("ablation")
    more = ["--reducers", "none", "itp", "--keep_ratios", "0.2", "--seeds", "5", "--keep_checkpoints", "2"]
    flags = flags_for(tiny_sets, rule_body_dir, out, *more)
    assert cli.main(flags) == 0
    return out, flags


def result(out: Path, cell: str, seed: int = 5) -> dict:
    return json.loads((out / cell / f"seed-{seed}" / "result.json").read_text())


def test_cells_are_every_combination_once() -> None:
    found = cells_of("fastmetro", ["none", "itp"], [0.2, 0.5, 0.2], [True, False])
    assert [cell.name for cell in found] == [
        "fastmetro-none-gtr",
        "fastmetro-none",
        "fastmetro-itp-0.2-gtr",
        "fastmetro-itp-0.5-gtr",
        "fastmetro-itp-0.2",
        "fastmetro-itp-0.5",
    ]
    assert [cell.name for cell in cells_of("metro", ["none"], [0.2], [False])] == ["metro-none"]
    with pytest.raises(ValueError, match="METRO has no image tokens"):
        cells_of("metro", ["itp"], [0.2], [True])


def test_a_cell_is_the_training_scripts_own_run(
    grid: tuple[Path, list[str]], tiny_sets: Path, rule_body_dir: Path, tmp_path: Path
) -> None:
    own = ["--token_reduction", "tore", "--geometry_reduction", "true", "--keep_ratio", "0.2", "--seed", "5"]
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path), *SMALL, *QUICK, *BATCHES, *own, "--num_train_epochs", "2"]
    assert run_tore_fm_bodymesh.main(flags) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "validation"][-1]
    found = result(grid[0], "fastmetro-itp-0.2-gtr")
    assert found["steps"] == last["iteration"] == STEPS_OF_FIVE
    for name in ("mpjpe", "pa_mpjpe", "mpvpe"):
        assert found[name] == last[name]


def test_table_files_and_image(grid: tuple[Path, list[str]]) -> None:
    out = grid[0]
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["reducer"], row["keep"], row["kept_tokens"]) for row in rows} == {
        ("none", "", ""),
        ("itp", "0.2", "9"),  # int(49 * 0.2)
    }
    assert float(rows[0]["GMACs"]) > float(rows[1]["GMACs"]), "the dearest first"
    written = json.loads((out / "table.json").read_text())
    assert {run["reducer"]: run["pa_mpjpe"] for run in written["runs"]} == {
        "none": result(out, "fastmetro-none-gtr")["pa_mpjpe"],
        "itp": result(out, "fastmetro-itp-0.2-gtr")["pa_mpjpe"],
    }
    table = (out / "table.md").read_text().splitlines()
    assert len(table) == 4 and len({len(line) for line in table}) == 1
    with Image.open(out / "plot.png") as image:
        assert image.width > image.height > 300 and len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_row_is_the_mean_over_seeds() -> None:
    results = [
        {"seed": s, "steps": 9, "pa_mpjpe": v, "mpjpe": 2 * v, "mpvpe": 3 * v} for s, v in ((1, 50.0), (2, 70.0))
    ]
    row = row_of(Cell("fastmetro", "tome", 0.5, False), {"GMACs": 1.0}, results)
    assert (row["PA-MPJPE"], row["MPJPE"], row["MPVPE"]) == (60, 120, 180)
    assert (row["lowest PA-MPJPE"], row["highest PA-MPJPE"], row["seeds"], row["GTR"]) == (50, 70, 2, "no")


def test_a_result_is_that_of_the_last_epoch(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    lines = [{"kind": "train", "iteration": 6, "epoch": 1, "loss": 1.0}]
    lines += [{"kind": "validation", "iteration": 3 * n, "epoch": n, "mpjpe": 90.0 - n} for n in (1, 2)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert last_validation(log, 2) == {"steps": 6, "mpjpe": 88.0}
    with pytest.raises(ValueError, match=r"metrics\.jsonl has no validation after epoch 3, the last one"):
        last_validation(log, 3)


def test_settings_under_the_old_names_of_options_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "ablation.json").write_text(json.dumps({"warm_start": "a.bin", "warm_start_rooms": ["backbone"]}))
    claim(tmp_path, {"pretrained": "a.bin", "pretrained_parts": ["backbone"]})
    with pytest.raises(ValueError, match=r"--pretrained a\.bin \(now b\.bin\)"):
        claim(tmp_path, {"pretrained": "b.bin", "pretrained_parts": ["backbone"]})


def test_small_differences_look_small() -> None:
    assert _widened((99.0, 101.0)) == pytest.approx((90, 110))
    assert _widened((50.0, 150.0)) == (50, 150)


def test_a_second_call_goes_on_and_adds(
    grid: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run cut off after its first epoch ends as it would have; finished runs are left alone; a cell is added."""
    out, flags = tmp_path / "copy", list(grid[1])
    shutil.copytree(grid[0], out)
    flags[flags.index("--out") + 1] = str(out)
    cut = out / "fastmetro-none-gtr" / "seed-5"
    (cut / "result.json").unlink()
    shutil.rmtree(cut / "checkpoint-2-6")
    done = out / "fastmetro-itp-0.2-gtr" / "seed-5" / "result.json"
    before = done.stat().st_mtime_ns
    assert cli.main([*flags, "--reducers", "none"]) == 0
    assert f"resuming from {cut / 'checkpoint-1-3'}" in capsys.readouterr().err
    assert result(out, "fastmetro-none-gtr") == result(grid[0], "fastmetro-none-gtr")
    assert done.stat().st_mtime_ns == before
    assert (out / "table.md").read_text() == (grid[0] / "table.md").read_text()
    assert cli.main([*flags, "--reducers", "random"]) == 0
    assert {row["reducer"] for row in json.loads((out / "table.json").read_text())["cells"]} == {
        "none",
        "itp",
        "random",
    }


def test_a_file_gives_what_the_grid_does_not_set(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A training's own file: its loss weights hold for all cells; what the grid sets is answered with a line."""
    seen = []
    monkeypatch.setattr(ablation, "run", lambda config: seen.append(config) or 75)
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "run"), *SMALL, *QUICK, *BATCHES, "--seed", "3"]
    args = parse([*flags, "--joints_loss_weight", "5", "--resume_checkpoint", "x.bin"], "fastmetro", "body")
    RunConfig.from_flags(args, "fastmetro", "body").to_yaml(tmp_path / "config.yaml")
    ablate = ["ablate", "--config", str(tmp_path / "config.yaml"), "--steps", "3", "--seeds", "9", "--no_plot"]
    assert cli.main([*ablate, "--output_dir", str(tmp_path / "out")]) == 75
    said, (config,) = capsys.readouterr().err, seen
    assert config.losses.joints_loss_weight == 5 and config.data.num_workers == 0
    assert (config.run.seed, config.network.checkpoint) == (9, None)
    for name in ("seed", "checkpoint"):
        assert f"config.yaml: {name} has no effect: the grid sets it" in said
    with pytest.raises(SystemExit):
        cli.main(ablate)
    assert "--output_dir names the ablation's own folder" in capsys.readouterr().err


def test_a_stopped_run_stops_the_grid(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "run", lambda *args, **more: 75)
    assert cli.main(flags_for(tiny_sets, rule_body_dir, tmp_path / "out", "--no_plot")) == 75
    assert not list((tmp_path / "out").glob("*/seed-*/result.json"))


def test_a_loss_that_is_not_finite_is_named_and_the_others_run(
    tiny_sets: Path, rule_body_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--lr", "1e38", "--reducers", "none", "--gtr", "true", "false", "--no_plot"]
    assert cli.main(flags_for(tiny_sets, rule_body_dir, tmp_path / "out", *more)) == 1
    said = capsys.readouterr().err
    assert all(f"tore ablate: {cell}, seed 88" in said for cell in ("fastmetro-none-gtr", "fastmetro-none"))


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--lr", "5e-4"], "--lr 0.0001 (now 0.0005)"),
        (["--steps", "7"], "--steps 6 (now 9)"),
        (["--keep_ratios", "0"], "keep_ratio 0.0 is not in (0, 1]"),
        (["--steps", "0"], "--steps of at least 1"),
        (["--val_yaml", "none"], "a --val_yaml"),
        (["--train_yaml", "absent.yaml"], "absent.yaml"),
    ],
)
def test_bad_input_is_told_in_one_line(
    more: list[str], word: str, grid: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*grid[1], *more]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and word in said[0]


@pytest.mark.parametrize("flag", [["--seed", "3"], ["--keep_ratio", "0.5"], ["--run_eval_only"], ["--fly"]])
def test_flags_that_the_grid_sets_are_refused(
    flag: list[str], grid: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*grid[1], *flag])
    assert stop.value.code == 2 and flag[0] in capsys.readouterr().err
