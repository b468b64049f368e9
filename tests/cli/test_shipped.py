"""The networks that come with the package: they have learned, are small, and find people by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tore
from tore.body import load_body
from tore.demo.data import held_out_set
from tore.demo.judging import MEAN, held_out_evaluation, judge_baselines, judged
from tore.paths import default_checkpoint, example_photograph

IMAGES = 48
MOST = 34e6  # bytes of everything that recovering people needs


def test_what_people_need_is_small() -> None:
    folder = default_checkpoint("body").parent
    names = ("people", "movenet_thunder", "movenet_thunder_features", "movenet_multipose")
    files = [folder / f"{name}.safetensors" for name in names]
    files.append(folder.parents[1] / "synthetic" / "data" / "free_body.npz")
    assert sum(path.stat().st_size for path in files) <= MOST


def test_the_shipped_network_finds_the_person_of_a_photograph() -> None:
    recovery = tore.MeshRecovery.from_pretrained(device="cpu")
    (person,) = recovery.predict(example_photograph())
    x, _, width, height = person.crop.box
    assert 0 < x + width / 2 < 512 and width > 150 and height > 300
    assert recovery.body.identity == load_body("body", "synthetic").identity
    joints = person.joints_2d
    inside = (joints[:, 0] > x - 0.2 * width) & (joints[:, 0] < x + 1.2 * width)
    assert inside.mean() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shares"), [("body", (0.75, 0.9)), ("hand", (0.5, 0.7))])
def test_shipped_network_beats_the_mean_mesh_on_images_it_never_saw(
    kind: str, shares: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By at least these shares of MPJPE and PA-MPJPE."""
    monkeypatch.setenv("TORE_CACHE_DIR", str(tmp_path / "cache"))
    yaml = held_out_set(kind, IMAGES, 2024, 1, tmp_path)
    model = tore.load_model(default_checkpoint(kind), device="cpu")
    body = load_body(kind, "synthetic")
    assert model.trained_on == body.identity
    assert model.config.image_reduction == "itp" and model.config.geometry_reduction
    shown = model.config.image_format
    evaluation = held_out_evaluation(body, yaml, torch.device("cpu"), workers=0, image_format=shown)
    # the mean of these very bodies: a hard one to beat
    mean = judge_baselines(evaluation, yaml, say=lambda _: None)[MEAN]
    found = judged(evaluation, model)
    for error, share in zip(("mpjpe", "pa_mpjpe"), shares, strict=True):
        assert found[error] < share * mean[error], (error, found, mean)
