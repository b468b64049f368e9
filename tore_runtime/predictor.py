"""An exported network as what recovers people: `tore.MeshRecovery` without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tore_runtime.crops import PersonCrop, Place, check_crops, crops_of
from tore_runtime.detector import Detector
from tore_runtime.finding import Finding
from tore_runtime.focal_length import FocalChoice
from tore_runtime.frames import Prediction
from tore_runtime.hands import THRESHOLD as HAND_THRESHOLD
from tore_runtime.hands import HandFinder, HandPlacer
from tore_runtime.image_format import ImageFormat
from tore_runtime.images import ImageSource, read_photograph
from tore_runtime.movenet import KeypointPlacer, Network, PeopleFinder, network_of
from tore_runtime.record import OUTPUTS, ExportRecord, folder_of, is_export, read_record
from tore_runtime.result import Recovery, in_axes_of_images, placements, recoveries
from tore_runtime.sessions import RUNTIMES, STREAM_BATCH, Session

RUNTIME = "onnxruntime"  # the one that is always there
# Folders of exports within one of networks: of detectors, and of the network of each kind.
FINDER, PLACER = "movenet-multipose", "movenet-thunder"
PALMS, LANDMARKS = "mediapipe-palm", "mediapipe-hand"
NETWORKS = {"body": "network", "hand": "hands"}
FOLDER = Path(__file__).parent / "networks"  # of the installed package, where it was built with networks


def open_export(
    path: str | Path, runtime: str, *, threads: int, precision: str = "float32"
) -> tuple[ExportRecord, Session]:
    """The record of a network's export, and what runs it.

    Raises ValueError for an export that the runtime was not verified with, that lacks the mesh or that is of another
    kind, ImportError where the runtime is not installed, and what `read_record` raises.
    """
    folder, record = folder_of(path), read_record(path)
    if not record.body:
        raise ValueError(f"{path} is the export of {record.network['network']}, a detector; name a network's")
    if record.format != "onnx":
        raise ValueError(f"{folder} is for programs that use torch.export; export the network as onnx")
    if lacking := [name for name in OUTPUTS["mesh"] if name not in record.outputs]:
        raise ValueError(f"{folder} leaves out {', '.join(lacking)}; export the network with --output mesh")
    if precision == "bfloat16" and record.network.get("keypoint_queries"):
        raise ValueError(
            f"{folder} takes keypoints from its backbone, which bfloat16 moves so that meshes are off by centimeters; "
            "leave half precision out"
        )
    return record, session_of(folder, record, runtime, threads=threads, precision=precision)


def session_of(
    folder: Path, record: ExportRecord, runtime: str, *, threads: int, precision: str = "float32"
) -> Session:
    """What runs an export. ValueError where the runtime was not verified with it."""
    if runtime in RUNTIMES and runtime not in record.differences:
        known = ", ".join(record.differences)
        raise ValueError(f"{folder} was verified in {known} alone; use that, or export it for {runtime}")
    return Session(folder / record.file, runtime, threads=threads, precision=precision)


def networks_folder(named: str | Path | None = None, holding: str = NETWORKS["body"]) -> Path:
    """The folder of exports that `tore export people` and `hands` make: `named`, `TORE_RUNTIME_DIR`, the package's own.

    holding: the name of an export. Raises FileNotFoundError where it is not there.
    """
    chosen = named or os.environ.get("TORE_RUNTIME_DIR")
    folder = Path(chosen) if chosen else FOLDER
    if not is_export(folder / holding):
        lacking = f"{folder} holds no export in {holding}" if chosen else "no networks came with the package"
        if not chosen and folder.is_dir():
            lacking = f"the networks that came with the package lack {holding}"
        raise FileNotFoundError(f"{lacking}; {how_to_make(holding)}, and name DIR with --networks or TORE_RUNTIME_DIR")
    return folder


def how_to_make(name: str) -> str:
    """What to do where the export of that name is missing."""
    whose = "hands" if name in (NETWORKS["hand"], PALMS, LANDMARKS) else "people"
    return f"make one with `tore export {whose} --output_dir DIR` where the package tore is installed"


def people_finder(
    folder: str | Path, *, runtime: str = RUNTIME, threads: int | None = None, threshold: float | None = None
) -> PeopleFinder:
    """The finder of people by the exports of MoveNet in a folder of networks. Raises as `open_export`."""
    finder = _detector(folder, FINDER, runtime, threads)
    return PeopleFinder(finder, keypoint_placer(folder, runtime=runtime, threads=threads), threshold=threshold)


def keypoint_placer(folder: str | Path, *, runtime: str = RUNTIME, threads: int | None = None) -> KeypointPlacer:
    """What finds the keypoints and the turn of people in boxes, by the export of MoveNet Thunder."""
    return KeypointPlacer(_detector(folder, PLACER, runtime, threads))


def hand_finder(
    folder: str | Path, *, runtime: str = RUNTIME, threads: int | None = None, threshold: float = HAND_THRESHOLD
) -> HandFinder:
    """The finder of hands by the exports of MediaPipe's networks in a folder of networks. Raises as `open_export`."""
    palms = _detector(folder, PALMS, runtime, threads)
    return HandFinder(palms, hand_placer(folder, runtime=runtime, threads=threads), threshold=threshold)


def hand_placer(folder: str | Path, *, runtime: str = RUNTIME, threads: int | None = None) -> HandPlacer:
    """What finds the turn, the side and the joints of hands in boxes, by the export of MediaPipe's landmarks."""
    return HandPlacer(_detector(folder, LANDMARKS, runtime, threads))


def _detector(folder: str | Path, name: str, runtime: str, threads: int | None) -> Network:
    """One of a folder's detectors."""
    place = Path(folder) / name
    if not is_export(place):
        raise FileNotFoundError(f"{place} is missing: {how_to_make(name)}")
    record = read_record(place)
    if record.network.get("network") != name:
        raise ValueError(f"{place} is the export of another network than {name}; {how_to_make(name)}")
    return network_of(session_of(place, record, runtime, threads=threads or os.cpu_count() or 1))


class ExportedRecovery(Finding):
    """An export and its body model, from crops to meshes.

    path: the folder of an export. runtime: "onnxruntime" or "openvino". precision: "bfloat16" for OpenVINO on
    processors that have it. threads: None means all of the processor. networks: the folder of the exports
    `mediapipe-hand` and `movenet-thunder`, by which the turn of upright hands, and of people in given boxes on MoveNet,
    is found [the one that holds the export's folder]. Raises as `open_export`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        runtime: str = RUNTIME,
        precision: str = "float32",
        threads: int | None = None,
        networks: str | Path | None = None,
    ) -> None:
        self._options: dict[str, Any] = {"runtime": runtime, "threads": threads or os.cpu_count() or 1}
        self.record, self.session = open_export(path, precision=precision, **self._options)
        self.networks = folder_of(path).absolute().parent if networks is None else Path(networks)
        self.checkpoint = str(path)
        with np.load(folder_of(path) / self.record.body["file"]) as body:
            self.faces: np.ndarray = body["faces"]  # (F, 3)
            self.joint_regressor: np.ndarray = body["joint_regressor"]  # (J, V)

    @property
    def kind(self) -> str:
        """Whom it recovers: "body" or "hand"."""
        return str(self.record.body["kind"])

    @cached_property
    def image_format(self) -> ImageFormat:
        """What the network is shown."""
        image = self.record.image
        mean, std = tuple(map(float, image["mean"])), tuple(map(float, image["std"]))
        return ImageFormat(image["size"], mean, std, image["upright"])  # type: ignore[arg-type]

    @cached_property
    def hand_placer(self) -> HandPlacer:
        """By the export in `networks`. Raises as `open_export`."""
        return hand_placer(self.networks, **self._options)

    @cached_property
    def turns_people(self) -> bool:
        """Whether people in given boxes are rotated where MoveNet is surer of them; False may be set."""
        return bool(self.record.network.get("keypoint_queries")) and self.record.network.get("arch") == PLACER

    @cached_property
    def keypoint_placer(self) -> KeypointPlacer:
        """By the export in `networks`. Raises as `open_export`."""
        return keypoint_placer(self.networks, **self._options)

    @property
    def prunes_tokens(self) -> bool:
        """Whether the export says where the kept image tokens looked."""
        return "heatmap" in self.record.outputs

    @property
    def usual_batch(self) -> int:
        """How many images fill its streams."""
        return self.session.threads * STREAM_BATCH

    def predict(
        self,
        image: ImageSource,
        boxes: Sequence[Place] | None = None,
        *,
        detector: Detector | None = None,
        left: bool | Sequence[bool] | None = None,
        focal_length: float | str | None = None,
        fov: float | None = None,
    ) -> list[Recovery]:
        """The people, or hands, of one image: of its boxes, of those whom the detector finds, or of its center.

        image: a path, bytes, an open file, a Pillow image or an array; the others as for `tore.MeshRecovery.predict`.
        Raises FileNotFoundError for boxes where the export that finds their turn is missing in `networks`.
        """
        pixels, lens = read_photograph(image)
        name = os.fspath(image) if isinstance(image, (str, os.PathLike)) else "image"
        if boxes is None and detector is not None:
            boxes = list(self.find(detector, pixels))
        places, sides = self.upright(pixels, boxes, left)
        crops = crops_of(pixels, places, str(name), sides, self.image_format, lens=lens)
        return self.recover(crops, focal_length=focal_length, fov=fov)

    def recover(
        self, crops: Sequence[PersonCrop], *, focal_length: float | str | None = None, fov: float | None = None
    ) -> list[Recovery]:
        """One pass over the crops of `tore_runtime.crops`: a result for each. ValueError for crops of another kind."""
        choice = FocalChoice(focal_length, fov)
        if not crops:
            return []
        check_crops(crops, self.kind, self.image_format, self.checkpoint)
        found: dict[str, Any] = self.session(np.stack([crop.image for crop in crops]))
        said = Prediction(found["camera"], found["joints"], found["vertices"], found.get("heatmap"))
        said = in_axes_of_images(said, crops)
        mesh_joints = (self.joint_regressor @ said.vertices).astype(np.float32)
        by_keypoints = bool(self.record.network.get("keypoint_queries"))
        places = placements(said.camera, said.vertices, crops, choice, by_keypoints=by_keypoints)
        return recoveries(self.kind, crops, said, mesh_joints, places, self.checkpoint)
