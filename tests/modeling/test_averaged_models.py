"""Averages of networks: torch's AveragedModel averages what is learned, and leaves every constant as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from manopth.manolayer import ManoLayer
from manopth.tensors import WithConstants
from tests.test_derivatives import SIDE, small
from tore.body.body_model import load_body

AVERAGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "exponential": {"multi_avg_fn": get_ema_multi_avg_fn(0.9)},
    "one by one": {"avg_fn": get_ema_avg_fn(0.9)},
}


def constants_of(model: nn.Module) -> dict[str, Tensor]:
    """What the network computes with and neither learns nor counts, wherever it is kept."""
    held: dict[str, Tensor] = {}
    for place, module in model.named_modules():
        if isinstance(module, WithConstants):
            held |= {f"{place}.{name}": tensor for name in module.constants
                     if isinstance(tensor := getattr(module, name), Tensor)}  # fmt: skip
    return held


def averaged(model: nn.Module, **options: Any) -> tuple[nn.Module, list[Tensor]]:
    """The average of three states of the network, and its first parameter at each of them."""
    average, seen = AveragedModel(model, use_buffers=True, **options), []
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.01 * torch.randn_like(parameter)
        average.update_parameters(model)
        seen.append(next(model.parameters()).detach().clone())
    return average.module, seen


@pytest.mark.parametrize("how", AVERAGES)
@pytest.mark.parametrize("name", ["fastmetro", "none", "metro"])
def test_averages_leave_constants_alone(name: str, how: str, rule_body_dir: Path) -> None:
    model = small(name, rule_body_dir)
    before = {key: tensor.clone() for key, tensor in constants_of(model).items()}
    assert before
    average, seen = averaged(model, **AVERAGES[how])
    after = constants_of(average)
    assert after.keys() == before.keys()
    for key, tensor in before.items():
        assert torch.equal(after[key], tensor), key
    expected = sum(seen) / 3 if how == "plain" else 0.81 * seen[0] + 0.09 * seen[1] + 0.1 * seen[2]
    torch.testing.assert_close(next(average.parameters()), expected)
    for training in (True, False):
        prediction = average.train(training)(torch.randn(2, 3, SIDE, SIDE))
        assert torch.isfinite(prediction.vertices).all()


def test_only_learned_numbers_and_counters_are_buffers(rule_body_dir: Path) -> None:
    """Whole numbers and truth values among the buffers would be averaged."""
    for name in ("fastmetro", "none", "metro"):
        for key, tensor in small(name, rule_body_dir).named_buffers():
            assert tensor.is_floating_point() or key.endswith("num_batches_tracked"), key


@pytest.mark.parametrize("make", [lambda folder: load_body("body", folder), lambda folder: ManoLayer(mano_root=folder)])
def test_averages_of_body_models(make: Callable[[Path], nn.Module], rule_body_dir: Path) -> None:
    model = nn.ModuleList([nn.Linear(2, 2), make(rule_body_dir)])
    before = {key: tensor.clone() for key, tensor in constants_of(model).items()}
    state = {key: tensor.clone() for key, tensor in model[1].state_dict().items()}
    average, _ = averaged(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    assert all(torch.equal(tensor, before[key]) for key, tensor in constants_of(average).items())
    assert all(torch.equal(tensor, state[key]) for key, tensor in average[1].state_dict().items())


def test_states_of_layers_with_faces_load_strictly(rule_body_dir: Path) -> None:
    layer, other = ManoLayer(mano_root=rule_body_dir), ManoLayer(mano_root=rule_body_dir)
    state = layer.state_dict()
    assert "th_faces" in state
    other.th_faces.zero_()
    other.load_state_dict(state)
    assert torch.equal(other.th_faces, layer.th_faces)
    with pytest.raises(RuntimeError, match="size mismatch for th_faces"):
        other.load_state_dict(state | {"th_faces": torch.zeros(3, 3, dtype=torch.int64)})


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["fastmetro", "none", "metro", "topk"])
def test_constants_meet_inputs_of_another_device(name: str, training: bool, rule_body_dir: Path) -> None:
    """DataParallel's replicas have their parameters and buffers on their device, and every other attribute shared."""
    replica = copy.deepcopy(small(name, rule_body_dir)).train(training)
    for module in replica.modules():
        for held in (module._parameters, module._buffers):
            held.update({key: value.detach().to("meta") for key, value in held.items() if value is not None})
    prediction = replica(torch.empty(2, 3, SIDE, SIDE, device="meta"))
    assert prediction.vertices.device.type == "meta" and prediction.camera.device.type == "meta"


def test_constants_follow_the_network(rule_body_dir: Path) -> None:
    model = small("fastmetro", rule_body_dir)
    kinds = {key: tensor.dtype for key, tensor in constants_of(model).items()}
    for key, tensor in constants_of(copy.deepcopy(model).double()).items():
        assert tensor.dtype == (torch.float64 if kinds[key].is_floating_point else kinds[key]), key
    assert {tensor.device.type for tensor in constants_of(model.to("meta")).values()} == {"meta"}
