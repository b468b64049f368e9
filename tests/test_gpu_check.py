"""scripts/gpu_check.py: its whole path on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_check.py"


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def test_the_whole_path_on_a_cpu(tmp_path: Path) -> None:
    """A CPU agrees with itself to the last bit in float32; what needs CUDA is named as skipped."""
    done = run("--device", "cpu", "--tiny", "--json", str(tmp_path / "check.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "check.json").read_text())
    rows = record["rows"]
    same = [row for row in rows if row["part"] in ("outputs", "training") and row["name"].endswith("float32")]
    assert len(same) == 4 and all(set(row["values"].values()) == {0.0} for row in same)
    halves = [row for row in rows if row["name"].endswith(("bf16", "fp16")) and row["part"] == "outputs"]
    assert len(halves) == 4 and all(0 < row["values"]["difference"] < 0.1 for row in halves)
    skipped = {row["part"]: row["note"] for row in rows if row["status"] == "skipped"}
    assert skipped == dict.fromkeys(("graphs", "nccl", "pinned"), "needs CUDA; this run is on cpu")
    assert all(row["values"]["images/s"] > 0 for row in rows if row["status"] == "measured")
    assert {row["part"] for row in rows} == {*skipped, "outputs", "training", "compile", "speed"}
    assert done.stdout.splitlines()[0].startswith("cpu, ") and record["device"] in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_the_device_it_says_so() -> None:
    done = run("--parts", "outputs")
    assert done.returncode == 2 and "no CUDA device" in done.stderr and not done.stdout
