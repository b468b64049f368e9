"""Made body models by their names, in place of a body model folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tore import cli
from tore.body.body_model import load_body
from tore.datasets.convert.entries import BodyModels
from tore.modeling import create_model
from tore.paths import CAPSULE_BODY_FILES, SYNTHETIC_BODY_FILES, BodyFiles, body_dir_at_hand, find_body_files

NAMES = [
    ("synthetic", SYNTHETIC_BODY_FILES, "synthetic_body_dir"),
    ("free", SYNTHETIC_BODY_FILES, "synthetic_body_dir"),
    ("capsules", CAPSULE_BODY_FILES, "capsule_body_dir"),
    ("stand-in", CAPSULE_BODY_FILES, "capsule_body_dir"),
]


@pytest.mark.parametrize(("word", "files", "folder"), NAMES, ids=[name[0] for name in NAMES])
def test_a_name_means_the_folder_of_its_model(
    word: str, files: BodyFiles, folder: str, request: pytest.FixtureRequest
) -> None:
    assert find_body_files("body", word) == (request.getfixturevalue(folder), files)
    assert load_body("hand", word).faces.shape == (1538, 3)
    trained_on = create_model(arch="resnet10t", body_dir=word).trained_on
    assert trained_on == load_body("body", word).identity and trained_on.name == files.name


def test_the_synthetic_body_stands_where_no_other_is(
    synthetic_body_dir: Path, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert body_dir_at_hand("body", rule_body_dir) == rule_body_dir
    monkeypatch.setenv("TORE_BODY_DIR", str(tmp_path))
    assert body_dir_at_hand("body") == synthetic_body_dir
    with pytest.raises(FileNotFoundError, match="'synthetic' takes the synthetic body model"):
        load_body("body")
    monkeypatch.setenv("TORE_BODY_DIR", "synthetic")
    assert len(load_body("body").faces) == 13776


def test_a_made_body_has_no_gendered_one_and_converts_no_poses_of_smpl(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="'synthetic' has no female one"):
        load_body("body", "synthetic", "female")
    with pytest.raises(ValueError, match=r"poses and shapes are SMPL's, and the body model in use is 'capsules'"):
        BodyModels({"neutral"}, "capsules")


@pytest.mark.parametrize(
    "verb", [["infer"], ["info"], ["cost"], ["convert", "spin"], ["data", "show"], ["synth", "images"]]
)
def test_every_verb_has_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*verb, "--help"])
    assert stop.value.code == 0
    assert "--help" in capsys.readouterr().out
