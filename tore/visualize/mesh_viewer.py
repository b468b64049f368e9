"""Meshes that a reader turns by hand in a page: the numbers, and a small script that draws them on a canvas.

Nothing but the page is needed: no WebGL, no library, no network. The script is `page/mesh_viewer.js`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from tore.visualize.renderer import vertex_normals

STEP = 1e-4  # metres; vertices are kept as 16-bit multiples of it
REACH = STEP * np.iinfo(np.int16).max


class ShownMesh(NamedTuple):
    """One mesh of a viewer."""

    name: str
    vertices: np.ndarray  # (V, 3) metres, camera frame (x right, y down, z away)
    color: tuple[float, float, float]  # in [0, 1]


def mesh_viewer(meshes: Sequence[ShownMesh], faces: np.ndarray, *, label: str) -> str:
    """The viewer's HTML: meshes of the same faces (F, 3), each moved to the middle of its box, with a button each.

    Raises ValueError for meshes larger than 3 metres from their middle or of more than 65535 vertices.
    """
    data = {
        "step": STEP,
        "faces": _packed(faces, np.uint16),
        "meshes": [_numbers(mesh, faces) for mesh in meshes],
    }
    choices = [("all", "all")] if len(meshes) > 1 else []
    choices = [(str(place), mesh.name) for place, mesh in enumerate(meshes)] + choices
    buttons = "".join(
        f'<button type="button" data-show="{value}" aria-pressed="{"true" if value == "0" else "false"}">'
        f"{escape(name)}</button>"
        for value, name in choices
    )
    text = escape(label, quote=True)
    return (
        f'<div class="mesh-viewer"><canvas tabindex="0" role="img" aria-label="{text}"></canvas>'
        f'<div class="buttons">{buttons}</div><script type="application/json">{json.dumps(data)}</script></div>'
    )


def _numbers(mesh: ShownMesh, faces: np.ndarray) -> dict[str, object]:
    vertices = np.asarray(mesh.vertices, np.float64)
    centred = vertices - (vertices.min(0) + vertices.max(0)) / 2
    if len(vertices) > np.iinfo(np.uint16).max or not (np.abs(centred) <= REACH).all():
        raise ValueError(
            f"mesh {mesh.name!r} has {len(vertices)} vertices up to {np.abs(centred).max():g} m from its middle; a "
            f"viewer takes {np.iinfo(np.uint16).max} within {REACH:.2f} m"
        )
    normals = vertex_normals(centred, np.asarray(faces)) * np.iinfo(np.int8).max
    return {
        "name": mesh.name,
        "color": [round(255 * part) for part in mesh.color],
        "vertices": _packed(np.rint(centred / STEP), np.int16),
        "normals": _packed(np.rint(normals), np.int8),
    }


def _packed(values: np.ndarray, kind: type) -> str:
    """Little-endian numbers in base64."""
    return base64.b64encode(np.ascontiguousarray(values).astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()
