"""What an export's folder holds: export.json beside the network's file, and its checks. Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

RECORD_FILE = "export.json"
BODY_FILE = "body.npz"  # faces (F, 3), joint_regressor (J, V), joint_names (J,)
NETWORK_FILES = {"onnx": "network.onnx", "torch": "network.pt2"}
VERSION = 2  # of the record
BLOCK = 1 << 22  # bytes read at once
OUTPUTS = {"joints": ("camera", "joints"), "mesh": ("camera", "joints", "vertices")}  # what --output keeps; else all
UNITS = {
    "camera": "weak perspective: scale, tx, ty; (x, y) meters land at scale * (x + tx, y + ty), -1..1 over the crop",
    "joints": "meters; x right, y down, z away from the camera, around the mesh's own origin; predicted directly",
    "vertices_coarse": "as joints; the coarse mesh",
    "vertices_mid": "as joints; the mesh between the coarse and the full one",
    "vertices": "as joints; the full mesh, whose faces are in body.npz",
    "heatmap": "attention map of each kept image token over the crop, row by row; sums to 1",
    "rotations": "any 3 x 3 matrices; SMPL's rotations are U V^T of their SVD, times the sign of its determinant",
    "betas": "SMPL's shape",
    "keypoints": "what the backbone, a pose network, finds: x, y in shares of the image's sides, score, and what else",
}


@dataclass(frozen=True)
class ExportRecord:
    """The content of export.json.

    network: the configuration (`network`, `arch`, `body`, ...); of a detector its name alone, and no body.
    trained_on: name and fingerprint of its body model. image: side, mean and std of the square RGB image, on a scale
    from 0 to 1, the layout, and of a network whether hands stand upright in it. outputs: name -> shape without the
    batch, and unit. differences: runtime -> output -> largest difference from the network in torch that was measured,
    in the output's unit. rounding: what storing the weights in 16 bits changes, by output.
    """

    format: str  # "onnx" | "torch"
    file: str
    sha256: str
    weights: str  # "float32" | "float16" | "bfloat16": as they are stored; the arithmetic is float32
    network: dict[str, Any]
    trained_on: dict[str, Any] | None
    image: dict[str, Any]
    input: dict[str, Any]
    outputs: dict[str, dict[str, Any]]
    body: dict[str, Any]
    source: dict[str, Any]
    versions: dict[str, str]
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    rounding: dict[str, float] = field(default_factory=dict)
    version: int = VERSION

    def text(self) -> str:
        """The file's content."""
        return json.dumps(asdict(self), indent=2) + "\n"


def is_export(path: str | Path) -> bool:
    """Whether a path is an export's folder, or its export.json."""
    path = Path(path)
    return path.name == RECORD_FILE or (path / RECORD_FILE).is_file()


def folder_of(path: str | Path) -> Path:
    """The folder that the path of an export means."""
    path = Path(path)
    return path.parent if path.name == RECORD_FILE else path


def read_record(path: str | Path) -> ExportRecord:
    """The record of an export's folder, whose files are there and have the checksum of then.

    Raises FileNotFoundError where a file is missing, ValueError for one that is damaged or of another version.
    """
    folder = folder_of(path)
    place = folder / RECORD_FILE
    try:
        plain = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{place} is damaged ({error}); export the network again") from None
    known = {entry.name for entry in fields(ExportRecord)}
    if not isinstance(plain, Mapping) or plain.get("version") != VERSION or set(plain) != known:
        raise ValueError(f"{place} is no record of this version; export the network again")
    record = ExportRecord(**plain)
    if (folder / record.file).name != record.file:
        raise ValueError(f"{place} names the file {record.file!r} outside of its folder; export the network again")
    for name in (record.file, *([record.body["file"]] if record.body else [])):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing, which {RECORD_FILE} names; export the network again")
    if file_sha256(folder / record.file) != record.sha256:
        raise ValueError(f"{folder / record.file} is not the file that was exported: its checksum is another one")
    return record


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
