"""Stores a trained checkpoint as the package ships it: our own layout, learned numbers in 16 bits, a frozen backbone
that comes with the package left out.

A MoveNet that was trained is stored beside it, as the one that comes with the package; the network is then on a frozen
one. Its weights may lie a share of the way from those before to the trained ones.

python scripts/ship_checkpoint.py --checkpoint OUT/checkpoint-8-15000
python scripts/ship_checkpoint.py --checkpoint FURTHER/checkpoint-3-5625 --before OUT/checkpoint-8-15000 --share 0.5
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import tore
from tore.body import load_body
from tore.files import write_tensors
from tore.image_format import MOVENET_THUNDER
from tore.modeling.checkpoints import read_checkpoint
from tore.modeling.movenet import MoveNet, shipped_weights
from tore.modeling.recorded_body import body_dir_for, check_body
from tore.modeling.shipped_backbone import shipped_entries
from tore.paths import default_checkpoint


def movenet_of(model: Any) -> MoveNet:
    """Of a network on it. ValueError for another backbone."""
    if model.config.arch != MOVENET_THUNDER:
        raise ValueError(f"the backbone is {model.config.arch}, not {MOVENET_THUNDER}; leave --before and --share out")
    network: MoveNet = model.backbone.trunk.network
    return network


def ship_movenet(model: Any, before: Any, share: float, path: Path) -> None:
    """Stores a trained MoveNet in 16 bits, `share` of the way from that of the network `before`, and freezes it."""
    if not 0 <= share <= 1:
        raise ValueError(f"--share {share} is none of a change; use 0 to 1")
    network, old = movenet_of(model), movenet_of(before).state_dict()
    mixed = {name: old[name] + share * (value - old[name]) for name, value in network.state_dict().items()}
    stored = {name: value.half() for name, value in mixed.items()}
    write_tensors(stored, path)
    network.load_state_dict({name: value.float() for name, value in stored.items()})
    model.config = replace(model.config, frozen_backbone=True)
    shipped_entries.cache_clear()  # the package has another one now
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Reads, stores, and says what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="state_dict.bin, or its folder")
    parser.add_argument("--arch", help="the backbone's name, for one that the file does not tell")
    parser.add_argument("--dropout", type=float, help="it was trained with, which the file does not tell either")
    parser.add_argument("--body_dir", help="folder of the body model files [what the file records]")
    parser.add_argument("--trained_on", help="the body model's name, where the file has no record of it")
    parser.add_argument("--out", type=Path, help="[the shipped file of the network's body]")
    parser.add_argument("--before", help="the checkpoint that the training of MoveNet began with")
    parser.add_argument("--share", type=float, help="of MoveNet's change that is kept, 0 to 1")
    args = parser.parse_args()
    if (args.before is None) != (args.share is None) or (args.before and args.out):
        parser.error("--before and --share go together, and not with --out: MoveNet's file in the package is written")
    told = {"arch": args.arch, "dropout": args.dropout, "trained_on": args.trained_on}
    overrides = {name: value for name, value in told.items() if value is not None}
    checkpoint = read_checkpoint(args.checkpoint, **overrides)
    body_dir = body_dir_for(checkpoint.trained_on, args.body_dir)
    model = tore.load_model(checkpoint, body_dir, "cpu")
    body = load_body(model.config.body, body_dir)
    check_body(model, body, args.checkpoint)
    model.trained_on = body.identity
    if args.before is not None:
        before = tore.load_model(args.before, body_dir, "cpu")
        ship_movenet(model, before, args.share, shipped_weights("thunder"))
    out = args.out or default_checkpoint(model.config.body)
    tore.save_model(model, out, half=True, leave_out_backbone=model.config.frozen_backbone)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {count / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
