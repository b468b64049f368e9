"""Which flags of training and evaluation by the training scripts cannot take effect beside which others."""

from __future__ import annotations

import argparse

from tore.cli.flags import Rule, check_rules
from tore.modeling.initialization import PARTS_TO_LOAD

LOSSES = (
    "joints_loss_weight", "vertices_loss_weight", "joints_2d_loss_weight", "vloss_w_full", "vloss_w_sub",
    "vloss_w_sub2", "smpl_param_loss_weight", "itp_loss_weight", "edge_and_normal_vector_loss",
)  # fmt: skip
TRAINING_ONLY = (
    "train_yaml", "fast_crop", "on_bad_sample", "per_gpu_train_batch_size", "lr", "num_train_epochs", "accumulate",
    "amp", "compile", "channels_last", "ema", "freeze_batch_norm", "schedule", "warm_up_share", "gradient_clip",
    "gradient_clip_limit", "no_augmentation", "shift_augmentation", "occlusion_augmentation", "cache_features",
    "cache_augmentations", "recipe", *LOSSES, "logging_steps", "visual_steps", "save_steps",
    "keep_checkpoints", "on_nan", "seed", "transformer_dropout", "drop_out",
)  # fmt: skip
# What no checkpoint records.
FRESH_ONLY = ("pretrained", "pretrained_parts", "template_initialization", "camera_initialization")
HAND_VIEWS, HAND_ONLY = ("sc", "rot"), ("multiscale_inference", "sc", "rot", "pred_zip", "annotations")


def _judged(args: argparse.Namespace) -> bool:
    """Whether the run has a validation set."""
    return args.val_yaml.lower() != "none"


def _from_file(args: argparse.Namespace) -> bool:
    """Whether the network's weights come from a checkpoint; a resumed run is compared with its own flags instead."""
    return args.checkpoint is not None


def _names_backbone_file(args: argparse.Namespace) -> bool:
    return args.backbone_weights not in (None, "none")


HAND_RULES = (Rule(HAND_VIEWS, lambda a: not a.multiscale_inference, "goes with --multiscale_inference alone; add it"),)
RULES = (
    Rule(
        FRESH_ONLY,
        _from_file,
        "says how a new network starts, but --checkpoint gives every weight; leave one of the two out",
    ),
    Rule(
        ("backbone_weights",),
        lambda a: _from_file(a) and _names_backbone_file(a),
        "says how a new network starts, but --checkpoint gives every weight; leave one of the two out",
    ),
    Rule(
        ("backbone_weights",),
        lambda a: _names_backbone_file(a) and bool(a.pretrained) and PARTS_TO_LOAD[0] in a.pretrained_parts,
        "the backbone starts from --pretrained; leave one out, or 'backbone' out of --pretrained_parts",
    ),
    Rule(("pretrained_parts",), lambda a: not a.pretrained, "goes with --pretrained FILE; add it"),
    Rule(
        ("pretrained_parts",),
        lambda a: not hasattr(a, "model_name"),
        "METRO takes the backbone alone from --pretrained; leave --pretrained_parts out",
    ),
    Rule(
        ("resume",),
        lambda a: a.run_eval_only and a.resume != "none",
        "resumes training, but --run_eval_only trains nothing; leave one of the two out",
    ),
    Rule(("cache_augmentations",), lambda a: not a.cache_features, "goes with --cache_features DIR; add it"),
    Rule(
        ("shift_augmentation", "occlusion_augmentation", "cache_augmentations"),
        lambda a: a.no_augmentation,
        "cannot take effect beside --no_augmentation; leave one of the two out",
    ),
    Rule(("allow_changes",), lambda a: a.resume == "none", "goes with --resume; add --resume auto"),
    Rule(
        HAND_ONLY,
        lambda a: not a.run_eval_only,
        "is for evaluation; add --run_eval_only, or give it to tore evaluate",
    ),
    Rule(
        ("gradient_clip_limit",),
        lambda a: a.gradient_clip == "none",
        "limits nothing with --gradient_clip none; leave one of the two out",
    ),
    Rule(TRAINING_ONLY, lambda a: a.run_eval_only, "--run_eval_only trains nothing", refused=False),
    Rule(
        ("keep_ratio",),
        lambda a: a.token_reduction == "none",
        "--token_reduction none keeps every image token",
        refused=False,
    ),
    Rule(
        ("oracle", "per_gpu_eval_batch_size"),
        lambda a: not a.run_eval_only and not _judged(a),
        "--val_yaml none leaves validation out",
        refused=False,
    ),
    Rule(
        ("conv_1x1_dim",),
        lambda a: not _from_file(a),
        "the projection takes as many channels as the backbone gives",
        refused=False,
    ),
    *HAND_RULES,
)


def check_training_flags(args: argparse.Namespace) -> list[str]:
    """A line for each typed flag without effect. ValueError for flags that contradict."""
    return check_rules(args, RULES)
