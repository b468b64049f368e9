"""MoveNet as files that other programs run: the finder of people, and what places the keypoints of one person.

A file's graph ends with the decoding, so that a program gets people and keypoints as numbers. The maps that these are
made of are outputs as well, by which an export is verified: the maps are the network's, and the rest is what the
decoding makes of them.
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
from tore.modeling import load_model
from tore.modeling.movenet import (
    KEYPOINT_NAMES,
    STRIDE,
    THUNDER_SIZE,
    MoveNet,
    People,
    decode_keypoints,
    decode_people,
    load_movenet,
)
from tore.paths import default_checkpoint
from tore_runtime.predictor import FINDER, NETWORK, PLACER, session_of
from tore_runtime.record import NETWORK_FILES, ExportRecord, file_sha256, read_record
from tore_runtime.sessions import RUNTIMES, Session

DETECTORS = {FINDER: "multipose", PLACER: "thunder"}  # what `tore export` calls them
SIDES = ((128, 192), (192, 128), (256, 256))  # of the images of verification where they are free
MAP = "map_"  # in front of a head's name: the output that holds its map
POINT = "x and y in shares of the image's width and height, the outer corner of the upper left pixel at (0, 0)"
KEYPOINTS_UNIT = f"{POINT}; score; COCO's 17: {', '.join(KEYPOINT_NAMES)}"
UNITS = {
    "keypoints": KEYPOINTS_UNIT,
    "boxes": "left, top, right, bottom in shares of the image's width and height",
    "scores": "0 to 1, the highest first; candidates beyond the people in the image have one near 0",
}


class DetectorGraph(nn.Module):
    """MoveNet with its decoding; a tuple in the order of `names`."""

    def __init__(self, network: MoveNet, name: str) -> None:
        """`name`: "thunder" or "multipose"."""
        super().__init__()
        self.network, self.single = network, name == "thunder"
        self.decoded = ["keypoints"] if self.single else list(People._fields)
        self.names = [*self.decoded, *(f"{MAP}{head}" for head in network.heads)]

    def decode(self, maps: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What the heads' maps tell, in the order of `decoded`."""
        return (decode_keypoints(maps),) if self.single else tuple(decode_people(maps))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, 3, H, W) RGB in 0..255."""
        maps = self.network(images)
        return *self.decode(maps), *maps.values()


def export_detector(
    name: str,
    output_dir: str | Path,
    *,
    runtimes: Sequence[str] = RUNTIMES,
    network: MoveNet | None = None,
    overwrite: bool = False,
) -> ExportRecord:
    """Writes one of `DETECTORS` as ONNX, verified in `runtimes`.

    movenet-multipose finds up to six people of images of any sides that are multiples of 32; movenet-thunder places the
    keypoints of the one person in the center of images of 256 x 256. network: in the place of the one that ships.
    Raises as `export_model`, and ValueError for another name.
    """
    if name not in DETECTORS:
        raise ValueError(f"detector {name!r} cannot be exported; use {' or '.join(DETECTORS)}")
    folder, kind = Path(output_dir), DETECTORS[name]
    exporting.check_free(folder, overwrite)
    exporting.check_packages(runtimes)
    graph = DetectorGraph(network or load_movenet(kind), kind).eval()
    free, side = not graph.single, THUNDER_SIZE
    generator = torch.Generator().manual_seed(0)
    sizes = SIDES * exporting.CALLS if free else ((side, side),) * exporting.CALLS
    every = [255 * torch.rand(2, 3, *size, generator=generator) for size in sizes]

    def make(temporary: Path) -> ExportRecord:
        file = temporary / NETWORK_FILES["onnx"]
        exporting.write_onnx(graph, file, every[0], graph.names, stride=STRIDE if free else None)
        found = {}
        for runtime in runtimes:
            session = exporting.Session(file, runtime, threads=exporting.THREADS)
            found[runtime] = _verified(session, graph, every, f"in {runtime}")
        return _record(graph, name, file, found)

    return exporting.written(folder, make)


@torch.no_grad()
def _verified(session: Session, graph: DetectorGraph, every: Sequence[Tensor], where: str) -> dict[str, float]:
    """The largest differences: of maps from the network's, of the rest from what is decoded of the session's maps.

    ValueError where one is more than rounding.
    """
    expected: exporting.Outputs = []
    answers: list[dict[str, np.ndarray]] = []
    for images in every:
        answer = session(images.numpy())
        told = {head: torch.from_numpy(answer[f"{MAP}{head}"]) for head in graph.network.heads}
        wanted = dict(zip(graph.decoded, (value.numpy() for value in graph.decode(told)), strict=True))
        wanted |= {f"{MAP}{head}": value.numpy() for head, value in graph.network(images).items()}
        if not graph.single:  # where there are fewer peaks than six, anything is a candidate of score 0
            for values in (answer, wanted):
                somebody = wanted["scores"] > 0
                values |= {n: values[n] * somebody.reshape(-1, 6, *[1] * (values[n].ndim - 2)) for n in graph.decoded}
        expected.append((images.numpy(), wanted))
        answers.append(answer)
    calls = iter(answers)
    return exporting.verified(lambda images: next(calls), expected, where)


def _record(graph: DetectorGraph, name: str, file: Path, found: Mapping[str, Mapping[str, float]]) -> ExportRecord:
    shapes = {"keypoints": ["batch", 17, 3] if graph.single else ["batch", 6, 17, 3]}
    shapes |= {"boxes": ["batch", 6, 4], "scores": ["batch", 6]}
    cells = [THUNDER_SIZE // 4] * 2 if graph.single else ["8 h", "8 w"]
    outputs = {output: {"shape": shapes[output], "unit": UNITS[output]} for output in graph.decoded}
    for head, layers in graph.network.heads.items():
        channels = layers[-1].out_channels  # type: ignore[index]
        outputs[f"{MAP}{head}"] = {"shape": ["batch", channels, *cells], "unit": "what the others are decoded of"}
    sides = [THUNDER_SIZE] * 2 if graph.single else [f"{STRIDE} h", f"{STRIDE} w"]
    return ExportRecord(
        format="onnx",
        file=file.name,
        sha256=file_sha256(file),
        weights="float32",
        network={"network": name},
        trained_on=None,
        image={
            "size": THUNDER_SIZE if graph.single else None,
            "mean": [0, 0, 0],
            "std": [1 / 255] * 3,
            "layout": "NCHW, RGB",
        },
        input={"name": "images", "shape": ["batch", 3, *sides], "type": "float32"},
        outputs=outputs,
        body={},
        source={},
        versions=exporting._versions(["torch", "onnx", *found]),
        differences={runtime: dict(values) for runtime, values in found.items()},
    )


def export_people(
    output_dir: str | Path, *, runtimes: Sequence[str] = RUNTIMES, overwrite: bool = False
) -> dict[str, ExportRecord]:
    """Writes what `tore-infer` needs into folders of one folder: the network that ships, the finder and the placer.

    Returns the record of each, by the name of its folder. Raises as `export_model`.
    """
    folder, file = Path(output_dir), default_checkpoint("body")
    for name in (NETWORK, *DETECTORS):
        exporting.check_free(folder / name, overwrite)
    options: dict[str, Any] = {"runtimes": runtimes, "overwrite": overwrite}
    found = {name: export_detector(name, folder / name, **options) for name in DETECTORS}
    model = load_model(file, device="cpu")
    found[NETWORK] = exporting.export_model(model, folder / NETWORK, output="mesh", source=file, **options)
    return found


def kept_detector(
    name: str,
    network: MoveNet,
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
