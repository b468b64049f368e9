"""`tore data check|show|stats SET.yaml`: is a data set sound, what does it look like, what does it hold?

`tore data join A.yaml B.yaml --out MIXED.yaml` makes one set of several.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tore.body import MANO, SMPL, load_body
from tore.cli.flags import FlagParser, HelpFormatter, add_body_dir, image_path
from tore.datasets.inspection.checking import check_set
from tore.datasets.inspection.checksums import write_missing
from tore.datasets.inspection.gallery import gallery
from tore.datasets.inspection.rows import ERROR
from tore.datasets.inspection.statistics import set_statistics, statistics_text
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import join_sets
from tore.files import check_outputs
from tore.modeling.recorded_body import body_dir_for
from tore.training.set_check import posed_mesh, refuse_labels_of_another
from tore_runtime.drawing import save_image
from tore_runtime.entry import entry_point


def build_parser() -> argparse.ArgumentParser:
    """The options of the commands."""
    parser = FlagParser(prog="tore data", description=__doc__, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="look at every row; exit code 1 on errors", formatter_class=HelpFormatter)
    show = commands.add_parser("show", help="a contact sheet of crops", formatter_class=HelpFormatter)
    stats = commands.add_parser("stats", help="counts, shares, sizes, spreads", formatter_class=HelpFormatter)
    for command in (check, show, stats):
        command.add_argument("yaml", help="the data set's yaml file")
        command.add_argument("--body", choices=("body", "hand"), default="body", help="what the labels describe")
    for command in (check, show):
        add_body_dir(command, data_sets=False)
    for command in (check, stats):
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--quiet", action="store_true", help="no progress bar")
    check.add_argument(
        "--write_checksums", action="store_true", help="make the checksum files the set lacks, if it has no errors"
    )
    check.add_argument("--shown", type=int, default=5, help="findings listed for each kind of finding")
    join = commands.add_parser("join", help="one composite set of several", formatter_class=HelpFormatter)
    join.add_argument("yamls", nargs="+", metavar="yaml", help="the sets, whose files stay where they are")
    join.add_argument("--out", type=Path, required=True, help="the new set's yaml file")
    join.add_argument("--overwrite", action="store_true", help="replace a set that is there")
    show.add_argument("--out", type=image_path, required=True, help="the image to write, for example sheet.png")
    show.add_argument("--count", type=int, default=36, help="samples shown, spread evenly over the set")
    show.add_argument("--augment", action="store_true", help="as training sees them, with random draws")
    show.add_argument("--cell", type=int, default=224, help="pixels per image")
    return parser


def find_body(options: argparse.Namespace, dataset: MeshDataset) -> SMPL | MANO | None:
    """The body model, or None and a sentence on stderr where its files are not at hand.

    Without --body_dir that which the set records, where the project makes it itself. ValueError for another one.
    """
    try:
        body = load_body(options.body, body_dir_for(dataset.rows.body_model, options.body_dir, dataset.rows.path))
        refuse_labels_of_another(dataset, body)
        return body
    except FileNotFoundError as error:
        if options.body_dir:
            raise
        print(f"tore data: continuing without a body model: {error}", file=sys.stderr)
        return None


def check(options: argparse.Namespace) -> int:
    """Checks every row and prints the findings; 1 where there are errors."""
    dataset = MeshDataset(options.yaml, train=False, body=options.body)
    body = find_body(options, dataset)
    mesh = None if body is None else posed_mesh(body)
    with tqdm(total=len(dataset), unit="row", disable=options.quiet) as bar:
        report = check_set(dataset, None if mesh is None else lambda pose, betas: mesh(pose, betas)[1], bar.update)
    print(json.dumps(report.as_dict(), indent=2) if options.json else report.table(options.shown))
    sound = report.count(ERROR) == 0
    if options.write_checksums and sound:
        made = ", ".join(map(str, write_missing(dataset.rows)))
        print(f"tore data: {f'made {made}' if made else 'the set has its checksums already'}", file=sys.stderr)
    elif options.write_checksums:
        print("tore data: made no checksums, since the set has errors", file=sys.stderr)
    return int(not sound)


def show(options: argparse.Namespace) -> int:
    """Writes the contact sheet."""
    dataset = MeshDataset(options.yaml, train=options.augment, body=options.body)
    body = find_body(options, dataset)
    if len(dataset) == 0 or options.count < 1:
        raise ValueError(f"{options.yaml} has {len(dataset)} samples, {options.count} requested: nothing to show")
    indices = np.unique(np.linspace(0, len(dataset) - 1, options.count).round().astype(int)).tolist()
    mesh, faces = (None, None) if body is None else (posed_mesh(body), body.faces.numpy())
    sheet = gallery(dataset, indices, mesh, faces, options.cell)
    save_image(options.out, sheet)
    print(f"{options.out}: {len(indices)} of {len(dataset)} samples")
    return 0


def stats(options: argparse.Namespace) -> int:
    """Prints the statistics."""
    dataset = MeshDataset(options.yaml, train=False, body=options.body)
    with tqdm(total=len(dataset), unit="row", disable=options.quiet) as bar:
        found = set_statistics(dataset, bar.update)
    print(json.dumps(found, indent=2) if options.json else statistics_text(found))
    return 0


def join(options: argparse.Namespace) -> int:
    """Writes the composite set."""
    count = join_sets(options.yamls, options.out, options.overwrite)
    print(f"{options.out}: {count} samples of {len(options.yamls)} sets")
    return 0


@entry_point("tore data")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; 2 and a sentence on stderr where the set cannot be opened."""
    options = build_parser().parse_args(argv)
    check_outputs(getattr(options, "out", None))
    return {"check": check, "show": show, "stats": stats, "join": join}[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
