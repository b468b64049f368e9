"""How every tool prints its --help: the text as written, and each default that says something."""

from __future__ import annotations

import argparse


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Adds `(default: ...)` to an option unless the default is nothing, a switch that is off, or told."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.help and "default" in action.help
        silent = action.default is None or action.default is False or action.default == []
        return action.help if told or silent else super()._get_help_string(action)
