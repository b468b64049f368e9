"""One training or evaluation run from its configuration: what every network and body shares."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tore.device import keep_freed_memory
from tore.engine.distributed import start_processes
from tore.engine.faults import EXIT_STOPPED
from tore.engine.logging import open_log
from tore.engine.state import seed_process
from tore.files import check_outputs
from tore.modeling.checkpoints import Checkpoint
from tore.training.build import (
    RunSetting,
    build_network,
    build_trainer,
    checkpoint_of,
    on_recorded_body,
)
from tore.training.config import RunConfig
from tore.training.evaluation_report import ReportFiles, report
from tore.training.hand_submission import HandOptions

CONFIG_FILE = "config.yaml"


def run(
    config: RunConfig,
    *,
    checkpoint: Checkpoint | None = None,
    notices: Iterable[str] = (),
    hand: HandOptions | None = None,
    local_rank: int | None = None,
) -> int:
    """Trains, or with --run_eval_only evaluates; returns the exit code: 0, or 75 where a signal stopped it.

    checkpoint: what --checkpoint names, where it has been read. notices: lines for the log. hand: what an
    evaluation of hands does besides. A training writes its configuration into its folder. Raises NonFiniteLossError.
    """
    hand = hand or HandOptions()
    check_outputs(hand.pred_zip, folder=config.run.output_dir)
    keep_freed_memory()
    processes = start_processes(config.run.device, local_rank)
    try:
        setting = RunSetting(
            config,
            processes,
            open_log(
                Path(config.run.output_dir),
                processes,
                tensorboard=not config.run.no_tensorboard,
                quiet=config.run.quiet,
            ),
            checkpoint or checkpoint_of(config),
        )
        setting = on_recorded_body(setting)
        for notice in notices:
            setting.log.line(notice)
        if config.run.device == "cuda" and processes.device.type != "cuda":
            setting.log.line("no CUDA device here: running on the CPU")
        seed_process(config.run.seed)
        return evaluate_only(setting, hand) if config.run.run_eval_only else train(setting)
    finally:
        processes.close()


def train(setting: RunSetting) -> int:
    """Trains to the end, or until a signal asks to stop."""
    log, processes = setting.log, setting.processes
    trainer, dataset = build_trainer(setting)
    if trainer.finished:
        more = "--num_train_epochs with --allow_changes trains longer"
        log.line(f"finished: all {trainer.epochs} epochs of the run are done, nothing is left to train; {more}")
        return 0
    if processes.is_main:
        setting.config.to_yaml(setting.output_dir / CONFIG_FILE)
    stopped_by = trainer.run()
    if setting.config.data.on_bad_sample == "skip":
        dataset.bad_samples.merge(processes.maximum)
        log.line(dataset.bad_sample_summary())
    log.line("finished" if stopped_by is None else f"stopped by {stopped_by}; resume with --resume auto")
    return 0 if stopped_by is None else EXIT_STOPPED


def evaluate_only(setting: RunSetting, hand: HandOptions) -> int:
    """--run_eval_only: the numbers of --checkpoint on --val_yaml."""
    config, judged = setting.config, setting.config.data.validation_set
    if setting.checkpoint is None or judged is None:
        raise ValueError("--run_eval_only needs --checkpoint (a state_dict.bin) and --val_yaml")
    model, notes = build_network(config, setting.checkpoint, fresh=False)
    for note in notes:
        setting.log.line(note)
    report(
        model,
        judged,
        body_dir=config.data.body_dir,
        oracle=config.run.oracle,
        batch_size=config.data.per_gpu_eval_batch_size,
        workers=config.data.num_workers,
        processes=setting.processes,
        say=setting.log.line,
        files=ReportFiles(metrics=setting.output_dir / "evaluation.json"),
        hand=hand,
    )
    return 0
