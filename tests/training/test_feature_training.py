"""Training on stored features against training on the images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.training_runs import QUICK, SMALL_FM, data_flags
from tore import load_model
from tore.tools import run_tore_fm_bodymesh

RUN = [*SMALL_FM, *QUICK, "--freeze_backbone", "true", "--num_train_epochs", "2", "--num_workers", "0"]
RUN += ["--per_gpu_train_batch_size", "4", "--logging_steps", "1", "--shift_augmentation", "0.1", "--val_yaml", "none"]


def losses(folder: Path) -> list[float]:
    return [float(found) for found in re.findall(r"  loss (\S+)", (folder / "log.txt").read_text())]


def test_steps_are_those_of_training_on_images(tiny_sets: Path, rule_body_dir: Path, tmp_path: Path) -> None:
    """The order, the draws and the dropout are the same; features in 16 bits are all that differs."""
    said = []
    for name in ("images", "stored"):
        flags = [*data_flags(tiny_sets, rule_body_dir, tmp_path / name), *RUN]
        if name == "stored":
            flags += ["--cache_features", str(tmp_path / "store"), "--cache_augmentations", "2"]
            flags[flags.index("--visual_steps") + 1] = "1"
        assert run_tore_fm_bodymesh.main(flags) == 0
        said.append(losses(tmp_path / name))
    assert len(said[0]) == len(said[1]) == 6
    assert said[1] == pytest.approx(said[0], rel=2e-3)
    log = (tmp_path / "stored" / "log.txt").read_text()
    assert "training on stored features" in log and "stored features hold none" in log
    (newest,) = (tmp_path / "stored").glob("checkpoint-2-*")
    assert load_model(newest, rule_body_dir, "cpu").backbone.frozen


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--cache_augmentations", "2"], "goes with --cache_features DIR"),
        (["--no_augmentation", "--shift_augmentation", "0.1"], "cannot take effect beside --no_augmentation"),
        (["--cache_features", "DIR", "--freeze_backbone", "false"], "add --freeze_backbone true"),
        (["--arch", "movenet-thunder", "--image_size", "224"], "movenet-thunder sees images of image_size 256"),
        (["--keypoint_queries", "true"], "'test_resnet' finds no keypoints"),
    ],
)
def test_what_cannot_take_effect_is_refused(
    flags: list[str],
    text: str,
    tiny_sets: Path,
    rule_body_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    everything = [*data_flags(tiny_sets, rule_body_dir, tmp_path / "out"), *SMALL_FM, *QUICK, *flags]
    assert run_tore_fm_bodymesh.main([str(tmp_path) if each == "DIR" else each for each in everything]) == 2
    assert text in capsys.readouterr().err
