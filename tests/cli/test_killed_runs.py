"""Runs that are killed or stopped by a signal: they save, resume, and end with the same bits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.processes import run_ranks, start, start_ranks
from tests.training_runs import QUICK, SMALL_FM, STEPS, data_flags, lines, newest, run_command, torchrun
from tore.engine.state import load_training_state

FM = "tore.tools.run_tore_fm_bodymesh:main"


def assert_same_state(a: Path, b: Path) -> None:
    first, second = load_training_state(a)["model"], load_training_state(b)["model"]
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def long_run(flags: list[str]) -> list[list[str]]:
    """The arguments of 24 steps with dropout, two loading workers, a checkpoint every third step."""
    more = ["--num_train_epochs", "4", "--num_workers", "2", "--save_steps", "3", "--val_yaml", "none"]
    return [[*flags, *SMALL_FM, *QUICK, *STEPS, *more, "--resume", "auto"]]


def wait_for_checkpoint(folder: Path, iteration: int) -> None:
    end = time.monotonic() + 120
    while not any(folder.glob(f"checkpoint-*-{iteration}")):
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_run_goes_on_bit_for_bit(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    first = start(FM, long_run(data_flags(tiny_sets, rule_body_dir, whole)), tmp_path / "whole.txt")
    assert first.wait() == 0, first.said
    run = long_run(data_flags(tiny_sets, rule_body_dir, cut))
    child = start(FM, run, tmp_path / "cut.txt")
    wait_for_checkpoint(cut, 12)
    time.sleep(0.1)
    child.kill()
    last = start(FM, run, tmp_path / "again.txt")
    assert last.wait() == 0, last.said
    assert "resuming from" in last.said
    assert lines(cut) == lines(whole) and len(lines(whole)) == 12
    assert_same_state(newest(cut), newest(whole))


@pytest.mark.slow
def test_two_killed_processes_go_on_bit_for_bit(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_ranks(FM, long_run(data_flags(tiny_sets, rule_body_dir, whole)), 2, tmp_path / "a")
    run = long_run(data_flags(tiny_sets, rule_body_dir, cut))
    children = start_ranks(FM, run, 2, tmp_path / "b")
    wait_for_checkpoint(cut, 6)
    time.sleep(0.1)
    for child in children:
        child.kill()
    run_ranks(FM, run, 2, tmp_path / "c")
    assert "resuming from" in (tmp_path / "c" / "rank0.txt").read_text()
    assert lines(cut) == lines(whole) and len(lines(whole)) == 6
    assert_same_state(newest(cut), newest(whole))


@pytest.mark.parametrize(("number", "send"), [(signal.SIGUSR1, os.kill), (signal.SIGTERM, os.killpg)])
def test_signal_saves_and_leaves_with_its_own_code(
    number: signal.Signals, send: Callable, tiny_sets: Path, rule_body_dir: Path, tmp_path: Path
) -> None:
    """To the process alone, and to its group with the loading workers in it, as a batch system sends it."""
    child = start(FM, long_run(data_flags(tiny_sets, rule_body_dir, tmp_path / "out")), tmp_path / "said.txt")
    wait_for_checkpoint(tmp_path / "out", 3)
    send(child.pid, number)
    assert child.wait() == 75, child.said
    assert f"stopped by {number.name}; resume with --resume auto" in child.said
    assert 3 <= load_training_state(newest(tmp_path / "out"))["iteration"] < 24


@pytest.mark.slow
def test_elastic_restart_goes_on_after_a_killed_rank(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    """The script run by each rank kills rank 1 once, in the first life, after the first checkpoint."""
    script = tmp_path / "killed_once.py"
    script.write_text(
        "import glob, os, signal, sys, threading, time\n"
        "from tore.tools.run_tore_fm_bodymesh import main\n"
        "def strike():\n"
        f"    while not glob.glob({str(tmp_path / 'out' / 'checkpoint-*-2')!r}):\n"
        "        time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if os.environ['RANK'] == '1' and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':\n"
        "    threading.Thread(target=strike, daemon=True).start()\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "out"), *SMALL_FM, *QUICK, *STEPS]
    flags += ["--num_train_epochs", "3", "--num_workers", "0", "--save_steps", "2", "--val_yaml", "none"]
    done = run_command([*torchrun(2, "--max-restarts=1"), str(script), *flags])
    assert done.returncode == 0, done.stdout
    assert "resuming from" in done.stdout and lines(tmp_path / "out")[-1]["iteration"] == 9
