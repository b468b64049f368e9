"""Storing a network as the package ships it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch

import tore
from scripts.ship_checkpoint import movenet_of, ship_movenet
from tore.modeling.movenet import load_movenet

SMALL = {"widths": (64, 32), "hidden": (64, 64), "heads": 4}


def test_trained_movenet_is_stored_a_share_of_the_way(rule_body_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"body_dir": rule_body_dir, "frozen_backbone": False, "backbone_weights": "shipped", **SMALL}
    before = tore.create_model("fastmetro_tore_xs_movenet_thunder", **options)
    trained = deepcopy(before)
    bias = movenet_of(before).blocks[9].expand.bias.detach().clone()
    with torch.no_grad():
        movenet_of(trained).blocks[9].expand.bias += 0.5
    ship_movenet(trained, before, 0.25, tmp_path / "movenet.safetensors")
    stored = load_movenet("thunder", tmp_path / "movenet.safetensors")
    torch.testing.assert_close(stored.blocks[9].expand.bias, bias + 0.125, rtol=1e-3, atol=1e-4)
    original, own = movenet_of(before).state_dict(), movenet_of(trained).state_dict()
    for name, value in stored.state_dict().items():
        assert torch.equal(value, own[name]) and (torch.equal(value, original[name]) or name == "blocks.9.expand.bias")
    assert trained.config.frozen_backbone and not before.config.frozen_backbone


def test_other_backbones_are_refused(rule_body_dir: Path) -> None:
    model = tore.create_model(arch="test_resnet", body_dir=rule_body_dir, **SMALL)
    with pytest.raises(ValueError, match="the backbone is test_resnet, not movenet-thunder"):
        movenet_of(model)
