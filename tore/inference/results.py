"""Results as files: npz (arrays, no pickles) or json, each with names, units and where they come from."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from tore.files import write_whole
from tore.inference.names import json_text
from tore.inference.recovery import NAMES, NOT_FINITE, Recovery

FORMATS = ("npz", "json")
UNITS = {
    "joints": "metres, around the mesh's origin; x right, y down, z away from the camera; predicted directly",
    "mesh_joints": "as joints; regressed from the vertices",
    "vertices": "as joints",
    "joints_2d": "pixels of the whole picture; the outer corner of the upper left pixel is (0, 0)",
    "mesh_joints_2d": "as joints_2d",
    "crop_camera": "scale, tx, ty: (x, y) metres land at scale * (x + tx, y + ty) in [-1, 1] of the crop",
    "crop_window": "left, top, side of the square that the crop shows, pixels of the whole picture",
    "box": "x, y, width, height, pixels of the whole picture; none where its middle was taken",
    "focal_length": "pixels of the whole picture",
    "principal_point": "x, y, pixels of the whole picture",
    "translation": "metres; added to vertices or joints it brings them before the whole picture's camera",
    "picture_size": "height, width, pixels",
}
# Of a network with the SMPL parameter regressor besides.
PARAMETER_UNITS = {
    "smpl_pose": "axis-angle of the 24 joints of a neutral SMPL body, radians, each relative to its parent",
    "smpl_betas": "its shape",
    "smpl_translation": "metres; added to that body's vertices it brings them before the whole picture's camera",
}


def as_values(recovery: Recovery) -> dict[str, Any]:
    """Everything that is saved, by name: arrays, tuples, numbers and strings."""
    crop, camera = recovery.crop, recovery.picture_camera
    known = vars(recovery.parameters) if recovery.parameters is not None else {}
    parameters = {f"smpl_{name}": value for name, value in known.items()}
    side = {"side": "left" if crop.left else "right"} if recovery.kind == "hand" else {}
    return {
        "picture": crop.source,
        "person": crop.person,
        "kind": recovery.kind,
        **side,
        "checkpoint": recovery.checkpoint,
        "picture_size": crop.picture_size,
        "box": crop.box,
        "crop_window": (crop.window.left, crop.window.top, crop.window.side),
        "crop_camera": recovery.camera,
        "focal_length": camera.focal_length,
        "principal_point": camera.principal_point,
        "translation": recovery.translation,
        "joint_names": recovery.joint_names,
        "joints": recovery.joints,
        "joints_2d": recovery.joints_2d,
        "mesh_joints": recovery.mesh_joints,
        "mesh_joints_2d": recovery.mesh_joints_2d,
        "vertices": recovery.vertices,
        **parameters,
        "units": UNITS | (PARAMETER_UNITS if parameters else {}),
    }


def as_plain(recovery: Recovery) -> dict[str, Any]:
    """The same without vertices and units, as numbers, lists and joints by name, ready for JSON."""
    values = as_values(recovery)
    return _plain({name: value for name, value in values.items() if name not in ("vertices", "units", "joint_names")})


def save_result(path: str | Path, recovery: Recovery) -> Path:
    """Writes one person's result; the ending chooses npz or json.

    In npz `units` is a JSON text and a missing box an empty array; in json joints are objects by name. ValueError
    for another ending, and for values that are not finite.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: results are written as {' or '.join(FORMATS)}")
    if not recovery.finite:
        raise ValueError(f"{recovery.crop.source}: {NOT_FINITE}")
    values = as_values(recovery)
    write_whole(path, _npz(values) if kind == "npz" else _json(values))
    return path


def _npz(values: dict[str, Any]) -> bytes:
    plain = {**values, "units": json.dumps(values["units"])}
    plain["box"] = np.zeros(0) if values["box"] is None else np.asarray(values["box"])
    stream = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in plain.items()}
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _json(values: dict[str, Any]) -> bytes:
    return json_text(_plain(values), allow_nan=False).encode()


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    for joints in ("joints", "joints_2d", "mesh_joints", "mesh_joints_2d"):
        plain[joints] = dict(zip(NAMES[values["kind"]], plain[joints], strict=True))
    return plain
