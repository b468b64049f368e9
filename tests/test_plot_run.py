"""The image of a run's curves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.processes import ROOT

COMMAND = [sys.executable, str(ROOT / "scripts" / "plot_run.py")]


def test_curves_are_drawn_and_a_bad_line_is_named(tmp_path: Path) -> None:
    rows = [{"kind": "train", "iteration": i, "loss": 10.0 / i, "joints_3d": 1.0 / i} for i in range(1, 9)]
    rows += [{"kind": "validation", "iteration": 8, "mpjpe": 90.0, "pa_mpjpe": 60.0, "mpvpe": 110.0}]
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    subprocess.run([*COMMAND, str(tmp_path / "m.jsonl"), "--out", str(tmp_path / "c.png")], check=True)
    image = Image.open(tmp_path / "c.png").convert("RGB")
    assert image.size == (1000, 360) and len(image.getcolors(1 << 20)) > 20
    (tmp_path / "m.jsonl").write_text("{}\nnonsense\n")
    done = subprocess.run(
        [*COMMAND, str(tmp_path / "m.jsonl"), "--out", str(tmp_path / "d.png")], capture_output=True, text=True
    )
    assert done.returncode == 2 and "line 2 is no JSON object" in done.stderr and not (tmp_path / "d.png").exists()
