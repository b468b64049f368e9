"""`tore info CHECKPOINT`: which network a checkpoint holds, worked out from the file alone.

No body model file is needed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tore.body.identity import BodyIdentity
from tore.cli.flags import FlagParser, HelpFormatter
from tore.modeling.build import describe, reduction_of
from tore.modeling.checkpoint_contents import parts_of
from tore.modeling.checkpoints import Checkpoint, read_checkpoint
from tore.modeling.model_names import SIZES
from tore_runtime.entry import entry_point

SIZE_NAMES = {layers: name for name, layers in SIZES.items()}


def facts_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything the command prints, as plain values."""
    config, parts = checkpoint.config, parts_of(checkpoint.state)
    facts = {"file": str(checkpoint.path), "layout": checkpoint.layout, **describe(config)}
    facts["trained_on"] = None if checkpoint.trained_on is None else checkpoint.trained_on.described()
    facts["token_reduction"] = reduction_of(config)
    if config.network == "fastmetro":
        facts["size"] = SIZE_NAMES.get(config.layers, f"{config.layers} layers")
    dropped = Counter(".".join(p for p in name.split(".") if not p.isdigit()) for name in checkpoint.dropped)
    return facts | {
        "parameters": sum(parts.values()),
        "parameters_by_part": parts,
        "dropped": dict(dropped),
        "unexpected": list(checkpoint.unexpected),
    }


def print_facts(facts: dict[str, Any]) -> None:
    """The facts for a person."""
    lists = ("parameters_by_part", "dropped", "unexpected", "parameters")
    record = facts["trained_on"]
    body = "not recorded" if record is None else BodyIdentity.from_plain(record, facts["file"])
    for name, value in (facts | {"trained_on": body}).items():
        if name not in lists:
            print(f"{name.replace('_', ' '):<20}{value}")
    print(f"{'parameters':<20}{facts['parameters']:,}")
    for part, count in facts["parameters_by_part"].items():
        print(f"  {part:<22}{count:>14,}")
    if facts["dropped"]:
        print("entries that nothing reads, left out:")
        for name, count in facts["dropped"].items():
            print(f"  {name} ({count})")
    if facts["unexpected"]:
        print(f"entries of no known part: {', '.join(facts['unexpected'])}")


@entry_point("tore info")
def main(argv: Sequence[str] | None = None) -> int:
    """Prints what the file holds; 1 when it holds entries of no known part, 2 when it can't be read."""
    parser = FlagParser(prog="tore info", description=__doc__, formatter_class=HelpFormatter)
    file = "an official state_dict.bin or a file of this project's, or its folder"
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("file", nargs="?", metavar="CHECKPOINT", help=file)
    where.add_argument("--checkpoint", metavar="PATH", help="the same, as other commands take it")
    parser.add_argument("--arch", help="the backbone's name, for one that the file does not tell")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    overrides = {"arch": options.arch} if options.arch else {}
    facts = facts_of(read_checkpoint(options.checkpoint or options.file, **overrides))
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        print_facts(facts)
    return 1 if facts["unexpected"] else 0


if __name__ == "__main__":
    sys.exit(main())
