"""`tore synth`: makes what needs no licence. `tore synth body|hand|pictures --out DIR`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tore.body import standin
from tore.entry import entry_point
from tore.files import check_outputs
from tore.tools import synth_pictures
from tore.tools.help import HelpFormatter


class Command(NamedTuple):
    """One subcommand: its line in --help, what adds its options, what runs it."""

    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def _figure_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder to write the files into, made if missing")
    parser.add_argument("--overwrite", action="store_true", help="replace files of the same names")


def _make_figure(args: argparse.Namespace) -> None:
    names = standin.file_names(args.command)
    there = [name for name in names if (args.out / name).exists()]
    if there and not args.overwrite:
        raise FileExistsError(f"{args.out / there[0]} is there already; name another --out, or add --overwrite")
    start = time.perf_counter()
    standin.write_standin(args.command, args.out)
    print(f"{args.out}: {', '.join(names)} ({time.perf_counter() - start:.1f} s)")


COMMANDS: dict[str, Command] = {
    "body": Command("the stand-in body, in the files of an SMPL-shaped model", _figure_options, _make_figure),
    "hand": Command("the stand-in right hand, in the files of a MANO-shaped model", _figure_options, _make_figure),
    "pictures": Command(synth_pictures.HELP, synth_pictures.add_options, synth_pictures.make_pictures),
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of one subcommand; its name is in `command`."""
    parser = argparse.ArgumentParser(prog="tore synth", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="WHAT")
    for name, command in COMMANDS.items():
        parser_of_one = commands.add_parser(
            name, help=command.help, description=command.help, formatter_class=HelpFormatter
        )
        command.add_options(parser_of_one)
    return parser.parse_args(argv)


@entry_point("tore synth")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand; 2 when something that the user can mend is wrong."""
    args = parse(argv)
    check_outputs(getattr(args, "sheet", None), folder=args.out)
    COMMANDS[args.command].run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
