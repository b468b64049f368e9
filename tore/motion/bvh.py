"""A rig's skeleton and motion as BVH text: centimeters, y up, degrees in the order Z, X, Y.

The rest pose is the body model's. The root's offset is zero and its channels hold its place, since many readers add
the two.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tore.files import write_whole
from tore.motion.rig import Array, Rig

CENTIMETERS = 100.0
DIGITS = 6  # after the point
LOCKED = 1e-6  # cosine of the second angle below which only the sum of the other two is known
PLACE, TURN = "Xposition Yposition Zposition", "Zrotation Xrotation Yrotation"


def save_bvh(path: str | Path, rig: Rig) -> Path:
    """Writes one skeleton and its motion; the file appears whole or not at all.

    Raises ValueError for another ending than .bvh, OutputError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".bvh":
        raise ValueError(f"{path}: skeletons in motion are written as .bvh")
    write_whole(path, bvh_text(rig))
    return path


def bvh_text(rig: Rig) -> str:
    """The content of the file."""
    order: list[int] = []
    lines = ["HIERARCHY", *_joint(rig, 0, 0, _ends(rig), order)]
    angles = np.stack([euler_angles(rig.rotations[:, joint]) for joint in order], 1)  # (T, K, 3)
    rows = np.concatenate([rig.root * CENTIMETERS, angles.reshape(len(angles), -1)], 1)
    rows = rows.round(DIGITS) + 0.0  # no minus before zeros
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / rig.frame_rate!r}"]
    lines += [" ".join(f"{value:.{DIGITS}f}" for value in row) for row in rows]
    return "\n".join(lines) + "\n"


def _joint(rig: Rig, joint: int, depth: int, ends: dict[int, Array], order: list[int]) -> list[str]:
    """The lines of a joint and all below it; appends the joints in the order of their channels."""
    order.append(joint)
    outer, inner = "\t" * depth, "\t" * (depth + 1)
    offset = rig.offsets[joint] if depth else np.zeros(3)
    channels = f"CHANNELS 3 {TURN}" if depth else f"CHANNELS 6 {PLACE} {TURN}"
    lines = [f"{outer}{'JOINT' if depth else 'ROOT'} {rig.joint_names[joint]}", f"{outer}{{"]
    lines += [f"{inner}OFFSET {_numbers(offset)}", f"{inner}{channels}"]
    for other, parent in enumerate(rig.parents):
        if parent == joint:
            lines += _joint(rig, other, depth + 1, ends, order)
    if joint in ends:
        lines += [f"{inner}End Site", f"{inner}{{", f"{inner}\tOFFSET {_numbers(ends[joint])}", f"{inner}}}"]
    return [*lines, f"{outer}}}"]


def _numbers(offset: Array) -> str:
    return " ".join(f"{value:.{DIGITS}f}" for value in (offset * CENTIMETERS).round(DIGITS) + 0.0)


def _ends(rig: Rig) -> dict[int, Array]:
    """Joint without children -> (3,) from it to where its part of the skin ends, which is where bones are drawn to."""
    owner, found = rig.skin.weights.argmax(1), {}
    for joint in sorted(set(range(len(rig.parents))) - set(rig.parents)):
        away = rig.skin.vertices[owner == joint] - rig.rest[joint]
        along = (away.min(0) + away.max(0)) / 2 if len(away) else rig.offsets[joint]
        direction = along / max(float(np.linalg.norm(along)), 1e-9)
        found[joint] = direction * float((away @ direction).max() if len(away) else np.linalg.norm(along))
    return found


def euler_angles(rotations: Array) -> Array:
    """(T, 3, 3) -> (T, 3) degrees about z, x, y, applied as Z X Y, without jumps that the motion does not have.

    Of the two triples of a rotation, and of the angles that differ by whole turns, the nearest to the frame before is
    taken.
    """
    z = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    y = np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    cosine = np.hypot(rotations[:, 0, 1], rotations[:, 1, 1])
    x, locked = np.arctan2(rotations[:, 2, 1], cosine), cosine < LOCKED
    z = np.where(locked, np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0]), z)
    y = np.where(locked, 0.0, y)
    angles = np.degrees(np.stack([z, x, y], 1))
    for frame in range(1, len(angles)):
        before, own = angles[frame - 1], angles[frame]
        other = own * (1, -1, 1) + (180, 180, 180)
        near = [triple + 360 * np.round((before - triple) / 360) for triple in (own, other)]
        angles[frame] = min(near, key=lambda triple: float(np.abs(triple - before).sum()))
    return angles
