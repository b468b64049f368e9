"""METRO's own flags, which its body and hand scripts share, and the network that they describe."""

from __future__ import annotations

import argparse
from typing import Any

from tore.tools.flags import add_idle_flags, typed_flags
from tore.tools.train_arguments import add_network_flags, network_choices, widths

COORDINATES = 3
BERT_INTERMEDIATE = 3072
IDLE = {
    "--model_name_or_path": "no file of BERT is read",
    "--config_name": "no file of BERT is read",
    "--hidden_size": "the blocks' widths are --hidden_feat_dim",
    "--legacy_setting": "nothing depends on it",
}


def add_metro_flags(parser: argparse.ArgumentParser, *, hidden: str) -> argparse.ArgumentParser:
    """Adds METRO's own flags to the shared ones and returns the parser; `hidden`: the blocks' usual widths."""
    group = parser.add_argument_group("METRO+TORE")
    add_network_flags(group, reductions=("tore", "none"), baseline="METRO")
    group.add_argument("--num_hidden_layers", type=int, default=4, help="layers of each block")
    group.add_argument("--num_attention_heads", type=int, default=4, help="of each block")
    group.add_argument("--intermediate_size", type=int, default=-1, help=f"-1: BERT's {BERT_INTERMEDIATE}")
    group.add_argument("--input_feat_dim", type=widths, default=widths("2051,512,128"), help="inputs of the blocks")
    group.add_argument("--hidden_feat_dim", type=widths, default=widths(hidden), help="widths of the blocks")
    group.add_argument("--drop_out", type=float, default=0.1, help="of the blocks")
    add_idle_flags(parser, IDLE)
    return parser


def network_options(args: argparse.Namespace) -> dict[str, Any]:
    """The flags as options of `create_model`; the blocks' inputs follow from the backbone and the widths."""
    hidden = args.hidden_feat_dim
    if len(hidden) != COORDINATES or len(args.input_feat_dim) != COORDINATES:
        raise ValueError("--input_feat_dim and --hidden_feat_dim take three numbers, one for each block")
    follow = tuple(width // 2 for width in hidden[:-1])
    fresh = args.resume_checkpoint is None  # else the file tells the widths, and is compared with the flags
    if fresh and "input_feat_dim" in typed_flags(args) and args.input_feat_dim[1:] != follow:
        raise ValueError(
            f"--input_feat_dim {','.join(map(str, args.input_feat_dim))} does not go with --hidden_feat_dim: the "
            f"second and third block take half the width before them, {follow[0]} and {follow[1]}"
        )
    return {
        **network_choices(args),
        "widths": hidden,
        "layers": args.num_hidden_layers,
        "heads": args.num_attention_heads,
        "hidden": BERT_INTERMEDIATE if args.intermediate_size < 0 else args.intermediate_size,
        "dropout": args.drop_out,
    }
