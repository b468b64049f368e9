"""How every tool prints its --help: the text as written, and each default that says something."""

from __future__ import annotations

import argparse
import re


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Adds `(default: ...)` to an option unless the default is nothing, a switch that is off, or told."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.help and "default" in action.help
        silent = action.default is None or action.default is False or action.default == []
        return action.help if told or silent else super()._get_help_string(action)


def take_negative_numbers(parser: argparse.ArgumentParser) -> None:
    """Lets `--box -10,5,80,90` and `--rot -1e1` be said without `=`: what begins like a negative number is a value.

    argparse by itself knows only one plain number by that, and takes everything else for a flag.
    """
    parser._negative_number_matcher = re.compile(r"-\.?[0-9]")
