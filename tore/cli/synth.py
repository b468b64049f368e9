"""`tore synth`: the synthetic body and hand, and images of them."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from tore.cli.flags import (
    VERB_ALIASES,
    FlagParser,
    HelpFormatter,
    add_body_dir,
    add_idle_flags,
    image_path,
    names,
)
from tore.datasets.images import decode_image
from tore.datasets.sets import TSVSet
from tore.files import check_outputs
from tore.paths import REMOVED, SYNTHETIC, SYNTHETIC_FILES, body_dir
from tore.synthetic.body_files import file_names
from tore.synthetic.free_body import write_synthetic
from tore.synthetic.look import asset_notes
from tore.synthetic.writing import Recipe, write_images
from tore_runtime.drawing import contact_sheet, save_image
from tore_runtime.entry import entry_point

HELP = "images of people or hands, with every label, as a data set for training and evaluation"
SIZES = {"body": 256, "hand": 224}
SPLITS = ("train", "val")
SHEET_IMAGES, SHEET_CELL, SHEET_QUALITY = 36, 128, 82


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tore synth images`."""
    parser.add_argument(
        *names("--output_dir"), type=Path, required=True, help="folder of the set: train.yaml, val.yaml, tables"
    )
    parser.add_argument("--train", type=int, default=0, help="images to train on")
    parser.add_argument("--val", type=int, default=0, help="images held out")
    parser.add_argument("--body", choices=sorted(SIZES), default="body", help="people or right hands")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes")
    parser.add_argument("--size", type=int, help="side of the images in pixels (default: body 256, hand 224)")
    parser.add_argument(*names("--num_workers"), type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--assets",
        type=Path,
        help="folder of MakeHuman's skins and clothes and of .hdr panoramas, for the synthetic body and hand (default: "
        "a plain look); --val takes the share of them that --train leaves out",
    )
    parser.add_argument(
        "--backgrounds", type=Path, help="folder of photographs (default: the panoramas, or drawn backgrounds)"
    )
    usual = f"{SYNTHETIC}, or a folder of the synthetic models' files (default: {SYNTHETIC})"
    add_body_dir(parser, data_sets=False, text=usual)
    parser.add_argument(
        "--sheet", type=image_path, help="also write a contact sheet of the first 36 images to this file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a set that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def write_sheet(yaml: Path, path: Path) -> None:
    """A contact sheet of the set's first images, as they are."""
    rows = TSVSet(yaml)
    shown = range(min(SHEET_IMAGES, len(rows)))
    images = [decode_image(rows.columns("img", index), rows.place("img", index)) for index in shown]
    save_image(path, contact_sheet(images, cell=SHEET_CELL), quality=SHEET_QUALITY)


def make_images(args: argparse.Namespace) -> None:
    """Writes the requested sets. ValueError if none is."""
    counts = {split: getattr(args, split) for split in SPLITS if getattr(args, split)}
    if not counts:
        raise ValueError("nothing to make: add --train N or --val N")
    for split, count in counts.items():
        recipe = Recipe(
            kind=args.body,
            split=split,
            seed=args.seed,
            size=args.size or SIZES[args.body],
            body_dir=str(body_dir(args.body_dir or SYNTHETIC)),
            backgrounds=str(args.backgrounds) if args.backgrounds else None,
            assets=str(args.assets) if args.assets else None,
        )
        start = time.perf_counter()
        with tqdm(total=count, desc=split, unit="image", disable=args.quiet) as bar:
            yaml = write_images(
                recipe, count, args.output_dir, workers=args.num_workers, overwrite=args.overwrite, progress=bar.update
            )
        seconds = time.perf_counter() - start
        if args.sheet:
            write_sheet(yaml, args.sheet)
        print(f"{yaml}: {count} images of {recipe.size} x {recipe.size} in {seconds:.1f} s")
    for note in asset_notes(args.assets) if args.assets else ():
        print(f"tore synth: {note}", file=sys.stderr)


class Command(NamedTuple):
    """One subcommand: its line in --help, what adds its options, what runs it."""

    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def _figure_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *names("--output_dir"), type=Path, required=True, help="folder to write the files into, made if missing"
    )
    add_idle_flags(parser, {"--model": f"other models were {REMOVED}"}, {"--model": SYNTHETIC})
    parser.set_defaults(notices=[])
    parser.add_argument("--overwrite", action="store_true", help="replace files of the same names")


def _make_figure(args: argparse.Namespace) -> None:
    for note in args.notices:
        print(f"tore synth: {note}", file=sys.stderr)
    files = file_names(SYNTHETIC_FILES[args.command])
    there = [name for name in files if (args.output_dir / name).exists()]
    if there and not args.overwrite:
        place = args.output_dir / there[0]
        raise FileExistsError(f"{place} is there already; name another --output_dir, or add --overwrite")
    start = time.perf_counter()
    write_synthetic(args.command, args.output_dir)
    print(f"{args.output_dir}: {', '.join(files)} ({time.perf_counter() - start:.1f} s)")


COMMANDS: dict[str, Command] = {
    "body": Command("the synthetic body, in the files of an SMPL-shaped model", _figure_options, _make_figure),
    "hand": Command("the synthetic right hand, in the files of a MANO-shaped model", _figure_options, _make_figure),
    "images": Command(HELP, add_options, make_images),
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of one subcommand; its name is in `command`."""
    parser = FlagParser(prog="tore synth", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="WHAT")
    for name, command in COMMANDS.items():
        old = [verb.split()[1] for verb in VERB_ALIASES.get(f"synth {name}", ())]
        parser_of_one = commands.add_parser(
            name, aliases=old, help=command.help, description=command.help, formatter_class=HelpFormatter
        )
        parser_of_one.set_defaults(run=command.run)
        command.add_options(parser_of_one)
    return parser.parse_args(argv)


@entry_point("tore synth")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand; 2 when something that the user can mend is wrong."""
    args = parse(argv)
    check_outputs(getattr(args, "sheet", None), folder=args.output_dir)
    args.run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
