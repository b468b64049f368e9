"""What flags of several commands share: one vocabulary, its old spellings, and which flags were typed."""

from __future__ import annotations

import argparse
import copy
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tore.paths import SYNTHETIC
from tore.training.options import VALUE_ALIASES, current_value, value_text
from tore_runtime.entry import as_typed, note_spellings

# Flag -> its old spellings, which are taken until version 0.3. `names` gives a parser all of them.
ALIASES: dict[str, tuple[str, ...]] = {
    "--batch_size": ("--batch",),
    "--body_dir": ("--data_dir",),  # of commands that read no data set; the others have a --data_dir of their own
    "--camera_initialization": ("--camera_start",),
    "--checkpoint": ("--resume_checkpoint",),
    "--detector": ("--boxes",),
    "--images": ("--image_file_or_path", "--pictures"),
    "--joints_loss_weight": ("--joints_3d_loss_weight",),
    "--local_rank": ("--local-rank",),
    "--lr": ("--learning_rate",),
    "--no_fast": ("--plain",),
    "--num_workers": ("--workers",),
    "--output_dir": ("--out",),  # `tore data` has an --out of its own, which names a file
    "--overfit_images": ("--overfit_pictures",),
    "--pretrained": ("--warm_start",),
    "--pretrained_parts": ("--warm_start_rooms",),
    "--template_initialization": ("--template_start",),
    "--train_images": ("--train_pictures",),
    "--val_images": ("--pictures",),
    "--vertices_loss_weight": ("--vertices_3d_loss_weight",),
}
# Command -> its old names.
VERB_ALIASES: dict[str, tuple[str, ...]] = {"pretrain": ("warm-up",), "synth images": ("synth pictures",)}
BODY_HELP = f"folder of the body model files, or {SYNTHETIC} [what a checkpoint records, or TORE_BODY_DIR]"


def names(flag: str) -> tuple[str, ...]:
    """A flag and its old spellings, for `add_argument`."""
    return (flag, *ALIASES.get(flag, ()))


def current_word(dest: str) -> Callable[[str], str]:
    """An argparse type: today's word for an old one of `VALUE_ALIASES`, and any other word as it is."""

    def word(text: str) -> str:
        return str(current_value(dest, text))

    return word


def alias_table() -> str:
    """The tables of this file as Markdown, as docs/FLAGS.md shows them."""
    rows = [(flag, ", ".join(f"`{old}`" for old in olds)) for flag, olds in ALIASES.items()]
    lines = ["| flag | old spellings |", "|---|---|", *(f"| `{flag}` | {olds} |" for flag, olds in rows)]
    lines += ["", "| value | old spelling |", "|---|---|"]
    lines += [f"| `--{d} {new}` | `{old}` |" for d, words in VALUE_ALIASES.items() for old, new in words.items()]
    lines += ["", "| command | old name |", "|---|---|"]
    lines += [f"| `tore {verb}` | `tore {old}` |" for verb, olds in VERB_ALIASES.items() for old in olds]
    return "\n".join(lines) + "\n"


def add_body_dir(parser: argparse._ActionsContainer, *, data_sets: bool, text: str = BODY_HELP) -> None:
    """Adds --body_dir; `data_sets`: the command has a --data_dir of its own, else that is an old spelling."""
    spellings = ("--body_dir",) if data_sets else names("--body_dir")
    parser.add_argument(*spellings, type=current_word("body_dir"), metavar="DIR", help=text)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Adds `(default: ...)` to an option unless the default is nothing, a switch that is off, or told."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.help and "default" in action.help
        silent = action.default is None or action.default is False or action.default == []
        return action.help if told or silent else super()._get_help_string(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Leaves old spellings out."""
        old = {alias for name in action.option_strings for alias in ALIASES.get(name, ())}
        current = copy.copy(action)
        current.option_strings = [name for name in action.option_strings if name not in old]
        return super()._format_action_invocation(current)


def take_negative_numbers(parser: argparse.ArgumentParser) -> None:
    """Lets `--box -10,5,80,90` and `--rot -1e1` be said without `=`: what begins like a negative number is a value.

    argparse by itself knows only one plain number by that, and takes everything else for a flag.
    """
    parser._negative_number_matcher = re.compile(r"-\.?[0-9]")


ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def image_path(text: str) -> Path:
    """An argparse type: a path whose ending says what kind of image it will be."""
    path = Path(text)
    if path.suffix.lower() not in ENDINGS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(ENDINGS)}")
    return path


class Flags(argparse.Namespace):
    """Parsed flags, and what is in no part of `vars`: how they were typed.

    - `typed`: destination -> name of the flags that were on the command line, spelled as there
    - `spelled`: every other name of those flags -> the one that was typed
    """

    __slots__ = ("spelled", "typed")
    typed: dict[str, str]
    spelled: dict[str, str]


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
        found.typed, found.spelled = {}, {}
        words = {word.partition("=")[0] for word in arguments}
        for action in (action for action in self._actions if action.dest in bare):
            long = [name for name in action.option_strings if name.startswith("--")]
            here = [name for name in long if name in words]
            if here or action.dest not in found.typed:  # of flags that share a destination the one that was typed
                found.typed[action.dest] = (here or long or [action.dest])[0]
            found.spelled |= {name: here[0] for name in long if here and name != here[0]}
        note_spellings(found.spelled)
        return found, rest


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
    """A flag with its value, as on a command line: by the name that was typed, else by its own."""
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
        named, why = ", ".join(shown(args, dest) for dest in typed), as_typed(rule.why, getattr(args, "spelled", {}))
        if rule.refused:
            refused.append(f"{named}: {why}")
        else:
            lines.append(f"{named} {'has' if len(typed) == 1 else 'have'} no effect: {why}")
    if refused:
        raise ValueError("; ".join(refused))
    return lines
