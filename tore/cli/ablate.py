"""Trains and evaluates a grid of networks under one budget, and draws what a token costs.

tore ablate --reducers none itp tome --keep_ratios 0.2 0.5 --gtr true --seeds 1 2 --steps 500 \
    --data_dir DATA --train_yaml train.yaml --val_yaml val.yaml --body_dir synthetic --output_dir OUT

Every flag of --network's training script, and a --config file of one, may be given too and holds for all cells. A
second call with the same --output_dir skips the runs that are done and resumes one that was stopped; it may add further
cells and seeds.
Written: OUT/CELL/seed-N/ (a training run each), and after each run OUT/table.md, table.csv, table.json and plot.png.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tore.analysis.ablation import (
    RESULT,
    cells_of,
    claim,
    cost_of,
    place_of,
    results_under,
    train_cell,
    with_budget,
    write_report,
)
from tore.analysis.cost import topology_at_hand
from tore.analysis.tables import need_plot_package
from tore.cli.flags import Rule, check_rules, typed_flags
from tore.cli.train import build_parser
from tore.cli.training_flags import parse_over_file, true_or_false
from tore.cli.training_rules import check_training_flags
from tore.engine.faults import NonFiniteLossError
from tore.files import check_outputs
from tore.modeling.token_reduction_baselines import REDUCERS
from tore.training.config import RunConfig, official
from tore.training.network_options import NETWORKS
from tore_runtime.entry import entry_point

EXIT_SOME_FAILED = 1
RULES = (
    Rule(("keep_ratios",), lambda args: set(args.reducers) == {"none"}, "no cell reduces image tokens", refused=False),
)
# The training script's flags that the grid sets, each with the flag to use instead.
SET_BY_THE_GRID = {
    "token_reduction": "--reducers",
    "keep_ratio": "--keep_ratios",
    "geometry_reduction": "--gtr",
    "seed": "--seeds",
    "num_train_epochs": "--steps",
    "resume": "the same --output_dir to resume",
    "checkpoint": "--steps to train longer",
    "run_eval_only": "the same --output_dir to see the table",
    "allow_changes": "another --output_dir",
}
# Flags that change no result: two calls that fill one table may differ in them.
WITHOUT_EFFECT = ("data_dir", "num_workers", "device", "logging_steps", "no_tensorboard", "keep_checkpoints",
                  "visual_steps", "save_steps", "per_gpu_eval_batch_size", "quiet", "body", "output_dir")  # fmt: skip


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The training script's flags and the grid's own."""
    which = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    which.add_argument("--network", default="fastmetro", choices=sorted(NETWORKS))
    network = which.parse_known_args(argv)[0].network
    parser = build_parser(network, "body")
    parser.prog, parser.description = "tore ablate", __doc__
    grid = parser.add_argument_group("the grid")
    grid.add_argument("--network", default="fastmetro", choices=sorted(NETWORKS), help="whose cells and flags")
    reducers = ["none", "itp"] if network == "fastmetro" else ["none"]
    grid.add_argument("--reducers", nargs="+", default=reducers, choices=sorted(REDUCERS), help="of image tokens")
    grid.add_argument("--keep_ratios", nargs="+", type=float, default=[0.8], help="shares of image tokens kept")
    grid.add_argument("--gtr", nargs="+", type=true_or_false, default=[True], help="geometry token reduction")
    grid.add_argument("--seeds", nargs="+", type=int, default=[88], help="each cell is trained once with each")
    grid.add_argument("--steps", type=int, default=1000, help="the budget of every run, rounded up to whole epochs")
    grid.add_argument("--no_plot", action="store_true", help="tables only; needs no matplotlib")
    for action in parser._actions:
        action.required |= action.dest == "output_dir"
    parser.set_defaults(keep_checkpoints=1, no_tensorboard=True, visual_steps=0, logging_steps=100)
    args = parse_over_file(parser, argv, lambda path: RunConfig.from_yaml(path, network, "body"))
    if "output_dir" in args.from_file:
        parser.error("--output_dir names the ablation's own folder, not that of the --config file's run: give it")
    usual = official(network, "body").values()
    for name, instead in SET_BY_THE_GRID.items():
        if name in args.from_file:
            args.notices.append(f"{args.config}: {name} has no effect: the grid sets it; use {instead}")
            del args.typed[name]
            setattr(args, name, usual[name])
        elif name in typed_flags(args):
            parser.error(f"--{name} has no place in an ablation; use {instead}")
    return args


def settings_of(config: RunConfig, steps: int) -> dict[str, Any]:
    """What holds for all cells of a table: the steps and every option that can change a result."""
    free = {*SET_BY_THE_GRID, *WITHOUT_EFFECT}
    return {"network": config.network.network, "steps": steps} | {
        name: value for name, value in sorted(config.values().items()) if name not in free
    }


class Ablation:
    """Runs what is missing of a grid, and keeps its table up to date."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Checks what can be wrong before the first run. Raises ValueError, FileNotFoundError or ImportError."""
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError("tore ablate is one process; start it without torchrun")
        check_outputs(folder=Path(args.output_dir))
        if not args.no_plot:
            need_plot_package()
        notices = [*args.notices, *check_rules(args, RULES), *check_training_flags(args)]
        self.args, self.folder = args, Path(args.output_dir)
        config = RunConfig.from_flags(args, args.network, "body")
        self.cells = cells_of(args.network, args.reducers, args.keep_ratios, args.gtr)
        self.topology = topology_at_hand("body", args.body_dir)
        self.costs = {cell: cost_of(config, cell, self.topology) for cell in self.cells}
        self.config, steps = with_budget(config, args.steps)
        claim(self.folder, settings_of(self.config, steps))
        for line in notices:
            print(line, file=sys.stderr)
        epochs = self.config.optimization.num_train_epochs
        print(f"{len(self.cells)} cells x {len(args.seeds)} seeds, {steps} steps each ({epochs} epochs)")

    def run(self) -> int:
        """Seed by seed, so that the whole grid has a first result early. Returns the command's exit code."""
        jobs = [(seed, cell) for seed in self.args.seeds for cell in self.cells]
        failed = 0
        for number, (seed, cell) in enumerate(jobs, 1):
            place = place_of(self.folder, cell, seed)
            start = time.monotonic()
            if not (place / RESULT).is_file():
                print(f"[{number}/{len(jobs)}] {cell.name}, seed {seed}", flush=True)
                try:
                    code = train_cell(self.config, cell, seed, place)
                except NonFiniteLossError as error:
                    failed += 1
                    print(f"tore ablate: {cell.name}, seed {seed}: {error}", file=sys.stderr)
                    continue
                if code:
                    print("stopped; the same command resumes", file=sys.stderr)
                    return code
                self.report()
                print(f"[{number}/{len(jobs)}] done in {time.monotonic() - start:.0f} s", flush=True)
        print(self.report())
        return EXIT_SOME_FAILED if failed else 0

    def report(self) -> str:
        """Writes the table and the plot of all that is in the folder, and returns the table."""
        results = results_under(self.folder)
        for cell in results.keys() - self.costs.keys():
            self.costs[cell] = cost_of(self.config, cell, self.topology)
        order = sorted(results, key=lambda cell: (-self.costs[cell]["GMACs"], cell.name))
        judged = [(cell, self.costs[cell], results[cell]) for cell in order]
        return write_report(self.folder, judged, plot=not self.args.no_plot) if judged else "no run came to its end"


@entry_point("tore ablate")
def main(argv: Sequence[str] | None = None) -> int:
    """0: the grid is full. 1: a run met a loss that is not finite. 2: bad input. 75: stopped, the same call resumes."""
    return Ablation(parse(argv)).run()


if __name__ == "__main__":
    sys.exit(main())
