"""Stores a trained checkpoint as the package ships it: our own layout, learned numbers in 16 bits.

python scripts/ship_checkpoint.py --checkpoint output/run/checkpoint-3-9000 --arch resnet18 --body_dir synthetic
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tore
from tore.paths import SYNTHETIC_NAMES, shipped_checkpoint
from tore.training.build import checkpoint_file


def main() -> None:
    """Reads, stores, and says what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="state_dict.bin, or its folder")
    parser.add_argument("--arch", help="the backbone's name, for one that the file does not tell")
    parser.add_argument("--dropout", type=float, help="it was trained with, which the file does not tell either")
    parser.add_argument("--body_dir", help="folder of the body model files, or synthetic [TORE_BODY_DIR]")
    parser.add_argument("--out", type=Path, help="[the shipped file of the network's body]")
    args = parser.parse_args()
    told = {"arch": args.arch, "dropout": args.dropout}
    overrides = {name: value for name, value in told.items() if value is not None}
    overrides |= {"stand_in": True} if args.body_dir in SYNTHETIC_NAMES else {}
    model = tore.load_model(checkpoint_file(args.checkpoint), args.body_dir, "cpu", **overrides)
    out = args.out or shipped_checkpoint(model.config.body)
    tore.save_model(model, out, half=True)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {count / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
