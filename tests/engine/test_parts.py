"""Schedule, optimizers, clipping, checkpoints killed while written, logs that forget, random states."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tore.datasets.loader import iterations_per_epoch
from tore.engine import optimization
from tore.engine.distributed import Processes, choose_device, start_processes
from tore.engine.logging import RunLog
from tore.engine.state import (
    CheckpointFolder,
    MovingAverage,
    capture_random_state,
    is_complete,
    load_training_state,
    restore_random_state,
    seed_process,
)
from tore.engine.trainer import untouched_random_state


def test_rate_falls_to_a_tenth_after_half_of_the_epochs() -> None:
    rates = [optimization.learning_rate(1e-4, step, 10, 6) for step in (1, 29, 30, 59, 60)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6])
    odd = [optimization.learning_rate(1.0, step, 10, 5) for step in (24, 25, 29, 30)]
    assert odd == pytest.approx([1, 1, 1, 0.1]), "2.5 epochs round up to whole ones"


def test_cosine_rises_falls_and_ends_at_zero() -> None:
    plain, rising = optimization.Schedule("cosine"), optimization.Schedule("cosine", 0.2)
    assert [plain.rate(2.0, step, 10, 2) for step in (0, 10, 20)] == pytest.approx([2.0, 1.0, 0.0])
    assert [rising.rate(2.0, step, 10, 2) for step in (1, 4, 12, 20)] == pytest.approx([0.5, 2.0, 1.0, 0.0])
    official = optimization.Schedule("official", 0.1)
    assert [official.rate(1.0, step, 10, 2) for step in (1, 2, 9, 10)] == pytest.approx([0.5, 1.0, 1.0, 0.1])
    with pytest.raises(ValueError, match="'linear' is not known"):
        optimization.Schedule("linear")
    with pytest.raises(ValueError, match=r"warm_up_share 1\.0"):
        optimization.Schedule("cosine", 1.0)


def test_iterations_are_floored_and_too_few_samples_said() -> None:
    assert iterations_per_epoch(129, 64) == 2
    with pytest.raises(ValueError, match="3 samples but one step takes 4"):
        iterations_per_epoch(3, 4)


@pytest.mark.parametrize("network", ["fastmetro", "metro"])
def test_optimizer_steps_equal_the_formula(network: str) -> None:
    recipe = optimization.OPTIMIZERS[network]
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    stepper = optimization.build_optimizer([weight], recipe, 1e-2)
    expected, m, v = weight.detach().clone(), torch.zeros(3).double(), torch.zeros(3).double()
    for step in range(1, 4):
        gradient = torch.tensor([0.1, -5.0, 0.2], dtype=torch.float64) * step
        weight.grad = gradient.clone()
        optimization.clip_gradients([weight], recipe)
        if network == "fastmetro":
            gradient = gradient.clamp(-0.3, 0.3)
            expected = expected * (1 - 1e-2 * 1e-4)
        stepper.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        expected = expected - 1e-2 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)


def test_sized_steps_equal_the_formula() -> None:
    """Two steps of Adam, those of the convolution in shares of its channels' size; the linear layer's stay Adam's."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        network[0].weight[1] *= 1000
    other = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
    optimizers = [torch.optim.Adam(list(each), lr=0.01) for each in (network.parameters(), other)]
    optimization.SizedSteps(optimizers[0], network[0].parameters(), 0.5)
    for step in range(2):
        gradients = [torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(step)) for p in other]
        before = [parameter.detach().clone() for parameter in network.parameters()]
        with torch.no_grad():
            for parameter, value in zip(other, before, strict=True):
                parameter.copy_(value)
        for parameters, optimizer in ((network.parameters(), optimizers[0]), (other, optimizers[1])):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        sizes = [float((channel**2).mean() ** 0.5) for channel in before[0]]
        shares = [0.5 * min(size, 4 * sorted(sizes)[1]) for size in sizes]
        for channel in range(3):
            own = before[0][channel] + shares[channel] * (other[0][channel] - before[0][channel])
            torch.testing.assert_close(network[0].weight[channel], own)
        bias = before[1] + 0.5 * 0.3 * (before[1] ** 2).mean() ** 0.5 * (other[1] - before[1])
        torch.testing.assert_close(network[0].bias, bias)
        torch.testing.assert_close(network[2].weight, other[2])


def test_gradient_norm_and_norm_clipping() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(4))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert optimization.gradient_norm(parameters).item() == 5.0
    optimization.clip_gradients(parameters, optimization.OptimizerRecipe("adamw", 0.0, "norm", 0.5))
    assert optimization.gradient_norm(parameters).item() == pytest.approx(0.5, rel=1e-4)
    assert optimization.gradient_norm([nn.Parameter(torch.zeros(1))]).item() == 0.0


def test_moving_average_keeps_frozen_numbers_bit_for_bit() -> None:
    """-0.0 too, of which a weighted sum makes 0.0; a file that leaves a frozen backbone out compares checksums."""
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-0.0, 0.1, 1 / 3]]))
    model.weight.requires_grad_(False)
    average = MovingAverage(model, 0.9)
    average.update(model)
    assert average.average["weight"].view(torch.int32).equal(model.weight.view(torch.int32))


def test_moving_average_equals_the_formula_and_is_lent_only() -> None:
    model = nn.BatchNorm1d(2)
    average = MovingAverage(model, 0.9)
    expected = model.weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            model.weight += step
            model.num_batches_tracked += 1
        average.update(model)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.average["weight"], expected)
    assert int(average.average["num_batches_tracked"]) == 5
    own = model.weight.detach().clone()
    with average.applied(model):
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight, own)
    with pytest.raises(ValueError, match="between 0 and 1"):
        MovingAverage(model, 1.0)


def test_random_state_comes_back() -> None:
    seed_process(3)
    state = capture_random_state()
    first = (random.random(), np.random.rand(), torch.rand(1).item())
    restore_random_state(state)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first
    before = torch.get_rng_state()
    with untouched_random_state():
        torch.rand(5)
    assert torch.equal(before, torch.get_rng_state())


def number_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[2])


def write_until_killed(output: Path, state: dict) -> None:
    """One checkpoint after the other, two kept, for ever."""
    folder = CheckpointFolder(output, keep=2)
    newest = folder.newest()
    iteration = number_of(newest) if newest is not None else 0
    while True:
        iteration += 1
        state["iteration"] = iteration
        folder.save(state, lambda path: torch.save(state["weights"], path), epoch=0, iteration=iteration)
        folder.prune(None)


def test_killed_while_writing_leaves_a_complete_newest_checkpoint(tmp_path: Path) -> None:
    """Each of the twelve writers gets one checkpoint done and is then killed at a random moment of a later one."""
    weights = [torch.full((200_000,), float(i)) for i in range(10)]
    folder, r, newest = CheckpointFolder(tmp_path, keep=2), random.Random(0), 0
    for _ in range(12):
        child = os.fork()  # a copy of this process, so that torch is not imported twelve times
        if child == 0:
            write_until_killed(tmp_path, {"iteration": 0, "weights": weights})
        end = time.monotonic() + 60
        while max(map(number_of, tmp_path.glob("checkpoint-*")), default=0) <= newest and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.1 * r.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = folder.newest()
        assert found is not None
        state = load_training_state(found)
        assert state["iteration"] == number_of(found) > newest
        assert torch.load(found / "state_dict.bin", weights_only=True)[9][-1] == 9.0
        newest = state["iteration"]


def test_a_damaged_checkpoint_is_not_complete(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=5)
    for iteration in (9, 10):
        folder.save({"iteration": iteration}, lambda path: path.write_bytes(b"x"), epoch=0, iteration=iteration)
    assert folder.newest() == tmp_path / "checkpoint-0-10"
    (tmp_path / "checkpoint-0-10" / "state_dict.bin").write_bytes(b"")
    assert folder.newest() == tmp_path / "checkpoint-0-9"
    (tmp_path / "checkpoint-0-9" / "complete.json").unlink()
    assert folder.newest() is None and not is_complete(tmp_path / "nowhere")
    (tmp_path / "checkpoint-0-9" / "training.pt").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"training.pt is not a checkpoint or is damaged"):
        load_training_state(tmp_path / "checkpoint-0-9")
    with pytest.raises(FileNotFoundError, match="is missing"):
        load_training_state(tmp_path)
    with pytest.raises(ValueError, match="use at least 1"):
        CheckpointFolder(tmp_path, keep=0)


def test_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    shown: list[str] = []
    log = RunLog(tmp_path, echo=shown.append)
    log.start(0)
    for iteration in range(1, 6):
        log.metrics("train", iteration, {"loss": float(iteration)})
    log.image("training", 5, np.zeros((4, 4, 3), np.uint8))
    log.line("hello")
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    again = RunLog(tmp_path, echo=shown.append, tensorboard=False)
    again.start(3)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    assert shown == ["hello"] and "hello" in (tmp_path / "log.txt").read_text()
    assert list((tmp_path / "tensorboard").iterdir())


def test_one_process_needs_no_group() -> None:
    processes = start_processes("cpu")
    assert processes == Processes(device=torch.device("cpu"))
    assert processes.gather(3) == [3] and processes.mean(torch.ones(2)).tolist() == [1, 1]
    with pytest.raises(ValueError, match="cannot be used here"):
        choose_device("gpu", 0)
