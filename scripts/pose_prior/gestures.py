"""Gestures of a hand, from `hands.txt`, and the hand's skeleton: its arrays in the prior's file."""

from __future__ import annotations

import numpy as np
from pose_prior.families import HERE, entries

from tore.synthetic.free_body import Array, build_free
from tore.synthetic.hand_pose_prior import ANGLES, FINGERS, HELD

PALM = np.array([0.0, -1.0, 0.0])
THUMB_TARGET = np.array([-0.15, -0.55, -0.80])  # where the thumb bends to
TABLE = {"index": "index", "middle": "middle", "little": "pinky", "ring": "ring"}  # the file's word: the model's


def hand_arrays() -> dict[str, Array]:
    """All arrays of the hand."""
    names, shares, means, spreads, held, thickness = [], [], [], [], [], []
    for _, name, clauses in entries(HERE / "hands.txt"):
        found = dict(clauses)
        rows = {model: found.get(word, found.get("fingers", "")) for word, model in TABLE.items()} | {
            "thumb": found["thumb"]
        }
        pairs = [pair.split("~") for finger in FINGERS for pair in rows[finger].split()]
        numbers = np.array(pairs, float)
        if len(numbers) != len(ANGLES):
            raise ValueError(f"gesture {name!r} has {len(numbers)} angles; give {len(ANGLES)}")
        names.append(name)
        shares.append(float(found["share"]))
        means.append(numbers[:, 0])
        spreads.append(numbers[:, 1])
        shape, *range_mm = found.get("holds", "nothing").split()
        held.append(HELD.index(shape))
        thickness.append([1e-3 * float(value) for value in range_mm] or [0.0, 0.0])
    return {
        "gestures": np.array(names),
        "gesture_share": np.array(shares, np.float32),
        "gesture_mean": np.array(means, np.float32),
        "gesture_spread": np.array(spreads, np.float32),
        "gesture_held": np.array(held, np.uint8),
        "gesture_thickness": np.array(thickness, np.float32),
        **_skeleton(),
    }


def _skeleton() -> dict[str, Array]:
    """Joints and tips of the resting hand, the axes that close its joints, and the fingers' radii, in meters."""
    model = build_free("hand").model
    vertices, weights = model["v_template"], model["weights"]
    joints = model["J_regressor"] @ vertices
    owner = weights.argmax(1)
    tips, axes, radii = [], np.zeros((5, 3, 3)), np.zeros((5, 3))
    for finger, name in enumerate(FINGERS):
        own = joints[1 + 3 * finger : 4 + 3 * finger]
        last = vertices[owner == 3 + 3 * finger]
        along = (own[2] - own[1]) / np.linalg.norm(own[2] - own[1])
        tip = last[((last - own[2]) @ along).argsort()[-8:]].mean(0)
        tips.append(tip)
        ends = np.concatenate([own, tip[None]])
        bones = np.diff(ends, axis=0)
        axes[finger] = np.cross(bones, THUMB_TARGET if name == "thumb" else PALM)
        for part in range(3):
            skin = vertices[owner == 1 + 3 * finger + part] - ends[part]
            unit = bones[part] / np.linalg.norm(bones[part])
            radii[finger, part] = np.median(np.linalg.norm(skin - np.outer(skin @ unit, unit), axis=1))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    return {
        "hand_joints": joints.astype(np.float32),
        "hand_tips": np.stack(tips).astype(np.float32),
        "hand_axes": axes.reshape(15, 3).astype(np.float32),
        "hand_radii": radii.astype(np.float32),
    }
