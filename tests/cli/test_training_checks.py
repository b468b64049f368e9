"""The benchmark of a training step and the overfit check, shortened by their own flags."""

from __future__ import annotations

import re
import sys

import pytest

from tests.training_runs import run_command


@pytest.mark.slow
def test_step_benchmark_times_every_part(synthetic_body_dir) -> None:
    flags = ["--arch", "test_resnet", "--batch", "2", "--steps", "1", "--dropout", "0", "--channels_last"]
    done = run_command([sys.executable, "benchmarks/train_step.py", *flags])
    assert done.returncode == 0, done.stdout
    parts = re.findall(r"^(\w+) +[0-9.]+ ms", done.stdout, re.MULTILINE)
    assert parts == ["data", "targets", "forward", "losses", "backward", "optimizer", "step", "arithmetic"]


@pytest.mark.slow
def test_overfit_check_reports_the_share_it_reached(synthetic_body_dir) -> None:
    done = run_command([sys.executable, "scripts/overfit.py", "--images", "2", "--steps", "50", "--share", "0.8"])
    assert done.returncode == 0, done.stdout
    assert re.search(r"80% of the start: reached after 50 steps", done.stdout), done.stdout
