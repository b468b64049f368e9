"""Stores a trained checkpoint as the package ships it: our own layout, learned numbers in 16 bits, a frozen backbone
that comes with the package left out.

python scripts/ship_checkpoint.py --checkpoint OUT/checkpoint-8-15000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tore
from tore.body import load_body
from tore.modeling.checkpoints import read_checkpoint
from tore.modeling.recorded_body import body_dir_for, check_body
from tore.paths import default_checkpoint


def main() -> None:
    """Reads, stores, and says what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="state_dict.bin, or its folder")
    parser.add_argument("--arch", help="the backbone's name, for one that the file does not tell")
    parser.add_argument("--dropout", type=float, help="it was trained with, which the file does not tell either")
    parser.add_argument("--body_dir", help="folder of the body model files [what the file records]")
    parser.add_argument("--trained_on", help="the body model's name, where the file has no record of it")
    parser.add_argument("--out", type=Path, help="[the shipped file of the network's body]")
    args = parser.parse_args()
    told = {"arch": args.arch, "dropout": args.dropout, "trained_on": args.trained_on}
    overrides = {name: value for name, value in told.items() if value is not None}
    checkpoint = read_checkpoint(args.checkpoint, **overrides)
    body_dir = body_dir_for(checkpoint.trained_on, args.body_dir)
    model = tore.load_model(checkpoint, body_dir, "cpu")
    body = load_body(model.config.body, body_dir)
    check_body(model, body, args.checkpoint)
    model.trained_on = body.identity
    out = args.out or default_checkpoint(model.config.body)
    tore.save_model(model, out, half=True, leave_out_backbone=model.config.frozen_backbone)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {count / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
