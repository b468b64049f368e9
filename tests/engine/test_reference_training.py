"""Three training steps in float64 from the rule-made weights: every term, and the outputs afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import rules
from tests.conftest import assert_agrees, reference, rule_state_dict
from tore.body import load_body
from tore.engine.distributed import Processes
from tore.engine.optimization import OPTIMIZERS, build_optimizer, clip_gradients, learning_rate, set_learning_rate
from tore.engine.step import step_of
from tore.losses.criterion import weighted_sum
from tore.losses.recipes import RECIPES
from tore.modeling import load_model

PER_EPOCH, EPOCHS, BATCH = 10, 60, 4
NORMAL_TOLERANCE = 1e-7  # the rule-made faces hold degenerate ones


def step_batch(step: int) -> dict[str, torch.Tensor]:
    """The images, targets and joint mask of a step, floating entries in float64."""
    arrays = {**rules.annotations(200 + step, BATCH), "image": rules.images(100 + step, BATCH)}
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    batch["joint_mask"] = torch.ones(BATCH, 14, 1, dtype=torch.float64)
    batch["joint_mask"][:, [0, 5, 10]] = 0
    return batch


def smaller(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An L network's entries without its second and third layers: the S network's."""
    return {name: value for name, value in state.items() if ".layers.1." not in name and ".layers.2." not in name}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "network"),
    [("train_tore_fastmetro_S_resnet50_keep0.8", "fastmetro"), ("train_tore_metro_resnet50", "metro")],
)
def test_three_steps_meet_the_reference(name: str, network: str, rule_body_dir: Path, tmp_path: Path) -> None:
    expected = reference(name)
    keys = "tore_metro_resnet50" if network == "metro" else "tore_fastmetro_L_resnet50_keep0.8"
    state = rule_state_dict(keys)
    torch.save(state if network == "metro" else smaller(state), tmp_path / "state_dict.bin")
    model = load_model(tmp_path / "state_dict.bin", rule_body_dir, "cpu", dropout=0.0).double().train()
    body = load_body("body", rule_body_dir).double()
    step = step_of(model, body, RECIPES[network, "body"], processes=Processes())
    optimizer = build_optimizer(model.parameters(), OPTIMIZERS[network], 1e-4)
    unweighted = () if network == "metro" else ("normal", "edge")  # listed, but not in FastMETRO's total
    for iteration in (1, 2, 3):
        set_learning_rate(optimizer, learning_rate(1e-4, iteration, PER_EPOCH, EPOCHS))
        found = step(model, step_batch(iteration), iteration / PER_EPOCH)
        for term, value in found.terms.items():
            tolerance = NORMAL_TOLERANCE if term == "normal" else 1e-8
            assert value.item() == pytest.approx(expected[term][iteration - 1], rel=tolerance), (term, iteration)
        total = weighted_sum(found.terms, {n: w for n, w in found.weights.items() if n not in unweighted})
        assert total.item() == pytest.approx(expected["loss"][iteration - 1], rel=1e-8), iteration
        optimizer.zero_grad()
        total.backward()
        clip_gradients(model.parameters(), OPTIMIZERS[network])
        optimizer.step()
    with torch.no_grad():
        after = model.eval()(torch.from_numpy(rules.images(0, 2)).double())
    for name, value in {"cam": after.camera, "joints": after.joints, "coarse": after.vertices_coarse}.items():
        assert_agrees(value, expected[f"after_{name}"], 1e-6)
