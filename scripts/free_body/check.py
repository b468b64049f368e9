"""Measures the finished body and hand against Anny itself."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from free_body.assemble import Body
from free_body.hand import Hand
from free_body.landmarks import some_poses
from free_body.poses import cmu_poses, makehuman_poses
from free_body.rig import PARENTS, TURNED, world_rotations
from free_body.source import TRAINED, Array, Source
from scipy.spatial.transform import Rotation

from manopth.lbs import SkinnedModel, linear_blend_skinning
from manopth.rotations import axis_angle_to_matrix
from tore.synthetic.free_body import attachments, build_free, people_shapes

POSES = 200
MOST_DISTANCE, MOST_SHAPE_ERROR = 10.0, 2.0  # millimetres, means
VOLUME_SLACK = 1e-5  # of the body's volume
BENDS = {"elbows": {18: (0, -120, 0), 19: (0, 120, 0)}, "knees": {4: (120, 0, 0), 5: (120, 0, 0)}}
FIT_STEPS, FIT_RATE, FIT_EVERY, FIT_BATCH = 150, 0.02, 6, 50


class Checks:
    """Prints what is measured and remembers what fails."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def say(self, what: str, values: Array, most: float | None = None) -> None:
        """Mean, 95% and largest of distances in millimetres, and whether the mean is small enough."""
        mean = float(values.mean())
        print(f"{what}: mean {mean:.2f} mm, 95% {np.percentile(values, 95):.2f} mm, most {values.max():.1f} mm")
        self.that(what, most is None or mean <= most)

    def that(self, what: str, holds: bool) -> None:
        """Notes a condition."""
        if not holds:
            self.failed.append(what)


def check(source: Source, body: Body, hand: Hand, archives: list[Path]) -> int:
    """Prints all figures; 1 where one misses its mark."""
    checks = Checks()
    figure = build_free("body")
    dense = {**figure.model, "J_regressor": figure.model["J_regressor"].toarray()}
    dense["kintree_table"] = dense["kintree_table"].astype(np.int64)
    model = SkinnedModel(dense).double()
    checks.say("held-out people, body", 1e3 * body.shape_error, MOST_SHAPE_ERROR)
    checks.say("held-out people, hand", 1e3 * hand.shape_error, MOST_SHAPE_ERROR)
    _landmarks(checks, body, dense["J_regressor"])
    _attached(checks, body)
    _volumes(checks, body, model, figure.model["f"].astype(np.int64))
    worlds = [world_rotations(pose) for pose in some_poses(POSES, seed=7)]
    own = np.stack([body.own(world) for world in worlds])
    checks.say(f"{POSES} poses all over the joints' reach", _apart(own, _posed(model, np.stack(worlds))), MOST_DISTANCE)
    bones = _archived(archives, body)
    if len(bones):
        own = np.stack([body.own.of_bones(world) for world in bones])
        rest, rows = body.people.rest, [body.rig.bone[name] for name in TURNED]
        copied = np.einsum("nkij,klj->nkil", bones[:, rows], rest[rows])
        checks.say(f"{len(bones)} recorded poses, rotations copied", _apart(own, _posed(model, copied)))
        fitted = _fitted(dense, copied, own)
        checks.say(f"{len(bones)} recorded poses, rotations fitted", _apart(own, _posed(model, fitted)), MOST_DISTANCE)
    for what in checks.failed:
        print(f"MISSED: {what}")
    return int(bool(checks.failed))


def _archived(archives: list[Path], body: Body) -> Array:
    """Up to 200 poses (N, B, 3, 3) of the bones, those of BVH files first."""
    bvh, clips = [], []
    for archive in archives:
        with zipfile.ZipFile(archive) as held:
            recorded = any(name.endswith(".amc") for name in held.namelist())
        if recorded:
            clips += list(cmu_poses(archive, body.rig, body.people.heads, step=120))
        else:
            bvh += list(makehuman_poses(archive, body.rig))
    room = max(0, POSES - len(bvh))
    if len(clips) > room:
        clips = [clips[i] for i in np.linspace(0, len(clips) - 1, room).astype(int)]
    return np.stack([*bvh, *clips]) if bvh or clips else np.zeros((0, 1, 3, 3))


def _locals(worlds: Array) -> Array:
    above = np.array([max(parent, 0) for parent in PARENTS])
    out = np.einsum("nkji,nkjl->nkil", worlds[:, above], worlds)
    out[:, 0] = worlds[:, 0]
    return out


@torch.no_grad()
def _posed(model: SkinnedModel, worlds: Array) -> Array:
    """Meshes (N, V, 3) of the mean person from world rotations (N, 24, 3, 3)."""
    turns = torch.from_numpy(_locals(worlds))
    nobody = torch.zeros(1, model.num_betas, dtype=torch.float64)
    return torch.cat([linear_blend_skinning(turns[[i]], nobody, model)[0] for i in range(len(turns))]).numpy()


def _apart(a: Array, b: Array) -> Array:
    """(N, V) millimetres between meshes, their middles laid on each other."""
    return 1e3 * np.linalg.norm((a - a.mean(1, keepdims=True)) - (b - b.mean(1, keepdims=True)), axis=2)


def _fitted(dense: dict[str, Array], worlds: Array, wanted: Array) -> Array:
    """World rotations of the 24 joints, from `worlds` on, that bring the mesh nearest to `wanted` (N, V, 3)."""
    rows = np.union1d(np.arange(0, wanted.shape[1], FIT_EVERY), np.flatnonzero(dense["J_regressor"].any(0)))
    few = {name: dense[name][rows] for name in ("v_template", "shapedirs", "posedirs", "weights")}
    few |= {"J_regressor": dense["J_regressor"][:, rows], "kintree_table": dense["kintree_table"]}
    model = SkinnedModel(few)
    starts = torch.from_numpy(Rotation.from_matrix(_locals(worlds).reshape(-1, 3, 3)).as_rotvec()).float()
    starts = starts.reshape(len(worlds), -1, 3)
    found = []
    for first in range(0, len(worlds), FIT_BATCH):
        pose = starts[first : first + FIT_BATCH].clone().requires_grad_(True)
        goal = torch.from_numpy(wanted[first : first + FIT_BATCH, rows]).float()
        goal = goal - goal.mean(1, keepdim=True)
        optimizer = torch.optim.Adam([pose], FIT_RATE)
        nobody = torch.zeros(len(pose), model.num_betas)
        for step in range(FIT_STEPS):
            optimizer.param_groups[0]["lr"] = FIT_RATE * (1 - step / FIT_STEPS)
            mesh = linear_blend_skinning(axis_angle_to_matrix(pose), nobody, model)[0]
            loss = 1e3 * (mesh - mesh.mean(1, keepdim=True) - goal).norm(dim=2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append(pose.detach().double().numpy())
    return np.stack([world_rotations(pose) for pose in np.concatenate(found)])


def _volumes(checks: Checks, body: Body, model: SkinnedModel, faces: Array) -> None:
    def volume(vertices: Array) -> float:
        return float(np.linalg.det(vertices[faces]).sum() / 6)

    rest = volume(body.own(world_rotations(np.zeros((24, 3)))))
    for name, bend in BENDS.items():
        pose = np.zeros((24, 3))
        for joint, degrees in bend.items():
            pose[joint] = np.radians(degrees)
        world = world_rotations(pose)
        ours, theirs = volume(_posed(model, world[None])[0]), volume(body.own(world))
        print(f"{name} bent by 120 degrees: {ours / rest:.4%} of the straight body's volume, Anny {theirs / rest:.4%}")
        checks.that(f"volume at {name}", ours >= theirs - VOLUME_SLACK * rest)


def _landmarks(checks: Checks, body: Body, rows: Array) -> None:
    meshes = body.people.points[TRAINED:][:, body.points].astype(np.float64)
    apart = np.linalg.norm(np.einsum("kv,nvc->nkc", rows, meshes) - body.people.joints[TRAINED:], axis=2)
    checks.say("joints of held-out people by their rows", 1e3 * apart, 6.0)


def _attached(checks: Checks, body: Body) -> None:
    held = attachments()
    meshes = body.people.points[TRAINED:].astype(np.float64)
    numbers = people_shapes()[0][TRAINED:]
    pairs = zip(meshes, numbers, strict=True)
    apart = np.stack([np.linalg.norm(held.points(mesh[body.points], own) - mesh, axis=1) for mesh, own in pairs])
    skin = np.unique(body.skin_points)
    helpers = np.setdiff1d(np.arange(apart.shape[1]), skin)
    checks.say("Anny's skin points held to the mesh, held-out people", 1e3 * apart[:, skin], 1.0)
    checks.say("Anny's helper points held to the mesh, held-out people", 1e3 * apart[:, helpers], 3.0)
