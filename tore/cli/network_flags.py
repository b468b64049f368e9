"""Flags of FastMETRO and of METRO under their official names."""

from __future__ import annotations

import argparse
from typing import Any

from tore.cli.flags import add_idle_flags, typed_flags
from tore.cli.training_flags import add_network_flags, network_choices, true_or_false, widths
from tore.modeling.build import SIZES, TOKEN_REDUCTIONS

FASTMETRO_IDLE = {
    "--pos_type": "the position code is the sine code",
    "--drop_out": "FastMETRO's dropout is --transformer_dropout",
    "--num_hidden_layers": "FastMETRO's layers come with --model_name",
    "--num_attention_heads": "FastMETRO's heads are --transformer_nhead",
}
NAMES = [f"FastMETRO{mark}{size}" for mark in "_-" for size in SIZES]


def add_fastmetro_flags(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Adds FastMETRO's own flags to the shared ones and returns the parser."""
    group = parser.add_argument_group("FastMETRO+TORE")
    group.add_argument("--model_name", choices=NAMES, default="FastMETRO_L", help="1, 2 or 3 layers a side: S, M, L")
    add_network_flags(group, reductions=TOKEN_REDUCTIONS, baseline="FastMETRO")
    group.add_argument("--keep_ratio", type=float, default=0.8, help="share of the image tokens that is kept")
    group.add_argument(
        "--itp_loss_weight", type=float, help="largest weight of the image token loss [0.001 with tore, else 0]"
    )
    group.add_argument(
        "--edge_and_normal_vector_loss", type=true_or_false, help="'true' | 'false' [with FastMETRO's recipe alone]"
    )
    group.add_argument("--model_dim_1", type=int, default=512, help="width of the first Transformer")
    group.add_argument(
        "--model_dim_2", type=int, default=128, help="width of the second Transformer and the shape regressor"
    )
    group.add_argument(
        "--feedforward_dim_1", type=int, default=2048, help="feed-forward width of the first Transformer"
    )
    group.add_argument(
        "--feedforward_dim_2",
        type=int,
        default=512,
        help="feed-forward width of the second Transformer and the shape regressor",
    )
    group.add_argument("--transformer_dropout", type=float, default=0.1, help="dropout of the Transformers")
    group.add_argument("--transformer_nhead", type=int, default=8, help="attention heads")
    group.add_argument(
        "--conv_1x1_dim", type=int, help="compared with a checkpoint; else as many channels as the backbone gives"
    )
    add_idle_flags(parser, FASTMETRO_IDLE, only={"--pos_type": "sine"})
    return parser


def fastmetro_options(args: argparse.Namespace) -> dict[str, Any]:
    """The flags as options of `create_model`."""
    return {
        **network_choices(args),
        "size": args.model_name[-1],
        "keep_ratio": args.keep_ratio,
        "widths": (args.model_dim_1, args.model_dim_2),
        "hidden": (args.feedforward_dim_1, args.feedforward_dim_2),
        "dropout": args.transformer_dropout,
        "heads": args.transformer_nhead,
    }


COORDINATES = 3
BERT_INTERMEDIATE = 3072
METRO_IDLE = {
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
    add_idle_flags(parser, METRO_IDLE)
    return parser


def metro_options(args: argparse.Namespace) -> dict[str, Any]:
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
