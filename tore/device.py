"""Which device a run uses, what machine it is on, and whether its process keeps the memory that it frees."""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import torch

# A feature map of a training batch has tens of megabytes. glibc maps such a block anew for every tensor and unmaps it
# afterwards, so that the system clears each page again, which on a CPU takes longer than the arithmetic on it.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
NEVER = -1  # no number of free bytes at the heap's end is given back
GROWTH_BYTES = 1 << 27
COMPILERS = {"darwin": "clang++", "win32": "cl"}  # torch's choice by system, elsewhere g++
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch asks for huge pages for large tensors where it is 1


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else Apple's MPS, else the CPU; any other name is taken as it is.

    Raises ValueError for a device that this machine or this build of torch does not have.
    """
    if str(name) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {str(name)!r} cannot be used here ({reason}); use auto or cpu") from error
    return device


def place_of(model: torch.nn.Module) -> tuple[torch.device, torch.dtype]:
    """Of a network's first tensor of floats; one without any is taken to be on the CPU."""
    tensors = chain(model.parameters(), model.buffers())
    first = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0, device="cpu"))
    return first.device, first.dtype if first.numel() else torch.float32


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


def synchroniser(device: torch.device) -> Callable[[], object]:
    """A function that waits until the device has done what it was given."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def machine(device: torch.device) -> str:
    """One line: processor, cores, threads, load, GPU, versions."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{load}{gpu}; "
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed, and torch use huge pages; True where this is glibc.

    Call it before the first tensor is made, which is when torch reads its setting; one that is set already stays.
    The process holds its peak from then on. Elsewhere it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    os.environ.setdefault(HUGE_PAGES, "1")
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, GROWTH_BYTES))
    return all(library.mallopt(option, value) == 1 for option, value in settings)
