"""Rigs as one binary glTF 2.0 file: skinned meshes, skeletons and their animation, written without a library.

The mesh and the nodes are in the rest pose, the animation has one key a frame. Joints have no rotation in the rest
pose; places are meters, y up. Skins have no pose correctives, which glTF cannot hold.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tore import __version__
from tore.files import write_whole
from tore.motion.rig import INFLUENCES, Array, Rig
from tore_runtime.renderer import MESH_COLOR, vertex_normals

FLOAT, UNSIGNED_BYTE, UNSIGNED_INT = 5126, 5121, 5125  # component types
SHAPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (16,): "MAT4"}  # of an accessor's elements
VERTEX_DATA, INDICES = 34962, 34963  # targets of buffer views
GAMMA = 2.2  # colors of glTF are linear
ROUGHNESS = 0.7
CHUNK_JSON, CHUNK_BINARY = b"JSON", b"BIN\0"
NOTE = {"units": "meters", "axes": "x right, y up, z to the viewer", "skin": "no pose correctives"}
Color = tuple[float, float, float]


def save_glb(path: str | Path, rigs: Sequence[Rig], colors: Sequence[Color] = (MESH_COLOR,)) -> Path:
    """Writes rigs as one scene; the file appears whole or not at all. colors: of the rigs in turn, in [0, 1].

    Raises ValueError for another ending than .glb and for no rig, OutputError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".glb":
        raise ValueError(f"{path}: skinned animations are written as .glb")
    if not rigs:
        raise ValueError(f"{path}: an animation needs one body at least")
    write_whole(path, glb_bytes(rigs, colors))
    return path


def glb_bytes(rigs: Sequence[Rig], colors: Sequence[Color] = (MESH_COLOR,)) -> bytes:
    """The content of the file."""
    scene = _Scene()
    for index, rig in enumerate(rigs):
        scene.add(rig, colors[index % len(colors)])
    text, binary = scene.finished()
    head = json.dumps(text, separators=(",", ":")).encode()
    parts = {CHUNK_JSON: head + b" " * (-len(head) % 4), CHUNK_BINARY: binary}
    chunks = b"".join(struct.pack("<I4s", len(content), kind) + content for kind, content in parts.items())
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


class _Scene:
    """The document under way: glTF's tables and the bytes that they point into."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("nodes", "meshes", "skins", "materials", "accessors", "bufferViews")
        }
        self.roots: list[int] = []
        self.channels: list[dict[str, Any]] = []
        self.samplers: list[dict[str, Any]] = []
        self.binary = bytearray()

    def add(self, rig: Rig, color: Color) -> None:
        """A rig: an empty node with the skeleton below it, and the skinned mesh beside that."""
        nodes = self.tables["nodes"]
        first = len(nodes) + 1  # node of joint 0
        nodes.append({"name": rig.name, "children": [first]})
        for joint, (name, offset) in enumerate(zip(rig.joint_names, rig.offsets, strict=True)):
            node: dict[str, Any] = {"name": name, "translation": np.float32(offset).tolist()}
            if below := [first + other for other, parent in enumerate(rig.parents) if parent == joint]:
                node["children"] = below
            nodes.append(node)
        joints = list(range(first, first + len(rig.parents)))
        material = self._put("materials", _material(rig.name, color))
        mesh = self._put("meshes", {"name": rig.name, "primitives": [self._primitive(rig) | {"material": material}]})
        skin = self._put("skins", {"joints": joints, "skeleton": first, "inverseBindMatrices": self._bind(rig)})
        self.roots += [first - 1, self._put("nodes", {"name": f"{rig.name}_mesh", "mesh": mesh, "skin": skin})]
        self._animate(rig, joints)

    def _primitive(self, rig: Rig) -> dict[str, Any]:
        """The rest mesh, its vertices doubled where the texture has a seam."""
        skin = rig.skin
        normals = vertex_normals(skin.vertices, skin.faces)
        normals[~normals.any(1)] = (0, 1, 0)  # of a vertex without faces
        source, faces, places = _at_seams(rig)
        joints = np.argsort(-skin.weights, 1, kind="stable")[:, :INFLUENCES]  # (V, 4)
        weights = np.take_along_axis(skin.weights, joints, 1)
        attributes = {
            "POSITION": self._accessor(skin.vertices[source], bounds=True, target=VERTEX_DATA),
            "NORMAL": self._accessor(normals[source], target=VERTEX_DATA),
            "JOINTS_0": self._accessor(np.where(weights > 0, joints, 0).astype(np.uint8)[source], target=VERTEX_DATA),
            "WEIGHTS_0": self._accessor((weights / weights.sum(1, keepdims=True))[source], target=VERTEX_DATA),
        }
        if places is not None:
            attributes["TEXCOORD_0"] = self._accessor(places, target=VERTEX_DATA)
        return {"attributes": attributes, "indices": self._accessor(faces.astype(np.uint32).ravel(), target=INDICES)}

    def _bind(self, rig: Rig) -> int:
        """The accessor of the inverse bind matrices, column by column."""
        matrices = np.tile(np.eye(4), (len(rig.parents), 1, 1))
        matrices[:, :3, 3] = -rig.rest
        return self._accessor(matrices.transpose(0, 2, 1).reshape(-1, 16))

    def _animate(self, rig: Rig, joints: Sequence[int]) -> None:
        """Channels for the rotation of every joint and the place of the root."""
        times = self._accessor(rig.times, bounds=True)
        values = [("translation", joints[0], rig.root)]
        values += [("rotation", node, _quaternions(rig.rotations[:, joint])) for joint, node in enumerate(joints)]
        for path, node, outputs in values:
            self.channels.append({"sampler": len(self.samplers), "target": {"node": node, "path": path}})
            self.samplers.append({"input": times, "output": self._accessor(outputs), "interpolation": "LINEAR"})

    def _accessor(self, values: NDArray[Any], *, bounds: bool = False, target: int | None = None) -> int:
        """Appends an array, floats as float32, and returns its accessor."""
        values = np.ascontiguousarray(values, np.float32 if values.dtype.kind == "f" else values.dtype)
        kind = {"f": FLOAT, "u": UNSIGNED_BYTE if values.itemsize == 1 else UNSIGNED_INT}[values.dtype.kind]
        content = values.astype(values.dtype.newbyteorder("<")).tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)}
        self.binary += content + b"\0" * (-len(content) % 4)
        if target is not None:
            view["target"] = target
        accessor: dict[str, Any] = {
            "bufferView": self._put("bufferViews", view),
            "componentType": kind,
            "count": len(values),
            "type": SHAPES[values.shape[1:]],
        }
        if bounds:
            least, most = values.min(0), values.max(0)
            accessor |= {"min": np.atleast_1d(least).tolist(), "max": np.atleast_1d(most).tolist()}
        return self._put("accessors", accessor)

    def _put(self, table: str, entry: dict[str, Any]) -> int:
        self.tables[table].append(entry)
        return len(self.tables[table]) - 1

    def finished(self) -> tuple[dict[str, Any], bytes]:
        """The document and the content of its buffer."""
        document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": f"tore {__version__}", "extras": NOTE},
            "scene": 0,
            "scenes": [{"nodes": self.roots}],
            **self.tables,
            "animations": [{"name": "motion", "channels": self.channels, "samplers": self.samplers}],
            "buffers": [{"byteLength": len(self.binary)}],
        }
        return document, bytes(self.binary)


def _material(name: str, color: Color) -> dict[str, Any]:
    linear = [round(part**GAMMA, 6) for part in color]
    surface = {"baseColorFactor": [*linear, 1.0], "metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    return {"name": name, "pbrMetallicRoughness": surface}


def _at_seams(rig: Rig) -> tuple[NDArray[np.int64], NDArray[np.int64], Array | None]:
    """Rows (N,) of the rest mesh's vertices, faces (F, 3) of these, and their texture places (N, 2), v down.

    Without a texture the vertices are as they are.
    """
    skin = rig.skin
    if skin.texture is None:
        return np.arange(len(skin.vertices)), skin.faces, None
    corners = np.stack([skin.faces.ravel(), skin.texture.faces.ravel()], 1)
    pairs, index = np.unique(corners, axis=0, return_inverse=True)
    return pairs[:, 0], index.reshape(-1, 3), skin.texture.places[pairs[:, 1]] * (1, -1) + (0, 1)


def _quaternions(rotations: Array) -> Array:
    """(T, 3, 3) -> (T, 4) x, y, z, w, each on the side of the one before it, so that all readers go the short way."""
    numbers = Rotation.from_matrix(rotations).as_quat()
    flips = (numbers[1:] * numbers[:-1]).sum(1) < 0
    numbers[1:] *= np.where(np.cumsum(flips) % 2, -1.0, 1.0)[:, None]
    return numbers
