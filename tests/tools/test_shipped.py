"""The checkpoint that ships with the package: a network that has learned, small enough to ship."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tore import load_model
from tore.body import load_body
from tore.datasets.synthesis.writing import Recipe, write_pictures
from tore.paths import shipped_checkpoint
from tore.tools.demo_judging import MEAN, Judge, judge_baselines

PICTURES = 48


@pytest.mark.slow
def test_shipped_network_beats_the_mean_mesh_on_pictures_it_never_saw(standin_dir: Path, tmp_path: Path) -> None:
    path = shipped_checkpoint("body")
    assert path.stat().st_size < 30e6
    recipe = Recipe(kind="body", split="val", seed=2024, size=256, data_dir=str(standin_dir))
    yaml = write_pictures(recipe, PICTURES, tmp_path, workers=1)
    model = load_model(path, device="cpu")
    assert model.config.stand_in and model.config.image_reduction == "itp" and model.config.geometry_reduction
    judge = Judge(load_body("body", standin_dir), yaml, torch.device("cpu"), workers=0)
    mean = judge_baselines(judge, yaml, say=lambda _: None)[MEAN]  # the mean of these very bodies: a hard one to beat
    found = judge(model)
    assert found["mpjpe"] < 0.8 * mean["mpjpe"] and found["pa_mpjpe"] < 0.85 * mean["pa_mpjpe"], (found, mean)
