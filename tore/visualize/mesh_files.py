"""Meshes written as obj, ply or glb: meters, with normals, a name, and a note on units and axes.

Viewers take y as up and look along -z, so vertices of the camera frame (x right, y down, z forward) are written
turned half a turn about x, (x, -y, -z), unless `frame="camera"` asks for the numbers as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tore.files import write_whole
from tore.visualize.renderer import vertex_normals

FORMATS = ("obj", "ply", "glb")
AXES = {"viewer": "x right, y up, z to the viewer", "camera": "x right, y down, z away from the viewer"}
TO_VIEWER = np.array([1.0, -1.0, -1.0])


def save_mesh(
    path: str | Path,
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    name: str = "mesh",
    colors: np.ndarray | None = None,
    frame: str = "viewer",
) -> Path:
    """Writes vertices (V, 3) meters of the camera frame and faces (F, 3); the ending chooses the kind.

    colors: (V, 3) uint8. Vertex order and count are kept. The file appears whole or not at all.
    Raises ValueError for another ending or frame, ImportError where trimesh is missing.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: meshes are written as {', '.join(FORMATS)}, not {path.suffix or 'without ending'!r}")
    if frame not in AXES:
        raise ValueError(f"frame {frame!r} is not known; choose from {', '.join(AXES)}")
    placed = np.asarray(vertices, np.float64) * (TO_VIEWER if frame == "viewer" else 1.0)
    mesh = _trimesh(placed, np.asarray(faces), colors, {"name": name, "units": "meters", "axes": AXES[frame]})
    content = _encoded(mesh, kind, name, f"{name}: meters, {AXES[frame]}")
    write_whole(path, content)
    return path


def need_mesh_packages() -> Any:
    """The `trimesh` package, or ImportError with one sentence that says how to get it."""
    try:
        import trimesh
    except ImportError as error:
        raise ImportError(f"writing a mesh file needs the package trimesh: pip install trimesh ({error})") from error
    return trimesh


def _trimesh(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None, notes: dict[str, str]) -> Any:
    trimesh = need_mesh_packages()
    mesh = trimesh.Trimesh(
        vertices, faces, vertex_normals=vertex_normals(vertices, faces), process=False, metadata=notes
    )
    if colors is not None:
        mesh.visual.vertex_colors = np.asarray(colors, np.uint8)
    return mesh


def _encoded(mesh: Any, kind: str, name: str, note: str) -> bytes:
    from trimesh import Scene
    from trimesh.exchange.obj import export_obj
    from trimesh.exchange.ply import export_ply

    if kind == "glb":
        scene = Scene(metadata=dict(mesh.metadata))
        scene.add_geometry(mesh, node_name=name, geom_name=name)
        return bytes(scene.export(file_type="glb", include_normals=True))
    if kind == "obj":
        text = export_obj(mesh, include_normals=True, header=None)
        return f"# {note}\no {name}\n{text}".encode()
    content = bytes(export_ply(mesh, vertex_normal=True))
    return content.replace(b"ply\n", f"ply\ncomment {note}\n".encode(), 1)
