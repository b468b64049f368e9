"""Which hand a MANO model is, and the known fault in the shape directions of the left one.

MANO's left hand is the right one mirrored: x of every vertex, and of every shape direction, is negated. The file of the
left hand that MANO's site gives has the template mirrored, but the x components of its shape directions as in the
right hand's, so that the same shape makes two different hands.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

WRIST, THUMB = 0, (13, 14, 15)
FINGERS = {"index": (1, 2, 3), "middle": (4, 5, 6), "pinky": (7, 8, 9), "ring": (10, 11, 12)}
PALM_LENGTH = (0.03, 0.2)  # meters from the wrist to the middle finger's first joint
CLEAR = 0.05  # the thumb's distance from the plane of the palm, in palm lengths; the official hand's is 0.2
SAME = 0.05  # relative difference of a shape direction from the expected one
MIRROR = np.array([[-1.0], [1.0], [1.0]])


def side_of(arrays: Mapping[str, np.ndarray]) -> str | None:
    """ "right" or "left" by the skeleton's shape, in whatever position; None for what is not shaped like a hand.

    The thumb lies on the palm's side of the plane through the wrist and the fingers' first joints.
    """
    joints = arrays["J_regressor"] @ arrays["v_template"]  # (16,3)
    palm = joints[FINGERS["middle"][0]] - joints[WRIST]
    length = float(np.linalg.norm(palm))
    if not PALM_LENGTH[0] <= length <= PALM_LENGTH[1]:
        return None
    along = (joints - joints[WRIST]) @ palm / length  # how far each joint lies in the fingers' direction
    if any((np.diff(along[[WRIST, *finger]]) <= 0).any() for finger in FINGERS.values()):
        return None
    normal = np.cross(palm, joints[FINGERS["index"][0]] - joints[FINGERS["pinky"][0]])
    height = (joints[list(THUMB)] - joints[WRIST]).mean(0) @ normal / max(float(np.linalg.norm(normal)), 1e-12)
    if abs(height) < CLEAR * length:
        return None
    return "left" if height > 0 else "right"


def check_side(arrays: Mapping[str, np.ndarray], side: str, path: Path) -> None:
    """ValueError where the template is plainly the other hand's."""
    found = side_of(arrays)
    if found not in (None, side):
        raise ValueError(
            f"{path} holds a {found} hand, and a {side} one is requested: use side={found!r} with it, or get "
            f"MANO_{side.upper()}.pkl from MANO's site, https://mano.is.tue.mpg.de"
        )


def unmirrored(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(S,) bool: the shape directions (V, 3, S) of the left hand whose x is the right hand's and not its mirror image.

    Raises ValueError where a direction is neither.
    """
    if left.shape != right.shape:
        raise ValueError(f"they have shapes {left.shape} and {right.shape}")
    size = np.maximum(np.linalg.norm(right, axis=(0, 1)), 1e-12)  # (S,)
    as_right = np.linalg.norm(left - right, axis=(0, 1)) / size
    mirrored = np.linalg.norm(left - right * MIRROR, axis=(0, 1)) / size
    if (np.minimum(as_right, mirrored) > SAME).any():
        raise ValueError(f"direction {int(np.minimum(as_right, mirrored).argmax())} is neither the same nor mirrored")
    return as_right < mirrored


def fixed_shape(left: np.ndarray, right: np.ndarray, paths: tuple[Path, Path]) -> np.ndarray:
    """The left hand's shape directions (V, 3, S) with x mirrored wherever it is the right hand's.

    `paths` are the files of both, for the error where the two are not one model's.
    """
    try:
        wrong = unmirrored(left, right)
    except ValueError as error:
        raise ValueError(
            f"the shape directions of {paths[0]} and {paths[1]} are not those of one model ({error}): get both files "
            "from MANO's site, https://mano.is.tue.mpg.de, or leave fix_left_shape out"
        ) from None
    return np.where(wrong, left * MIRROR, left)
