"""The checkpoint that ships with the package: a network that has learned, small enough to ship."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tore import load_model
from tore.body import load_body
from tore.demo.judging import MEAN, held_out_evaluation, judge_baselines, judged
from tore.paths import shipped_checkpoint
from tore.synthetic.writing import Recipe, write_images

IMAGES = 48


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size", "shares"), [("body", 256, (0.8, 0.85)), ("hand", 224, (0.5, 0.7))])
def test_shipped_network_beats_the_mean_mesh_on_images_it_never_saw(
    kind: str, size: int, shares: tuple[float, float], capsule_body_dir: Path, tmp_path: Path
) -> None:
    """By at least these shares of MPJPE and PA-MPJPE."""
    path = shipped_checkpoint(kind)
    assert path.stat().st_size < 30e6
    recipe = Recipe(kind=kind, split="val", seed=2024, size=size, body_dir=str(capsule_body_dir))
    yaml = write_images(recipe, IMAGES, tmp_path, workers=1)
    model = load_model(path, device="cpu")
    assert model.trained_on == load_body(kind, capsule_body_dir).identity
    assert model.config.image_reduction == "itp" and model.config.geometry_reduction
    evaluation = held_out_evaluation(load_body(kind, capsule_body_dir), yaml, torch.device("cpu"), workers=0)
    # the mean of these very bodies: a hard one to beat
    mean = judge_baselines(evaluation, yaml, say=lambda _: None)[MEAN]
    found = judged(evaluation, model)
    for error, share in zip(("mpjpe", "pa_mpjpe"), shares, strict=True):
        assert found[error] < share * mean[error], (error, found, mean)
