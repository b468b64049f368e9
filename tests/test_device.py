"""Freed memory stays with a command's process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os
from tore.device import keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
if {keep}:
    assert keep_freed_memory()
before = resident()
block = b"x" * (1 << 26)
del block
print(resident() - before, os.environ.get("THP_MEM_ALLOC_ENABLE"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_is_kept(keep: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    command = [sys.executable, "-c", SCRIPT.format(keep=keep)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
    held = int(answer[0]) > 1 << 25
    assert held == keep
    assert answer[1] == ("1" if keep else "None")
