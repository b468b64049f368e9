"""Which parts of a network its optimized form changes, and the compiler that one of them needs."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass

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


NEIGHBOR_ATTENTION = ("auto", "blocks", "gathered", "dense")


@dataclass(frozen=True)
class Parts:
    """What `for_inference` does; the result is the plain network's to rounding whatever is chosen.

    fused_backbone: batch norm goes into the convolutions before it, activations and residual sums into their kernels.
    packed_weights: oneDNN's kernels with weights laid out once, on a CPU in float32; else torch's plain ones.
    channels_last: feature maps have their channels innermost.
    constants: what does not depend on the image is computed once.
    neighbor_attention: self-attention among mesh neighbors over mesh patches ("blocks"), over each token's neighbors
        ("gathered"), over all tokens behind a mask ("dense"), or the quickest of these on a CPU, blocks, and the plain
        network's elsewhere ("auto").
    joined_upsampling: the full mesh of learned maps comes from the coarse one by their product.
    compiled: torch's compiler writes the code, on a CPU around weights that it lays out itself (`packed_weights` is
        then left out), on CUDA into graphs. The first call of a size takes a minute or two, and wants gradients
        switched off and a C++ compiler.
    """

    fused_backbone: bool = True
    packed_weights: bool = True
    channels_last: bool = True
    constants: bool = True
    neighbor_attention: str = "auto"
    joined_upsampling: bool = True
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.neighbor_attention not in NEIGHBOR_ATTENTION:
            names = ", ".join(NEIGHBOR_ATTENTION)
            raise ValueError(f"neighbor_attention {self.neighbor_attention!r} is not known; use one of {names}")
