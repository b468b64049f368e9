"""Stages are kept, skipped, taken up and begun anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tore.demo.stages import Stages


def test_a_stage_is_skipped_taken_up_and_begun_anew(tmp_path: Path) -> None:
    said: list[str] = []
    calls: list[bool] = []

    def work(folder: Path) -> dict[str, object]:
        calls.append((folder / "half").is_file())
        (folder / "half").write_text("left by an earlier try")
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"numbers": (1, 2)}

    stages = Stages(tmp_path, said.append)
    with pytest.raises(KeyboardInterrupt):
        stages.run("one", {"seed": 1}, work)
    assert stages.run("one", {"seed": 1}, work) == {"numbers": [1, 2]}
    assert calls == [False, True]  # in its folder as it was left
    again = Stages(tmp_path, said.append)
    assert again.run("one", {"seed": 1}, work) == {"numbers": [1, 2]} and len(calls) == 2
    assert "done before" in said[-1] and again.seconds["one"] == stages.seconds["one"]
    again.run("one", {"seed": 2}, work)
    assert calls == [False, True, False]  # other settings: nothing of the old is left


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="was not made here; name another --output_dir"):
        Stages(tmp_path, print).run("one", {}, lambda folder: {})
    assert (tmp_path / "one" / "thesis.tex").read_text() == "mine"
