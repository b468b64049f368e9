"""`tore cost` and `tore info`."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import rule_state_dict
from tests.processes import environment
from tore import cli

# network, backbone, reduction, keep ratio -> total, backbone, main transformer, shape regressor; official counts
OFFICIAL = {
    ("fastmetro", "resnet50", "tore", 1.0): (5.43, 4.09, 0.76, 0.454),
    ("fastmetro", "resnet50", "tore", 0.8): (5.30, 4.09, 0.64, 0.454),
    ("fastmetro", "resnet50", "tore", 0.2): (4.94, 4.09, 0.28, 0.454),
    ("fastmetro", "hrnet-w64", "tore", 0.8): (30.11, 28.89, 0.64, 0.454),
    ("fastmetro", "efficientnet-b0", "tore", 0.8): (1.58, 0.385, 0.64, 0.454),
    ("metro", "resnet50", "tore", None): (5.38, 4.09, 0.80, 0.454),
    ("metro", "hrnet-w64", "tore", None): (30.19, 28.89, 0.80, 0.454),
}
HERE = [5.39, 5.27, 4.90, 30.07, 1.54]
# The paper's figures without token reduction. METRO on HRNet counts 56.41 here.
PAPER_BASELINES = {
    ("fastmetro", "resnet50", "none", None): 10.9,
    ("fastmetro", "hrnet-w64", "none", None): 35.7,
    ("fastmetro", "efficientnet-b0", "none", None): 7.1,
    ("metro", "resnet50", "none", None): 31.6,
    ("metro", "hrnet-w64", "none", None): 56.5,
}


def test_cost_of_the_papers_configurations(rule_body_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "--data_dir", str(rule_body_dir), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = [(row["network"], row["arch"], row["token_reduction"], row["keep_ratio"]) for row in rows]
    assert names == [*OFFICIAL, *PAPER_BASELINES]
    for row, (total, backbone, joints, shape) in zip(rows, OFFICIAL.values(), strict=False):
        assert round(row["GMACs"], 2) == total
        assert row["GMACs backbone"] == pytest.approx(backbone, abs=0.0051)
        assert row["GMACs main transformer"] == pytest.approx(joints, abs=0.006)
        assert row["GMACs shape regressor"] == pytest.approx(shape, abs=0.00051)
    assert [round(row["GMACs_here"], 2) for row in rows[:5]] == HERE
    baselines = rows[len(OFFICIAL) :]
    for row, paper in zip(baselines[:4], PAPER_BASELINES.values(), strict=False):
        assert round(row["GMACs"], 1) == paper
    assert baselines[4]["GMACs"] == pytest.approx(56.41, abs=0.005)
    assert all(row["GMACs shape regressor"] == row["GMACs token reduction"] == 0 for row in baselines)


def test_cost_formats(rule_body_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["cost", "--data_dir", str(rule_body_dir), "--arch", "resnet10t", "--size", "S", "M", "--body", "hand"]
    assert cli.main([*options, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["size"] for row in rows] == ["S", "M"] and float(rows[0]["GMACs"]) < float(rows[1]["GMACs"])
    assert cli.main(options) == 0
    assert "resnet10t" in capsys.readouterr().out
    assert cli.main([*options, "--network", "metro", "--token_reduction", "tore", "none", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["token_reduction"], row["size"], row["keep_ratio"]) for row in rows] == [
        ("tore", None, None),
        ("none", None, None),
    ]
    assert cli.main(["cost", "--data_dir", str(rule_body_dir), "--arch", "nonsense"]) == 2
    assert "'nonsense' is not known" in capsys.readouterr().err


def test_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(rule_state_dict("tore_fastmetro_L_efficientnet-b0_keep0.8"), tmp_path / "a.bin")
    assert cli.main(["info", str(tmp_path / "a.bin"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["network"], facts["arch"], facts["size"], facts["kept_tokens"]) == (
        "fastmetro",
        "efficientnet-b0",
        "L",
        39,
    )
    assert facts["dropped"] == {"backbone._fc.weight": 1, "backbone._fc.bias": 1}
    assert facts["token_reduction"] == "tore"
    assert facts["parameters"] == sum(facts["parameters_by_part"].values())
    assert cli.main(["info", str(tmp_path / "a.bin")]) == 0
    assert "backbone._fc.weight (1)" in capsys.readouterr().out
    assert cli.main(["info", str(tmp_path / "none.bin")]) == 2
    assert "none.bin is missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fastmetro_L_resnet50_smpl_regressor", "metro_hand_resnet50"])
def test_info_of_a_baseline(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(rule_state_dict(name), tmp_path / "a.bin")
    assert cli.main(["info", str(tmp_path / "a.bin"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["network"], facts["arch"], facts["token_reduction"]) == (name.split("_")[0], "resnet50", "none")
    assert facts["body"] == ("hand" if "hand" in name else "body")
    assert facts["smpl_regressor"] == ("smpl" in name)
    assert facts.get("kept_tokens") is None and not facts["unexpected"]


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "cost" in capsys.readouterr().out
    assert cli.main([]) == 2
    assert cli.main(["fly"]) == 2
    assert "'fly' is not a verb" in capsys.readouterr().err


def test_a_tool_named_after_its_script_calls_itself_by_its_verb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/tore", "train-m", "--help"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0 and "usage: tore train-m " in capsys.readouterr().out


def test_a_reader_that_has_gone_is_no_error() -> None:
    program = "import sys; from tore.cli import main; sys.exit(main())"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-c", program, "--help"], stdout=gone, stderr=subprocess.PIPE, env=environment(), text=True
        )
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_an_interrupted_command_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("tore.cli.cost.main", interrupted)
    assert cli.main(["cost"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "tore: interrupted\n"
