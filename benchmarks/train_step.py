"""The parts of one training step: data, targets, forward, losses, backward, optimizer; and what its arithmetic needs.

Defaults: FastMETRO_L, EfficientNet-b0, keep 0.8, batch 16, the synthetic body, made-up images and labels.

    python benchmarks/train_step.py [--device cuda] [--amp bf16] [--compile] [--batch_size 16] [--steps 5]
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from tore import create_model
from tore.body import load_body
from tore.datasets.loader import LoaderBatches
from tore.datasets.mesh_dataset import MeshDataset
from tore.datasets.sets import write_yaml
from tore.datasets.tsv import TSVWriter
from tore.device import keep_freed_memory
from tore.engine.distributed import Processes
from tore.engine.optimization import FASTMETRO_OPTIMIZER, build_optimizer, clip_gradients
from tore.engine.step import AMP_TYPES, Batch, LossStep, step_of, to_device
from tore.losses.criterion import weighted_sum
from tore.losses.recipes import FASTMETRO_BODY
from tore.paths import SYNTHETIC

PARTS = ("data", "targets", "forward", "losses", "backward", "optimizer")
SIDE = 1000  # of the made-up images, as large as Human3.6M's


def write_images(folder: Path, count: int) -> Path:
    """A TSV set of `count` noise images with a full label; returns its yaml."""
    r = np.random.RandomState(0)
    with TSVWriter(folder / "img.tsv") as images, TSVWriter(folder / "label.tsv") as labels:
        for item in range(count):
            small = r.randint(0, 256, (50, 50, 3), dtype=np.uint8)
            encoded = cv2.imencode(".jpg", cv2.resize(small, (SIDE, SIDE)))[1].tobytes()
            images.write([str(item), base64.b64encode(encoded).decode()])
            person = {"center": [SIDE / 2, SIDE / 2], "scale": SIDE / 200}
            person |= {"2d_joints": r.uniform(0, SIDE, (24, 3)).tolist(), "3d_joints": r.randn(24, 4).tolist()}
            person |= {"has_2d_joints": 1, "has_3d_joints": 1, "has_smpl": 1}
            person |= {"pose": (0.3 * r.randn(72)).tolist(), "betas": r.randn(10).tolist()}
            labels.write([str(item), json.dumps([person])])
    return write_yaml(folder / "set.yaml", "img.tsv", "label.tsv")


class Stopwatch:
    """Seconds per part, one entry a step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = {part: [] for part in PARTS}

    def __call__(self, part: str, work: Callable[[], Any]) -> Any:
        """Runs `work` and notes its time, the device's queue emptied before and after."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        result = work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[part].append(time.perf_counter() - start)
        return result


def giga_flops(model: torch.nn.Module, batch: int) -> float:
    """Of a forward and a backward pass: three times the forward pass's convolutions and matrix products."""
    device = next(model.parameters()).device
    model = copy.deepcopy(model).requires_grad_(False)  # torch's own Linears, which the counter knows
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 3, 224, 224, device=device))
    return 3 * batch / 2 * counter.get_total_flops() / 1e9


def giga_flops_per_second(device: torch.device) -> float:
    """Of a large float32 matrix product, the best of some: the limit that this machine sets."""
    matrix, taken = torch.randn(2048, 2048, device=device), []
    for _ in range(8):
        start = time.perf_counter()
        (matrix @ matrix).sum().item()
        taken.append(time.perf_counter() - start)
    return 2 * len(matrix) ** 3 / min(taken) / 1e9


@dataclass
class Run:
    """A network in training and the batches that it is fed."""

    model: torch.nn.Module
    step: LossStep
    optimizer: torch.optim.Optimizer
    batches: Iterator[Batch]
    channels_last: bool

    def one(self, watch: Callable[[str, Callable[[], Any]], Any]) -> None:
        """One step; `watch` is handed each part's name and work, and runs it."""
        device, step = self.step.processes.device, self.step
        batch = watch("data", lambda: to_device(next(self.batches), device, self.channels_last))
        targets = watch("targets", lambda: step.targets(batch))
        prediction = watch("forward", lambda: step.forward(self.model, batch))
        terms = watch("losses", lambda: step.losses(prediction, targets, batch))
        total = weighted_sum(terms, step.recipe.weights(1.0))
        self.optimizer.zero_grad(set_to_none=True)
        watch("backward", total.backward)
        watch("optimizer", self.update)

    def update(self) -> None:
        """Clips the gradients and moves the weights."""
        clip_gradients(self.model.parameters(), FASTMETRO_OPTIMIZER)
        self.optimizer.step()


def prepare(args: argparse.Namespace, folder: Path) -> Run:
    """The network, its losses, its optimizer, and batches for `args.steps` steps after one that warms up."""
    device = torch.device(args.device)
    options = {"size": "L", "keep_ratio": 0.8, "dropout": args.dropout}
    model = create_model("fastmetro", arch=args.arch, body_dir=SYNTHETIC, device=device, **options)
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    body = load_body("body", SYNTHETIC).to(device)
    step = step_of(model, body, FASTMETRO_BODY.without_surface(), processes=Processes(device=device), amp=args.amp)
    if args.compile:
        model.compile()
    optimizer = build_optimizer(model.parameters(), FASTMETRO_OPTIMIZER, 1e-4)
    dataset = MeshDataset(write_images(folder, args.batch_size * (args.steps + 1)), True)
    pin = device.type == "cuda"
    batches = LoaderBatches(dataset, batch_size=args.batch_size, workers=args.num_workers, pin_memory=pin)
    return Run(model, step, optimizer, batches.epoch(0, 0), args.channels_last)


def flags() -> argparse.ArgumentParser:
    """What is trained, and how."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="efficientnet-b0")
    parser.add_argument("--batch_size", "--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument(
        "--num_workers", "--workers", type=int, default=0, help="0: the data part is all of the loading"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", choices=tuple(AMP_TYPES), default="none")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels_last", action="store_true")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--plain_memory", action="store_true", help="freed memory goes back to the system")
    return parser


def main() -> int:
    """Prints the table of parts."""
    args = flags().parse_args()
    if not args.plain_memory:
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        run, watch = prepare(args, Path(folder)), Stopwatch(torch.device(args.device))
        for _ in range(args.steps + 1):
            run.one(watch)
    operations = giga_flops(run.model, args.batch_size)
    speed = giga_flops_per_second(torch.device(args.device))
    median = {part: statistics.median(seconds[1:]) for part, seconds in watch.seconds.items()}
    for part, seconds in median.items():
        print(f"{part:<10}{1000 * seconds:10.1f} ms   (least {1000 * min(watch.seconds[part][1:]):.1f})")
    whole = sum(median.values())
    print(
        f"{'step':<10}{1000 * whole:10.1f} ms   {args.batch_size / whole:.1f} images/s, "
        f"{torch.get_num_threads()} threads"
    )
    needed = 1000 * operations / speed
    print(f"arithmetic{needed:10.1f} ms   {operations:.0f} GFLOP at the {speed:.0f} GFLOP/s of a large matrix product")
    if args.device.startswith("cuda"):
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**20:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
