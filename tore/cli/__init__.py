"""The `tore` command: one verb per file of this package, no logic of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from tore.cli.flags import VERB_ALIASES
from tore_runtime.entry import entry_point

# title -> verb -> (module with main(argv) -> exit code, one line for --help)
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "use": {
        "demo": ("tore.cli.demo", "the whole project on synthetic people, and a report page; needs nothing"),
        "infer": ("tore.cli.infer", "from images to meshes, drawn over them and saved"),
        "animate": ("tore.cli.animate", "from body parameters to animation files: skinned GLB, BVH"),
        "export": ("tore.cli.export", "a network as an ONNX or torch.export file for other programs, verified"),
        "info": ("tore.cli.info", "what a checkpoint holds: network, backbone, size, parameters per part"),
    },
    "train and evaluate": {
        "train-fm": ("tore.tools.run_tore_fm_bodymesh", "train or evaluate FastMETRO+TORE on a TSV set"),
        "train-m": ("tore.tools.run_tore_m_bodymesh", "train or evaluate METRO+TORE on a TSV set"),
        "train-fm-hand": ("tore.tools.run_tore_fm_handmesh", "train or evaluate FastMETRO+TORE on a TSV set of hands"),
        "train-m-hand": ("tore.tools.run_tore_m_handmesh", "train or evaluate METRO+TORE on a TSV set of hands"),
        "pretrain": ("tore.cli.pretrain", "pre-train the image side on joints, before a run from scratch"),
        "evaluate": ("tore.cli.evaluate", "evaluate a checkpoint on a TSV set; names protocol and the paper's number"),
        "freihand": ("tore.cli.freihand", "check a FreiHAND submission, score it against the released annotations"),
    },
    "data": {
        "convert": ("tore.cli.convert", "a TSV data set from 3DPW, FreiHAND, COCO's keypoints, or SPIN's files"),
        "data": ("tore.cli.data", "check a data set, show a contact sheet of it, print its statistics; join several"),
        "synth": ("tore.cli.synth", "the synthetic body and hand that need no license, and images of them"),
    },
    "analysis": {
        "cost": ("tore.cli.cost", "multiply-accumulates and parameters per part, for one or many configurations"),
        "bench": ("tore.cli.bench", "cost, latency, throughput and memory of networks side by side"),
        "ablate": ("tore.cli.ablate", "train and evaluate a grid of networks under one budget, and what a token costs"),
    },
}
VERBS = {verb: entry for group in GROUPS.values() for verb, entry in group.items()}
OLD_VERBS = {old: verb for verb, olds in VERB_ALIASES.items() for old in olds if verb in VERBS}


def usage() -> str:
    """The text of `tore --help`."""
    lines = ["usage: tore VERB [options]"]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {verb:<15}{text}" for verb, (_, text) in verbs.items())]
    return "\n".join([*lines, "", "`tore VERB --help` lists a verb's options."])


@entry_point("tore")
def main(argv: Sequence[str] | None = None) -> int:
    """Hands the rest of the command line to the verb's tool and returns its exit code."""
    return _run(list(sys.argv[1:] if argv is None else argv), named=argv is None)


def _run(arguments: list[str], named: bool) -> int:
    """`named`: whether the command line is this process's own, so that a tool may go by its verb's name."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    verb = OLD_VERBS.get(arguments[0], arguments[0])
    if verb not in VERBS:
        print(f"tore: {verb!r} is not a verb; choose from {', '.join(VERBS)}", file=sys.stderr)
        return 2
    if named:  # what a tool that is named after its script calls itself in --help and in errors
        sys.argv[0] = f"tore {verb}"
    return importlib.import_module(VERBS[verb][0]).main(arguments[1:])
