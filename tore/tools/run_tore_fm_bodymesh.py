"""Trains or evaluates FastMETRO+TORE, and FastMETRO without it, on bodies, under the official script's name and flags.

torchrun --nproc_per_node=4 tore/tools/run_tore_fm_bodymesh.py --train_yaml ... --val_yaml ... --arch resnet50
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tore.cli.network_flags import add_fastmetro_flags, fastmetro_options
from tore.cli.training_flags import shared_parser
from tore.entry import entry_point
from tore.training.run import run_tool


def build_parser() -> argparse.ArgumentParser:
    """The shared flags and FastMETRO's own."""
    return add_fastmetro_flags(shared_parser(__doc__ or "", epochs=60, batch=16))


@entry_point("tore train-fm")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs with the flags of `argv` and returns the exit code."""
    return run_tool(build_parser(), argv, network="fastmetro", kind="body", network_options=fastmetro_options)


if __name__ == "__main__":
    sys.exit(main())
