"""Times inference: the network alone, and end to end with reading, drawing and writing apart.

    python -m benchmarks.inference [--arch efficientnet-b0 resnet50 hrnet-w64] [--batch 1 8] [--threads 2]

Networks have random weights and the stand-in body; drawing and writing are timed on the stand-in at rest, because an
untrained network's mesh is no body. Pictures are 640 x 480 JPEG files.

Published, other run (the published code, network alone, on a CPU, milliseconds at batch 1 / 8):
efficientnet-b0 76 / 689, resnet50 137 / 940, hrnet-w64 518 / 3620.

Beside other busy processes --threads 1 is steadier and often faster.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tore
from tests import rules
from tore.body.load import load_body
from tore.body.standin import standin_dir
from tore.device import resolve_device
from tore.inference.outputs import Wanted
from tore.inference.predictor import MeshRecovery
from tore.inference.run import Job, Run
from tore.modeling.prediction import MeshPrediction


class AtRest(torch.nn.Module):
    """The network at its full cost, its answer replaced by the body at rest in the middle of the crop."""

    vertices: torch.Tensor
    camera: torch.Tensor

    def __init__(self, network: torch.nn.Module, vertices: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("vertices", vertices)  # (V,3)
        self.register_buffer("camera", torch.tensor([0.9, 0.0, 0.0]))

    def forward(self, images: torch.Tensor) -> MeshPrediction:
        """images (B, 3, n, n)."""
        batch = len(images)
        vertices, camera = self.vertices.expand(batch, -1, -1), self.camera.expand(batch, -1)
        return self.network(images)._replace(vertices=vertices, camera=camera)


def machine(device: torch.device) -> str:
    """One line of facts about what the times were taken on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0] if models else cpu
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    threads = torch.get_num_threads()
    return (
        f"{cpu}, {os.cpu_count()} cores, {threads} threads{load}{gpu}; torch {torch.__version__}, {platform.system()}"
    )


def timed(function: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float]:
    """Median and least milliseconds of `repeats` calls, after one untimed."""
    taken = []
    for index in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if index:
            taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken), min(taken)


def time_network(model: torch.nn.Module, batch: int, device: torch.device, repeats: int) -> None:
    """Prints latency and throughput of the network alone."""
    images = torch.randn(batch, 3, 224, 224, device=device)
    with torch.inference_mode():
        median, least = timed(lambda: model(images), device, repeats)
    print(
        f"  batch {batch}: network alone {median:8.1f} ms (least {least:.1f}), {1000 * batch / median:6.1f} pictures/s"
    )


def time_end_to_end(recovery: MeshRecovery, pictures: list[Path], batch: int, folder: Path) -> None:
    """Prints milliseconds per picture of each stage."""
    jobs = [Job(path, folder / path.stem) for path in pictures]
    run = Run(recovery, Wanted(), batch_size=batch, overwrite=True)
    start = time.perf_counter()
    failed = [report.error for report in run(jobs) if report.error]
    total = time.perf_counter() - start
    assert not failed, failed
    stages = ", ".join(f"{stage} {1000 * taken / len(jobs):.1f}" for stage, taken in run.seconds.items())
    print(f"  batch {batch}: end to end {1000 * total / len(jobs):.1f} ms a picture ({stages})")


def main() -> None:
    """Prints the machine, then every backbone's times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["efficientnet-b0", "resnet50", "hrnet-w64"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=16, help="for the end to end times")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", action="store_true", help="half precision, end to end")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    print(machine(device))
    body = load_body("body", standin_dir())
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        pictures = [folder / f"{index}.jpg" for index in range(options.pictures)]
        for index, path in enumerate(pictures):
            Image.fromarray(rules.photo(index, 480, 640)).save(path, quality=90)
        pose = torch.zeros(1, 72)
        pose[0, 0] = np.pi
        rest = body.targets(pose, torch.zeros(1, 10)).vertices[-1][0]
        for arch in options.arch:
            print(arch)
            model = tore.create_model(arch=arch, data_dir=standin_dir(), device=device).eval()
            for batch in options.batch:
                time_network(model, batch, device, options.repeats)
            recovery = MeshRecovery(AtRest(model, rest).to(device), body, amp=options.amp)
            for batch in options.batch:
                time_end_to_end(recovery, pictures, batch, folder)


if __name__ == "__main__":
    main()
