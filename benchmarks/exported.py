"""Times networks and their exports in turn within one run, against the machine's arithmetic, as docs/DEPLOY.md shows.

    python -m benchmarks.exported [--subject fastmetro,arch=resnet50 FILE ...] [--threads 1 2] [--json FILE]

Each subject runs as it is, in onnxruntime, and in OpenVINO in float32 and bfloat16, on one image at a time and on a
folder of images (batches that fill the streams), for each number of threads. Between them a large matrix product and a
large convolution are timed. A share is the time that the network's multiply-accumulates (`tore cost`) would take at the
rate of the faster of these two, over the time taken. The last columns are how far the full mesh lies from the
network's own, on the rendered people that come with the package. At the end the same comes as the tables of
docs/DEPLOY.md, one for each number of threads.

`--processor_time` counts the process's own time, for one thread on a machine that others use as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tore.analysis.subjects import FORMS, Subject, parse_subject, subjects_of
from tore.analysis.tables import markdown
from tore.datasets.mesh_dataset import MeshDataset
from tore.device import keep_freed_memory, machine
from tore.export.exporting import export_model
from tore.export.loading import ExportedNetwork
from tore.paths import SYNTHETIC, body_dir_at_hand, default_checkpoint, example_people
from tore_runtime.sessions import RUNTIMES, STREAM_BATCH

SUBJECTS = ("fastmetro,arch=efficientnet-b0", "fastmetro,arch=resnet50", "fastmetro,arch=hrnet-w64", "metro")
CPU = torch.device("cpu")
HALF = "openvino-bf16"
TOLD = {"plain": "torch", "openvino": "OpenVINO, float32", HALF: "OpenVINO, bfloat16"}  # in the docs' tables
HEAD = "| | form | one image, ms | share | many images, ms each | share | mean, largest difference |"


@dataclass
class Side:
    """One thing to time and its calls' milliseconds."""

    call: Callable[[], object]
    taken: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Milliseconds of a call."""
        return statistics.median(self.taken)


def alternate(sides: Mapping[str, Side], repeats: int, clock: Callable[[], float] = time.perf_counter) -> None:
    """Calls the sides in turn, each once more beforehand so that it is warm."""
    for round_ in range(repeats + 1):
        for side in sides.values():
            start = clock()
            side.call()
            if round_:
                side.taken.append(1000 * (clock() - start))


def limit_sides() -> tuple[dict[str, Side], dict[str, float]]:
    """A large matrix product and a large convolution, and their GFLOP."""
    a, b = torch.randn(2, 2048, 2048)
    x = torch.randn(8, 256, 56, 56).to(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3).to(memory_format=torch.channels_last)
    sides = {"matrix product": Side(lambda: a @ b), "convolution": Side(lambda: F.conv2d(x, w, padding=1))}
    return sides, {"matrix product": 2 * 2048**3 / 1e9, "convolution": 2 * w.numel() * x.numel() / 256 / 1e9}


class Measured:
    """A network, its exports, and images for them."""

    def __init__(self, subject: Subject, folder: Path, count: int) -> None:
        """`count`: images of the folder that is timed."""
        self.subject = subject
        self.plain: Any = subject.build(CPU)
        self.folder = folder
        export_model(self.plain, folder, body_dir=body_dir_at_hand(subject.config.body, subject.body_dir))
        people = MeshDataset(example_people(), False, "body", image_format=subject.config.image_format)
        self.images = torch.stack([people.sample(i % len(people))["image"] for i in range(count)])
        self.gflop = 2 * subject.cost.total_macs_here / 1e9

    def networks(self, threads: int) -> dict[str, Callable[[Tensor], Any]]:
        """The network and its exports by form."""
        found: dict[str, Callable[[Tensor], Any]] = {"plain": self.plain}
        for form, chosen in FORMS.items():
            if chosen is not None:
                runtime, precision = chosen
                try:
                    found[form] = ExportedNetwork(self.folder, runtime=runtime, precision=precision, threads=threads)
                except ValueError as error:  # a processor without bfloat16
                    print(f"{form} is left out: {error}")
        return found

    def rows(self, threads: int, repeats: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
        """A row for each form and workload."""
        torch.set_num_threads(threads)
        networks, rows = self.networks(threads), []
        batches = self.images.split(max(threads * STREAM_BATCH, 8))
        works: dict[str, tuple[int, list[Tensor]]] = {
            "one image": (1, [self.images[:1]]),
            f"{len(self.images)} images": (len(self.images), list(batches)),
        }
        differences = {form: self.millimeters(network) for form, network in networks.items() if form != "plain"}
        for work, (count, parts) in works.items():
            sides = {
                form: Side(lambda network=network, parts=parts: [network(part) for part in parts])
                for form, network in networks.items()
            }
            limits, amounts = limit_sides()
            alternate(limits | sides, repeats if count == 1 else max(2, repeats // 3), clock)
            speed = max(amounts[name] / side.median * 1e3 for name, side in limits.items())  # GFLOP/s
            for form, side in sides.items():
                taken = side.median / count
                row = {"network": self.subject.label, "threads": threads, "work": work, "form": form}
                row |= {"ms an image": taken, "share": self.gflop / speed * 1e3 / taken, "limit GFLOP/s": speed}
                mean, largest = differences.get(form, (None, None))
                rows.append(row | {"mean mm": mean, "largest mm": largest})
        return rows

    def millimeters(self, network: Callable[[Tensor], Any]) -> tuple[float, float]:
        """How far the vertices lie from the network's own: mean and largest."""
        some = self.images[:16]
        beside = 1000 * (network(some).vertices - self.plain(some).vertices).norm(dim=2)
        return float(beside.mean()), float(beside.max())


def docs_table(rows: list[dict[str, Any]], threads: int) -> str:
    """The table of docs/DEPLOY.md for a number of threads; without shares of bfloat16, which has another limit."""
    own = [row for row in rows if row["threads"] == threads]
    limits = [row["limit GFLOP/s"] for row in own]
    lines = [f"threads {threads}, limit {min(limits):.0f} to {max(limits):.0f} GFLOP/s", "", HEAD, "|---" * 7 + "|"]
    last = ""
    for network, form in dict.fromkeys((row["network"], row["form"]) for row in own):
        single, *many = (row for row in own if (row["network"], row["form"]) == (network, form))
        cells = [network if network != last else "", TOLD.get(form, form)]
        for row in (single, *many):
            cells += [f"{row['ms an image']:.1f}", "" if form == HALF else f"{row['share']:.0%}"]
        far = "" if single["mean mm"] is None else f"{single['mean mm']:.3f}, {single['largest mm']:.3f} mm"
        lines.append(f"| {' | '.join([*cells, far])} |".replace("|  |", "| |"))
        last = network
    return "\n".join(lines)


def main() -> None:
    """Prints the machine and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = str(default_checkpoint("body"))
    parser.add_argument("--subject", nargs="+", default=[*SUBJECTS, shipped], help="as tore bench takes them")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds of one image; a third of it for many")
    parser.add_argument("--images", type=int, default=32, help="of the folder")
    parser.add_argument("--processor_time", action="store_true", help="the process's own time; for --threads 1")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.processor_time and options.threads != [1]:
        parser.error("--processor_time is for --threads 1")
    clock = time.process_time if options.processor_time else time.perf_counter
    keep_freed_memory()
    print(machine(CPU), flush=True)
    rows: list[dict[str, Any]] = []
    for text in options.subject:
        body_dir = None if Path(text).exists() else SYNTHETIC
        (subject,) = subjects_of([parse_subject(text)], body_dir)
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            measured = Measured(subject, Path(folder), options.images)
            for threads in options.threads:
                found = measured.rows(threads, options.repeats, clock)
                print(markdown(found) + "\n", flush=True)
                rows += found
    print("\n\n".join(docs_table(rows, threads) for threads in options.threads))
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(CPU), "runtimes": RUNTIMES, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
