"""Numpy's arrays as pickles describe them, rebuilt here from shape, type and bytes.

A pickle never touches numpy's own array and type objects: their state holds flags that a forged file may set, and with
the wrong ones numpy takes a file's bytes for addresses in memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

PLAIN_KINDS = "biufcSU"  # numbers and text; objects ("O") come as a list, never as bytes
BYTE_ORDERS = ("<", ">", "=", "|")


class PickledType:
    """Stands in for `numpy.dtype`: of its pickled state only the byte order is taken."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in PLAIN_KINDS + "O" or self.dtype.shape:
            raise ValueError(f"it holds an array of type {name!r}")

    def __setstate__(self, state: Any) -> None:
        order, inside = state[1], state[2:5]
        if order not in BYTE_ORDERS or any(part is not None for part in inside):
            raise ValueError(f"the state of an array type is {str(state)[:60]}")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """Stands in for `numpy.ndarray`; `array` holds the numbers, and `np.asarray` takes it as they are."""

    def __init__(self, *arguments: Any) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        shape, kind, fortran, data = state[-4:]  # newer versions put a version number in front
        self.array = array_from_data(data, kind, shape, "F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


def array_from_data(data: Any, kind: Any, shape: Any, order: str = "C") -> np.ndarray:
    """An array of `shape` from its bytes, or from the list of its items where they are objects.

    Raises ValueError where `kind` is no `PickledType`, or the data does not fit the shape.
    """
    if not isinstance(kind, PickledType):
        raise ValueError(f"the type of an array is {str(kind)[:60]}")
    shape = tuple(int(side) for side in shape)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array has shape {shape}")
    items = math.prod(shape)
    objects = kind.dtype.kind == "O"
    if objects != isinstance(data, list):
        raise ValueError(f"an array of type {kind.dtype} holds a {type(data).__name__}")
    raw = data.encode("latin1") if isinstance(data, str) else data
    if len(raw) != items * (1 if objects else kind.dtype.itemsize):
        raise ValueError(f"an array of shape {shape} holds {len(raw)} {'items' if objects else 'bytes'}")
    if not objects:
        return np.ndarray(shape, kind.dtype, buffer=raw, order="F" if order == "F" else "C").copy()
    flat = np.empty(items, dtype=object)
    for index, item in enumerate(raw):
        flat[index] = item
    return flat.reshape(shape, order="F" if order == "F" else "C")
