"""People in T-pose, and their variation as ten shape directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from free_body.mesh import mirror_points
from free_body.rig import Rig
from free_body.source import TRAINED, Array, Index, Source

from tore.body.joints import SMPL_FLIP
from tore.synthetic.free_body import FLIP

SHAPES = 10


@dataclass(frozen=True)
class People:
    """N people in T-pose, each its own mirror image, the mean of its body's points at the origin.

    `points (N, P, 3)` float32, `joints (N, 24, 3)`, `partner (P,)`; of the mean person `template (P, 3)` and
    `skeleton (24, 3)` alike; and as Anny holds it `vertices (P, 3)`, `heads (B, 3)` unposed, `rest (B, 3, 3)` the
    T-pose, `shift (3,)` from its T-pose to the origin.
    """

    points: Array
    joints: Array
    partner: Index
    template: Array
    skeleton: Array
    vertices: Array
    heads: Array
    rest: Array
    shift: Array


def t_posed(source: Source, rig: Rig) -> People:
    """Everybody of the source in T-pose."""
    vertices = source.vertices[:TRAINED].mean(0, dtype=np.float64)
    heads = source.heads[:TRAINED].mean(0)
    partner = mirror_points(vertices)
    body = np.unique(source.faces)
    points, joints = [], []
    for own, own_heads in zip(source.vertices, source.heads, strict=True):
        placed, skeleton = _t_posed(rig, own, own_heads)
        placed = 0.5 * (placed + placed[partner] * FLIP)
        skeleton = 0.5 * (skeleton + skeleton[list(SMPL_FLIP)] * FLIP)
        shift = placed[body].mean(0)
        points.append((placed - shift).astype(np.float32))
        joints.append(skeleton - shift)
    mirrored = _mirror_bones(rig)
    vertices = 0.5 * (vertices + vertices[partner] * FLIP)
    heads = 0.5 * (heads + heads[mirrored] * FLIP)
    placed, skeleton = _t_posed(rig, vertices, heads)
    placed = 0.5 * (placed + placed[partner] * FLIP)
    skeleton = 0.5 * (skeleton + skeleton[list(SMPL_FLIP)] * FLIP)
    shift = -placed[body].mean(0)
    return People(
        points=np.stack(points),
        joints=np.stack(joints),
        partner=partner,
        template=placed + shift,
        skeleton=skeleton + shift,
        vertices=vertices,
        heads=heads,
        rest=rig.t_pose(heads),
        shift=shift,
    )


def _t_posed(rig: Rig, vertices: Array, heads: Array) -> tuple[Array, Array]:
    motions = rig.motions(rig.t_pose(heads), heads)
    placed = rig.skin(np.asarray(vertices, np.float64), motions)
    at = np.einsum("bij,bj->bi", motions[:, :, :3], heads) + motions[:, :, 3]
    return placed, rig.joints(at, float(np.ptp(placed[:, 1])))


def _mirror_bones(rig: Rig) -> Index:
    other = {".L": ".R", ".R": ".L"}
    return np.array([rig.bone[name[:-2] + other.get(name[-2:], name[-2:])] for name in rig.labels])


def shape_directions(halves: Array) -> Array:
    """Directions (H, 3, 10), one standard deviation each, in which half bodies (N, H, 3) in T-pose vary.

    A direction's sign is such that the person grows taller.
    """
    mean = halves.mean(0)
    moved = (halves - mean).reshape(len(halves), -1)
    values, vectors = np.linalg.eigh(moved @ moved.T)
    order = np.argsort(-values)[:SHAPES]
    directions = (moved.T @ vectors[:, order]) / np.sqrt(len(halves) - 1)
    directions = directions.reshape(*mean.shape, SHAPES)
    top, foot = mean[:, 1].argmax(), mean[:, 1].argmin()
    return directions * np.where(directions[top, 1] < directions[foot, 1], -1.0, 1.0)


def shape_numbers(halves: Array, mean: Array, directions: Array) -> Array:
    """(N, 10) shape numbers whose bodies are nearest to half bodies (N, H, 3)."""
    flat = directions.reshape(-1, directions.shape[-1])
    return np.linalg.lstsq(flat, (halves - mean).reshape(len(halves), -1).T, rcond=None)[0].T


def held_out_error(halves: Array, mean: Array, directions: Array) -> Array:
    """(N, H) distances in meters of other half bodies (N, H, 3) from the nearest that the directions can make."""
    made = mean + np.einsum("hcs,ns->nhc", directions, shape_numbers(halves, mean, directions))
    return np.linalg.norm(halves - made, axis=-1)
