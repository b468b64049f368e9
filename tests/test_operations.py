"""The benchmarks' count of arithmetic and memory traffic against torch's counter and by hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.operations import Limits, Operations, kind_of, touched_bytes
from tore.ops.linear import Linear

LIMITS = Limits(1e9, np.array([1e3, 1e6]), np.array([1e9, 2e9]))


def test_arithmetic_is_what_torch_counts() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolutions = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1))
            self.linear = nn.Linear(8, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.convolutions(x).flatten(2).mT
            return self.linear(tokens) @ self.linear(tokens).mT

    network, x = Network(), torch.randn(2, 3, 7, 7, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    with Operations(LIMITS) as operations:
        network(x).sum().backward()
    assert sum(work.flop for work in operations.by_kind().values()) == counter.get_total_flops()


def test_traffic_time_and_kind_of_a_linear() -> None:
    layer, x = Linear(10, 20), torch.randn(4, 10)
    with Operations(LIMITS) as operations:
        for _ in range(2):
            layer(x)
    work = operations.by_kind(2)["matrix products"]
    entries = 4 * 10 + 10 * 20 + 20 + 4 * 20
    assert (work.calls, work.flop, work.bytes) == (1, 2 * 4 * 10 * 20, 4 * entries)
    speed = np.interp(np.log(4 * entries), np.log(LIMITS.sizes), LIMITS.bandwidths)
    assert work.seconds > 0 and work.least == max(work.flop / LIMITS.rate, 4 * entries / speed)


def test_an_entry_that_is_read_again_and_again_counts_once() -> None:
    assert touched_bytes(torch.zeros(3, 1, 5).expand(3, 7, 5)) == 4 * 15


def test_kinds_are_told_by_the_operators_name() -> None:
    assert kind_of("aten.convolution_backward.default") == "convolutions"
    assert kind_of("mkldnn._linear_pointwise.binary") == "matrix products"
    assert kind_of("aten.silu_backward.default") == "element by element"
