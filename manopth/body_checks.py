"""What a body model's arrays must be: checked by their values, so that no plausible body comes out of a wrong file.

Every error is a ValueError of one sentence: the file, the array, what was found, what to do.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MODEL_ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
OPTIONAL_ARRAYS = ("betas", "hands_components", "hands_mean")
WHOLE = ("f", "kintree_table")
ROWS = ("betas", "hands_mean")  # one axis; a matrix of one row counts as such
FRACTIONS = ("v_template", "shapedirs", "posedirs", "hands_components", "hands_mean")
NUM_BETAS = 10
EXTENT = (0.02, 5.0)  # of a template, in meters: a hand has 0.2, a body with stretched arms 1.8
LARGEST_STEP = 1.0  # of a vertex for one unit of shape or pose, in meters; the official files' are below 0.1
WEIGHT_SLACK, REGRESSOR_SLACK = 0.01, 0.05  # float16 numbers and the official regressors stay within

AGAIN = "get the official file again"


def checked_body(raw: Mapping[str, Any], path: Path) -> dict[str, np.ndarray]:
    """The arrays of `manopth.files.load_body_arrays` out of what a file holds: dense, float64 or int64, plausible."""
    if missing := [name for name in MODEL_ARRAYS if name not in raw]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it is not a body model; {AGAIN}")
    held = {name: _numbers(raw[name], name, path) for name in (*MODEL_ARRAYS, *OPTIONAL_ARRAYS) if name in raw}
    _check_shapes(held, path)
    _check_lengths(held, path)
    _check_shares(held, path)
    _check_tree(held["kintree_table"], path)
    _check_faces(held["f"], len(held["v_template"]), path)
    return {name: array.astype(np.int64 if name in WHOLE else np.float64) for name, array in held.items()}


def _numbers(value: Any, name: str, path: Path) -> np.ndarray:
    """The entry `name` as a dense array of finite numbers, in the type in which the file holds them."""
    if hasattr(value, "official_name"):  # a placeholder of manopth.files
        raise ValueError(f"{path}: {name} is a {value.official_name} without stored numbers; {AGAIN}")
    try:
        array = _dense(value)
    except (TypeError, ValueError, MemoryError):
        array = np.empty(0, str)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: {name} is no array of numbers; {AGAIN}")
    if not (sound := np.isfinite(array)).all():
        first = ", ".join(map(str, np.argwhere(~sound)[0]))
        count = np.count_nonzero(~sound)
        raise ValueError(f"{path}: {name} holds {count} numbers that are not finite, the first at [{first}]; {AGAIN}")
    if name in FRACTIONS and array.dtype.kind in "biu":
        raise ValueError(f"{path}: {name} holds whole numbers ({array.dtype}), its fractions are lost; {AGAIN}")
    if name in WHOLE and array.dtype.kind == "f" and (array != np.rint(array)).any():
        raise ValueError(f"{path}: {name} holds fractions where it counts; {AGAIN}")
    return array.reshape(-1) if name in ROWS and array.ndim == 2 and len(array) == 1 else array


def _dense(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.item()
    array = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    if array.dtype != object:
        return array
    items = array.ravel().tolist()
    if any(item is None or isinstance(item, str | bytes) for item in items):
        raise TypeError("text or nothing")
    stacked = np.stack([np.asarray(item, np.float64) for item in items])
    return stacked.reshape(array.shape + stacked.shape[1:])


def _check_shapes(held: Mapping[str, np.ndarray], path: Path) -> None:
    vertices, joints = _counts(held)
    expected: dict[str, tuple[int | None, ...]] = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "kintree_table": (2, joints),
        "f": (None, 3),
    }
    for name, shape in expected.items():
        found = held[name].shape
        if _fits(found, shape):
            continue
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        turned = any(_fits(order, shape) for order in itertools.permutations(found))
        advice = f"its axes are in another order: transpose it, or {AGAIN}" if turned else AGAIN
        raise ValueError(f"{path}: {name} has shape {found}, not {wanted}; {advice}")
    if (directions := held["shapedirs"].shape[2]) < NUM_BETAS:
        raise ValueError(
            f"{path}: shapedirs holds {directions} shape directions, fewer than the {NUM_BETAS} that labels and "
            f"networks speak of; {AGAIN}"
        )


def _counts(held: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """How many vertices and joints most of the arrays speak of, whatever the order of their axes."""
    sides = {name: sorted(array.shape) for name, array in held.items() if array.ndim}
    many = ("v_template", "weights", "J_regressor", "shapedirs", "posedirs")
    vertices = Counter(sides[name][-1] for name in many if name in sides)
    joints = Counter(sides[name][0] for name in ("weights", "J_regressor") if name in sides)
    if "kintree_table" in sides:
        joints[sides["kintree_table"][-1]] += 1
    if len(sides.get("posedirs", ())) == 3:
        joints[1 + sides["posedirs"][1] // 9] += 1
    return (vertices.most_common(1) or [(0, 0)])[0][0], (joints.most_common(1) or [(1, 0)])[0][0]


def _fits(found: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(found) == len(shape) and all(n in (None, m) for n, m in zip(shape, found, strict=True))


def _check_lengths(held: Mapping[str, np.ndarray], path: Path) -> None:
    """Meters, told by the size of the whole and by how far one unit moves a vertex."""
    extent = float(np.ptp(held["v_template"].astype(np.float64), axis=0).max(initial=0))
    if not EXTENT[0] <= extent <= EXTENT[1]:
        raise ValueError(
            f"{path}: v_template extends over {extent:.4g}, which is no body or hand in meters; where its unit is the "
            f"millimeter, divide v_template, shapedirs and posedirs by 1000, or {AGAIN}"
        )
    for name in ("shapedirs", "posedirs"):
        step = float(np.abs(held[name]).max(initial=0))
        if step > LARGEST_STEP:
            raise ValueError(
                f"{path}: {name} moves a vertex by up to {step:.4g} for one unit, more than a meter: it is not in the "
                f"meters of v_template; {AGAIN}"
            )


def _check_shares(held: Mapping[str, np.ndarray], path: Path) -> None:
    """Skinning weights and joint regressor take shares of a whole: rows that sum to 1."""
    for name, what, slack in (("weights", "vertex", WEIGHT_SLACK), ("J_regressor", "joint", REGRESSOR_SLACK)):
        sums = held[name].astype(np.float64).sum(1)
        if (wrong := np.abs(sums - 1) > slack).any():
            row = int(wrong.argmax())
            raise ValueError(f"{path}: {name} of {what} {row} sums to {sums[row]:.4g}, not to 1; {AGAIN}")
    if (lowest := float(held["weights"].astype(np.float64).min(initial=0))) < -WEIGHT_SLACK:
        raise ValueError(f"{path}: weights holds {lowest:.4g}, a share below 0; {AGAIN}")


def _check_tree(table: np.ndarray, path: Path) -> None:
    joints = np.arange(table.shape[1])
    parents = table[0, 1:].astype(np.int64)
    if (parents < 0).any() or (parents >= joints[1:]).any():
        raise ValueError(f"{path}: kintree_table names a parent after its child; {AGAIN}")
    if (table[1] != joints).any():
        raise ValueError(f"{path}: the second row of kintree_table does not count the joints from 0; {AGAIN}")


def _check_faces(faces: np.ndarray, vertices: int, path: Path) -> None:
    if not faces.size:
        raise ValueError(f"{path}: f holds no faces; {AGAIN}")
    lowest, highest = faces.min(), faces.max()
    if (lowest, highest) == (1, vertices):
        raise ValueError(f"{path}: f counts the vertices from 1 to {vertices}: subtract 1, or {AGAIN}")
    if not 0 <= lowest <= highest < vertices:
        raise ValueError(f"{path}: f names a vertex outside 0..{vertices - 1}; {AGAIN}")
    kind = faces.dtype
    exact = 2 ** (np.finfo(kind).nmant + 1) if kind.kind == "f" else 1 if kind.kind == "b" else np.iinfo(kind).max
    if exact < vertices - 1:
        raise ValueError(f"{path}: f is stored as {kind}, which cannot count to {vertices - 1}; {AGAIN}")
