"""Puts the body together: everything that its file holds, for the left half where the right one mirrors it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from free_body.attachments import followed, relative, texture
from free_body.correctives import OwnSkin, pose_directions
from free_body.landmarks import Rows, some_poses
from free_body.levels import fitted
from free_body.mesh import HalfBody, half_body
from free_body.packing import BONES, packed_directions, packed_level, packed_rows, packed_shapes, packed_weights
from free_body.people import People, held_out_error, shape_directions, shape_numbers, t_posed
from free_body.rig import Rig, world_rotations
from free_body.source import TRAINED, Array, Index, Source

from tore.body.joints import SMPL_FLIP
from tore.synthetic.free_body import TEXTURE_STEPS
from tore.synthetic.mesh import Level, mirror_disc

LEVEL_MESHES = 60  # people, and poses, that the up-sampling is fitted to


@dataclass(frozen=True)
class Body:
    """The body's mesh and what was computed for it, and the arrays of its file."""

    rig: Rig
    people: People
    own: OwnSkin
    points: Index  # Anny's point of each vertex
    skin_points: Index  # all of Anny's points that lie on its skin
    arrays: dict[str, Array]
    shape_error: Array  # (held out, H) meters


def build_body(source: Source) -> Body:
    """All of the body from the source; half a minute on one core."""
    rig = Rig(source)
    people = t_posed(source, rig)
    half = half_body(source, people.template)
    vertices, faces, partner = mirror_disc(half.disc)
    points = np.concatenate([half.points, people.partner[half.points[~half.disc.rim]]])
    own = OwnSkin(rig, people, points)
    halves = people.points[:, half.points].astype(np.float64)
    shapes = shape_directions(halves[:TRAINED])
    shapes[half.disc.rim, 0] = 0.0
    numbers = shape_numbers(halves, half.disc.vertices, shapes)
    arrays = {
        "half_vertices": half.disc.vertices.astype(np.float32),
        "half_faces": half.disc.faces.astype(np.uint16),
        "half_rim": half.disc.rim,
        "half_shapes": shapes.astype(np.float16),
        "people": numbers.astype(np.float16),
        "people_age": source.age.astype(np.float16),
        **_rigged(Rows(source, people, own, points, partner), own, vertices, len(half.points)),
        **_dressing(source, people, points, vertices, faces, numbers),
    }
    for number, level in enumerate(_fitted_levels(half, halves, OwnSkin(rig, people, half.points))):
        arrays |= {f"level{number}_{name}": array for name, array in packed_level(level).items()}
    error = held_out_error(halves[TRAINED:], half.disc.vertices, shapes.astype(np.float16).astype(np.float64))
    return Body(rig, people, own, points, np.unique(source.faces[source.cavity == 0]), arrays, error)


def _rigged(rows: Rows, own: OwnSkin, vertices: Array, count: int) -> dict[str, Array]:
    """Blend weights, regressors and pose directions of the mesh; `count` of its vertices are the half's."""
    weights = _fewer(own.rig.joint_weights()[own.points], rows.partner)
    skeleton, keypoints = rows.skeleton(), rows.keypoints()
    labels, h36m = rows.labels(skeleton, keypoints)
    directions = pose_directions(own, vertices, skeleton @ vertices, weights, rows.partner)
    return {
        **packed_weights(weights[:count]),
        **packed_directions(directions, weights, count),
        **packed_rows({"skeleton": skeleton, "labels": labels, "h36m": h36m, "coco": keypoints}),
    }


def _dressing(
    source: Source, people: People, points: Index, vertices: Array, faces: Index, numbers: Array
) -> dict[str, Array]:
    """Texture coordinates, and Anny's points held to the mesh."""
    places, face_texture = texture(source, points, vertices, faces, people.template)
    face, held = relative(people.template, vertices, faces)
    return {
        "texture": np.round(places * TEXTURE_STEPS).astype(np.uint16),
        "face_texture": face_texture.astype(np.uint16),
        "attachment_face": face.astype(np.uint16),
        "attachment_shares": held.shares[:, :2].astype(np.float16),
        "attachment_offset": held.offset.astype(np.float16),
        **packed_shapes(followed(held, points, people.points, numbers)),
    }


def _fitted_levels(half: HalfBody, halves: Array, own: OwnSkin) -> list[Level]:
    """The coarser levels with up-sampling fitted to people in T-pose and to poses of the mean person."""
    posed = np.stack([own(world_rotations(pose)) for pose in some_poses(LEVEL_MESHES, seed=11)])
    meshes, rim = np.concatenate([halves[:LEVEL_MESHES], posed]), half.disc.rim
    out = []
    for level in half.levels:
        out.append(fitted(level, meshes, rim))
        meshes, rim = meshes[:, level.kept], level.disc.rim
    return out


def _fewer(weights: Array, partner: Index) -> Array:
    """Blend weights (V, 24) that mirror each other, the largest few of each vertex."""
    weights = 0.5 * (weights + weights[partner][:, list(SMPL_FLIP)])
    least = np.sort(weights, axis=1)[:, -BONES]
    weights = np.where((weights >= least[:, None]) & (weights > 2e-3), weights, 0.0)
    weights /= weights.sum(1, keepdims=True)
    return weights
