"""Trains or evaluates METRO+TORE, and METRO without it, on hands, under the official script's name and flags.

torchrun --nproc_per_node=8 tore/tools/run_tore_m_handmesh.py --train_yaml ... --val_yaml ... --arch hrnet-w64
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tore.cli.network_flags import add_metro_flags, metro_options
from tore.cli.training_flags import shared_parser
from tore.entry import entry_point
from tore.training.run import run_tool


def build_parser() -> argparse.ArgumentParser:
    """The shared flags and METRO's own, with the defaults of hands."""
    return add_metro_flags(shared_parser(__doc__ or "", epochs=200, batch=32, kind="hand"), hidden="1024,256,64")


@entry_point("tore train-m-hand")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs with the flags of `argv` and returns the exit code."""
    return run_tool(build_parser(), argv, network="metro", kind="hand", network_options=metro_options)


if __name__ == "__main__":
    sys.exit(main())
