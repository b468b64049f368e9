"""Makes the pose prior, `tore/synthetic/data/pose_prior.npz`: hand-made families, recorded poses, balls of the body.

A developer's tool: `python scripts/build_pose_prior.py --poses ARCHIVE.zip ...`, zip archives of ASF/AMC clips (CMU's
subjects 1 to 3) or of MakeHuman's BVH poses. Ships statistics, no recorded motion. The same source gives the same file.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from free_body.mesh import mirror_points
from pose_prior.balls import contact_points, fitted_balls, mirrored_balls
from pose_prior.check import contacts, coverage
from pose_prior.families import groups, shares
from pose_prior.fit import Component, clustered, component, hinged, packed
from pose_prior.gestures import hand_arrays
from pose_prior.recorded import cmu_clips, makehuman_poses, root_facing
from pose_prior.solve import Solver

from tore.body.joints import SMPL_FLIP
from tore.files import replacing
from tore.synthetic.body_contact import BodyBalls, joint_frames
from tore.synthetic.free_body import Array, build_free
from tore.synthetic.joint_limits import beyond_limits, within_limits
from tore.synthetic.pose_prior import FILE, SUPPORTS, Mixture, PosePrior
from tore.synthetic.surfaces import vertex_normals

LIMIT_MB = 1.0
BATCH = 48  # groups solved at once
MOST_GROUPS = 60  # of one kind
RECORDED_SHARE = 0.35  # of a kind's draws, where many poses of it were recorded
COMPONENT_SHARE = 0.03  # of a kind's draws for each component around recorded poses, at most
CLUSTERS = 150  # of all recorded clips
SINGLE_SHARE = 0.05  # of a single recorded pose, where a kind's clips together have 1
HOLD_CLIP, HOLD_SINGLE = 5, 3  # every so many are held out for the check
CLIP_KINDS = {
    "02_01": "walking", "02_02": "walking", "02_03": "running", "02_04": "jumping", "02_05": "fighting",
    "02_06": "bending", "02_07": "fighting", "02_08": "fighting", "02_09": "fighting", "02_10": "standing",
    "03_01": "walking", "03_02": "walking", "03_03": "walking", "03_04": "walking",
}  # fmt: skip
POSE_KINDS = {
    "fight": "fighting", "fight04": "kicking", "fly01": "jumping", "fly02": "gliding", "gym": "upside down",
    "run": "running", "sit": "floor sitting", "standing": "standing",
}  # fmt: skip
OFF_GROUND = 0.10  # meters over a clip's lowest height from which on a climber counts as off the ground
FOOT, FEET_APART = 10, 0.15  # the joint, and meters between the feet's heights of who stands on both
UPRIGHT_PELVIS = 0.75  # meters over the feet
BROKEN = np.radians(35)  # a recorded pose that exceeds the limits by more is left out


def main(given: list[str] | None = None) -> int:
    """Writes the file; returns 1 where it is too large."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--poses", type=Path, nargs="+", required=True, help="zip archives of .asf/.amc or .bvh poses")
    parser.add_argument("--out", type=Path, default=FILE, help="the file to write")
    parser.add_argument("--count", type=int, default=20, help="poses solved for each hand-made group")
    parser.add_argument("--check", action="store_true", help="measure the prior; also one that lacks some recordings")
    options = parser.parse_args(given)
    arrays = body_arrays() | hand_arrays()
    body = BodyBalls.read(arrays)
    made = hand_made(body, options.count)
    found = recordings(options.poses, body)
    components = balanced(made, around(found))
    arrays |= packed(components, list(shares()), SUPPORTS)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.out) as fresh, fresh.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    size = options.out.stat().st_size / 1e6
    print(f"{options.out}: {size:.2f} MB, {len(components)} components")
    if options.check:
        check(made, found, body)
        contacts(PosePrior.load(options.out))
    return int(size > LIMIT_MB)


def check(made: list[Component], found: list[Recording], body: BodyBalls) -> None:
    """Measures a prior that lacks every fifth clip and every third single pose."""
    held: dict[str, list[Array]] = {}
    kept, clips, singles = [], 0, 0
    for one in found:
        clips, singles = clips + (len(one.poses) > 1), singles + (len(one.poses) == 1)
        out = clips % HOLD_CLIP == 1 if len(one.poses) > 1 else singles % HOLD_SINGLE == 1
        if out:
            held.setdefault("clips" if len(one.poses) > 1 else "single poses", []).append(one.poses)
        else:
            kept.append(one)
    mixture = Mixture.read(packed(balanced(made, around(kept)), list(shares()), SUPPORTS))
    coverage(mixture, tuple(shares()), body, {name: np.concatenate(poses) for name, poses in held.items()})


def body_arrays() -> dict[str, Array]:
    """Balls, contact points and rest joints of the free body."""
    model = build_free("body").model
    vertices, weights = model["v_template"], model["weights"]
    joints = model["J_regressor"] @ vertices
    normals = vertex_normals(vertices, model["f"].astype(np.int64))
    balls = fitted_balls(vertices, normals, weights, joints)
    balls = mirrored_balls(balls, mirror_points(vertices), np.array(SMPL_FLIP))
    arrays = {**balls, **contact_points(vertices, weights, joints), "rest_joints": joints}
    return {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in arrays.items()}


def hand_made(body: BodyBalls, count: int) -> list[Component]:
    """A component for every hand-made group; kinds with very many groups keep some of them."""
    rng = np.random.default_rng(0)
    chosen = []
    for kind in shares():
        own = [group for group in groups() if group.kind == kind]
        if len(own) > MOST_GROUPS:
            odds = np.array([group.weight for group in own])
            own = [own[row] for row in np.sort(rng.choice(len(own), MOST_GROUPS, replace=False, p=odds / odds.sum()))]
        chosen += own
    solver, out = Solver(body), []
    for first in range(0, len(chosen), BATCH):
        part = chosen[first : first + BATCH]
        solved = solver(part, count, rng)
        out += [component(g.kind, g.support, g.weight, poses) for g, poses in zip(part, solved, strict=True)]
        print(f"{first + len(part)} of {len(chosen)} groups", flush=True)
    return out


@dataclass(frozen=True)
class Recording:
    """Poses (N, 24, 3) of one clip or file, of one kind and support."""

    kind: str
    support: str
    poses: Array


def recordings(archives: list[Path], body: BodyBalls) -> list[Recording]:
    """All recorded poses."""
    out = []
    for archive in archives:
        with zipfile.ZipFile(archive) as held:
            clips = any(name.endswith(".amc") for name in held.namelist())
        if clips:
            for name, (poses, heights) in cmu_clips(archive, body.joints).items():
                whole = beyond_limits(hinged(poses)) < BROKEN
                out += _sorted_clip(name, mended(poses[whole]), heights[whole], body)
        else:
            for name, pose in makehuman_poses(archive).items():
                kind = POSE_KINDS.get(name) or POSE_KINDS[name.rstrip("0123456789")]
                support = "nothing" if kind in ("jumping", "gliding") else "ground"
                out.append(Recording(kind, support, mended(pose[None])))
    return [one for one in out if len(one.poses)]


def around(found: list[Recording]) -> list[Component]:
    """Components around recorded poses: clusters of clips, and single poses."""
    out = [component(one.kind, one.support, SINGLE_SHARE, one.poses) for one in found if len(one.poses) == 1]
    clips: dict[tuple[str, str], list[Array]] = {}
    for one in found:
        if len(one.poses) > 1:
            clips.setdefault((one.kind, one.support), []).append(one.poses)
    total = sum(len(poses) for parts in clips.values() for poses in parts)
    for (kind, support), parts in clips.items():
        poses = np.concatenate(parts)
        out += clustered(kind, support, 1.0, poses, max(2, round(CLUSTERS * len(poses) / total)))
    return out


def mended(poses: Array) -> Array:
    """Recorded poses facing ahead, with hinges as the body's, within the limits."""
    return root_facing(within_limits(hinged(poses)))


def _sorted_clip(name: str, poses: Array, heights: Array, body: BodyBalls) -> list[Recording]:
    """A clip of one kind, or a climber's in parts: on both feet, crouching on them, and off the ground."""
    if name in CLIP_KINDS:
        return [Recording(CLIP_KINDS[name], "ground", poses)]
    places = np.stack([joint_frames(pose, body.joints)[1] for pose in poses])
    lowest = places[:, :, 1].min(1)
    height = lowest - body.joints[0, 1] + heights
    on_feet = places[:, [FOOT, SMPL_FLIP[FOOT]], 1].max(1) < lowest + FEET_APART
    down = (height < np.percentile(height, 2) + OFF_GROUND) & on_feet
    upright = places[:, 0, 1] - lowest > UPRIGHT_PELVIS
    return [
        Recording("climbing", "hands", poses[~down]),
        Recording("standing", "ground", poses[down & upright]),
        Recording("crouching", "ground", poses[down & ~upright]),
    ]


def balanced(made: list[Component], seen: list[Component]) -> list[Component]:
    """Hand-made and recorded components with weights that give each kind its share."""
    out = []
    for kind, share in shares().items():
        parts = [[one for one in source if one.kind == kind] for source in (made, seen)]
        recorded_share = min(RECORDED_SHARE, COMPONENT_SHARE * len(parts[1]))
        for part, of_kind in zip(parts, (1 - recorded_share, recorded_share), strict=True):
            total = sum(one.weight for one in part)
            out += [replace(one, weight=one.weight / total * of_kind * share) for one in part]
    return out


if __name__ == "__main__":
    sys.exit(main())
