"""When the CPU training kernels of this package (linear, depthwise convolution, dropout) stand in for torch's.

They are opaque to whatever looks into the operations: torch.compile, torch.export, tracing, torch.func and
forward-mode derivatives see torch's own operations instead, which compute the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Whether torch.func (vjp, jvp, vmap, hessian) or forward-mode differentiation is at work."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def takes_own_kernels(x: Tensor) -> bool:
    """Whether `x` is float32 on a CPU and nothing looks into the operations."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return False
    return not (torch.jit.is_tracing() or is_transformed())
