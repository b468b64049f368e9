"""`tore cost`: multiply-accumulates and parameters per part, by torch's counter, for one or many configurations.

Without --arch it counts the paper's configurations. The counts depend on sizes only, so that the synthetic body's
mesh levels give the official figures where no licensed file is at hand.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from typing import Any

import torch

from tore.analysis.cost import PAPER, PARTS, configurations, measure_cost, row_of, topology_at_hand
from tore.cli.flags import FlagParser, HelpFormatter, add_body_dir
from tore.modeling import create_model
from tore.modeling.build import TOKEN_REDUCTIONS
from tore_runtime.entry import entry_point


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = FlagParser(prog="tore cost", description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--network", nargs="+", default=["fastmetro"], choices=["fastmetro", "metro"], help="networks")
    parser.add_argument("--arch", nargs="+", help="backbones; without it the paper's configurations are counted")
    parser.add_argument("--size", nargs="+", default=["L"], choices=["S", "M", "L"], help="FastMETRO sizes")
    parser.add_argument(
        "--token_reduction", nargs="+", default=["tore"], choices=TOKEN_REDUCTIONS, help="of image and body"
    )
    parser.add_argument("--keep_ratio", nargs="+", type=float, default=[0.8], help="shares of image tokens kept")
    parser.add_argument("--body", default="body", choices=["body", "hand"], help="what is recovered")
    parser.add_argument("--image_size", type=int, help="side of the image in pixels [224, of movenet-thunder 256]")
    usual = "folder of the body model files (default: the usual one, else the synthetic model's)"
    add_body_dir(parser, data_sets=False, text=usual)
    parser.add_argument("--format", default="table", choices=["table", "csv", "json"], help="how to print")
    return parser.parse_args(argv)


def print_table(rows: list[dict[str, Any]]) -> None:
    """The rows for a person: totals to two decimals, then the parts."""
    part_names = " ".join(f"{part:>17}" for part in PARTS)
    print(f"{'network':<10}{'backbone':<17}{'tokens':<10}{'size':>4}{'keep':>6}{'GMACs':>8}{'here':>8} {part_names}")
    for row in rows:
        keep = "-" if row["keep_ratio"] is None else f"{row['keep_ratio']:g}"
        parts = " ".join(f"{row[f'GMACs {part}']:>17.3f}" for part in PARTS)
        print(
            f"{row['network']:<10}{row['arch']:<17}{row['token_reduction']:<10}{row['size'] or '-':>4}{keep:>6}"
            f"{row['GMACs']:>8.2f}{row['GMACs_here']:>8.2f} {parts}"
        )
        parts = " ".join(f"{row[f'Mparams {part}']:>17.2f}" for part in PARTS)
        print(f"{'':<37}{'M parameters':>14}{row['Mparams']:>12.2f} {parts}")
    print("GMACs: multiply-accumulates / 1e9 (the paper's GFLOPs) as the official code runs them: dense up-sampling,")
    print("METRO's template body posed for every image; here: as this code runs them")


@entry_point("tore cost")
def main(argv: Sequence[str] | None = None) -> int:
    """Counts and prints; 0 when every configuration could be counted."""
    options = parse(argv)
    topology = topology_at_hand(options.body, options.body_dir)
    rows = []
    grid = (options.network, options.arch, options.token_reduction, options.size, options.keep_ratio)
    for values in configurations(*grid) if options.arch else PAPER:
        with torch.device("meta"):  # tensors without storage: only sizes count
            common = {"topology": topology, "body": options.body, "image_size": options.image_size}
            model = create_model(**common, **values, device="meta")
        rows.append(row_of(values, measure_cost(model)))
    if options.format == "json":
        print(json.dumps(rows, indent=2))
    elif options.format == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    else:
        print_table(rows)
    return 0
