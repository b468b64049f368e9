"""Plain readers of animation files, independent of the writers: nodes and bones with quaternions and Euler angles."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

COMPONENTS = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A binary glTF file: its document, and what its nodes and skins are at a time."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", content)
        assert (magic, version, length) == (b"glTF", 2, len(content))
        size, kind = struct.unpack_from("<I4s", content, 12)
        assert kind == b"JSON" and size % 4 == 0
        self.document: dict[str, Any] = json.loads(content[20 : 20 + size])
        more, kind = struct.unpack_from("<I4s", content, 20 + size)
        assert kind == b"BIN\0" and 28 + size + more == length
        self.binary = content[28 + size :]
        assert self.document["buffers"] == [{"byteLength": more}]
        self.nodes = self.document["nodes"]
        self.parent = {child: i for i, node in enumerate(self.nodes) for child in node.get("children", [])}

    def array(self, accessor: int) -> np.ndarray:
        """(count, size) of an accessor; its stated bounds hold."""
        entry = self.document["accessors"][accessor]
        view = self.document["bufferViews"][entry["bufferView"]]
        count = entry["count"] * SIZES[entry["type"]]
        assert view["byteOffset"] % 4 == 0
        values = np.frombuffer(self.binary, COMPONENTS[entry["componentType"]], count, view["byteOffset"])
        values = values.reshape(entry["count"], -1)
        assert "min" not in entry or np.array_equal(values.min(0), np.float32(entry["min"]))
        assert "max" not in entry or np.array_equal(values.max(0), np.float32(entry["max"]))
        return values

    @property
    def times(self) -> np.ndarray:
        """(T,) of the keys, which all channels share."""
        (animation,) = self.document["animations"]
        (times,) = {sampler["input"] for sampler in animation["samplers"]}
        return self.array(times)[:, 0]

    def at(self, frame: int) -> list[np.ndarray]:
        """World matrices (4, 4) of all nodes at a key."""
        moved: dict[int, dict[str, np.ndarray]] = {}
        (animation,) = self.document["animations"]
        for channel in animation["channels"]:
            sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
            assert sampler["interpolation"] == "LINEAR"
            moved.setdefault(target["node"], {})[target["path"]] = self.array(sampler["output"])[frame].astype(float)
        local = []
        for index, node in enumerate(self.nodes):
            values = {name: node[name] for name in ("translation", "rotation") if name in node} | moved.get(index, {})
            matrix = np.eye(4)
            matrix[:3, :3] = turned_by(*values.get("rotation", (0, 0, 0, 1)))
            matrix[:3, 3] = values.get("translation", (0, 0, 0))
            local.append(matrix)

        def world(index: int) -> np.ndarray:
            return world(self.parent[index]) @ local[index] if index in self.parent else local[index]

        return [world(index) for index in range(len(self.nodes))]

    def joints(self, frame: int, skin: int = 0) -> dict[str, np.ndarray]:
        """Name -> place of a skin's joints at a key."""
        world = self.at(frame)
        return {self.nodes[node]["name"]: world[node][:3, 3] for node in self.document["skins"][skin]["joints"]}

    def vertices(self, frame: int, mesh: int = 0) -> np.ndarray:
        """(N, 3) of a mesh as its skin places it at a key."""
        world, skin = self.at(frame), self.document["skins"][mesh]
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1).astype(float)
        motion = np.stack([world[node] @ back for node, back in zip(skin["joints"], inverse, strict=True)])
        attributes = self.attributes(mesh)
        points = np.c_[attributes["POSITION"], np.ones(len(attributes["POSITION"]))]
        blended = np.einsum("nk,nkij->nij", attributes["WEIGHTS_0"], motion[attributes["JOINTS_0"]])
        return np.einsum("nij,nj->ni", blended, points)[:, :3]

    def attributes(self, mesh: int = 0) -> dict[str, np.ndarray]:
        """Of a mesh's vertices, and its faces under "indices"."""
        (primitive,) = self.document["meshes"][mesh]["primitives"]
        found = {name: self.array(accessor) for name, accessor in primitive["attributes"].items()}
        return found | {"indices": self.array(primitive["indices"]).reshape(-1, 3)}


def turned_by(x: float, y: float, z: float, w: float) -> np.ndarray:
    """The (3, 3) rotation of a unit quaternion, by its product with vectors: q v q*."""
    assert abs(x * x + y * y + z * z + w * w - 1) < 1e-6
    axis = np.array([x, y, z])
    columns = [v + 2 * np.cross(axis, np.cross(axis, v) + w * v) for v in np.eye(3)]
    return np.stack(columns, 1)


@dataclass
class Bone:
    name: str
    parent: int
    offset: np.ndarray
    channels: list[str]


class Bvh:
    """A BVH file: bones, and the rows of numbers of its frames."""

    def __init__(self, path: Path) -> None:
        words = iter(path.read_text().split())
        self.bones: list[Bone] = []
        self.ends: dict[str, np.ndarray] = {}
        assert [next(words), next(words)] == ["HIERARCHY", "ROOT"]
        self._bone(words, -1)
        assert [next(words), next(words)] == ["MOTION", "Frames:"]
        count = int(next(words))
        assert [next(words), next(words)] == ["Frame", "Time:"]
        self.frame_time = float(next(words))
        self.rows = np.array([float(word) for word in words]).reshape(count, -1)
        assert self.rows.shape[1] == sum(len(bone.channels) for bone in self.bones)

    def _bone(self, words: Any, parent: int) -> None:
        index = len(self.bones)
        bone = Bone(next(words), parent, np.zeros(3), [])
        self.bones.append(bone)
        assert next(words) == "{"
        while (word := next(words)) != "}":
            if word == "OFFSET":
                bone.offset = np.array([float(next(words)) for _ in range(3)])
            elif word == "CHANNELS":
                bone.channels = [next(words) for _ in range(int(next(words)))]
            elif word == "JOINT":
                self._bone(words, index)
            else:
                assert [word, *(next(words) for _ in range(3))] == ["End", "Site", "{", "OFFSET"]
                self.ends[bone.name] = np.array([float(next(words)) for _ in range(3)])
                assert next(words) == "}"

    def joints(self, frame: int) -> dict[str, np.ndarray]:
        """Name -> place in the file's unit; channels are applied in their order, as the format says."""
        numbers, found, motions = iter(self.rows[frame]), {}, []
        for bone in self.bones:
            local = np.eye(4)
            local[:3, 3] = bone.offset
            for channel in bone.channels:
                step, number = np.eye(4), float(next(numbers))
                axis = "XYZ".index(channel[0])
                if channel.endswith("position"):
                    step[axis, 3] = number
                else:
                    one, two = (axis + 1) % 3, (axis + 2) % 3
                    cosine, sine = np.cos(np.radians(number)), np.sin(np.radians(number))
                    step[one, one], step[two, two], step[one, two], step[two, one] = cosine, cosine, -sine, sine
                local = local @ step
            motions.append(local if bone.parent < 0 else motions[bone.parent] @ local)
            found[bone.name] = motions[-1][:3, 3]
        return found
