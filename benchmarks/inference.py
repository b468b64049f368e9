"""Times inference of FastMETRO-L + TORE on every backbone: the network alone, and from file to drawing.

    python -m benchmarks.inference [--arch efficientnet-b0 resnet50 hrnet-w64] [further flags of tore bench]

Official, other run (the official code, network alone, on a CPU, milliseconds at batch 1 / 8):
efficientnet-b0 76 / 689, resnet50 137 / 940, hrnet-w64 518 / 3620.

Beside other busy processes --threads 1 is steadier and often faster.
"""

from __future__ import annotations

import argparse
import sys

from tore.cli import bench
from tore.device import machine

__all__ = ["machine", "main"]


def main() -> int:
    """Runs `tore bench` on the backbones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["efficientnet-b0", "resnet50", "hrnet-w64"])
    options, further = parser.parse_known_args()
    subjects = [f"fastmetro,arch={arch},label={arch}" for arch in options.arch]
    return bench.main([*subjects, "--repeats", "5", "--end_to_end", "16", *further])


if __name__ == "__main__":
    sys.exit(main())
