"""What networks cost and how fast they run: parameters, multiply-accumulates by part, latency, throughput, memory.

tore bench                                          METRO and FastMETRO-L on ResNet-50, each with TORE and without
tore bench --paper --no_timing                      the paper's rows, its own numbers beside ours
tore bench fastmetro,arch=efficientnet-b0,keep_ratio=0.5 out/state_dict.bin,pa_mpjpe=numbers.json --plot cost.png

A subject is a network, also by a name of tore.list_models(), or a checkpoint, and options with commas between them:
those of create_model, `label`, and
`pa_mpjpe` (mm, or a file of `tore evaluate --json`). Networks take turns within one run, a call of each in every
round, so that all of them see the same machine. Without a checkpoint weights are random, which changes no time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from tore.analysis.benchmark import alternate, made_images, median_and_p90, peak_memory, time_stages
from tore.analysis.benchmark_report import flat_rows, panels_of, report
from tore.analysis.subjects import (
    BASELINES,
    FAST,
    FORMS,
    Subject,
    judged,
    paper_requests,
    parse_subject,
    subjects_of,
)
from tore.analysis.tables import csv_text, draw, need_plot_package
from tore.body.body_model import load_body
from tore.cli.flags import FlagParser, HelpFormatter, Rule, add_body_dir, check_rules, current_word, names
from tore.device import machine, resolve_device, synchroniser
from tore.files import check_outputs, write_whole
from tore.modeling.build import image_format_of
from tore.paths import body_dir_at_hand
from tore_runtime.entry import entry_point
from tore_runtime.inputs import find_images

TIMING = ("batch_size", "dtype", "warm_up", "repeats", "seconds", "threads")
RULES = (
    Rule(TIMING, lambda options: options.no_timing, "--no_timing counts alone", refused=False),
    Rule(("form",), lambda options: options.fast, "says the form, as --fast does; leave one of the two out"),
    Rule(("end_to_end", "val_yaml"), lambda options: options.no_timing, "runs the networks; leave --no_timing out"),
    Rule(("images",), lambda options: not options.end_to_end, "goes with --end_to_end N; add it"),
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog="tore bench", description=__doc__, formatter_class=HelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("subjects", nargs="*", metavar="SUBJECT", help=f"what to measure (default: {' '.join(BASELINES)})")
    add("--paper", action="store_true", help="print the paper's numbers; without subjects measure the paper's rows")
    add(*names("--batch_size"), nargs="+", type=int, default=[1, 8], help="images in a forward pass")
    add("--dtype", nargs="+", default=["float32"], choices=tuple(DTYPES), help="dtype; not float32: autocast")
    add(
        "--form",
        nargs="+",
        default=["plain"],
        type=current_word("form"),
        choices=tuple(FORMS),
        help="the network as it is, or its export in a runtime (pip install 'tore[export]')",
    )
    add("--fast", action="store_true", help=f"as --form {FAST}")
    add("--checkpoint", nargs="+", default=[], metavar="PATH", help="further subjects: checkpoints and exports")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--threads", type=int, default=torch.get_num_threads(), help="of a CPU")
    add("--warm_up", type=int, default=2, help="untimed rounds before the timed ones; the first measures memory")
    add("--repeats", type=int, default=10, help="timed rounds")
    add("--seconds", type=float, default=20.0, help="leave rounds out beyond this time for one type and batch")
    add("--no_timing", action="store_true", help="count only")
    add("--end_to_end", type=int, default=0, metavar="N", help="also take N images from file to drawing")
    add(*names("--images"), nargs="+", metavar="PATH", help="for --end_to_end (default: made ones of 640 x 480)")
    add("--image_size", type=int, help="side of the networks' images in pixels [224, or what a checkpoint tells]")
    usual = "folder of the body model files (default: the usual one, else the synthetic model's)"
    add_body_dir(parser, data_sets=False, text=usual)
    add("--val_yaml", type=Path, metavar="YAML", help="evaluate the checkpoints on this set for their PA-MPJPE")
    add("--csv", type=Path, help="write a line per subject, type and batch")
    add("--json", type=Path, help="the same, with machine and protocol")
    add("--plot", type=Path, help="draw throughput, and error where given, over multiply-accumulates (PNG)")
    return parser


class InType(nn.Module):
    """A network that runs in a dtype where that is safe."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, images: torch.Tensor) -> Any:
        """images (B, 3, n, n), as they are."""
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.network(images)


def images_for(networks: dict[str, nn.Module], batch: int, device: torch.device) -> dict[str, torch.Tensor]:
    """For each network noise (batch, 3, n, n) of its size, the same one for all of a size."""
    sides = {label: image_format_of(network).size for label, network in networks.items()}
    noise = {side: torch.randn(batch, 3, side, side).to(device) for side in dict.fromkeys(sides.values())}
    return {label: noise[side] for label, side in sides.items()}


def time_networks(
    networks: dict[str, nn.Module], options: argparse.Namespace, device: torch.device
) -> list[dict[str, Any]]:
    """A row of latency, throughput and memory for each type, batch and network."""
    rows: list[dict[str, Any]] = []
    rounds = (options.warm_up + options.repeats) * len(networks) * len(options.batch_size) * len(options.dtype)
    with tqdm(total=rounds, unit="pass", disable=None) as bar:
        for dtype, batch in [(dtype, batch) for dtype in options.dtype for batch in options.batch_size]:
            shown = images_for(networks, batch, device)
            typed = {label: InType(network, DTYPES[dtype]) for label, network in networks.items()}
            memory = {}
            for label, network in typed.items():
                peak = peak_memory(network, shown[label], device)
                memory[label] = None if peak is None else peak / 2**20
                bar.update()
            calls = {label: partial(network, shown[label]) for label, network in typed.items()}
            rule: dict[str, Any] = {"warm_up": options.warm_up - 1, "repeats": options.repeats}
            rule |= {"seconds": options.seconds, "synchronise": synchroniser(device), "tell": bar.update}
            for label, seconds in alternate(calls, **rule).items():
                median, p90 = median_and_p90(seconds)
                row = {"subject": label, "dtype": dtype, "batch": batch, "rounds": len(seconds)}
                row |= {"median ms": median, "p90 ms": p90, "images/s": 1000 * batch / median}
                rows.append(row | {"peak MiB": memory[label]})
    return rows


def time_end_to_end(
    subjects: Sequence[Subject], networks: dict[str, nn.Module], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row of milliseconds per image and stage for each batch and network, in float32."""
    places = {subject.label: (subject.config.body, subject.body_dir) for subject in subjects}
    loaded = {place: load_body(place[0], body_dir_at_hand(*place)) for place in set(places.values())}
    bodies = {label: loaded[place] for label, place in places.items()}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        found = find_images(options.images) if options.images else made_images(options.end_to_end, Path(folder))
        for batch in options.batch_size:
            rule = {"batch_size": batch, "repeats": options.repeats}
            stages = time_stages(networks, bodies, found[: options.end_to_end], **rule)
            rows += [{"subject": label, "batch": batch, **times} for label, times in stages.items()]
    return rows


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes. Raises ValueError, FileNotFoundError or ImportError where that cannot be."""
    if min([*options.batch_size, options.repeats, options.warm_up, options.threads]) < 1:
        raise ValueError("--batch_size, --repeats, --warm_up and --threads take numbers of at least 1")
    for line in check_rules(options, RULES):
        print(line, file=sys.stderr)
    forms = [FAST] if options.fast else options.form
    if options.dtype != ["float32"] and forms != ["plain"]:
        typed = "--fast" if options.fast else f"--form {' '.join(forms)}"
        raise ValueError(f"{typed}: --dtype is the network's own; an export has the form openvino-bf16 for it")
    if options.plot is not None:
        need_plot_package()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    requests = [parse_subject(text) for text in [*options.subjects, *options.checkpoint]]
    if not requests:
        requests = paper_requests() if options.paper else [parse_subject(text) for text in BASELINES]
    requests = [replace(request, form=form) for request in requests for form in forms]
    subjects = subjects_of(requests, options.body_dir, options.image_size)
    about = machine(device)
    protocol = f"Rounds to warm up: {options.warm_up}; all subjects take turns in every round."
    timings: list[dict[str, Any]] = []
    stages: list[dict[str, Any]] = []
    if not options.no_timing:
        networks: dict[str, nn.Module] = {subject.label: subject.build(device) for subject in subjects}
        if options.val_yaml is not None:
            subjects = judged(subjects, networks, options.val_yaml, batch_size=max(options.batch_size), device=device)
        with torch.inference_mode():
            timings = time_networks(networks, options, device)
            stages = time_end_to_end(subjects, networks, options) if options.end_to_end else []
    print(about + "\n")
    print(report(subjects, timings, stages, paper=options.paper, protocol=protocol))
    rows = flat_rows(subjects, timings)
    if options.csv is not None:
        write_whole(options.csv, csv_text(rows))
    if options.json is not None:
        content = {"machine": about, "protocol": protocol, "rows": rows, "end_to_end": stages}
        write_whole(options.json, json.dumps(content, indent=2) + "\n")
    if options.plot is not None:
        draw(panels_of(subjects, timings), options.plot)


@entry_point("tore bench")
def main(argv: Sequence[str] | None = None) -> int:
    """0, or 2 where something that the user can mend is wrong."""
    options = build_parser().parse_args(argv)
    check_outputs(options.csv, options.json, options.plot)
    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
