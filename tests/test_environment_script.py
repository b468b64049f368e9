"""scripts/environment.sh: what it says before an install that the disk does not hold."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "environment.sh"


@pytest.mark.skipif(os.name != "posix", reason="a script for bash")
@pytest.mark.parametrize(("free_kib", "said"), [(3 << 20, True), (20 << 20, False)])
def test_too_little_space_is_said(free_kib: int, said: bool, tmp_path: Path) -> None:
    table = f"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/disk 1 1 {free_kib} 1% /\n"
    (tmp_path / "table").write_text(table)
    (tmp_path / "df").write_text(f"#!/bin/sh\ncat '{tmp_path / 'table'}'\n")
    (tmp_path / "df").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "VIRTUAL_ENV": "env"}
    command = ["bash", "-euo", "pipefail", "-c", f"source '{SCRIPT}'; warn_of_little_space"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stderr.startswith("env: only 3 GB are free there") and "INSTALL.md" in done.stderr) == said
    assert bool(done.stderr) == said
