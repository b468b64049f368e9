"""What a training step spends its time on, beside the least that each operation could take.

    python -m benchmarks.roofline [flags of benchmarks/train_step.py]

Every operation that torch runs is timed. The least is its arithmetic at the rate of the faster of a large matrix
product and a large convolution, or the bytes that it reads and writes at the bandwidth of a sum of arrays of that size,
whichever takes longer: all three are measured in the same run. The sum over the operations is the roofline; what lies
above it in the whole call is time that kernels lose and time between them.

`--processor_time` counts the thread's own time on one thread, for a machine that others use as well.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import train_step
from benchmarks.exported import alternate, limit_sides
from benchmarks.operations import Limits, Operations, Work, measure_bandwidth
from tore.device import keep_freed_memory

REPEATS = 5


def training_call(folder: Path, flags: list[str]) -> Callable[[], None]:
    """Forward pass, losses, backward pass and optimizer of one batch, which stays the same."""
    run = train_step.prepare(train_step.flags().parse_args(["--channels_last", *flags, "--steps", "1"]), folder)
    batch = next(run.batches)

    def call() -> None:
        run.batches = iter([batch])
        run.one(lambda part, work: work())

    return call


def measure_limits(clock: Callable[[], float]) -> Limits:
    """Of this machine, now."""
    sides, work = limit_sides()
    alternate(sides, REPEATS, clock)
    rate = max(work[name] / side.median * 1e12 for name, side in sides.items())
    return Limits(rate, *measure_bandwidth(clock))


def show(name: str, work: Work) -> None:
    """One line of the table."""
    share = work.least / work.seconds if work.seconds else 0.0
    columns = f"{1e3 * work.seconds:9.1f} ms {1e3 * work.least:9.1f} {share:6.0%}"
    print(f"{name:<22}{work.calls:6d}{columns}{work.flop / 1e9:9.1f} GFLOP{work.bytes / 1e9:8.2f} GB")


def main() -> int:
    """Prints the limits, a line for every kind of work, and the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor_time", action="store_true", help="one thread, its own time")
    parser.add_argument(
        "--costliest", type=int, default=0, metavar="N", help="also the N costliest operations by shape"
    )
    args, further = parser.parse_known_args()
    keep_freed_memory()
    if args.processor_time:
        torch.set_num_threads(1)
    clock = time.thread_time if args.processor_time else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        call = training_call(Path(folder), further)
        call()
        taken = []
        for _ in range(REPEATS):
            start = clock()
            call()
            taken.append(clock() - start)
        operations = Operations(measure_limits(clock), clock)
        for _ in range(REPEATS):
            with operations:
                call()
    limits, whole = operations.limits, statistics.median(taken)
    print(f"{torch.get_num_threads()} threads, {limits.rate / 1e9:.0f} GFLOP/s; GB/s by megabytes touched: ", end="")
    pairs = zip(limits.sizes, limits.bandwidths, strict=True)
    print(", ".join(f"{size / 2**20:.3g}: {speed / 1e9:.0f}" for size, speed in pairs))
    total = Work()
    for kind, work in operations.by_kind(REPEATS).items():
        show(kind, work)
        total.add(work)
    show("all operations", total)
    print(f"whole {1e3 * whole:.1f} ms, of it {1e3 * (whole - total.seconds):.1f} outside of operations")
    arithmetic = total.flop / limits.rate
    print(f"roofline {total.least / whole:.0%} of the whole; arithmetic alone {1e3 * arithmetic:.1f} ms, ", end="")
    print(f"{arithmetic / whole:.0%}")
    for (name, shapes), work in operations.costliest(args.costliest, REPEATS):
        show(f"{name} {shapes}\n{'':22}", work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
