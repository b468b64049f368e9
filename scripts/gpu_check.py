"""Checks the project on a GPU against a CPU and measures it: at most 8 minutes, one table and one JSON.

    python scripts/gpu_check.py [--parts outputs training] [--json check.json]
    python scripts/gpu_check.py --device cpu --tiny

Networks have random weights and no dropout, bodies are the synthetic ones, so nothing is downloaded. A part that needs
CUDA is listed as skipped on another device. Every failure is collected; the exit code is 1 where there is one.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tore import create_model
from tore.body import load_body
from tore.datasets.mesh_dataset import LAYOUTS
from tore.engine.distributed import Processes
from tore.engine.optimization import OPTIMIZERS, build_optimizer, clip_gradients
from tore.engine.step import step_of, to_device
from tore.losses.recipes import BASELINE_RECIPES, RECIPES
from tore.paths import SYNTHETIC

SECONDS = {"outputs": 90, "training": 150, "compile": 60, "graphs": 40, "nccl": 20, "pinned": 20, "speed": 90}
CUDA_ONLY = ("graphs", "nccl", "pinned")


@dataclass(frozen=True)
class Mode:
    """How the device computes, and how far it may be from the CPU's float32, relative to the largest value.

    An untrained network's gradients are steep: through its batch norms a rounded activation moves them far, so that
    half precision is compared by their direction alone, and fp16 by a little more.
    """

    name: str
    outputs: float
    loss: float
    gradient: float  # relative length of the difference of all gradients together
    amp: str = "none"
    tf32: bool = False


MODES = (
    Mode("float32", outputs=1e-3, loss=1e-3, gradient=2e-2),
    Mode("tf32", outputs=2e-2, loss=2e-2, gradient=2e-1, tf32=True),
    Mode("bf16", outputs=1e-1, loss=1e-1, gradient=1.0, amp="bf16"),
    Mode("fp16", outputs=3e-2, loss=3e-2, gradient=8e-1, amp="fp16"),
)


@dataclass(frozen=True)
class Subject:
    """A network to check."""

    name: str
    network: str
    body: str
    options: dict[str, Any]


@dataclass
class Row:
    """One line of the table: what was seen, and what it may be at most."""

    part: str
    name: str
    status: str  # "ok", "failed", "skipped" or "measured"
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """What the parts share."""

    device: torch.device
    tiny: bool
    subjects: tuple[Subject, ...]
    side: int

    def model(self, subject: Subject) -> nn.Module:
        """The network on the CPU, the same weights at every call."""
        torch.manual_seed(0)
        options = {"dropout": 0.0, "image_size": self.side, **subject.options}
        return create_model(subject.network, body=subject.body, body_dir=SYNTHETIC, **options)

    def images(self, batch: int) -> Tensor:
        """Random ones, (batch, 3, side, side)."""
        return torch.randn(batch, 3, self.side, self.side, generator=torch.Generator().manual_seed(1))


def subjects(tiny: bool) -> tuple[Subject, ...]:
    """FastMETRO S and L and METRO, with and without token reduction, bodies and hands."""
    arch = "mobilenetv4_conv_small" if tiny else "hrnet"
    metro: dict[str, Any] = {"arch": arch, **({"hidden": 64, "layers": 1} if tiny else {})}
    found = []
    every = [("tore", "body"), ("none", "body"), ("tore", "hand"), ("none", "hand")]
    for reduction, body in every:
        for size in ("S",) if tiny else ("S", "L"):
            options = {"arch": arch, "size": size, "token_reduction": reduction}
            found.append(Subject(f"FastMETRO_{size} {reduction} {body}", "fastmetro", body, options))
        options = metro | {"token_reduction": reduction}
        found.append(Subject(f"METRO {reduction} {body}", "metro", body, options))
    return (found[0], found[-1]) if tiny else tuple(found)


def made_up_batch(setting: Setting, kind: str, count: int) -> dict[str, Tensor]:
    """Fully labeled, every number random."""
    draw = torch.Generator().manual_seed(2)
    pose, joints = (72, 24) if kind == "body" else (48, 21)
    labels = {name: torch.ones(count) for name in ("has_smpl", "has_2d_joints", "has_3d_joints")}
    points = {
        "joints_2d": torch.rand(count, joints, 3, generator=draw),
        "joints_3d": torch.randn(count, joints, 4, generator=draw).abs(),
        "pose": 0.3 * torch.randn(count, pose, generator=draw),
        "betas": torch.randn(count, 10, generator=draw),
    }
    layout = LAYOUTS[kind]
    sizes = {"joint_mask": layout.joint_tokens, "vertex_mask": layout.coarse_vertices}
    masks = {name: torch.ones(count, size, 1) for name, size in sizes.items()}
    return {"image": setting.images(count), **labels, **points, **masks}


@contextmanager
def tensor_cores(allowed: bool) -> Iterator[None]:
    """TF32 on or off in matrix products and convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def modes_of(setting: Setting) -> list[Mode]:
    """Those that the device has."""
    return [mode for mode in MODES if setting.device.type == "cuda" or not mode.tf32]


def predict(model: nn.Module, images: Tensor, mode: Mode) -> dict[str, Tensor]:
    """The prediction's tensors by name, float32 on the CPU."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    half = torch.autocast(images.device.type, kinds.get(mode.amp, torch.bfloat16), enabled=mode.amp in kinds)
    with torch.no_grad(), half:
        found = model(images)
    return {name: value.float().cpu() for name, value in found._asdict().items() if value is not None}


def furthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference of any tensor relative to its largest value; infinite where a number is not finite."""
    if any(not value.isfinite().all() for value in found.values()):
        return float("inf")
    return max(float((found[name] - value).abs().max() / value.abs().max()) for name, value in expected.items())


def judged(part: str, name: str, found: dict[str, float], allowed: dict[str, float]) -> Row:
    """A row that fails where a value is above what is allowed; a value that is no number fails too."""
    over = [f"{key} {found[key]:.2g} > {limit:g}" for key, limit in allowed.items() if not found[key] <= limit]
    return Row(part, name, "failed" if over else "ok", found, ", ".join(over))


def check_outputs(setting: Setting) -> Iterator[Row]:
    """The prediction of every network in evaluation mode against the CPU's."""
    images = setting.images(2)
    for subject in setting.subjects:
        plain = setting.model(subject).eval()
        expected = predict(plain, images, MODES[0])
        moved = copy.deepcopy(plain).to(setting.device)
        for mode in modes_of(setting):
            with tensor_cores(mode.tf32):
                found = predict(moved, images.to(setting.device), mode)
            difference = {"difference": furthest(found, expected)}
            yield judged("outputs", f"{subject.name} {mode.name}", difference, {"difference": mode.outputs})


def train_once(setting: Setting, subject: Subject, device: torch.device, mode: Mode) -> tuple[float, Tensor, bool]:
    """The loss, all gradients (P,), and whether the step left every weight finite and moved some."""
    model = setting.model(subject).to(device).train()
    body = load_body(subject.body, SYNTHETIC).to(device)
    reduced = subject.options["token_reduction"] == "tore"
    recipe = (RECIPES if reduced else BASELINE_RECIPES)[subject.network, subject.body].without_surface()
    recipe = recipe if reduced else replace(recipe, itp=0.0)
    step = step_of(model, body, recipe, processes=Processes(device=device), amp=mode.amp)
    optimizer = build_optimizer(model.parameters(), OPTIMIZERS[subject.network], 1e-4)
    batch = to_device(made_up_batch(setting, subject.body, 4), device)
    with tensor_cores(mode.tf32):
        total = step(model, batch, 0.5).total
        total.backward()
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    gradient = torch.cat([parameter.grad.flatten().float().cpu() for parameter in parameters])
    before = [parameter.detach().clone() for parameter in parameters]
    clip_gradients(model.parameters(), OPTIMIZERS[subject.network])
    optimizer.step()
    moved = any(not torch.equal(a, b) for a, b in zip(parameters, before, strict=True))
    return total.item(), gradient, moved and all(bool(p.isfinite().all()) for p in parameters)


def check_training(setting: Setting) -> Iterator[Row]:
    """Loss, gradients and one optimizer step of every network against the CPU's."""
    for subject in setting.subjects:
        loss, gradient, _ = train_once(setting, subject, torch.device("cpu"), MODES[0])
        for mode in modes_of(setting):
            other, found, stepped = train_once(setting, subject, setting.device, mode)
            values = {
                "loss": abs(other - loss) / abs(loss),
                "gradient": float((found - gradient).norm() / gradient.norm()),
                "bad step": float(not stepped),
            }
            limits = {"loss": mode.loss, "gradient": mode.gradient, "bad step": 0.0}
            yield judged("training", f"{subject.name} {mode.name}", values, limits)


def check_compile(setting: Setting) -> Iterator[Row]:
    """torch.compile as one graph; without a GPU by the backend that needs no compiler of C++."""
    images = setting.images(2).to(setting.device)
    backend = "inductor" if setting.device.type == "cuda" else "aot_eager"
    for subject in setting.subjects[:2]:
        model = setting.model(subject).eval().to(setting.device)
        expected = predict(model, images, MODES[0])
        found = predict(torch.compile(model, fullgraph=True, backend=backend), images, MODES[0])
        limits = {"difference": MODES[0].outputs}
        yield judged("compile", f"{subject.name} {backend}", {"difference": furthest(found, expected)}, limits)


def check_graphs(setting: Setting) -> Iterator[Row]:
    """CUDA graphs, by torch.compile's mode reduce-overhead: three replays of new images."""
    model = setting.model(setting.subjects[0]).eval().to(setting.device)
    compiled = torch.compile(model, mode="reduce-overhead")
    furthest_of_all = 0.0
    for number in range(4):
        images = setting.images(1).to(setting.device) + number
        torch.compiler.cudagraph_mark_step_begin()
        furthest_of_all = max(
            furthest_of_all, furthest(predict(compiled, images, MODES[0]), predict(model, images, MODES[0]))
        )
    limits = {"difference": MODES[0].outputs}
    yield judged("graphs", f"{setting.subjects[0].name} reduce-overhead", {"difference": furthest_of_all}, limits)


def check_nccl(setting: Setting) -> Iterator[Row]:
    """A group of one process: a sum, and a backward pass through DistributedDataParallel."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29533", RANK="0", WORLD_SIZE="1")
    torch.distributed.init_process_group("nccl")
    try:
        value = torch.ones(1, device=setting.device)
        torch.distributed.all_reduce(value)
        model = nn.parallel.DistributedDataParallel(nn.Linear(4, 4).to(setting.device))
        model(value.expand(2, 4)).sum().backward()
        gradient = model.module.bias.grad
        assert gradient is not None
        yield judged(
            "nccl",
            "one process",
            {"sum": abs(value.item() - 1), "gradient": abs(gradient.sum().item() - 8)},
            {"sum": 0.0, "gradient": 0.0},
        )
    finally:
        torch.distributed.destroy_process_group()


def check_pinned(setting: Setting) -> Iterator[Row]:
    """A loader with pinned memory: its tensors are pinned, and a copy beside the host's work arrives whole."""
    data = torch.utils.data.TensorDataset(setting.images(32))
    loader = torch.utils.data.DataLoader(data, batch_size=8, pin_memory=True)
    wrong = 0.0
    for (batch,) in loader:
        there = to_device({"image": batch}, setting.device)["image"]
        wrong += float(not batch.is_pinned() or not torch.equal(there.cpu(), batch))
    yield judged("pinned", "loader", {"wrong batches": wrong}, {"wrong batches": 0.0})


def timed(setting: Setting, work: Callable[[], object], repeats: int) -> float:
    """The median seconds of `work`, after three that warm up, the device's queue empty before and after each."""
    wait = torch.cuda.synchronize if setting.device.type == "cuda" else lambda: None
    taken = []
    for number in range(3 + repeats):
        wait()
        start = time.perf_counter()
        work()
        wait()
        if number >= 3:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def check_speed(setting: Setting) -> Iterator[Row]:
    """Latency at batch 1, throughput at larger ones, in float32 with TF32 and in bf16."""
    batches = (1, 2) if setting.tiny else (1, 32, 256)
    for subject in setting.subjects[: 1 if setting.tiny else 3]:
        model = setting.model(subject).eval().to(setting.device)
        for mode in (MODES[setting.device.type == "cuda"], MODES[2]):
            for batch in batches:
                images = setting.images(batch).to(setting.device)
                half = torch.autocast(setting.device.type, torch.bfloat16, enabled=mode.amp == "bf16")
                with tensor_cores(mode.tf32), torch.inference_mode(), half:
                    seconds = timed(setting, partial(model, images), 3 if setting.tiny else 20)
                values = {"ms": 1000 * seconds, "images/s": batch / seconds}
                yield Row("speed", f"{subject.name} {mode.name} batch {batch}", "measured", values)


CHECKS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "outputs": check_outputs,
    "training": check_training,
    "compile": check_compile,
    "graphs": check_graphs,
    "nccl": check_nccl,
    "pinned": check_pinned,
    "speed": check_speed,
}


def run_part(part: str, setting: Setting) -> Iterator[Row]:
    """A part's rows until its seconds are over; what is left then is a row, and so is an error."""
    if part in CUDA_ONLY and setting.device.type != "cuda":
        yield Row(part, "", "skipped", note=f"needs CUDA; this run is on {setting.device.type}")
        return
    start = time.monotonic()
    try:
        for row in CHECKS[part](setting):
            yield row
            if time.monotonic() - start > SECONDS[part] and not setting.tiny:
                yield Row(part, "the rest", "skipped", note=f"the part's {SECONDS[part]} s are over")
                return
    except Exception as error:  # the other parts continue
        yield Row(
            part, "", "failed", note=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )


def device_name(device: torch.device) -> str:
    """As the driver calls it, or the CPU's threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def line_of(row: Row) -> str:
    """A row of the table."""
    values = "  ".join(f"{name} {value:.3g}" for name, value in row.values.items())
    return f"{row.part:<9} {row.name:<38} {row.status:<9} {values}  {row.note}".rstrip()


def flags() -> argparse.ArgumentParser:
    """Where, what and how much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", nargs="+", choices=tuple(CHECKS), default=list(CHECKS))
    parser.add_argument("--compile", action="store_true", help="the part compile beside those named")
    parser.add_argument("--tiny", action="store_true", help="small networks and images: the script's own test")
    parser.add_argument("--json", type=Path, default=None, help="write the table there too")
    return parser


def main() -> int:
    """Prints the table; 1 where something failed, 2 without the device."""
    args = flags().parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device here; --device cpu --tiny tries the script itself", file=sys.stderr)
        return 2
    parts = [part for part in CHECKS if part in args.parts or (part == "compile" and args.compile)]
    setting = Setting(device, args.tiny, subjects(args.tiny), 64 if args.tiny else 224)
    name, rows = device_name(device), []
    print(f"{name}, torch {torch.__version__}")
    for part in parts:
        for row in run_part(part, setting):
            rows.append(row)
            print(line_of(row), flush=True)
    failed = sum(row.status == "failed" for row in rows)
    print(f"{name}: {len(rows)} rows, {failed} failed")
    if args.json:
        record = {"device": name, "torch": torch.__version__, "tiny": args.tiny, "rows": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(record, indent=1, allow_nan=True))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
