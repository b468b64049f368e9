"""What torch's compiler needs of a machine."""

from __future__ import annotations

import os
import shutil
import sys

import torch

COMPILERS = {"darwin": "clang++", "win32": "cl"}  # torch's choice by system, elsewhere g++


def check_compiler(device: torch.device) -> None:
    """FileNotFoundError where torch would write C++ for a CPU and the compiler that it takes is not there."""
    name = os.environ.get("CXX", COMPILERS.get(sys.platform, "g++"))
    if device.type == "cpu" and shutil.which(name) is None:
        raise FileNotFoundError(
            f"compiling for a CPU needs a C++ compiler, and {name!r} is not there: install it, name another in the "
            "environment variable CXX, or do without compiling"
        )
