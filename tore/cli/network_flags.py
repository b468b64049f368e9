"""Flags of FastMETRO and of METRO under their official names."""

from __future__ import annotations

import argparse

from tore.cli.flags import add_idle_flags
from tore.cli.training_flags import add_network_flags, true_or_false, widths
from tore.training.network_options import BERT_INTERMEDIATE, FastMETROOptions, METROOptions

FASTMETRO_IDLE = {
    "--pos_type": "the position code is the sine code",
    "--drop_out": "FastMETRO's dropout is --transformer_dropout",
    "--num_hidden_layers": "FastMETRO's layers come with --model_name",
    "--num_attention_heads": "FastMETRO's heads are --transformer_nhead",
}


def add_fastmetro_flags(parser: argparse.ArgumentParser) -> None:
    """Adds FastMETRO's own flags to the shared ones."""
    group = parser.add_argument_group("FastMETRO+TORE")
    group.add_argument(
        "--model_name",
        choices=FastMETROOptions.choices("model_name"),
        help="1, 2 or 3 layers a side: S, M, L; XS: as S, narrower",
    )
    add_network_flags(group, FastMETROOptions, baseline="FastMETRO")
    group.add_argument("--keep_ratio", type=float, help="share of the image tokens that is kept")
    group.add_argument(
        "--keypoint_queries",
        type=true_or_false,
        help="'true': the backbone's keypoints enter the queries [true for bodies with movenet-thunder]",
    )
    group.add_argument(
        "--itp_loss_weight", type=float, help="largest weight of the image token loss [0.001 with tore, else 0]"
    )
    group.add_argument(
        "--edge_and_normal_vector_loss", type=true_or_false, help="'true' | 'false' [with FastMETRO's recipe alone]"
    )
    group.add_argument("--model_dim_1", type=int, help="width of the first Transformer [as --model_name]")
    group.add_argument(
        "--model_dim_2", type=int, help="width of the second Transformer and the shape regressor [likewise]"
    )
    group.add_argument("--feedforward_dim_1", type=int, help="feed-forward width of the first Transformer [likewise]")
    group.add_argument(
        "--feedforward_dim_2",
        type=int,
        help="feed-forward width of the second Transformer and the shape regressor [likewise]",
    )
    group.add_argument("--transformer_dropout", type=float, help="dropout of the Transformers")
    group.add_argument("--transformer_nhead", type=int, help="attention heads")
    group.add_argument(
        "--conv_1x1_dim", type=int, help="compared with a checkpoint; else as many channels as the backbone gives"
    )
    add_idle_flags(parser, FASTMETRO_IDLE, only={"--pos_type": "sine"})


METRO_IDLE = {
    "--model_name_or_path": "no file of BERT is read",
    "--config_name": "no file of BERT is read",
    "--hidden_size": "the blocks' widths are --hidden_feat_dim",
    "--legacy_setting": "nothing depends on it",
}


def add_metro_flags(parser: argparse.ArgumentParser) -> None:
    """Adds METRO's own flags to the shared ones."""
    group = parser.add_argument_group("METRO+TORE")
    add_network_flags(group, METROOptions, baseline="METRO")
    group.add_argument("--num_hidden_layers", type=int, help="layers of each block")
    group.add_argument("--num_attention_heads", type=int, help="of each block")
    group.add_argument("--intermediate_size", type=int, help=f"-1: BERT's {BERT_INTERMEDIATE}")
    group.add_argument("--input_feat_dim", type=widths, help="inputs of the blocks")
    group.add_argument("--hidden_feat_dim", type=widths, help="widths of the blocks")
    group.add_argument("--drop_out", type=float, help="of the blocks")
    add_idle_flags(parser, METRO_IDLE)


OWN_FLAGS = {"fastmetro": add_fastmetro_flags, "metro": add_metro_flags}
