"""Latency, throughput and memory of networks that take turns within one run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tore.body.body_model import BodyModel
from tore.export.loading import ExportedNetwork
from tore.inference.predictor import MeshRecovery
from tore.modeling.heads import MeshPrediction
from tore_runtime.outputs import Wanted
from tore_runtime.pipeline import Job, Run

LEAST_ROUNDS = 2


def alternate(
    functions: Mapping[str, Callable[[], object]],
    *,
    warm_up: int,
    repeats: int,
    seconds: float,
    synchronise: Callable[[], object],
    tell: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each function's `repeats` calls, after `warm_up` untimed ones.

    Every round calls each function once, the next round beginning one further on. Where the timed rounds take more
    than `seconds` together the rest is left out, but two are timed at least. `synchronise` waits for the device; `tell`
    is called after every call.
    """
    names = list(functions)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + repeats):
        if number >= warm_up + LEAST_ROUNDS and sum(map(sum, taken.values())) > seconds:
            break
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            synchronise()
            start = time.perf_counter()
            functions[name]()
            synchronise()
            if number >= warm_up:
                taken[name].append(time.perf_counter() - start)
            tell()
    return taken


def median_and_p90(seconds: list[float]) -> tuple[float, float]:
    """Both in milliseconds."""
    middle, late = np.quantile(seconds, (0.5, 0.9))
    return 1000 * float(middle), 1000 * float(late)


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make inside it, for as long as each of them lives."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._sizes: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation and notes what it made."""
        result = function(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if _is_plain(tensor)}
        self._sizes = {reference: size for reference, size in self._sizes.items() if not reference.expired()}
        for tensor in filter(_is_plain, tree_leaves(result)):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                self._sizes[StorageWeakRef(storage)] = storage.nbytes()
        self.peak = max(self.peak, sum(self._sizes.values()))
        return result


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided


def peak_memory(model: nn.Module, images: Tensor, device: torch.device) -> int | None:
    """Most bytes that weights, images and one forward pass take at once; None for an export, whose runtime tells none.

    On CUDA by its allocator; elsewhere the tensors that are alive together, without what libraries take inside an
    operation.
    """
    if any(isinstance(module, ExportedNetwork) for module in model.modules()):
        model(images)
        return None
    own = (*model.parameters(), *model.buffers(), images)
    held = sum(tensor.numel() * tensor.element_size() for tensor in own)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        model(images)
        return held + torch.cuda.max_memory_allocated(device) - before
    with LiveTensors() as live:
        model(images)
    return held + live.peak


PHOTO_SIZE, JPEG_QUALITY = (640, 480), 90
REST_CAMERA = (0.9, 0.0, 0.0)  # scale, tx, ty of a figure in the center of its crop


class AtRest(nn.Module):
    """The network at its full cost, its prediction replaced by the figure at rest in the center of the crop.

    Random weights give no body, and drawing costs what the mesh covers.
    """

    vertices: Tensor
    camera: Tensor

    def __init__(self, network: nn.Module, body: BodyModel) -> None:
        super().__init__()
        self.network = network
        self.config = getattr(network, "config", None)  # which images it takes
        pose = torch.zeros(1, 72 if body.kind == "body" else 48)
        pose[0, 0] = torch.pi if body.kind == "body" else 0.0
        device = next((value.device for value in network.parameters()), torch.device("cpu"))
        with torch.no_grad():
            rest = body.cpu().targets(pose, torch.zeros(1, 10)).vertices[-1]  # (1, V, 3)
        self.register_buffer("vertices", rest.to(device))
        self.register_buffer("camera", torch.tensor([REST_CAMERA]).to(device))

    def forward(self, images: Tensor) -> MeshPrediction:
        """images (B, 3, n, n)."""
        batch = len(images)
        vertices, camera = self.vertices.expand(batch, -1, -1), self.camera.expand(batch, -1)
        return self.network(images)._replace(vertices=vertices, camera=camera)


def made_images(count: int, folder: Path) -> list[Path]:
    """Writes `count` smooth color images as JPEG files of 640 x 480."""
    random = np.random.default_rng(0)
    paths = [folder / f"{index:03d}.jpg" for index in range(count)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 256, (15, 20, 3), np.uint8))
        coarse.resize(PHOTO_SIZE, Image.Resampling.BICUBIC).save(path, quality=JPEG_QUALITY)
    return paths


def time_stages(
    networks: Mapping[str, nn.Module],
    bodies: Mapping[str, BodyModel],
    images: Sequence[Path],
    *,
    batch_size: int,
    repeats: int,
    tell: Callable[[], object] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Milliseconds per image of each stage and in all, for each network: medians over `repeats` after one untimed.

    Stages run side by side, so that all of it can take less than their sum. networks: with random weights; each round
    runs all of them in turn. bodies: each network's own.
    """
    recoveries = {name: MeshRecovery(AtRest(network, bodies[name]), bodies[name]) for name, network in networks.items()}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in networks}
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(path, Path(folder) / path.stem) for path in images]
        for number in range(repeats + 1):
            for name, recovery in recoveries.items():
                run = Run(recovery, Wanted(), batch_size=batch_size, overwrite=True)
                start = time.perf_counter()
                failed = [report.error for report in run(jobs) if report.error]
                whole = time.perf_counter() - start
                if failed:
                    raise ValueError(failed[0])
                if number:
                    stages = run.seconds | {"all": whole}
                    taken[name].append({stage: 1000 * seconds / len(jobs) for stage, seconds in stages.items()})
                tell()
    return {
        name: {stage: statistics.median(row[stage] for row in rows) for stage in rows[0]}
        for name, rows in taken.items()
    }
