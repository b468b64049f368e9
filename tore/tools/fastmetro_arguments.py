"""FastMETRO's own flags, which its body and hand scripts share, and the network that they describe."""

from __future__ import annotations

import argparse
from typing import Any

from tore.modeling.build import SIZES, TOKEN_REDUCTIONS
from tore.tools.flags import add_idle_flags
from tore.tools.train_arguments import add_network_flags, network_choices, true_or_false

IDLE = {
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
    add_idle_flags(parser, IDLE, only={"--pos_type": "sine"})
    return parser


def network_options(args: argparse.Namespace) -> dict[str, Any]:
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
