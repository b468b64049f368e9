"""Made body models by their names, in place of a body model folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tore import cli
from tore.body.body_model import load_body
from tore.datasets.convert.entries import BodyModels
from tore.modeling import create_model
from tore.paths import SYNTHETIC_BODY_FILES, body_dir_at_hand, find_body_files


@pytest.mark.parametrize("word", ["synthetic", "free"])
def test_a_name_means_the_folder_of_its_model(word: str, synthetic_body_dir: Path) -> None:
    assert find_body_files("body", word) == (synthetic_body_dir, SYNTHETIC_BODY_FILES)
    assert load_body("hand", word).faces.shape == (1538, 3)
    trained_on = create_model(arch="resnet10t", body_dir=word).trained_on
    assert trained_on == load_body("body", word).identity and trained_on.name == "synthetic"


@pytest.mark.parametrize("word", ["capsules", "stand-in"])
def test_a_model_that_is_gone_is_named_with_what_to_use(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = f"'{word}' names the simple figures of version 0.1, which are gone .*: use --body_dir synthetic"
    for call in (load_body, find_body_files):
        with pytest.raises(ValueError, match=sentence):
            call("hand", word)
    assert cli.main(["synth", "images", "--body_dir", word, "--train", "1", "--out", str(tmp_path / "set")]) == 2
    assert cli.main(["cost", "--body_dir", word]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(re.search(sentence, line) for line in lines)
    assert not (tmp_path / "set").exists()
    monkeypatch.chdir(tmp_path)
    Path(word).mkdir()
    assert find_body_files("hand", word)[0] == Path(word), "a folder of that name is a folder"


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
    with pytest.raises(ValueError, match=r"poses and shapes are SMPL's, and the body model in use is 'synthetic'"):
        BodyModels({"neutral"}, "synthetic")


@pytest.mark.parametrize(
    "verb", [["infer"], ["info"], ["cost"], ["convert", "spin"], ["data", "show"], ["synth", "images"]]
)
def test_every_verb_has_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*verb, "--help"])
    assert stop.value.code == 0
    assert "--help" in capsys.readouterr().out
