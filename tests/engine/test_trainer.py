"""The loop on a toy: resuming bit for bit, accumulation, moving average, NaN, signals, drawing, best and last k."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.toy import ToyBatches, make_trainer
from tore.engine.distributed import Processes
from tore.engine.faults import NonFiniteLossError
from tore.engine.state import load_training_state
from tore.evaluation.evaluator import EvaluationResult


def train_lines(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines if line["kind"] == "train"]


def assert_same_weights(a: torch.nn.Module, b: torch.nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"amp": "bf16"}, {"accumulate": 2}])
def test_a_run_cut_anywhere_goes_on_bit_for_bit(tmp_path: Path, options: dict) -> None:
    whole = make_trainer(tmp_path / "whole", save_steps=1, keep=99, **options)
    assert whole.run() is None
    places = whole.checkpoints.complete()
    assert len(places) == 2 * whole.batches.per_epoch
    for place in places[:-1]:
        part = make_trainer(tmp_path / place.name, **options)
        (tmp_path / place.name / "metrics.jsonl").write_text((tmp_path / "whole" / "metrics.jsonl").read_text())
        part.resume(load_training_state(place))
        part.run()
        assert train_lines(tmp_path / place.name) == train_lines(tmp_path / "whole"), place
        assert_same_weights(part.network, whole.network)
        if whole.average is not None:
            for name, value in whole.average.average.items():
                assert torch.equal(value, part.average.average[name]), name


def test_loss_falls(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, epochs=8, dropout=0.0, logging_steps=5)
    trainer.run()
    lines = train_lines(tmp_path)
    assert lines[-1]["loss"] < 0.95 * lines[0]["loss"]
    assert lines[0]["lr"] == 1e-2 and lines[-1]["lr"] == pytest.approx(1e-4)
    assert {"joints_3d", "joints_2d", "vertices", "itp", "gradient_norm", "weight_itp", "epoch"} <= set(lines[0])
    assert "images/s" in (tmp_path / "log.txt").read_text() and "ETA" in (tmp_path / "log.txt").read_text()


class Recorder(ToyBatches):
    """Four samples a step whatever the cut, all labeled, so that means over parts are means over the whole."""

    def epoch(self, epoch, start):
        for batch in super().epoch(epoch, start):
            yield batch | {"has_smpl": torch.ones_like(batch["has_smpl"]), "has_3d_joints": torch.ones(self.batch)}


def test_accumulated_steps_equal_one_large_step(tmp_path: Path) -> None:
    """Batch norm frozen; the token loss is a sum over a micro-batch, so half the weight belongs to twice the batch."""
    common = {"dropout": 0.0, "freeze_batch_norm": True, "epochs": 1}
    large = make_trainer(tmp_path / "a", itp=5e-4, batches=Recorder(Processes(), batch=4), **common)
    small = Recorder(Processes(), batch=2, accumulate=2)
    small = make_trainer(tmp_path / "b", itp=1e-3, batches=small, accumulate=2, **common)
    large.run()
    small.run()
    for (name, x), y in zip(large.network.state_dict().items(), small.network.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=2e-4, atol=2e-6, msg=name)
    assert int(large.network.trunk[1].num_batches_tracked) == 0


def test_not_finite_stops_with_terms_and_samples_named(tmp_path: Path) -> None:
    batches = ToyBatches(Processes())
    batches.poison = {9}
    trainer = make_trainer(tmp_path, batches=batches, save_steps=1)
    with pytest.raises(NonFiniteLossError, match=r"iteration 3: not finite: .*joints_3d.*image8, image9"):
        trainer.run()
    newest = trainer.checkpoints.newest()
    assert newest is not None and newest.name == "checkpoint-0-2"
    assert all(torch.isfinite(value).all() for value in load_training_state(newest)["model"].values())


def test_not_finite_can_be_left_out(tmp_path: Path) -> None:
    batches = ToyBatches(Processes())
    batches.poison = {9}
    trainer = make_trainer(tmp_path, batches=batches, on_nan="skip")
    assert trainer.run() is None
    assert trainer.progress.skipped == 2
    assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values())
    assert "this step is left out" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_finishes_the_step_saves_and_the_run_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    class Signalling(ToyBatches):
        def epoch(self, epoch, start):
            for place, batch in enumerate(super().epoch(epoch, start)):
                if epoch == 1 and place == 1:
                    os.kill(os.getpid(), number)
                yield batch

    whole = make_trainer(tmp_path / "whole")
    whole.run()
    cut = make_trainer(tmp_path / "cut", batches=Signalling(Processes()))
    before = signal.getsignal(number)
    assert cut.run() == number.name
    assert signal.getsignal(number) is before
    newest = cut.checkpoints.newest()
    assert newest is not None and newest.name == "checkpoint-1-7"
    again = make_trainer(tmp_path / "cut")
    again.resume(load_training_state(newest))
    assert again.run() is None
    assert train_lines(tmp_path / "cut") == train_lines(tmp_path / "whole")
    assert_same_weights(again.network, whole.network)


def result(score: float, metric: str = "pa_mpjpe") -> EvaluationResult:
    return EvaluationResult({metric: score}, {}, [], {"samples": 1}, metric_samples={"pa_mpjpe": 0} | {metric: 1})


def test_best_by_pa_mpjpe_stays_beside_the_last_ones(tmp_path: Path) -> None:
    scores = iter([50.0, 40.0, 45.0, 44.0, 43.0])
    trainer = make_trainer(tmp_path, epochs=5, keep=2, validate=lambda give_up: result(next(scores)))
    trainer.run()
    assert [path.name for path in trainer.checkpoints.complete()] == [
        "checkpoint-2-10",
        "checkpoint-4-20",
        "checkpoint-5-25",
    ]
    best = json.loads((tmp_path / "best.json").read_text())
    assert best == {"checkpoint": "checkpoint-2-10", "pa_mpjpe": 40.0, "epoch": 2}
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kinds.count("validation") == 5


def test_best_is_never_chosen_by_an_absent_metric(tmp_path: Path) -> None:
    nothing = EvaluationResult({}, {}, [], {"samples": 1}, metric_samples={"pa_mpjpe": 0})
    outcomes = [nothing, result(float("nan")), result(9.0, "mpvpe"), result(7.0, "mpvpe"), result(8.0, "mpvpe")]
    given = iter(outcomes)
    trainer = make_trainer(tmp_path, epochs=5, keep=5, validate=lambda give_up: next(given))
    trainer.progress.best = {"checkpoint": "checkpoint-0-0", "pa_mpjpe": 0.0, "epoch": 0}  # of an unlabeled set
    trainer.run()
    best = json.loads((tmp_path / "best.json").read_text())
    assert best == {"checkpoint": "checkpoint-4-20", "mpvpe": 7.0, "epoch": 4}
    said = (tmp_path / "log.txt").read_text()
    assert said.count("no metric can choose the best checkpoint") == 2
    assert said.count("chosen by mpvpe, since pa_mpjpe is absent") == 3 and said.count("the choice starts anew") == 1
    assert "validation after epoch 4: mpvpe 7.00 over 1  without a sample: pa_mpjpe" in said
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    held = ["pa_mpjpe" in line for line in lines if line["kind"] == "validation"]
    assert held == [False, True, False, False, False]


def test_a_signal_during_validation_repeats_that_validation_later(tmp_path: Path) -> None:
    def interrupted(give_up):
        os.kill(os.getpid(), signal.SIGTERM)
        return None if give_up() else result(1.0)

    trainer = make_trainer(tmp_path, validate=interrupted)
    assert trainer.run() == "SIGTERM"
    newest = trainer.checkpoints.newest()
    assert newest is not None and newest.name == "checkpoint-0-5"
    asked = []
    again = make_trainer(tmp_path, validate=lambda give_up: asked.append(1) or result(1.0))
    again.resume(load_training_state(newest))
    assert again.run() is None
    assert len(asked) == 2 and again.progress.iteration == 10


def test_moving_average_is_what_is_judged_and_official(tmp_path: Path) -> None:
    seen = []
    trainer = make_trainer(tmp_path, ema=0.99)
    validate = lambda give_up: seen.append(trainer.network.heads[0].weight.clone()) or result(1.0)  # noqa: E731
    trainer.monitoring = replace(trainer.monitoring, validate=validate)
    trainer.run()
    assert trainer.average is not None
    assert torch.equal(seen[-1], trainer.average.average["heads.0.weight"])
    assert not torch.equal(seen[-1], trainer.network.heads[0].weight)
    official = torch.load(trainer.checkpoints.newest() / "state_dict.bin", weights_only=True)
    assert torch.equal(official["heads.0.weight"], seen[-1])


def test_drawing_gets_the_batch_and_disturbs_nothing(tmp_path: Path) -> None:
    drawn = []

    def draw(iteration, batch, outcome):
        torch.rand(3)
        drawn.append((iteration, batch["key"][0], tuple(outcome.prediction.vertices.shape)))
        return np.zeros((2, 2, 3), np.uint8)

    plain = make_trainer(tmp_path / "plain")
    plain.run()
    drawing = make_trainer(tmp_path / "drawing", draw=draw, visual_steps=4)
    drawing.run()
    assert drawn == [(4, "image12", (4, 16, 3)), (8, "image8", (4, 16, 3))]
    assert_same_weights(plain.network, drawing.network)


def test_another_batch_size_moves_the_position_and_says_so(tmp_path: Path) -> None:
    first = make_trainer(tmp_path, save_steps=1)
    first.run()
    state = load_training_state(tmp_path / "checkpoint-1-8")
    second = make_trainer(tmp_path / "b", batches=ToyBatches(Processes(), batch=8))
    second.resume(state)
    assert (second.progress.epoch, second.progress.done, second.progress.iteration) == (1, 1, 3)
    assert "one step took 4 samples and now takes 8" in (tmp_path / "b" / "log.txt").read_text()
