"""Recorded poses on the free body's 24 joints: CMU's ASF/AMC clips and MakeHuman's BVH files.

A joint turns as the clip's bone does, times the shortest arc from the free body's bone in T-pose to the clip's.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
from free_body.poses import UPRIGHT, AsfBone, clip_rotations, read_amc, read_asf, read_bvh
from free_body.rig import TURNED, arc, t_pose
from scipy.spatial.transform import Rotation

from tore.synthetic.free_body import BODY_PARENTS, Array

STEP = 12  # every 12th of 120 frames a second
UNIT = 0.0254 / 0.45  # meters of a clip's length
# joint -> the clip's bone that it turns with; limbs also with the joints that give the free body's direction
TRUNK = {0: "root", 3: "lowerback", 6: "upperback", 9: "thorax", 15: "head", 13: "lclavicle", 14: "rclavicle"}
LIMBS = {
    (1, 2): ("femur", 1, 4), (4, 5): ("tibia", 4, 7), (7, 8): ("foot", 7, 10), (16, 17): ("humerus", 16, 18),
    (18, 19): ("radius", 18, 20), (20, 21): ("wrist", 20, 22),
}  # fmt: skip
UPENDED = 0.8  # the left side's rise from which on it does not say where a body faces
ARM = ("humerus", "radius", "wrist")
ABOVE = np.array([max(parent, 0) for parent in BODY_PARENTS])


def local_pose(worlds: Array) -> Array:
    """Axis-angle (24, 3) of world rotations (24, 3, 3)."""
    local = np.einsum("kji,kjl->kil", worlds[ABOVE], worlds)
    local[0] = worlds[0]
    return Rotation.from_matrix(local).as_rotvec()


def _completed(found: dict[int, Array]) -> Array:
    worlds = np.tile(np.eye(3), (24, 1, 1))
    for joint, parent in enumerate(BODY_PARENTS):
        worlds[joint] = found.get(joint, worlds[parent])
    return worlds


def cmu_clips(archive: Path, rest: Array) -> dict[str, tuple[Array, Array]]:
    """Poses (N, 24, 3) and root heights (N,) in meters of every clip by name; `rest (24, 3)` the body's joints."""
    with zipfile.ZipFile(archive) as held:
        texts = {Path(name).name: held.read(name).decode() for name in sorted(held.namelist()) if "." in name}
    skeletons = {name.split(".")[0]: read_asf(text) for name, text in texts.items() if name.endswith(".asf")}
    out = {}
    for name, text in texts.items():
        if name.endswith(".amc"):
            bones = skeletons[name.split("_")[0]]
            shifts, poses, heights = _shifts(bones, rest), [], []
            for frame in read_amc(text, STEP):
                turned = clip_rotations(bones, frame)
                found = {joint: turned[bone] for joint, bone in TRUNK.items()}
                for joint, (bone, shift) in shifts.items():
                    found[joint] = turned[bone] @ shift
                found[12] = turned["thorax"] @ _half(turned["thorax"].T @ turned["head"])
                poses.append(local_pose(_completed(found)))
                heights.append(frame["root"][1] * UNIT)
            out[name.split(".")[0]] = (np.stack(poses), np.array(heights))
    return out


def _shifts(bones: dict[str, AsfBone], rest: Array) -> dict[int, tuple[str, Array]]:
    """Each limb's joint: the clip's bone, and the rotation (3, 3) from the free body's T-pose to the skeleton's."""
    out = {}
    for side, (letter, sign) in enumerate((("l", 1), ("r", -1))):
        hinge = bones[f"{letter}radius"].frame[:, 0]  # a forearm bends about its x
        for pair, (bone, first, second) in LIMBS.items():
            own, theirs = (rest[second] - rest[first]) * [sign, 1, 1], bones[letter + bone].direction
            shift = arc(own, theirs)
            if bone in ARM:
                bend, wanted = shift @ [0.0, -sign, 0.0], hinge - hinge @ theirs * theirs
                shift = arc(bend, wanted) @ shift
            out[pair[side]] = (letter + bone, shift)
    return out


def _half(rotation: Array) -> Array:
    return Rotation.from_rotvec(0.5 * Rotation.from_matrix(rotation).as_rotvec()).as_matrix()


def makehuman_poses(archive: Path) -> dict[str, Array]:
    """Poses (24, 3) in the last frame of every BVH file, by name."""
    out = {}
    with zipfile.ZipFile(archive) as held:
        for name in sorted(held.namelist()):
            if name.endswith(".bvh"):
                text = held.read(name).decode()
                turned, places = read_bvh(text), _rest_places(text)
                rest = dict(zip(places, t_pose(list(places), np.stack(list(places.values()))), strict=True))
                out[Path(name).stem] = local_pose(np.stack([turned[bone] @ rest[bone].T for bone in TURNED]))
    return out


def _rest_places(text: str) -> dict[str, Array]:
    """Unposed places (3,) of a BVH file's joints, y up."""
    places: dict[str, Array] = {}
    above: list[Array] = [np.zeros(3)]
    for match in re.finditer(r"(?:ROOT|JOINT)\s+(\S+)|(End Site)|OFFSET\s+(\S+)\s+(\S+)\s+(\S+)|(\})", text):
        name, end, x, y, z, closed = match.groups()
        if name or end:
            current = name or ""
        elif x:
            above.append(above[-1] + np.array([x, y, z], float))
            places[current] = UPRIGHT @ above[-1]
        elif closed:
            above.pop()
    return places


def root_facing(poses: Array) -> Array:
    """Poses (N, 24, 3) turned about the vertical so that the left side points to +x, or +z stays nearest."""
    out = poses.copy()
    turned = Rotation.from_rotvec(poses[:, 0]).as_matrix()
    by_side = np.arctan2(-turned[:, 2, 0], turned[:, 0, 0])
    nearest = np.arctan2(turned[:, 0, 2] - turned[:, 2, 0], turned[:, 0, 0] + turned[:, 2, 2])
    yaw = np.where(np.abs(turned[:, 1, 0]) < UPENDED, by_side, nearest)
    back = Rotation.from_rotvec(np.stack([0 * yaw, -yaw, 0 * yaw], 1))
    out[:, 0] = (back * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    return out
