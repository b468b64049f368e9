"""Detectors as files that other programs run: what finds people and hands, and what places their joints.

`export_networks` writes all that `tore-infer` needs to recover people, or hands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tore.export import exporting, loading
from tore.export.detector_graphs import DetectorGraph, detector_graph, sides_of
from tore.modeling import load_model
from tore.modeling.movenet import STRIDE
from tore.paths import default_checkpoint
from tore_runtime.movenet import Network, network_of
from tore_runtime.predictor import FINDER, LANDMARKS, NETWORKS, PALMS, PLACER, session_of
from tore_runtime.record import NETWORK_FILES, ExportRecord, file_sha256, read_record
from tore_runtime.sessions import RUNTIMES, Session

SIDES = ((128, 192), (192, 128), (256, 256))  # of the images of verification where they are free
SETS = {"people": ("body", (FINDER, PLACER)), "hands": ("hand", (PALMS, LANDMARKS))}  # whom, and by which detectors


def export_detector(
    name: str,
    output_dir: str | Path,
    *,
    runtimes: Sequence[str] = RUNTIMES,
    network: nn.Module | None = None,
    overwrite: bool = False,
) -> ExportRecord:
    """Writes one of `DETECTORS` as ONNX, verified in `runtimes`.

    movenet-multipose finds up to six people of images of any sides that are multiples of 32; movenet-thunder places the
    keypoints of the one person in the center of images of 256 x 256. mediapipe-palm finds palms in images of 256 x 256;
    mediapipe-hand places the joints of the one hand that stands upright in images of 224 x 224. network: in the place
    of the one that ships. Raises as `export_model`, and ValueError for another name.
    """
    graph, folder = detector_graph(name, network), Path(output_dir)
    exporting.check_free(folder, overwrite)
    exporting.check_packages(runtimes)
    every = sample_images(graph)

    def make(temporary: Path) -> ExportRecord:
        file, free = temporary / NETWORK_FILES["onnx"], graph.size is None
        sample = torch.zeros(2, *every[0].shape[1:])
        exporting.write_onnx(graph, file, sample, list(graph.outputs), stride=STRIDE if free else None)
        found = {}
        for runtime in runtimes:
            session = exporting.Session(file, runtime, threads=exporting.THREADS)
            found[runtime] = _verified(session, graph, every, f"in {runtime}")
        return _record(graph, name, file, found)

    return exporting.written(folder, make)


def sample_images(graph: DetectorGraph) -> list[Tensor]:
    """Images of noise (B, 3, H, W) for every batch and call of verification, of several sides where they are free."""
    generator, batches = torch.Generator().manual_seed(0), exporting.BATCHES * exporting.CALLS
    sides = [SIDES[(number + number // 3) % 3] if graph.size is None else [graph.size] * 2 for number in range(9)]
    return [255 * torch.rand(batch, 3, *side, generator=generator) for batch, side in zip(batches, sides, strict=True)]


@torch.no_grad()
def _verified(session: Session, graph: DetectorGraph, every: Sequence[Tensor], where: str) -> dict[str, float]:
    """The largest differences. ValueError where one is more than rounding."""
    expected: exporting.Outputs = []
    answers: list[dict[str, np.ndarray]] = []
    for images in every:
        answer = session(images.numpy())
        expected.append((images.numpy(), graph.wanted(images, answer)))
        answers.append(answer)
    calls = iter(answers)
    return exporting.verified(lambda images: next(calls), expected, where)


def _record(graph: DetectorGraph, name: str, file: Path, found: Mapping[str, Mapping[str, float]]) -> ExportRecord:
    return ExportRecord(
        format="onnx",
        file=file.name,
        sha256=file_sha256(file),
        weights="float32",
        network={"network": name},
        trained_on=None,
        image={"size": graph.size, "mean": [0, 0, 0], "std": [1 / 255] * 3, "layout": "NCHW, RGB"},
        input={"name": "images", "shape": ["batch", 3, *sides_of(graph)], "type": "float32"},
        outputs=graph.outputs,
        body={},
        source={},
        versions=exporting._versions(["torch", "onnx", *found]),
        differences={runtime: dict(values) for runtime, values in found.items()},
    )


def export_networks(
    whose: str, output_dir: str | Path, *, runtimes: Sequence[str] = RUNTIMES, overwrite: bool = False
) -> dict[str, ExportRecord]:
    """Writes what `tore-infer` needs into folders of one folder: the network that ships, and its two detectors.

    whose: "people" or "hands"; one folder may hold both. Returns the record of each, by the name of its folder. Raises
    as `export_model`.
    """
    kind, detectors = SETS[whose]
    folder, file = Path(output_dir), default_checkpoint(kind)
    for name in (NETWORKS[kind], *detectors):
        exporting.check_free(folder / name, overwrite)
    options: dict[str, Any] = {"runtimes": runtimes, "overwrite": overwrite}
    found = {name: export_detector(name, folder / name, **options) for name in detectors}
    model = load_model(file, device="cpu")
    path = folder / NETWORKS[kind]
    found[path.name] = exporting.export_model(model, path, output="mesh", source=file, **options)
    return found


def kept_detector(
    name: str,
    network: nn.Module,
    runtime: str | None = None,
    tell: Callable[[str], object] = lambda text: None,
) -> Session:
    """The export of one of `DETECTORS` with the weights of `network`, made on first use and kept; others as
    `load_network`."""
    chosen, digest = runtime or RUNTIMES[0], hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode() + value.numpy().tobytes())

    def make(folder: Path) -> None:
        export_detector(name, folder, runtimes=[chosen], network=network)

    folder = loading.kept(name, {"weights": digest.hexdigest(), "decoded": True}, chosen, make, tell)
    return session_of(folder, read_record(folder), chosen, threads=torch.get_num_threads())


def running(
    name: str,
    network: nn.Module,
    device: str | torch.device = "cpu",
    *,
    fast: bool = False,
    runtime: str | None = None,
    tell: Callable[[str], object] = lambda text: None,
) -> Network:
    """One of `DETECTORS` from images (B, H, W, 3) uint8 to what is decoded, by name; parameters as of
    `tore.detection.detector_of`, where the export runs on a CPU alone."""
    device = torch.device(device)
    if fast and device.type == "cpu":
        return network_of(kept_detector(name, network, runtime, tell))
    graph = detector_graph(name, network.to(memory_format=torch.channels_last).to(device))

    @torch.inference_mode()
    def decoded(images: np.ndarray) -> dict[str, np.ndarray]:
        tensor = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()  # channels stay innermost
        return {part: value.cpu().numpy() for part, value in zip(graph.decoded, graph.told(tensor), strict=True)}

    return decoded
