"""`stand-in` in place of a body model folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tore import cli
from tore.body.body_model import load_body
from tore.modeling import create_model
from tore.paths import body_dir_at_hand, find_body_files, synthetic_folder


def test_the_name_means_the_stand_ins_folder(
    synthetic_body_dir: Path, rule_body_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_body_files("body", "stand-in")[0] == synthetic_folder() == synthetic_body_dir
    assert load_body("hand", "stand-in").faces.shape == (1538, 3)
    assert create_model(arch="resnet10t", body_dir="stand-in").config.stand_in
    assert body_dir_at_hand("body", rule_body_dir) == rule_body_dir
    monkeypatch.setenv("TORE_BODY_DIR", str(tmp_path))
    assert body_dir_at_hand("body") == synthetic_body_dir
    with pytest.raises(FileNotFoundError, match="'synthetic' takes the synthetic body model"):
        load_body("body")
    monkeypatch.setenv("TORE_BODY_DIR", "stand-in")
    assert len(load_body("body").faces) == 13776


@pytest.mark.parametrize(
    "verb", [["infer"], ["info"], ["cost"], ["convert", "spin"], ["data", "show"], ["synth", "images"]]
)
def test_every_verb_has_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*verb, "--help"])
    assert stop.value.code == 0
    assert "--help" in capsys.readouterr().out
