"""The four trainings: FastMETRO and METRO, on bodies and on hands, each under its official script's name and flags.

Flags become a configuration, `tore.training.config.RunConfig`. With --config FILE a YAML file of one gives what no
flag does: `tore train-fm --config OUT/config.yaml --output_dir AGAIN` repeats the run that wrote it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tore.cli.checkpoint_flags import open_checkpoint
from tore.cli.flags import FlagParser, HelpFormatter
from tore.cli.network_flags import OWN_FLAGS
from tore.cli.training_flags import add_shared_flags, hand_options_of, parse_over_file, set_usual
from tore.cli.training_rules import check_training_flags
from tore.engine.faults import EXIT_NOT_FINITE, NonFiniteLossError
from tore.training.config import RunConfig, official
from tore.training.hand_submission import HandOptions
from tore.training.run import run
from tore_runtime.entry import Main, entry_point

TITLES = {"fastmetro": "FastMETRO", "metro": "METRO"}
VERBS = {
    ("fastmetro", "body"): "train-fm",
    ("fastmetro", "hand"): "train-fm-hand",
    ("metro", "body"): "train-m",
    ("metro", "hand"): "train-m-hand",
}
PLURAL = {"body": "bodies", "hand": "hands"}


def build_parser(network: str, body: str) -> FlagParser:
    """The shared flags and the network's own, with its official defaults."""
    title = TITLES[network]
    description = (
        f"Trains or evaluates {title}+TORE, and {title} without it, on {PLURAL[body]}, by the official script's flags."
    )
    parser = FlagParser(description=description, formatter_class=HelpFormatter, allow_abbrev=False)
    add_shared_flags(parser, body)
    OWN_FLAGS[network](parser)
    set_usual(parser, official(network, body).values())
    return parser


def parse(argv: Sequence[str] | None, network: str, body: str) -> argparse.Namespace:
    """The parsed flags, over those of the --config file; what either gives counts as typed."""
    return parse_over_file(build_parser(network, body), argv, lambda path: RunConfig.from_yaml(path, network, body))


def train(argv: Sequence[str] | None, network: str, body: str) -> int:
    """Runs with the flags of `argv`.

    0: done. 75: stopped by a signal after saving, `--resume auto` resumes. 76: a loss was not finite. What a user can
    mend raises, and is told by the command's guard (`tore_runtime.entry`).
    """
    args = parse(argv, network, body)
    config = RunConfig.from_flags(args, network, body)
    notices = [*args.notices, *check_training_flags(args)]
    checkpoint, hand = None, HandOptions()
    if args.checkpoint is not None:
        checkpoint, notes = open_checkpoint(args, args.checkpoint)
        notices += notes
    if body == "hand" and args.run_eval_only:
        hand = hand_options_of(args, usual_zip=Path(args.output_dir) / "pred.zip")
    try:
        return run(config, checkpoint=checkpoint, notices=notices, hand=hand, local_rank=args.local_rank)
    except NonFiniteLossError as error:
        name = f"tore {VERBS[network, body]}"
        print(f"{name}: {error}; the last checkpoint is intact, --on_nan skip continues", file=sys.stderr)
        return EXIT_NOT_FINITE


def training_command(network: str, body: str) -> Main:
    """The command that trains `network` on a `body`: it takes its arguments and returns its exit code."""

    @entry_point(f"tore {VERBS[network, body]}")
    def main(argv: Sequence[str] | None = None) -> int:
        return train(argv, network, body)

    return main
