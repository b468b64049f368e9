"""FreiHAND's submission file, and its scores against the released evaluation annotations.

The server takes a zip that holds `pred.json`: [N lists of 21 joints, N lists of 778 vertices], xyz in meters, the hands
in the order of the images `evaluation/rgb/00000000.jpg` and on.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from tore.body.joints import FINGERTIP_JOINTS, HAND_FINGERTIP_VERTICES, HAND_NAMES, HAND_WRIST
from tore.evaluation.evaluator import EvaluationResult, Evaluator, sample_errors
from tore.files import parse_json, replacing

NAME = "pred.json"
SERVER_HANDS = 3960
POINTS = (21, 778)  # joints, vertices
DECIMALS = 7  # a ten thousandth of a millimetre
# What a zip that is damaged, encrypted or compressed in another way raises, and JSON that holds something else.
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, TypeError, RuntimeError, OSError)
LARGEST_SPAN = 10.0  # meters; a hand in centimetres spans more
FAR_FINGERTIP = 0.03  # meters
CHUNK = 64
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the zip's time stamp, so that the same hands give the same bytes


def image_order(keys: Sequence[str]) -> list[int]:
    """Places of the rows of a set in the order of their images' numbers, which end the names of their files.

    Raises ValueError where the numbers are not 0 to N - 1, each once: the server could not tell which hand is whose.
    """
    numbers = []
    for key in keys:
        stem = PurePosixPath(key).stem
        if not stem.isdigit():
            raise ValueError(f"row {key!r} is not named by an image's number, such as evaluation/rgb/00000012.jpg")
        numbers.append(int(stem))
    order = sorted(range(len(keys)), key=numbers.__getitem__)
    for place, row in enumerate(order):
        if numbers[row] != place:
            found = "twice" if place and numbers[order[place - 1]] == numbers[row] else f"where {place} is expected"
            raise ValueError(f"image {keys[row]!r} is there {found}; FreiHAND's file needs images 0 to N - 1 once")
    return order


def write_predictions(path: Path, joints: np.ndarray, vertices: np.ndarray) -> None:
    """Writes the zip whole or not at all. joints: (N, 21, 3), vertices: (N, 778, 3), meters.

    Raises ValueError for other shapes, and for numbers that are not finite.
    """
    check_shapes(joints, vertices, str(path))
    entry = zipfile.ZipInfo(NAME, FIRST_DAY)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with (
        replacing(path) as unfinished,
        zipfile.ZipFile(unfinished, "w") as archive,
        archive.open(entry, "w", force_zip64=True) as stream,
    ):
        for text in _json_parts(joints, vertices):
            stream.write(text.encode())


def _json_parts(joints: np.ndarray, vertices: np.ndarray) -> Iterator[str]:
    """The file's text, a hand at a time."""
    for opening, points in (("[[", joints), ("], [", vertices)):
        yield opening
        for place, hand in enumerate(points):
            yield (", " if place else "") + json.dumps(np.round(hand.astype(np.float64), DECIMALS).tolist())
    yield "]]"


def read_predictions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 21, 3) and vertices (N, 778, 3) of a submission: the zip, or the pred.json alone.

    Raises FileNotFoundError, or ValueError that says what the server could not use.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give a zip that holds {NAME}, or that file")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open(NAME) as stream:
                content = _parse(stream.read())
        else:
            with path.open("rb") as file:
                content = _parse(file.read())
        joints, vertices = (np.asarray(part, np.float64) for part in content)
    except KeyError:
        raise ValueError(f"{path} holds no {NAME} at its top") from None
    except DAMAGED_ZIP as error:
        raise ValueError(f"{path} is not [joints, vertices] of N hands as JSON ({error})") from None
    check_shapes(joints, vertices, str(path))
    span = np.median(np.ptp(vertices, axis=1).max(1))
    if span > LARGEST_SPAN:
        raise ValueError(f"{path}: its hands span {span:.3g}, and the unit is the meter; divide millimetres by 1000")
    return joints, vertices


def _parse(text: bytes) -> list:
    content = parse_json(text, NAME)
    if not isinstance(content, list) or len(content) != 2:
        raise ValueError("its outermost list does not have two parts")
    return content


def check_shapes(joints: np.ndarray, vertices: np.ndarray, source: str) -> None:
    """ValueError where there are not N hands of 21 and 778 finite points."""
    for name, points, count in zip(("joints", "vertices"), (joints, vertices), POINTS, strict=True):
        if points.shape != (len(joints), count, 3) or not len(points):
            raise ValueError(f"{source}: {name} have shape {points.shape}, expected (N, {count}, 3) for N hands")
        if not np.isfinite(points).all():
            hand = int(np.argmin(np.isfinite(points).all((1, 2))))
            raise ValueError(f"{source}: {name} of hand {hand} hold a number that is not finite")


def sanity_warnings(joints: np.ndarray, vertices: np.ndarray) -> list[str]:
    """What looks wrong about a submission that can be read: its length, or the order of its joints or vertices."""
    found = []
    if len(joints) != SERVER_HANDS:
        found.append(f"the server takes {SERVER_HANDS} hands, these are {len(joints)}")
    away = np.linalg.norm(joints[:, FINGERTIP_JOINTS] - vertices[:, HAND_FINGERTIP_VERTICES], axis=2)
    if (distance := np.median(away)) > FAR_FINGERTIP:
        found.append(
            f"fingertips lie {distance * 1000:.0f} mm from their vertices: are joints in the order wrist, thumb, "
            "index, middle, ring, pinky, and vertices in MANO's?"
        )
    return found


def score(
    joints: np.ndarray,
    vertices: np.ndarray,
    true_joints: np.ndarray,
    true_vertices: np.ndarray,
    progress: Callable[[int], object] = lambda done: None,
) -> EvaluationResult:
    """Metrics of N hands: (N, 21, 3) and (N, 778, 3), predicted and true, meters; progress is told how many are done.

    Errors that are not aligned are relative to each hand's own wrist. ValueError where there are not as many hands.
    """
    if len(joints) != len(true_joints):
        raise ValueError(f"{len(joints)} hands are predicted, the annotations hold {len(true_joints)}")
    evaluator = Evaluator(HAND_NAMES, kind="hand")
    for start in range(0, len(joints), CHUNK):
        chosen = slice(start, start + CHUNK)
        held = [torch.from_numpy(points[chosen]) for points in (joints, vertices, true_joints, true_vertices)]
        wrist, true_wrist = held[0][:, [HAND_WRIST]], held[2][:, [HAND_WRIST]]
        labeled = torch.ones(len(wrist))
        errors = sample_errors(
            joints=held[0] - wrist,
            true_joints=held[2] - true_wrist,
            vertices=held[1] - wrist,
            true_vertices=held[3] - true_wrist,
            has_joints_3d=labeled,
            has_mesh=labeled,
            center=(HAND_WRIST,),
            kind="hand",
        )
        evaluator.update(errors)
        progress(len(wrist))
    return evaluator.result()
