"""Freed memory stays with a command's process; the compiler that torch would use is looked for."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from tore.device import check_compiler

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


@pytest.mark.skipif(sys.platform == "win32", reason="a command there is one word")
@pytest.mark.parametrize(("command", "there"), [("{} -O1", True), ("no-such-compiler {}", False), ("", False)])
def test_compilers_with_flags_and_wrappers(command: str, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's CXX as torch reads it."""
    monkeypatch.setenv("CXX", command.format(sys.executable))
    with nullcontext() if there else pytest.raises(FileNotFoundError, match=f"'{command[:16]}"):
        check_compiler(torch.device("cpu"))
    check_compiler(torch.device("cuda"))
