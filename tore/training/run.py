"""One training or evaluation run from its flags: what the entry scripts of every network and body share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tore.cli.training_flags import hand_options_of
from tore.cli.training_rules import check_training_flags
from tore.engine.distributed import start_processes
from tore.engine.faults import EXIT_NOT_FINITE, EXIT_STOPPED, NonFiniteLossError
from tore.engine.state import seed_process
from tore.files import check_outputs
from tore.memory import keep_freed_memory
from tore.training.build import RunSetting, build_network, build_trainer, open_log, training_batches
from tore.training.evaluation_report import report


def run_tool(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    *,
    network: str,
    kind: str,
    network_options: Callable[[argparse.Namespace], dict[str, Any]],
) -> int:
    """Parses and runs; returns the exit code.

    0: done. 75: stopped by a signal after saving, `--resume auto` goes on. 76: a loss was not finite. What a user can
    mend raises, and is told by the command's guard (`tore.entry`).
    """
    args = parser.parse_args(argv)
    try:
        return run(args, network=network, kind=kind, network_options=network_options)
    except NonFiniteLossError as error:
        print(f"{parser.prog}: {error}; the last checkpoint is intact, --on_nan skip goes on", file=sys.stderr)
        return EXIT_NOT_FINITE


def run(
    args: argparse.Namespace,
    *,
    network: str,
    kind: str,
    network_options: Callable[[argparse.Namespace], dict[str, Any]],
) -> int:
    """Trains, or with --run_eval_only evaluates; returns the exit code."""
    check_outputs(getattr(args, "pred_zip", None), folder=args.output_dir)
    keep_freed_memory()
    processes = start_processes(args.device, args.local_rank)
    try:
        log = open_log(args, processes, quiet=args.quiet)
        options = network_options(args)
        for notice in [*args.notices, *check_training_flags(args, network)]:
            log.line(notice)
        if args.device == "cuda" and processes.device.type != "cuda":
            log.line("no CUDA device here: running on the CPU")
        seed_process(args.seed)
        setting = RunSetting(args, network, kind, options, processes, log)
        if args.run_eval_only:
            return evaluate_only(setting)
        batches = training_batches(setting)
        trainer = build_trainer(setting, batches)
        if trainer.finished:
            more = "--num_train_epochs with --allow_changes trains longer"
            log.line(f"finished: all {trainer.epochs} epochs of the run are done, nothing is left to train; {more}")
            return 0
        stopped_by = trainer.run()
        if args.on_bad_sample == "skip":
            batches.dataset.bad_samples.merge(processes.maximum)
            log.line(batches.dataset.bad_sample_summary())
        log.line("finished" if stopped_by is None else f"stopped by {stopped_by}; go on with --resume auto")
        return 0 if stopped_by is None else EXIT_STOPPED
    finally:
        processes.close()


def evaluate_only(setting: RunSetting) -> int:
    """--run_eval_only: the numbers of --resume_checkpoint on --val_yaml."""
    args = setting.args
    if args.resume_checkpoint is None or setting.validation_yaml is None:
        raise ValueError("--run_eval_only needs --resume_checkpoint (a state_dict.bin) and --val_yaml")
    model, notes = build_network(args, setting.network, setting.kind, setting.options, fresh=False)
    for note in notes:
        setting.log.line(note)
    report(
        model,
        setting.validation_yaml,
        body_dir=args.body_dir,
        oracle=args.oracle,
        batch_size=args.per_gpu_eval_batch_size,
        workers=args.num_workers,
        processes=setting.processes,
        say=setting.log.line,
        json_path=Path(args.output_dir) / "evaluation.json",
        hand=hand_options_of(args, usual_zip=Path(args.output_dir) / "pred.zip") if setting.kind == "hand" else None,
    )
    return 0
