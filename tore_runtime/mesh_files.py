"""Meshes written as obj, ply or glb, and scenes of an image's people: meters, with normals, names, units and axes.

Viewers take y as up and look along -z, so vertices of the camera frame (x right, y down, z forward) are written
turned half a turn about x, (x, -y, -z), unless `frame="camera"` asks for the numbers as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tore_runtime.camera import PinholeCamera
from tore_runtime.files import write_whole
from tore_runtime.renderer import vertex_normals

FORMATS = ("obj", "ply", "glb")
SCENE_FORMATS = ("glb", "obj")
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
    remark: str = "",
) -> Path:
    """Writes vertices (V, 3) meters of the camera frame and faces (F, 3); the ending chooses the kind.

    colors: (V, 3) uint8. remark: one more line of the file's comment, in glb of its metadata. Vertex order and count
    are kept. The file appears whole or not at all.
    Raises ValueError for another ending or frame, ImportError where trimesh is missing.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: meshes are written as {', '.join(FORMATS)}, not {path.suffix or 'without ending'!r}")
    if frame not in AXES:
        raise ValueError(f"frame {frame!r} is not known; choose from {', '.join(AXES)}")
    placed = np.asarray(vertices, np.float64) * (TO_VIEWER if frame == "viewer" else 1.0)
    notes = {"name": name, "units": "meters", "axes": AXES[frame]} | ({"remark": remark} if remark else {})
    mesh = _trimesh(placed, np.asarray(faces), colors, notes)
    content = _encoded(mesh, kind, name, [f"{name}: meters, {AXES[frame]}", *([remark] if remark else [])])
    write_whole(path, content)
    return path


class PlacedMesh(NamedTuple):
    """One of a scene's meshes, before the camera."""

    name: str
    vertices: np.ndarray  # (V, 3) meters in the camera frame
    faces: np.ndarray  # (F, 3)
    color: tuple[float, float, float]  # in [0, 1]


def save_scene(
    path: str | Path, meshes: Sequence[PlacedMesh], camera: PinholeCamera, image_size: tuple[int, int]
) -> Path:
    """Writes meshes before the camera of an image (height, width) as one file; the ending chooses glb or obj.

    The camera is at the origin and looks along -z, y up. A glb file holds it as a node, for which its principal point
    has to be the image's center, an obj file as a comment. Raises ValueError for another ending, and for no mesh.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in SCENE_FORMATS:
        raise ValueError(f"{path}: scenes are written as {' or '.join(SCENE_FORMATS)}")
    if not meshes:
        raise ValueError(f"{path}: a scene needs one mesh at least")
    trimesh, (height, width) = need_mesh_packages(), image_size
    seen = f"camera at the origin, looking along -z; focal length {camera.focal_length:.10g} pixels"
    note = f"{seen}, image of {width} x {height} pixels, principal point {camera.principal_point}"
    scene = trimesh.Scene(metadata={"units": "meters", "axes": AXES["viewer"], "camera": note})
    for mesh in meshes:
        colors = np.tile(np.rint(255 * np.array(mesh.color)).astype(np.uint8), (len(mesh.vertices), 1))
        placed = _trimesh(mesh.vertices * TO_VIEWER, mesh.faces, colors, {"name": mesh.name})
        scene.add_geometry(placed, node_name=mesh.name, geom_name=mesh.name)
    write_whole(path, _glb_scene(scene, camera, image_size) if kind == "glb" else _obj_scene(scene, note))
    return path


def _glb_scene(scene: Any, camera: PinholeCamera, image_size: tuple[int, int]) -> bytes:
    from trimesh.exchange.gltf import export_glb

    height, width = image_size
    yfov = 2 * math.atan(height / (2 * camera.focal_length))
    lens = {"aspectRatio": width / height, "yfov": yfov, "znear": 0.01}

    def add_camera(tree: dict[str, Any]) -> None:
        """As a node of the scene; trimesh's own takes the angles' ratio for the aspect ratio."""
        tree["cameras"] = [{"name": "image", "type": "perspective", "perspective": lens}]
        tree["nodes"].append({"name": "camera", "camera": 0})
        tree["scenes"][0]["nodes"].append(len(tree["nodes"]) - 1)

    return bytes(export_glb(scene, include_normals=True, tree_postprocessor=add_camera))


def _obj_scene(scene: Any, note: str) -> bytes:
    from trimesh.exchange.obj import export_obj

    return f"# meters, {AXES['viewer']}\n# {note}\n{export_obj(scene, include_normals=True, header=None)}\n".encode()


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


def _encoded(mesh: Any, kind: str, name: str, notes: Sequence[str]) -> bytes:
    from trimesh import Scene
    from trimesh.exchange.obj import export_obj
    from trimesh.exchange.ply import export_ply

    if kind == "glb":
        scene = Scene(metadata=dict(mesh.metadata))
        scene.add_geometry(mesh, node_name=name, geom_name=name)
        return bytes(scene.export(file_type="glb", include_normals=True))
    if kind == "obj":
        text = export_obj(mesh, include_normals=True, header=None)
        return "".join([*(f"# {note}\n" for note in notes), f"o {name}\n", text]).encode()
    content = bytes(export_ply(mesh, vertex_normal=True))
    comments = "".join(f"comment {note}\n" for note in notes)
    return content.replace(b"ply\n", f"ply\n{comments}".encode(), 1)
