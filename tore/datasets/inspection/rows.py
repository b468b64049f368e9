"""What is checked of one row, its image file and its label, and how findings are reported."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tore.datasets.images import decode_pure_base64, image_bytes, row_key
from tore.datasets.label import Label
from tore.datasets.sets import BadSample, Place
from tore.files import parse_json
from tore.geometry.alignment import FIT_JOINTS, fit_weak_perspective
from tore.geometry.camera import PinholeCamera
from tore_runtime.crop import Crop
from tore_runtime.cutting import crop_bounds

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """One thing found at one place; an error makes a set unfit for use, a warning asks for a look."""

    severity: str
    check: str  # which check found it
    place: str  # file and row
    key: str
    text: str


@dataclass
class SetReport:
    """All findings of a set of `samples` samples, and notes on what could not be checked."""

    path: str
    samples: int
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, severity: str) -> int:
        """Findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def rows_per_second(self) -> float:
        """Samples checked per second."""
        return self.samples / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"errors": self.count(ERROR), "warnings": self.count(WARNING)}

    def table(self, shown: int = 5) -> str:
        """A text table: how often each check found something, and its first `shown` findings."""
        lines = [f"{self.path}: {self.samples} samples, {self.count(ERROR)} errors, {self.count(WARNING)} warnings"]
        lines.append(f"checked in {self.seconds:.1f} s, {self.rows_per_second:.0f} rows/s")
        lines += [f"note: {note}" for note in self.notes]
        groups = Counter((finding.severity, finding.check) for finding in self.findings)
        for (severity, check), count in sorted(groups.items()):
            lines += ["", f"{severity:<8}{check:<22}{count:>8}"]
            found = [f for f in self.findings if (f.severity, f.check) == (severity, check)]
            lines += [f"  {finding.place} (key {finding.key!r}): {finding.text}" for finding in found[:shown]]
            if count > shown:
                lines.append(f"  ... and {count - shown} more")
        return "\n".join(lines)


PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def check_image_file(columns: list[bytes], place: Place) -> None:
    """Raises BadSample for damage that some decoders pass over: stray characters, files cut short, wrong checksums."""
    data = image_bytes(columns, place)
    finding = None
    if decode_pure_base64(columns[-1]) is None:
        finding = "the image is not base64 (with foreign characters)"
    elif data.startswith(JPEG_START) and JPEG_END not in data[max(data.rfind(JPEG_SCAN), 0) :]:
        finding = "the JPEG file has no end: it was cut short"
    elif data.startswith(PNG_START):
        finding = _png_damage(data)
    if finding:
        raise BadSample.at(place, row_key(columns), finding)


def _png_damage(data: bytes) -> str | None:
    position = len(PNG_START)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name, end = data[position + 4 : position + 8], position + 8 + length
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"the PNG file's part {name!r} has a wrong checksum"
        if name == PNG_END:
            return None
        position = end + 4
    return "the PNG file has no end: it was cut short"


def parse_size(columns: list[bytes], place: Place) -> tuple[int, int]:
    """(height, width) of an hw row: JSON [{"height": h, "width": w}], or "h w". BadSample where it is neither."""
    text = columns[-1].decode(errors="replace")
    try:
        if text.lstrip().startswith(("[", "{")):
            value = parse_json(text, "the size")
            value = value[0] if isinstance(value, list) else value
            height, width = value["height"], value["width"]
        else:
            height, width = map(int, text.split())
        if type(height) is not int or type(width) is not int or min(height, width) < 1:
            raise ValueError
    except (ValueError, KeyError, IndexError, TypeError):
        finding = f'the size is {text[:60]!r}, expected [{{"height": h, "width": w}}]'
        raise BadSample.at(place, row_key(columns), finding) from None
    return height, width


Remark = tuple[str, str, str]

BODY_EXTENT, HAND_EXTENT = (0.3, 4.0), (0.02, 0.5)  # meters: diagonal of the box around the 3D joints
POSE_LIMIT = 4 * np.pi  # radians of one joint
BETA_WARNING, BETA_LIMIT = 5.0, 20.0
BOX_LIMITS = (8.0, 8.0)  # pixels at least, and image sides at most
IMAGE_MARGIN = 0.1  # of the image's side that a joint may lie outside
CROP_MARGIN = 1.0  # of the crop's side that a joint may lie outside
FIT_WARNING, FIT_LIMIT = 0.08, 0.25  # residual / diagonal of the 2D joints
CAMERA_LIMIT = 0.01  # of the person's size, between 2D joints and those that the recorded camera sees
MODEL_WARNING, MODEL_LIMIT = 0.06, 0.2  # meters, mean distance


def check_ranges(label: Label, hand: bool) -> Iterator[Remark]:
    """Pose, shape, confidences and the extent of the 3D joints."""
    if label.has_smpl:
        angle = np.linalg.norm(label.pose.reshape(-1, 3), axis=1).max()
        if angle > POSE_LIMIT:
            yield ERROR, "value range", f"a joint of the pose turns by {angle:.4g} radians (degrees?)"
        beta = np.abs(label.betas).max()
        if beta > BETA_WARNING:
            yield ERROR if beta > BETA_LIMIT else WARNING, "value range", f"a shape coefficient is {beta:.4g}"
    for name, joints in (("2d_joints", label.joints_2d), ("3d_joints", label.joints_3d)):
        low, high = joints[:, -1].min(), joints[:, -1].max()
        if low < 0 or high > 1:
            found = f"confidences of {name} span {low:.4g} to {high:.4g}, expected 0 to 1"
            yield ERROR if low < 0 else WARNING, "value range", found
    seen = label.joints_3d[label.joints_3d[:, 3] > 0, :3]
    if label.has_3d_joints and len(seen) == 0:
        yield WARNING, "value range", "has_3d_joints is 1, but no 3D joint has a confidence above 0"
    elif label.has_3d_joints and len(seen) >= FIT_JOINTS:
        extent = float(np.linalg.norm(np.ptp(seen, axis=0)))
        low, high = HAND_EXTENT if hand else BODY_EXTENT
        if not low <= extent <= high:
            yield ERROR, "value range", f"3D joints span {extent:.4g} m, expected {low} to {high} (millimetres?)"


def check_labelled(label: Label, root: int) -> Iterator[Remark]:
    """What is said to be labeled and is not. `root`: the joint that others are relative to, which may lie at 0."""
    confidence, points = label.joints_3d[:, 3], label.joints_3d[:, :3]
    without = np.flatnonzero(confidence <= 0)
    if label.has_3d_joints and 0 < len(without) < len(confidence):
        shown = ", ".join(map(str, without))
        text = f"has_3d_joints is 1, but joints {shown} have confidence 0: errors and losses leave them out"
        yield WARNING, "3D labels", text
    at_zero = [joint for joint in np.flatnonzero((confidence > 0) & ~points.any(1)) if joint != root]
    if label.has_3d_joints and at_zero:
        shown = ", ".join(map(str, at_zero))
        yield WARNING, "3D labels", f"joints {shown} lie at exactly (0, 0, 0) with a confidence above 0 (unlabeled?)"
    if label.has_smpl and not label.pose.any() and not label.betas.any():
        yield WARNING, "pose labels", "has_smpl is 1, but all numbers of pose and betas are 0 (unlabeled?)"


def check_in_image(label: Label, height: int, width: int, size: int) -> Iterator[Remark]:
    """The crop's box and the 2D joints against the image (height, width) and each other."""
    try:
        box = crop_bounds(Crop.of_label(label.center, label.scale), size)
    except ValueError as error:
        yield ERROR, "box", str(error)
        return
    if box.right <= 0 or box.bottom <= 0 or box.left >= width or box.top >= height:
        yield ERROR, "box", f"{tuple(box)} (left, top, right, bottom) lies outside the image of {width} x {height}"
    elif not (0 <= label.center[0] <= width and 0 <= label.center[1] <= height):
        yield WARNING, "box", f"its center lies outside the image of {width} x {height}"
    if max(box.width, box.height) < BOX_LIMITS[0] or box.height > BOX_LIMITS[1] * max(height, width):
        yield ERROR, "box", f"is {box.width} x {box.height} pixels in an image of {width} x {height}"
    seen = label.joints_2d[label.joints_2d[:, 2] > 0, :2]
    if not label.has_2d_joints:
        return
    if len(seen) == 0:
        yield WARNING, "2D joints", "has_2d_joints is 1, but no 2D joint has a confidence above 0"
        return
    margin = IMAGE_MARGIN * max(height, width)
    outside = ((seen < -margin) | (seen > np.array([width, height]) + margin)).any(1)
    if outside.mean() > 0.5:
        yield ERROR, "2D joints", f"{outside.sum()} of {len(seen)} lie outside the image of {width} x {height}"
    elif outside.any():
        yield WARNING, "2D joints", f"{outside.sum()} of {len(seen)} lie outside the image of {width} x {height}"
    margin = CROP_MARGIN * box.height
    low, high = np.array([box.left, box.top]) - margin, np.array([box.right, box.bottom]) + margin
    away = ((seen < low) | (seen > high)).any(1)
    if away.mean() > 0.5:
        yield ERROR, "2D joints", f"{away.sum()} of {len(seen)} lie far from the box that is cropped"


def check_agreement(label: Label, recorded: object = None) -> Iterator[Remark]:
    """3D joints against 2D joints, under the camera that the row has `recorded` (focal_length, principal_point,
    translation), else under the best weak-perspective camera.
    """
    fit = fit_weak_perspective(label.joints_3d, label.joints_2d)
    if not (label.has_2d_joints and label.has_3d_joints) or fit is None:
        return
    diagonal = max(float(np.linalg.norm(np.ptp(label.joints_2d[label.joints_2d[:, 2] > 0, :2], axis=0))), 1e-12)
    if recorded is not None:
        off = _off_recorded(label, recorded)
        if not off / diagonal <= CAMERA_LIMIT:
            yield (
                ERROR,
                "3D against 2D",
                f"the recorded camera is off by {off:.4g} pixels",
            )
        return
    share = fit.residual / diagonal
    if fit.scale <= 0:
        yield ERROR, "3D against 2D", "the 3D joints fit only turned upside down or mirrored"
    elif share > FIT_WARNING:
        found = f"the best fit is off by {fit.residual:.4g} pixels, {share:.0%} of the person's size"
        yield ERROR if share > FIT_LIMIT else WARNING, "3D against 2D", found


def _off_recorded(label: Label, recorded: object) -> float:
    """Pixels between the labeled 2D joints and where a recorded camera sees the 3D joints; NaN if it cannot be read."""
    try:
        values = dict(recorded)  # type: ignore[call-overload]
        x, y = (float(value) for value in values["principal_point"])
        camera = PinholeCamera(float(values["focal_length"]), (x, y))
        translation = np.array(values["translation"], np.float64).reshape(3)
    except (KeyError, TypeError, ValueError):
        return float("nan")
    used = (label.joints_3d[:, 3] > 0) & (label.joints_2d[:, 2] > 0)
    with np.errstate(all="ignore"):
        seen = camera.project(label.joints_3d[used, :3] + translation)
    return float(np.sqrt(np.square(seen - label.joints_2d[used, :2]).sum(1).mean()))


def check_model_joints(label: Label, model_joints: np.ndarray) -> Iterator[Remark]:
    """3D joints against those of the body model, (J, 3) meters, both about their middle."""
    used = label.joints_3d[:, 3] > 0
    if not (label.has_smpl and label.has_3d_joints) or used.sum() < FIT_JOINTS:
        return
    theirs, ours = label.joints_3d[used, :3], model_joints[used]
    distance = np.linalg.norm((theirs - theirs.mean(0)) - (ours - ours.mean(0)), axis=1).mean()
    if distance > MODEL_WARNING:
        found = f"the model's joints are {distance * 1000:.0f} mm from the 3D joints on average"
        yield ERROR if distance > MODEL_LIMIT else WARNING, "model against 3D", found
