"""The C++ compiler that torch's compiler needs for a CPU."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

import torch

COMPILERS = {"darwin": "clang++", "win32": "cl"}  # torch's choice by system, elsewhere g++


def check_compiler(device: torch.device) -> None:
    """FileNotFoundError where torch would write C++ for a CPU and the compiler that it takes is not there.

    The environment variable CXX names one, and may give it flags or put a wrapper before it, as `ccache g++`.
    """
    name = os.environ.get("CXX", COMPILERS.get(sys.platform, "g++"))
    command = [name] if sys.platform == "win32" else shlex.split(name)
    if device.type == "cpu" and (not command or shutil.which(command[0]) is None):
        raise FileNotFoundError(
            f"compiling for a CPU needs a C++ compiler, and {name!r} is not there: install it, name another in the "
            "environment variable CXX, or do without compiling"
        )
