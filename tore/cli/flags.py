"""What flags of several commands share."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tore.training.options import value_text


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


ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def image_path(text: str) -> Path:
    """An argparse type: a path whose ending says what kind of picture it will be."""
    path = Path(text)
    if path.suffix.lower() not in ENDINGS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(ENDINGS)}")
    return path


class Flags(argparse.Namespace):
    """Parsed flags. `typed`: destination -> name of the flags that were on the command line, in no part of `vars`."""

    __slots__ = ("typed",)
    typed: dict[str, str]


class FlagParser(argparse.ArgumentParser):
    """An argument parser that notes which flags were typed, however they were written: its result is a `Flags`."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's; `typed` is what a second parse finds that knows no default."""
        arguments = list(sys.argv[1:] if args is None else args)
        found, rest = super().parse_known_args(arguments, Flags() if namespace is None else namespace)
        usual, parser_defaults = [(action, action.default) for action in self._actions], self._defaults
        try:
            self._defaults = {}
            for action in self._actions:
                action.default = argparse.SUPPRESS
            bare = vars(super().parse_known_args(arguments)[0])
        finally:
            self._defaults = parser_defaults
            for action, default in usual:
                action.default = default
        found.typed = {action.dest: _name(action) for action in self._actions if action.dest in bare}
        return found, rest


def _name(action: argparse.Action) -> str:
    """A flag's first long name, a positional argument's own."""
    return next((name for name in action.option_strings if name.startswith("--")), action.dest)


class IdleFlag(argparse.Action):
    """An official flag without effect: it notes one line in `namespace.notices`. `only`: the one value that holds."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, reason: str, only: str | None = None, **options: Any
    ) -> None:
        self.reason, self.only = reason, only
        super().__init__(option_strings, dest, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS, **options)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Notes why nothing happens; another value than the one that holds is an error."""
        if self.only is not None and values != self.only:
            parser.error(f"{option} {values} cannot be: {self.reason}; leave it out, or give {self.only}")
        namespace.notices = [*getattr(namespace, "notices", []), f"{option} has no effect: {self.reason}"]


def add_idle_flags(
    parser: argparse.ArgumentParser, reasons: Mapping[str, str], only: Mapping[str, str] | None = None
) -> None:
    """Takes the official flags of `reasons`: flag -> why it does nothing; `only`: flag -> the one value that holds."""
    for flag, reason in reasons.items():
        allowed = (only or {}).get(flag)
        parser.add_argument(flag, action=IdleFlag, dest=f"idle_{flag.strip('-')}", reason=reason, only=allowed)


def typed_flags(args: argparse.Namespace) -> Mapping[str, str]:
    """Destination -> name of the typed flags; none for flags that a program made."""
    return getattr(args, "typed", {})


def shown(args: argparse.Namespace, dest: str) -> str:
    """A flag with its value, as on a command line."""
    name, value = typed_flags(args).get(dest, f"--{dest}"), getattr(args, dest)
    if value is True:
        return name
    return f"{name} {value_text(value)}"


@dataclass(frozen=True)
class Rule:
    """Where the typed ones of `flags` come to nothing: they are refused, or answered with a line."""

    flags: tuple[str, ...]  # destinations
    idle: Callable[[argparse.Namespace], bool]
    why: str  # ends the sentence that the flag begins
    refused: bool = True


def check_rules(args: argparse.Namespace, rules: Iterable[Rule]) -> list[str]:
    """A line for each rule whose typed flags have no effect. ValueError naming all that are refused."""
    lines, refused = [], []
    for rule in rules:
        typed = [dest for dest in rule.flags if dest in typed_flags(args)]
        if not typed or not rule.idle(args):
            continue
        named = ", ".join(shown(args, dest) for dest in typed)
        if rule.refused:
            refused.append(f"{named}: {rule.why}")
        else:
            lines.append(f"{named} {'has' if len(typed) == 1 else 'have'} no effect: {rule.why}")
    if refused:
        raise ValueError("; ".join(refused))
    return lines
