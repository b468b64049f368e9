"""Times the optimized model against the plain network, alternating, and both against the machine's arithmetic.

    python -m benchmarks.optimized_model [--arch efficientnet-b0 resnet50 hrnet-w64] [--batch_size 1 8] [--parts]
        [--compiled]

The limit is the faster of a large matrix product and a large convolution, timed in between. A share is the time that
the network's multiply-accumulates (`tore cost`) would take at the limit, over the time taken. `--parts` leaves out each
part of the form alone, `--compiled` times the form compiled as well.
Both sides keep freed memory, as `tore infer` does, unless `--give_back`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

import tore
from benchmarks.inference import machine
from tore.analysis.cost import measure_cost
from tore.device import keep_freed_memory, resolve_device
from tore.export import Parts, for_inference
from tore.paths import SYNTHETIC

WITHOUT = {
    "fused backbone": Parts(fused_backbone=False),
    "packed weights": Parts(packed_weights=False),
    "channels last": Parts(channels_last=False),
    "constants": Parts(constants=False),
    "neighbors alone": Parts(neighbor_attention="dense"),
    "joined up-sampling": Parts(joined_upsampling=False),
}


@dataclass
class Side:
    """One thing to time and its calls' milliseconds."""

    call: Callable[[], object]
    taken: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Milliseconds of a call."""
        return statistics.median(self.taken)


def alternate(
    sides: dict[str, Side], device: torch.device, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> None:
    """Calls the sides in turn, each once more beforehand so that it is warm."""
    for round_ in range(repeats + 1):
        for side in sides.values():
            start = clock()
            side.call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if round_:
                side.taken.append(1000 * (clock() - start))


def limit_sides(device: torch.device) -> tuple[dict[str, Side], dict[str, float]]:
    """A large matrix product and a large convolution, and their GFLOP."""
    a, b = torch.randn(2, 2048, 2048, device=device)
    x = torch.randn(8, 256, 56, 56, device=device).to(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3, device=device).to(memory_format=torch.channels_last)
    sides = {"matrix product": Side(lambda: a @ b), "convolution": Side(lambda: F.conv2d(x, w, padding=1))}
    return sides, {"matrix product": 2 * 2048**3 / 1e9, "convolution": 2 * w.numel() * x.numel() / 256 / 1e9}


def network_sides(model: torch.nn.Module, images: Tensor, parts: bool, compiled: bool) -> dict[str, Side]:
    """The plain network, its form, the form compiled, and the form without each part."""
    sides = {"plain": Side(lambda: model(images))}
    form = for_inference(model)
    sides["form"] = Side(lambda: form(images))
    if compiled:
        generated = for_inference(model, Parts(compiled=True))
        sides["form, compiled"] = Side(lambda: generated(images))
    if parts:
        for name, without in WITHOUT.items():
            other = for_inference(model, without)
            sides[f"form without {name}"] = Side(lambda other=other: other(images))
    return sides


def main() -> None:
    """Prints the machine, the limit, then every network's times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="fastmetro", choices=("fastmetro", "metro"))
    parser.add_argument("--body", default="body", choices=("body", "hand"))
    parser.add_argument("--arch", nargs="+", default=["efficientnet-b0", "resnet50", "hrnet-w64"])
    parser.add_argument("--reduction", default="tore", help="token reduction")
    parser.add_argument("--batch_size", "--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", action="store_true", help="also the form without each of its parts")
    parser.add_argument("--compiled", action="store_true", help="also the form compiled, which takes minutes first")
    parser.add_argument("--give_back", action="store_true", help="freed memory goes back to the system")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if not options.give_back:
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    print(machine(device), flush=True)
    for arch in options.arch:
        network = {"arch": arch, "body": options.body, "token_reduction": options.reduction}
        network |= {"body_dir": SYNTHETIC, "device": device}
        model = tore.create_model(options.network, **network).eval()
        gflop = 2 * measure_cost(model).total_macs_here / 1e9
        for batch in options.batch_size:
            images = torch.randn(batch, 3, 224, 224, device=device)
            limits, work = limit_sides(device)
            sides = network_sides(model, images, options.parts, options.compiled)
            with torch.inference_mode():
                alternate(limits | sides, device, options.repeats)
            speeds = {name: work[name] / side.median * 1e3 for name, side in limits.items()}
            least = batch * gflop / max(speeds.values()) * 1e3
            print(f"{arch}, batch {batch}: {batch * gflop:.2f} GFLOP, at the limit {least:.1f} ms (", end="")
            print(", ".join(f"{name} {speed:.0f} GFLOP/s" for name, speed in speeds.items()) + ")")
            for name, side in sides.items():
                print(f"  {name:<32} {side.median:8.1f} ms  {least / side.median:5.0%} of the limit", flush=True)


if __name__ == "__main__":
    main()
