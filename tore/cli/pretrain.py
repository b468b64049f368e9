"""Pre-trains the image side of FastMETRO+TORE on where joints are: for networks that train from scratch.

tore pretrain --train_yaml train.yaml --arch mobilenetv4_conv_small --output_dir output/pretrain

The newest checkpoint's state_dict.bin holds backbone, projection and token reduction; training takes it with
--pretrained. Use it where no ImageNet weights are to be had. `--config output/pretrain/config.yaml` repeats a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tore.cli.flags import FlagParser, HelpFormatter, Rule, check_rules, names
from tore.cli.training_flags import add_image_flags, parse_over_file, set_usual
from tore.device import keep_freed_memory
from tore.engine.distributed import start_processes
from tore.engine.faults import EXIT_STOPPED
from tore.engine.logging import open_log
from tore.engine.state import seed_process
from tore.files import check_outputs
from tore.training.pretraining import PretrainConfig, build_trainer
from tore.training.run import CONFIG_FILE
from tore_runtime.entry import entry_point

RULES = (
    Rule(
        ("backbone_weights",),
        lambda args: args.pretrained is not None,
        "the backbone starts from --pretrained; leave one of the two out",
    ),
    Rule(("allow_changes",), lambda args: args.resume == "none", "goes with --resume; add --resume auto"),
)


def build_parser() -> FlagParser:
    """The command's flags."""
    parser = FlagParser(prog="tore pretrain", description=__doc__, formatter_class=HelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("--train_yaml", required=True, help="training set, relative to --data_dir")
    add("--data_dir", help="root of the data sets")
    add("--body", choices=PretrainConfig.choices("body"), help="what the set shows")
    add("-a", "--arch", required=True, help="backbone: an official name or any of timm's")
    add("--model_dim_1", type=int, help="width of the tokens")
    add("--keep_ratio", type=float, help="share of the image tokens that is kept")
    add("--size", type=int, help="side that images are brought to; 128 costs a third")
    add_image_flags(parser)
    add("--num_train_epochs", type=int, help="passes over the training set")
    add("--per_gpu_train_batch_size", type=int, help="images of one training process in a step")
    add(*names("--lr"), type=float, help="learning rate; it falls along a cosine")
    add("--warm_up_share", type=float, help="share of the steps in which the rate rises")
    add("--backbone_weights", help="ImageNet file of the backbone to start from, or timm for timm's own weights")
    file = "state_dict.bin, or its folder, of an earlier pre-training to start from, of any --size"
    add(*names("--pretrained"), metavar="PATH", help=file)
    add("--amp", choices=PretrainConfig.choices("amp"), help="dtype of the forward pass")
    add("--num_workers", type=int, help="loading processes of each training process")
    add("--on_bad_sample", choices=PretrainConfig.choices("on_bad_sample"))
    add(*names("--output_dir"), help="folder of checkpoints and logs")
    add("--resume", choices=PretrainConfig.choices("resume"), help="auto: resume from the newest checkpoint")
    add("--allow_changes", action="store_true", help="with --resume: resume although the set or a flag is another one")
    add("--logging_steps", type=int, help="steps between log lines")
    add("--no_tensorboard", action="store_true", help="write no TensorBoard files")
    add("--device", help="auto, cpu, cuda, mps")
    add("--seed", type=int, help="of weights, order and augmentation")
    add(*names("--local_rank"), type=int, help="set by torch.distributed.launch")
    set_usual(parser, PretrainConfig.defaults())
    return parser


@entry_point("tore pretrain")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs with the flags of `argv`. 0: done, 2: something that the user can mend, 75: stopped after saving."""
    args = parse_over_file(build_parser(), argv, PretrainConfig.from_yaml)
    check_outputs(folder=args.output_dir)
    config = PretrainConfig.from_flags(args)
    check_rules(args, RULES)
    keep_freed_memory()
    processes = start_processes(config.device, args.local_rank)
    try:
        seed_process(config.seed)
        log = open_log(Path(config.output_dir), processes, tensorboard=not config.no_tensorboard)
        trainer = build_trainer(config, processes, log)
        if trainer.finished:
            log.line(f"finished: all {trainer.epochs} epochs are done, nothing is left to train")
            return 0
        if processes.is_main:
            config.to_yaml(Path(config.output_dir) / CONFIG_FILE)
        stopped_by = trainer.run()
        log.line("finished" if stopped_by is None else f"stopped by {stopped_by}; resume with --resume auto")
        return 0 if stopped_by is None else EXIT_STOPPED
    finally:
        processes.close()
