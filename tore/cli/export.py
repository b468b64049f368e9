"""Exports a network for programs without this package: `tore export state_dict.bin --output_dir exported`.

The folder holds the network (network.onnx, or network.pt2 of torch.export), body.npz with faces and joint regressor,
and export.json, which says what is needed to run it. An ONNX file is verified in the runtimes that shall run it, on
several images, sizes of batch and calls, and refused where one gives other numbers than the network. `tore infer`,
`evaluate` and `bench` take the folder as --checkpoint. `--format web` writes a page instead, a folder of static files
that finds people or hands and draws their meshes in the visitor's browser. `movenet-multipose` and `movenet-thunder` in
the place of the checkpoint are the finder of people and what places a person's keypoints, `mediapipe-palm` and
`mediapipe-hand` the same for hands. `people` and `hands` are two of these each and the network that ships; a folder of
one or both is what `tore-infer` takes as --networks; with `--format web` they are the page of that network.
docs/DEPLOY.md shows how other programs use all this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tore.cli.checkpoint_flags import add_checkpoint_flags, open_checkpoint
from tore.cli.flags import FlagParser, HelpFormatter, Rule, add_body_dir, check_rules, names, shown, typed_flags
from tore.export.browser import export_web, loaded_size
from tore.export.detector_graphs import DETECTORS
from tore.export.detectors import SETS, export_detector, export_networks
from tore.export.exporting import export_model
from tore.export.onnx_files import STORED
from tore.modeling import load_model
from tore.paths import default_checkpoint
from tore_runtime.entry import entry_point
from tore_runtime.record import NETWORK_FILES, OUTPUTS, ExportRecord, is_export
from tore_runtime.sessions import RUNTIMES

WEB = "web"  # the format beside those of `NETWORK_FILES`
RULES = (
    Rule(("runtime", "weights"), lambda args: args.format == "torch", "is for --format onnx; leave one of the two out"),
    Rule(("output",), lambda args: args.format == WEB, "a page draws the mesh; leave it out"),
)
SERVING = """serve it to this machine: python {folder}/serve.py (a thread for each core)
or by any server of static files; docs/DEPLOY.md tells the two headers without which there is one thread"""


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog="tore export", description=__doc__, formatter_class=HelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group()
    known = ", ".join((*DETECTORS, *SETS))
    what = f"official or own checkpoint, or its folder; or {known} [the network that ships]"
    where.add_argument("file", nargs="?", metavar="CHECKPOINT", help=what)
    where.add_argument(*names("--checkpoint"), metavar="PATH", help="the same, as other commands take it")
    add(*names("--output_dir"), required=True, metavar="DIR", help="the folder of the export")
    formats = "onnx; torch: a program of torch.export; web: a page for browsers, with libraries from npm"
    add("--format", default="onnx", choices=(*NETWORK_FILES, WEB), help=formats)
    stored = "how they are stored; arithmetic is float32 [float32, of a page float16]"
    add("--weights", choices=("float32", *STORED), help=stored)
    add("--output", default="all", choices=("all", *OUTPUTS), help="mesh: camera, joints, full mesh; joints: no mesh")
    add("--runtime", nargs="+", default=list(RUNTIMES), choices=RUNTIMES, help="what shall run it")
    add("--arch", metavar="NAME", help="the backbone's name, for one that the file does not tell")
    add("--overwrite", action="store_true", help="replace an export that is there")
    add_body_dir(parser, data_sets=False)
    parser.set_defaults(notices=[])
    add_checkpoint_flags(parser)
    return parser


def report(record: ExportRecord, folder: str) -> None:
    """What was written, and how far it is from the network."""
    print(f"{folder}: {record.file}, weights {record.weights}, outputs {', '.join(record.outputs)}")
    if record.body:
        print(f"body: {record.body['name']}, {record.body['rights']}")
    rows = [("equal to rounding in " + where, found) for where, found in record.differences.items()]
    if record.rounding:
        rows.append((f"what {record.weights} weights change", record.rounding))
    for title, found in rows:
        largest = ", ".join(f"{name} {difference:.2g}" for name, difference in found.items())
        print(f"{title}; largest difference: {largest}")


def export_of_detector(args: argparse.Namespace, name: str) -> int:
    """Exports a detector, or all of a set, of which there is one form."""
    taken = {"file", "checkpoint", "output_dir", "runtime", "overwrite", "format"}
    if args.format != "onnx" or (other := sorted(set(typed_flags(args)) - taken)):
        flag = f"--format {args.format}" if args.format != "onnx" else shown(args, other[0])
        raise ValueError(f"{flag}: {name} is exported in one form alone, with its weights as they ship; leave it out")
    options = {"runtimes": args.runtime, "overwrite": args.overwrite}
    if name in SETS:
        for part, record in export_networks(name, args.output_dir, **options).items():
            report(record, f"{args.output_dir}/{part}")
        return 0
    report(export_detector(name, args.output_dir, **options), args.output_dir)
    return 0


@entry_point("tore export")
def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 where something that the user can mend is wrong, such as an export that gives other numbers."""
    args = build_parser().parse_args(argv)
    ignored = check_rules(args, RULES)
    path = args.checkpoint or args.file
    if path is None or (path in SETS and args.format == WEB):
        path = str(default_checkpoint("body" if path is None else SETS[path][0]))
        args.notices.append(f"the network is {Path(path).name}, which ships")
    if is_export(path):
        raise ValueError(f"{path} is an export already; name the checkpoint that it was made from")
    if path in SETS or path in DETECTORS:
        return export_of_detector(args, path)
    checkpoint, notes = open_checkpoint(args, path)
    for note in [*args.notices, *ignored, *notes]:
        print(note, file=sys.stderr)
    model = load_model(checkpoint, args.body_dir, "cpu")
    options = {
        "weights": args.weights or ("float16" if args.format == WEB else "float32"),
        "runtimes": args.runtime,
        "body_dir": args.body_dir,
        "source": checkpoint.path,
        "overwrite": args.overwrite,
    }
    if args.format == WEB:
        record = export_web(model, args.output_dir, tell=partial(print, file=sys.stderr), **options)
    else:
        record = export_model(model, args.output_dir, format=args.format, output=args.output, **options)
    report(record, args.output_dir)
    if args.format == WEB:
        print(f"{args.output_dir}: a page; a browser loads {loaded_size(Path(args.output_dir)) / 1e6:.0f} MB of it")
        print(SERVING.format(folder=args.output_dir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
