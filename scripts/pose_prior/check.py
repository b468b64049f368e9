"""Measures the prior: how near its draws come to poses it has not seen, limbs in each other, feet on the ground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pose_prior.fit import away_from, mean_pose
from scipy.spatial.transform import Rotation

from tore.synthetic.body_contact import BodyBalls, joint_frames
from tore.synthetic.free_body import Array, build_free
from tore.synthetic.joint_limits import from_quaternion, mirrored, multiply, to_quaternion, within_limits
from tore.synthetic.pose_prior import Mixture, PosePrior
from tore.synthetic.surfaces import vertex_normals

DRAWS, HELD_OUT, MESHES, STANDING = 3000, 300, 40, 200
OUTSIDE = 0.002  # meters over the skin where a vertex must be outside of the body


def joints_of(poses: Array, body: BodyBalls) -> Array:
    """(N, 24, 3) joints of poses (N, 24, 3), the root at rest."""
    ahead = poses.copy()
    ahead[:, 0] = 0
    return np.stack([joint_frames(pose, body.joints)[1] for pose in ahead])


def nearest(held: Array, drawn: Array, body: BodyBalls) -> Array:
    """(H,) mean distance in millimeters of the joints of held-out poses from the nearest of the drawn ones."""
    places = np.concatenate([joints_of(drawn, body), joints_of(mirrored(drawn), body)])
    found = []
    for one in joints_of(held, body):
        found.append(np.linalg.norm(places - one, axis=2).mean(1).min())
    return 1e3 * np.array(found)


def single_normal(poses: Array, count: int, rng: np.random.Generator) -> Array:
    """Draws (count, 24, 3) of one normal distribution around poses (N, 24, 3), within the limits."""
    mean = mean_pose(poses)
    away = away_from(mean, poses).reshape(len(poses), -1)
    factor = np.linalg.cholesky(np.cov(away.T) + 1e-6 * np.eye(72))
    drawn = (rng.standard_normal((count, 72)) @ factor.T).reshape(count, 24, 3)
    return within_limits(from_quaternion(multiply(to_quaternion(mean), to_quaternion(drawn))))


def coverage(mixture: Mixture, kinds: tuple[str, ...], body: BodyBalls, held: dict[str, Array]) -> None:
    """Prints how near draws come to held-out poses by source; `mixture` has not seen them."""
    rng = np.random.default_rng(0)
    prior = PosePrior(mixture, kinds, body)
    drawn = np.stack([prior.draw(rng).pose for _ in range(DRAWS)])
    normal = single_normal(drawn, DRAWS, rng)
    for source, poses in held.items():
        few = poses[np.linspace(0, len(poses) - 1, min(HELD_OUT, len(poses))).astype(int)]
        for name, those in (("the prior", drawn), ("one normal distribution", normal)):
            away = nearest(few, those, body)
            print(
                f"{source}, {len(few)} held-out poses, nearest of {DRAWS} draws of {name}: "
                f"mean {away.mean():.0f} mm, 90% {np.percentile(away, 90):.0f} mm"
            )


def buried(vertices: Array, faces: Array) -> float:
    """Share of a closed mesh's vertices (N, 3) that lie inside of another part of it, by winding numbers."""
    points = vertices + OUTSIDE * vertex_normals(vertices, faces)
    inside = 0
    for chunk in np.array_split(points, max(1, len(points) // 200)):
        a, b, c = (vertices[faces[:, k]][None] - chunk[:, None] for k in range(3))
        la, lb, lc = (np.linalg.norm(x, axis=2) for x in (a, b, c))
        volume = np.einsum("nfi,nfi->nf", a, np.cross(b, c))
        dots = [np.einsum("nfi,nfi->nf", x, y) for x, y in ((a, b), (b, c), (c, a))]
        angle = np.arctan2(volume, la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb)
        inside += int((angle.sum(1) / (2 * np.pi) > 0.5).sum())
    return inside / len(points)


def posed_meshes() -> tuple[Callable[[Array], Array], Array]:
    """A function that poses the coarse level (1723, 3) of the mean body, and its faces."""
    figure = build_free("body")
    model, down = figure.model, figure.levels["D"][0]
    rest = model["v_template"]
    joints = model["J_regressor"] @ rest

    def posed(pose: Array) -> Array:
        turned, placed = joint_frames(pose, joints)
        local = Rotation.from_rotvec(pose[1:]).as_matrix() - np.eye(3)
        shaped = rest + model["posedirs"] @ local.reshape(-1)
        moved = np.einsum("kij,vkj->vki", turned, shaped[:, None] - joints[None]) + placed[None]
        return np.asarray(down @ np.einsum("vk,vki->vi", model["weights"], moved))

    return posed, figure.levels["F"][1].astype(np.int64)


class Untouched(BodyBalls):
    """Balls that push nothing."""

    def free(self, pose: Array) -> Array:
        """The pose itself."""
        return pose


def contacts(prior: PosePrior) -> None:
    """Prints buried vertices with and without the pushing, and how the soles of standing people lie."""
    posed, faces = posed_meshes()
    fields = {name: getattr(prior.body, name) for name in BodyBalls.__dataclass_fields__}
    loose = PosePrior(prior.mixture, prior.kinds, Untouched(**fields))
    for name, one in (("as drawn", loose), ("pushed apart", prior)):
        rng = np.random.default_rng(1)
        shares = [buried(posed(one.draw(rng).pose), faces) for _ in range(MESHES)]
        print(f"vertices inside of the body, {name}: {np.mean(shares):.2%}, 95% {np.percentile(shares, 95):.2%}")
    rng = np.random.default_rng(2)
    gaps = []
    for _ in range(STANDING):
        height = prior.body.touching(prior.draw(rng, "standing").pose)[:, 1]
        owner = prior.body.touch_owner
        gaps.append([height[np.isin(owner, foot)].min() - height.min() for foot in ((7, 10), (8, 11))])
    high = 1e3 * np.sort(np.array(gaps), axis=1)
    print(
        f"standing people: the lower foot {high[:, 0].mean():.1f} mm over the lowest point, the higher one "
        f"{np.median(high[:, 1]):.0f} mm in the median; within 30 mm: {(high[:, 1] < 30).mean():.0%}"
    )
