"""Two gloo processes against one: the same training, and resuming bit for bit, also on another number of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.engine.test_trainer import train_lines
from tests.engine.toy import ToyBatches, make_trainer
from tests.processes import run_ranks
from tore.engine.distributed import Processes, start_processes
from tore.engine.state import load_training_state


class Double(ToyBatches):
    """Float64 samples, so that nothing but the order of sums can differ."""

    def epoch(self, epoch, start):
        for batch in super().epoch(epoch, start):
            yield {name: value.double() if torch.is_tensor(value) else value for name, value in batch.items()}


def double_trainer(output: Path, processes: Processes, batch: int, itp: float):
    batches = Double(processes, batch=batch)
    options = {"dropout": 0.0, "freeze_batch_norm": True, "logging_steps": 1, "dtype": torch.float64}
    return make_trainer(output, processes=processes, batches=batches, itp=itp, **options)


def train_doubles(output: str) -> None:
    processes = start_processes("cpu")
    double_trainer(Path(output), processes, batch=2, itp=1e-3).run()
    processes.close()


def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    """Labels are missing unevenly over the processes. The token loss is a sum over one process's samples."""

    run_ranks(f"{__name__}:train_doubles", [str(tmp_path / "two")], 2, tmp_path)
    one = double_trainer(tmp_path / "one", Processes(), batch=4, itp=5e-4)
    one.run()
    newest = one.checkpoints.newest()
    assert newest is not None
    two = load_training_state(tmp_path / "two" / newest.name)["model"]
    for name, value in one.network.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=1e-8, atol=1e-9, msg=name)
    for a, b in zip(train_lines(tmp_path / "two"), train_lines(tmp_path / "one"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-9)
        assert 2 * a["itp"] == pytest.approx(b["itp"], rel=1e-9)
        assert a["vertices"] == pytest.approx(b["vertices"], rel=1e-9)


def train_and_go_on(folder: str, accumulate: int, places: list[str]) -> None:
    processes, root = start_processes("cpu"), Path(folder)
    options = {"processes": processes, "accumulate": accumulate}
    batches = ToyBatches(processes, batch=2, accumulate=accumulate)
    make_trainer(root / "whole", batches=batches, save_steps=1, keep=99, **options).run()
    for place in places:
        part = make_trainer(root / place, batches=batches, **options)
        if processes.is_main:
            (root / place / "metrics.jsonl").write_text((root / "whole" / "metrics.jsonl").read_text())
        part.resume(load_training_state(root / "whole" / place))
        part.run()
    processes.close()


@pytest.mark.parametrize(
    ("accumulate", "places"), [(1, ["checkpoint-0-1", "checkpoint-1-6"]), (2, ["checkpoint-0-1", "checkpoint-1-3"])]
)
def test_two_processes_go_on_bit_for_bit(tmp_path: Path, accumulate: int, places: list[str]) -> None:
    run_ranks(f"{__name__}:train_and_go_on", [str(tmp_path), accumulate, places], 2, tmp_path)
    last = next((tmp_path / "whole").glob("checkpoint-2-*")).name
    whole = load_training_state(tmp_path / "whole" / last)
    for place in places:
        assert train_lines(tmp_path / place) == train_lines(tmp_path / "whole")
        part = load_training_state(tmp_path / place / last)
        for name, value in whole["model"].items():
            assert torch.equal(part["model"][name], value), (place, name)


def go_on_as_two(folder: str) -> None:
    processes = start_processes("cpu")
    trainer = make_trainer(Path(folder) / "two", processes=processes, epochs=1)
    trainer.resume(load_training_state(Path(folder) / "one" / "checkpoint-0-4"))
    assert (trainer.progress.done, trainer.progress.iteration) == (2, 2)
    assert trainer.batches.per_epoch == 2
    assert trainer.run() is None
    processes.close()


def test_another_number_of_processes_goes_on_and_says_so(tmp_path: Path) -> None:
    first = make_trainer(tmp_path / "one", save_steps=1, epochs=1)
    first.run()
    run_ranks(f"{__name__}:go_on_as_two", [str(tmp_path)], 2, tmp_path)
    log = (tmp_path / "two" / "log.txt").read_text()
    assert "one step took 4 samples and now takes 8" in log and "1 processes wrote the checkpoint and 2 resume" in log
