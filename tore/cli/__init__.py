"""The `tore` command: one verb per file of this package, no logic of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from tore.entry import entry_point

# verb -> (module with main(argv) -> exit code, one line for --help)
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("tore.cli.demo", "the whole project on synthetic people, and a report page; needs nothing"),
    "train-fm": ("tore.tools.run_tore_fm_bodymesh", "train or evaluate FastMETRO+TORE on a TSV set"),
    "train-m": ("tore.tools.run_tore_m_bodymesh", "train or evaluate METRO+TORE on a TSV set"),
    "warm-up": ("tore.cli.pretrain", "teach the image side where joints are, before a run from scratch"),
    "train-fm-hand": ("tore.tools.run_tore_fm_handmesh", "train or evaluate FastMETRO+TORE on a TSV set of hands"),
    "train-m-hand": ("tore.tools.run_tore_m_handmesh", "train or evaluate METRO+TORE on a TSV set of hands"),
    "evaluate": ("tore.cli.evaluate", "evaluate a checkpoint on a TSV set, with its protocol and the paper's number"),
    "freihand": ("tore.cli.freihand", "check a FreiHAND submission, score it against the released annotations"),
    "infer": ("tore.cli.infer", "from pictures to meshes, drawn over them and saved"),
    "info": ("tore.cli.info", "what a checkpoint holds: network, backbone, size, parameters per part"),
    "cost": ("tore.cli.cost", "multiply-accumulates and parameters per part, for one or many configurations"),
    "bench": ("tore.cli.bench", "cost, latency, throughput and memory of networks side by side"),
    "ablate": ("tore.cli.ablate", "train and evaluate a grid of networks under one budget, and what a token costs"),
    "convert": ("tore.cli.convert", "a TSV data set from 3DPW, FreiHAND, or GraphCMR's and SPIN's annotations"),
    "data": ("tore.cli.data", "check a data set, show a contact sheet of it, print its statistics; join several"),
    "synth": ("tore.cli.synth", "the synthetic body and hand that need no licence, and pictures of them"),
}


def usage() -> str:
    """The text of `tore --help`."""
    lines = [f"  {verb:<15}{text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(["usage: tore VERB [options]", "", *lines, "", "`tore VERB --help` lists a verb's options."])


@entry_point("tore")
def main(argv: Sequence[str] | None = None) -> int:
    """Hands the rest of the command line to the verb's tool and returns its exit code."""
    return _run(list(sys.argv[1:] if argv is None else argv), named=argv is None)


def _run(arguments: list[str], named: bool) -> int:
    """`named`: whether the command line is this process's own, so that a tool may go by its verb's name."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    verb = arguments[0]
    if verb not in VERBS:
        print(f"tore: {verb!r} is not a verb; choose from {', '.join(VERBS)}", file=sys.stderr)
        return 2
    if named:  # what a tool that is named after its script calls itself in --help and in errors
        sys.argv[0] = f"tore {verb}"
    return importlib.import_module(VERBS[verb][0]).main(arguments[1:])
