"""`tore synth pictures`: synthetic people or hands with every label, as a METRO TSV set."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from tqdm import tqdm

from tore.datasets.picture import decode_picture
from tore.datasets.sets import TSVSet
from tore.datasets.synthesis.writing import Recipe, write_pictures
from tore.paths import body_dir_at_hand
from tore.tools.picture_path import picture_path
from tore.visualize.sheet import contact_sheet, save_image

HELP = "pictures of people or hands, with every label, as a data set for training and evaluation"
SIZES = {"body": 256, "hand": 224}
SPLITS = ("train", "val")
SHEET_PICTURES, SHEET_CELL, SHEET_QUALITY = 36, 128, 82


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tore synth pictures`."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the set: train.yaml, val.yaml, tables")
    parser.add_argument("--train", type=int, default=0, help="pictures to train on")
    parser.add_argument("--val", type=int, default=0, help="pictures held out")
    parser.add_argument("--body", choices=sorted(SIZES), default="body", help="people or right hands")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes")
    parser.add_argument("--size", type=int, help="side of the pictures in pixels (default: body 256, hand 224)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--backgrounds", type=Path, help="folder of photographs (default: drawn backgrounds)")
    parser.add_argument(
        "--data_dir",
        help="folder of the body model, or stand-in (default: TORE_BODY_DIR or tore/modeling/data, else the stand-in)",
    )
    parser.add_argument(
        "--sheet", type=picture_path, help="also write a contact sheet of the first 36 pictures to this file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a set that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def write_sheet(yaml: Path, path: Path) -> None:
    """A contact sheet of the set's first pictures, as they are."""
    rows = TSVSet(yaml)
    shown = range(min(SHEET_PICTURES, len(rows)))
    pictures = [decode_picture(rows.columns("img", index), rows.place("img", index)) for index in shown]
    save_image(path, contact_sheet(pictures, cell=SHEET_CELL), quality=SHEET_QUALITY)


def make_pictures(args: argparse.Namespace) -> None:
    """Writes the sets that are asked for. ValueError where none is."""
    counts = {split: getattr(args, split) for split in SPLITS if getattr(args, split)}
    if not counts:
        raise ValueError("nothing to make: add --train N or --val N")
    for split, count in counts.items():
        recipe = Recipe(
            kind=args.body,
            split=split,
            seed=args.seed,
            size=args.size or SIZES[args.body],
            data_dir=str(body_dir_at_hand(args.body, args.data_dir)),
            backgrounds=str(args.backgrounds) if args.backgrounds else None,
        )
        start = time.perf_counter()
        with tqdm(total=count, desc=split, unit="picture", disable=args.quiet) as bar:
            yaml = write_pictures(
                recipe, count, args.out, workers=args.workers, overwrite=args.overwrite, progress=bar.update
            )
        seconds = time.perf_counter() - start
        if args.sheet:
            write_sheet(yaml, args.sheet)
        print(f"{yaml}: {count} pictures of {recipe.size} x {recipe.size} in {seconds:.1f} s")
