"""What is recovered of one person, and how it is saved."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tore_runtime.camera import CropViews, PinholeCamera, fitted_translation, image_translation
from tore_runtime.crops import PersonCrop
from tore_runtime.files import write_whole
from tore_runtime.focal_length import OFFICIAL, FocalChoice, FocalLength, image_camera
from tore_runtime.frames import Prediction, mirrored_back, rotated_back
from tore_runtime.image_format import STRIDE
from tore_runtime.joints import COCO_NAMES, JOINT_NAMES
from tore_runtime.names import json_text
from tore_runtime.parameters import BodyParameters, parameter_schema

STAYED = "as predicted"  # what the notes of people who were not refined begin with
NOT_FINITE = "the network's numbers are not finite; leave half precision out, or get the checkpoint again"


@dataclass(frozen=True, eq=False, repr=False)
class Recovery:
    """Lengths in meters, in the camera frame (x right, y down, z away), around the mesh's own origin as the network
    gives it; 2D points in continuous pixels of the whole image. All is as in the image: what the network said of
    a left hand's mirror image is mirrored back, and what it said of a rotated crop is rotated back, about z."""

    kind: str  # "body" | "hand"
    crop: PersonCrop  # what the network saw, of which image, and where
    camera: np.ndarray  # (3,) scale, tx, ty: (x, y) lands scale * (x + tx, y + ty) half crop sizes beside its center
    joints: np.ndarray  # (J, 3) predicted directly
    mesh_joints: np.ndarray  # (J, 3) regressed from the mesh, as metrics compare them
    vertices: np.ndarray  # (V, 3)
    heatmap: np.ndarray | None  # (M, h*w) over the crop, attention map of each kept image token; None without pruning
    image_camera: PinholeCamera  # of the whole image, shared by all its people
    translation: np.ndarray  # (3,) brings the mesh before `image_camera`
    focal_length: FocalLength  # of `image_camera`, and what it is from
    checkpoint: str
    parameters: BodyParameters | None = None  # None where they are neither regressed, fitted nor refined
    refinement: str = ""  # what came of it: to how many keypoints a person was moved, or why not; "" without

    def __repr__(self) -> str:
        where = ", ".join(f"{value:.2f}" for value in self.translation)
        return f"Recovery({self.kind} of {self.crop!r}, {len(self.vertices)} vertices at ({where}) m)"

    @property
    def finite(self) -> bool:
        """Whether all that the network said are finite numbers."""
        known = self.parameters is None or self.parameters.finite
        return known and all(np.isfinite(values).all() for values in (self.camera, self.joints, self.vertices))

    @property
    def in_front(self) -> bool:
        """Whether the mesh lies before the camera; a scale of 0 or less puts it behind, and nothing can be drawn."""
        return bool(self.camera[0] > 0)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The J names."""
        return JOINT_NAMES[self.kind]

    def own_faces(self, faces: np.ndarray) -> np.ndarray:
        """The model's faces (F, 3) with their corners in the order that makes normals point outward: a left hand's
        are reversed."""
        return faces[:, ::-1] if self.crop.left else faces

    @property
    def joints_2d(self) -> np.ndarray:
        """(J, 2) pixels of `joints`, by the crop's camera."""
        return self.to_pixels(self.joints)

    @property
    def mesh_joints_2d(self) -> np.ndarray:
        """(J, 2) pixels of `mesh_joints`, by the crop's camera."""
        return self.to_pixels(self.mesh_joints)

    @property
    def crop_view(self) -> PinholeCamera:
        """`image_camera` in the crop's pixels and axes: it draws `crop_vertices` over the crop."""
        region, size = self.crop.region, self.crop.image_format.size
        x, y = (region.to_crop(np.array(self.image_camera.principal_point)) + 1) / 2 * size
        return PinholeCamera(self.image_camera.focal_length * size / region.size, (float(x), float(y)))

    @property
    def crop_vertices(self) -> np.ndarray:
        """(V, 3) the mesh before `crop_view`."""
        return self.crop.region.rotate_back(self.vertices + self.translation)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the mesh's frame -> (..., 2) pixels of the image, by the crop's weak perspective."""
        region = self.crop.region
        beside = self.camera[0] * (points[..., :2] + self.camera[1:])  # of the center, in half sizes of the crop
        return np.array(region.upper_left) + (beside + 1) / 2 * region.size


def in_axes_of_images(said: Prediction, crops: Sequence[PersonCrop]) -> Prediction:
    """What a network said of crops of one format, along the axes of their images."""
    columns = crops[0].image_format.size // STRIDE
    said = mirrored_back(said, [crop.left for crop in crops], columns)
    return rotated_back(said, [crop.region.rotation for crop in crops])


class Placement(NamedTuple):
    """Where a person stands: the focal length, the camera of the whole image, and the way before it."""

    focal_length: FocalLength
    image_camera: PinholeCamera
    translation: np.ndarray  # (3,) meters


def placements(
    cameras: np.ndarray,
    vertices: np.ndarray,
    crops: Sequence[PersonCrop],
    choice: FocalChoice,
    *,
    by_keypoints: bool | Sequence[bool],
) -> list[Placement]:
    """Where meshes (B, V, 3) with weak-perspective `cameras` (B, 3) of crops stand before their images' cameras.

    by_keypoints: whether the cameras were fitted to keypoints of whole bodies, of all or of each (B,). The translation
    is then a fit as well, unless that brings a part of the mesh behind the camera. Otherwise, and with the official
    focal length, it holds at the depth of the meshes' origin.
    """
    if not len(crops):
        return []
    lengths = [choice.of(crop.image_size, crop.lens) for crop in crops]
    views = [image_camera(crop.image_size, one.pixels) for crop, one in zip(crops, lengths, strict=True)]
    shown = CropViews(
        cameras=np.asarray(cameras, np.float64),
        centers=np.array([crop.region.center for crop in crops], np.float64),
        sides=np.array([crop.region.size for crop in crops], np.float64),
        principal_points=np.array([view.principal_point for view in views], np.float64),
        focal_lengths=np.array([view.focal_length for view in views], np.float64),
    )
    translations = image_translation(shown)
    if np.any(by_keypoints) and choice.focal_length != OFFICIAL:
        fitted = fitted_translation(vertices.astype(np.float64), shown)
        ahead = (vertices[..., 2] + fitted[:, 2:]).min(1) > 0  # False where a number is not finite
        translations = np.where((ahead & np.asarray(by_keypoints))[:, None], fitted, translations)
    return [Placement(*parts) for parts in zip(lengths, views, translations, strict=True)]


def recoveries(
    kind: str,
    crops: Sequence[PersonCrop],
    prediction: Prediction,
    mesh_joints: np.ndarray,
    places: Sequence[Placement],
    checkpoint: str,
    parameters: Sequence[BodyParameters | None] | None = None,
    notes: Sequence[str] | None = None,
) -> list[Recovery]:
    """The people of crops: what a network said of each, along the axes of the images; mesh_joints (B, J, 3)."""
    heatmaps = prediction.heatmap
    return [
        Recovery(
            kind=kind,
            crop=crop,
            camera=prediction.camera[i],
            joints=prediction.joints[i],
            mesh_joints=mesh_joints[i],
            vertices=prediction.vertices[i].copy(),  # one person does not hold the whole batch
            heatmap=None if heatmaps is None else heatmaps[i].copy(),
            image_camera=places[i].image_camera,
            translation=places[i].translation,
            focal_length=places[i].focal_length,
            checkpoint=checkpoint,
            parameters=None if parameters is None else parameters[i],
            refinement="" if notes is None else notes[i],
        )
        for i, crop in enumerate(crops)
    ]


FORMATS = ("npz", "json")
UNITS = {
    "joints": "meters, around the mesh's origin; x right, y down, z away from the camera; predicted directly",
    "mesh_joints": "as joints; regressed from the vertices",
    "vertices": "as joints",
    "joints_2d": "pixels of the whole image; the outer corner of the upper left pixel is (0, 0)",
    "mesh_joints_2d": "as joints_2d",
    "crop_center": "x, y of the square that the network was shown, pixels of the whole image",
    "crop_size": "its side, pixels of the whole image",
    "crop_rotation": "degrees by which it shows the image rotated counter-clockwise; all results are rotated back",
    "crop_origin": "what the crop was made from: center (of the image), box, or crop",
    "crop_camera": "scale, tx, ty: (x, y) meters land at crop_center + crop_size / 2 * scale * (x + tx, y + ty)",
    "refinement": "moved to N keypoints, or as predicted and why; empty without refinement",
    "box": "x, y, width, height, pixels of the whole image; none where the crop was not made from a box",
    "detector": "who told the box: movenet, torchvision:MODEL, module:function, a file of boxes; empty if it was given",
    "score": "the detector's, from 0 to 1; NaN (in JSON null) where there is none",
    "keypoints": "the detector's 17 keypoints of COCO: x, y in pixels of the whole image, score; or none",
    "focal_length": "pixels of the whole image, of the camera that all its people share",
    "focal_length_source": "given, fov, exif, diagonal (of the image), or official (1000 pixels for 224)",
    "focal_length_detail": "what it was computed from, or why EXIF was not used",
    "principal_point": "x, y, pixels of the whole image",
    "translation": "meters; added to vertices or joints it brings them before the whole image's camera",
    "image_size": "height, width, pixels",
}


def as_values(recovery: Recovery) -> dict[str, Any]:
    """Everything that is saved, by name: arrays, tuples, numbers and strings."""
    crop, camera = recovery.crop, recovery.image_camera
    kind = recovery.kind
    parameters = recovery.parameters.as_values(kind) if recovery.parameters is not None else {}
    side = {"side": "left" if crop.left else "right"} if recovery.kind == "hand" else {}
    return {
        "picture": crop.source,
        "person": crop.person,
        "kind": recovery.kind,
        **side,
        "checkpoint": recovery.checkpoint,
        "image_size": crop.image_size,
        "box": crop.box,
        "crop_center": crop.region.center,
        "crop_size": crop.region.size,
        "crop_rotation": crop.region.rotation,
        "crop_origin": crop.origin,
        **_detected(crop),
        "crop_camera": recovery.camera,
        "refinement": recovery.refinement,
        "focal_length": camera.focal_length,
        "focal_length_source": recovery.focal_length.source,
        "focal_length_detail": recovery.focal_length.detail,
        "principal_point": camera.principal_point,
        "translation": recovery.translation,
        "joint_names": recovery.joint_names,
        "joints": recovery.joints,
        "joints_2d": recovery.joints_2d,
        "mesh_joints": recovery.mesh_joints,
        "mesh_joints_2d": recovery.mesh_joints_2d,
        "vertices": recovery.vertices,
        **parameters,
        "units": UNITS | {name: text for name, text in parameter_schema(kind).items() if name in parameters},
    }


def _detected(crop: PersonCrop) -> dict[str, Any]:
    """What a detector said of a person."""
    known = crop.detection
    return {
        "detector": "" if known is None else known.detector,
        "score": None if known is None else known.score,
        "keypoints": None if known is None else known.keypoints,
    }


def as_plain(recovery: Recovery) -> dict[str, Any]:
    """The same without vertices and units, as numbers, lists and joints by name, ready for JSON."""
    values = as_values(recovery)
    return _plain({name: value for name, value in values.items() if name not in ("vertices", "units", "joint_names")})


def save_result(path: str | Path, recovery: Recovery) -> Path:
    """Writes one person's result; the ending chooses npz or json.

    In npz `units` and `body_model` are JSON texts, a missing box or missing keypoints are an empty array and a missing
    score is NaN; in json joints and keypoints are objects by name. ValueError for another ending, and for values that
    are not finite.
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
    if "body_model" in values:
        plain["body_model"] = json.dumps(values["body_model"])
    for name in ("box", "keypoints"):
        plain[name] = np.zeros(0) if values[name] is None else np.asarray(values[name])
    plain["score"] = np.nan if values["score"] is None else values["score"]
    stream = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in plain.items()}
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _json(values: dict[str, Any]) -> bytes:
    return json_text(_plain(values), allow_nan=False).encode()


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    for joints in ("joints", "joints_2d", "mesh_joints", "mesh_joints_2d"):
        plain[joints] = dict(zip(JOINT_NAMES[values["kind"]], plain[joints], strict=True))
    if plain["keypoints"] is not None:
        hand = JOINT_NAMES["hand"]
        names = hand if len(plain["keypoints"]) == len(hand) else COCO_NAMES
        plain["keypoints"] = dict(zip(names, plain["keypoints"], strict=True))
    return plain
