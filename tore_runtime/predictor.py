"""An exported network as what recovers people: `tore.MeshRecovery` without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tore_runtime.crops import PersonCrop, Place, check_crops, crops_of
from tore_runtime.detector import Detector, find
from tore_runtime.focal_length import FocalChoice
from tore_runtime.frames import Prediction
from tore_runtime.image_format import ImageFormat
from tore_runtime.images import ImageSource, read_photograph
from tore_runtime.movenet import THRESHOLD, KeypointPlacer, PeopleFinder, network_of
from tore_runtime.record import OUTPUTS, ExportRecord, folder_of, is_export, read_record
from tore_runtime.result import Recovery, in_axes_of_images, placements, recoveries
from tore_runtime.sessions import RUNTIMES, STREAM_BATCH, Session

RUNTIME = "onnxruntime"  # the one that is always there
FINDER, PLACER, NETWORK = "movenet-multipose", "movenet-thunder", "network"  # folders of exports within one of networks
FOLDER = Path(__file__).parent / "networks"  # of the installed package, where it was built with networks
MAKE = "make one with `tore export people --output_dir DIR` where the package tore is installed"


def open_export(
    path: str | Path, runtime: str, *, threads: int, precision: str = "float32"
) -> tuple[ExportRecord, Session]:
    """The record of a network's export, and what runs it.

    Raises ValueError for an export that the runtime was not verified with, that lacks the mesh or that is of another
    kind, ImportError where the runtime is not installed, and what `read_record` raises.
    """
    folder, record = folder_of(path), read_record(path)
    if not record.body:
        raise ValueError(f"{path} is the export of {record.network['network']}, which finds people; name a network's")
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


def networks_folder(named: str | Path | None = None) -> Path:
    """The folder of exports that `tore export people` makes: the argument, `TORE_RUNTIME_DIR`, the package's own.

    Raises FileNotFoundError where there is none.
    """
    chosen = named or os.environ.get("TORE_RUNTIME_DIR")
    folder = Path(chosen) if chosen else FOLDER
    if not is_export(folder / NETWORK):
        lacking = f"{folder} holds no export in {NETWORK}" if chosen else "no networks came with the package"
        raise FileNotFoundError(f"{lacking}; {MAKE}, and name DIR with --networks or TORE_RUNTIME_DIR")
    return folder


def people_finder(
    folder: str | Path, *, runtime: str = RUNTIME, threads: int | None = None, threshold: float = THRESHOLD
) -> PeopleFinder:
    """The finder of people by the exports of MoveNet in a folder of networks. Raises as `open_export`."""
    sessions = []
    for name in (FINDER, PLACER):
        place = Path(folder) / name
        if not is_export(place):
            raise FileNotFoundError(f"{place} is missing: {MAKE}, or name boxes or --detector none")
        record = read_record(place)
        if record.network.get("network") != name:
            raise ValueError(f"{place} is the export of another network than {name}; {MAKE}")
        sessions.append(session_of(place, record, runtime, threads=threads or os.cpu_count() or 1))
    finder, placer = map(network_of, sessions)
    return PeopleFinder(finder, KeypointPlacer(placer), threshold=threshold)


class ExportedRecovery:
    """An export and its body model, from crops to meshes.

    path: the folder of an export. runtime: "onnxruntime" or "openvino". precision: "bfloat16" for OpenVINO on
    processors that have it. threads: None means all of the processor. Raises as `open_export`, and ValueError for
    networks that see upright hands, whose turn needs a network that is not exported.
    """

    def __init__(
        self, path: str | Path, *, runtime: str = RUNTIME, precision: str = "float32", threads: int | None = None
    ) -> None:
        threads = threads or os.cpu_count() or 1
        self.record, self.session = open_export(path, runtime, threads=threads, precision=precision)
        image = self.record.image
        mean, std = tuple(map(float, image["mean"])), tuple(map(float, image["std"]))
        self.image_format = ImageFormat(image["size"], mean, std, image["upright"])  # type: ignore[arg-type]
        if self.image_format.upright:
            raise ValueError(f"{path} sees upright hands, which only `tore infer` can turn; use it for this network")
        self.checkpoint, self.kind = str(path), str(self.record.body["kind"])
        with np.load(folder_of(path) / self.record.body["file"]) as body:
            self.faces: np.ndarray = body["faces"]  # (F, 3)
            self.joint_regressor: np.ndarray = body["joint_regressor"]  # (J, V)

    @property
    def prunes_tokens(self) -> bool:
        """Whether the export says where the kept image tokens looked."""
        return "heatmap" in self.record.outputs

    @property
    def usual_batch(self) -> int:
        """How many images fill its streams."""
        return self.session.threads * STREAM_BATCH

    def upright(
        self, image: np.ndarray, places: Sequence[Place] | None, left: bool | Sequence[bool] | None
    ) -> tuple[list[Place] | None, bool | list[bool]]:
        """Boxes and sides as `crops_of` takes them; where a side is not said, a hand is a right one."""
        sides = bool(left) if left is None or isinstance(left, bool) else list(left)
        return (None if places is None else list(places)), sides

    def predict(
        self,
        image: ImageSource,
        boxes: Sequence[Place] | None = None,
        *,
        detector: Detector | None = None,
        left: bool | Sequence[bool] = False,
        focal_length: float | str | None = None,
        fov: float | None = None,
    ) -> list[Recovery]:
        """The people of one image: of its boxes, of whom the detector finds, or of its center.

        image: a path, bytes, an open file, a Pillow image or an array; the others as for `tore.MeshRecovery.predict`.
        """
        pixels, lens = read_photograph(image)
        name = os.fspath(image) if isinstance(image, (str, os.PathLike)) else "image"
        if boxes is None and detector is not None:
            boxes = list(find(detector, pixels, hands=self.kind == "hand"))
        crops = crops_of(pixels, boxes, str(name), left, self.image_format, lens=lens)
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
        places = placements(said.camera, crops, choice)
        return recoveries(self.kind, crops, said, mesh_joints, places, self.checkpoint)
