"""Refinement: people moved a little, so that their keypoints lie where a pose network sees them in the image.

The network's mesh is taken as a body of its model (`tore.body.fitting`). Gauss-Newton steps then move pose, shape,
place and the scale of the crop's camera toward the 2D keypoints. A keypoint counts by its score, and loses its pull
where it is far off. The prediction itself, the pose prior and the joints' limits hold the body back, so that depth, and
what no keypoint shows, stay near the prediction. People with few certain keypoints stay as they were predicted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from manopth.tensors import full_precision
from tore.body.body_model import BodyModel
from tore.body.fitting import NETWORK, fit_parameters
from tore.body.gauss_newton import BodyState, Kinematics, Points, Posed, ResidualBlock, gauss_newton
from tore.body.joints import COCO_TO_J24, SMPL_NAMES
from tore.image_format import ImageFormat
from tore.modeling.heads import MeshPrediction
from tore.modeling.movenet import THUNDER_SIZE, MoveNet, decode_keypoints, load_movenet, surer_keypoints
from tore.paths import SYNTHETIC
from tore.synthetic.free_body import keypoint_rows
from tore.synthetic.joint_limits import within_limits
from tore.synthetic.pose_prior import PosePrior
from tore_runtime.crop import rotation_2d
from tore_runtime.result import STAYED

STEPS, LAST_STEPS = 8, 3  # without and with what holds joints at their limits
SURE = 0.1  # score from which a keypoint counts
FEWEST = 6  # keypoints that count; with fewer a person stays as predicted
WORST_FIT = 60.0  # millimeters between a mesh and the body that it is taken as; beyond it a person stays as predicted
SPREAD = 0.02  # of half the crop's side: how far a keypoint of score 1 lies beside its joint; others 1 / score as far
FAR = 5.0  # such spreads from which a keypoint pulls less and less
PRIOR_SHARE = 0.1  # of the pose prior's energy
LIMIT_SPREAD = 0.1  # radians beyond a limit that count as much as a keypoint's spread
# What the prediction may be off by: radians of each joint, betas, meters, logarithm of the camera's scale.
TURNS = {
    "Pelvis": 0.2, "Spine1": 0.1, "Spine2": 0.1, "Spine3": 0.1, "Neck": 0.2, "Head": 0.2, "Collar": 0.1, "Hip": 0.4,
    "Knee": 0.4, "Ankle": 0.1, "Foot": 0.05, "Shoulder": 0.4, "Elbow": 0.5, "Wrist": 0.05, "Hand": 0.05,
}  # fmt: skip
BETAS, PLACE, SCALE = 0.5, 0.1, 0.1
LARGEST = 10.0  # meters; vertices beyond that are no body
SMALL = 1e-3  # parts of a keypoint that hang less than this on a joint are left out
ROWS_OF_BODY = "COCO's keypoints, regressed from the mesh"
ROWS_OF_LABELS = "those of the 24 label joints, regressed from the mesh"


class Refined(NamedTuple):
    """What became of B people, along the axes of the given camera; those that stayed are as they were given."""

    vertices: Tensor  # (B, V, 3)
    camera: Tensor  # (B, 3)
    pose: Tensor  # (B, 72) radians; of those that stayed, that of the body closest to the mesh
    betas: Tensor  # (B, 10)
    translation: Tensor  # (B, 3) brings that body's vertices to `vertices`
    notes: list[str]  # of each person: how many keypoints it was moved to, or why it stayed
    moved: Tensor  # (B,) bool


def coco_rows(body: BodyModel) -> tuple[np.ndarray, str]:
    """The matrix (17, V) that gives COCO's keypoints of a body's vertices, and what they are.

    The synthetic body knows them; of another model they are the label joints of these names.
    """
    if body.identity.name == SYNTHETIC:
        return keypoint_rows(), ROWS_OF_BODY
    rows = body.j24_rows
    assert isinstance(rows, Tensor)
    dense = rows.to_dense() if rows.is_sparse else rows
    return np.asarray(dense.cpu(), np.float64)[list(COCO_TO_J24)], ROWS_OF_LABELS


class Refiner:
    """What refining people of one body model needs; made once."""

    def __init__(self, body: BodyModel) -> None:
        """Raises ValueError for hands."""
        if body.kind != "body":
            raise ValueError(
                "only people are refined, by a pose network's keypoints; leave refine (--refine) out for hands"
            )
        self.body, self.kinematics, self.prior = body, Kinematics(body.skinned), PosePrior.load()
        like = body.skinned.basis
        self.rows = torch.from_numpy(coco_rows(body)[0]).to(like)  # (17, V)
        self.points, self.sums = keypoint_points(self.kinematics, self.rows)
        turns = [TURNS[name.removeprefix("L_").removeprefix("R_")] for name in SMPL_NAMES]
        self.turns = torch.tensor(turns).to(like)  # (24,)

    @torch.no_grad()
    @full_precision
    def __call__(self, vertices: Tensor, camera: Tensor, keypoints: Tensor) -> Refined:
        """Meshes (B, V, 3) and weak-perspective cameras (B, 3) moved toward keypoints (B, 17, 3).

        keypoints: x and y in half sizes of the crop from its center, along the axes of `camera`, and a score.
        """
        vertices, camera, keypoints = (given.to(self.turns) for given in (vertices, camera, keypoints))
        keypoints = torch.where(keypoints.isfinite().all(-1, keepdim=True), keypoints, 0)
        counts = (keypoints[..., 2] >= SURE).sum(1)
        usable = (vertices.abs() < LARGEST).flatten(1).all(1) & camera.isfinite().all(1)  # False where not finite
        resting = self.body.skinned.basis[0].mT
        fitted = fit_parameters(
            self.body,
            torch.where(usable[:, None, None], vertices, resting),
            noise=NETWORK[self.body.kind],
            smooth=False,
        )
        start = BodyState.start(
            self.body.rotations(fitted.pose), fitted.betas, fitted.translation, torch.zeros_like(camera[:, :1])
        )
        end = self._moved(start, camera, keypoints)
        mesh = self.body.skin(end.rotations, end.betas)[0]
        shift = self.body.root(mesh) - self.body.root(vertices)  # (B, 1, 3): the root stays the mesh's origin
        mesh, place = mesh - shift, camera[:, 1:] + (shift.squeeze(1) + end.translation)[:, :2]
        seen = torch.cat([camera[:, :1] * end.extra.exp(), place], 1)
        nearer = self._distance(mesh, seen, keypoints) < self._distance(vertices, camera, keypoints)
        residuals = torch.where(usable, fitted.residual_mm, torch.inf)
        facts = zip(counts.tolist(), residuals.tolist(), nearer.tolist(), strict=True)
        notes = [note(*of_one) for of_one in facts]
        moved = torch.tensor([not text.startswith(STAYED) for text in notes], device=vertices.device)
        end = end.where(moved, start)
        return Refined(
            torch.where(moved[:, None, None], mesh, vertices),
            torch.where(moved[:, None], seen, camera),
            self.body.pose_of(end.rotations),
            end.betas,
            torch.where(moved[:, None], -shift.squeeze(1), fitted.translation),
            notes,
            moved,
        )

    def _distance(self, vertices: Tensor, camera: Tensor, keypoints: Tensor) -> Tensor:
        """(B,) how far keypoints lie from those of meshes, weighted and shortened as they are while refining."""
        found = self.rows @ vertices  # (B, 17, 3)
        seen = camera[:, None, :1] * (found[..., :2] + camera[:, None, 1:])
        off = _weights(keypoints)[..., None] * (seen - keypoints[..., :2])
        return (off * _shortening(off)).square().sum((1, 2))

    def of_crops(
        self, prediction: MeshPrediction, keypoints: Tensor, rotations: Sequence[float]
    ) -> tuple[MeshPrediction, list[str]]:
        """A prediction along the axes of the images, moved toward keypoints (B, 17, 3) of its crops, and the notes.

        keypoints: x, y in shares of the crop's sides, score, as the crops show them. rotations: the crops', in degrees.
        Joints are those of the moved meshes. Everyone has rotations and betas: people who stayed the network's own,
        or those of the body closest to the mesh.
        """
        turns = torch.from_numpy(np.stack([rotation_2d(angle) for angle in rotations])).to(self.turns)  # (B, 2, 2)
        keypoints = keypoints.to(self.turns)
        beside = (2 * keypoints[..., :2] - 1) @ turns.mT
        found = self(prediction.vertices, prediction.camera, torch.cat([beside, keypoints[..., 2:]], -1))
        moved = found.moved[:, None, None]
        joints = torch.where(moved, self.body.regress_joints(found.vertices), prediction.joints)
        turned, betas = self.body.rotations(found.pose), found.betas
        if prediction.rotations is not None and prediction.betas is not None:
            turned = torch.where(moved[..., None], turned, prediction.rotations)
            betas = torch.where(found.moved[:, None], betas, prediction.betas)
        changed = {"vertices": found.vertices, "camera": found.camera, "joints": joints}
        return prediction._replace(**changed, rotations=turned, betas=betas), found.notes

    def _moved(self, start: BodyState, camera: Tensor, keypoints: Tensor) -> BodyState:
        """The bodies nearer to the keypoints."""
        near = Nearness(self.points, self.sums, camera, keypoints[..., :2], _weights(keypoints))
        blocks: list[ResidualBlock] = [
            near,
            *anchors(start, self.turns),
            self.prior.nearest(start.rotations).weighted(PRIOR_SHARE),
        ]
        state = gauss_newton(self.kinematics, start, blocks, steps=STEPS).state
        limited, beyond = within(state.rotations, self.body)
        beyond = beyond * (1 - within(start.rotations, self.body)[1])  # the prediction's own stay as they are
        if not bool(beyond.any()):
            return state
        held = Rotations(limited, beyond / LIMIT_SPREAD)
        return gauss_newton(self.kinematics, state, [*blocks, held], steps=LAST_STEPS).state


@functools.cache
def _pose_network(device: torch.device) -> MoveNet:
    return load_movenet("thunder").to(device)


def crop_keypoints(images: Tensor, shown: ImageFormat) -> Tensor:
    """The keypoints (B, 17, 3) that MoveNet Thunder finds in crops (B, 3, n, n), normalized as `shown` says.

    x, y in shares of the crop's sides, score; those of the surer one of two looks (`surer_keypoints`).
    """
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (shown.mean, shown.std))
    colors = (images * deviation + mean).float()
    if colors.shape[-1] != THUNDER_SIZE:
        colors = F.interpolate(colors, (THUNDER_SIZE, THUNDER_SIZE), mode="bilinear", antialias=True)
    network = _pose_network(colors.device)
    return surer_keypoints(
        lambda seen: decode_keypoints(network.maps(network.features_of_normalized(seen))), 2 * colors - 1
    )


def _weights(keypoints: Tensor) -> Tensor:
    """What distances to keypoints (B, 17, 3) are multiplied by: (B, 17), 0 for those that do not count."""
    return torch.where(keypoints[..., 2] >= SURE, keypoints[..., 2], 0) / SPREAD


def note(keypoints: int, residual: float, nearer: bool) -> str:
    """What became of somebody with that many certain keypoints, whose mesh is that many millimeters off a body.

    nearer: whether the refined body lies nearer to the keypoints than the prediction.
    """
    if keypoints < FEWEST:
        return f"{STAYED}: {keypoints} of 17 keypoints are certain, and {FEWEST} are needed"
    if not residual <= WORST_FIT:
        return f"{STAYED}: the mesh lies {residual:.0f} mm beside any body of the model".replace("inf mm", "far")
    if not nearer:
        return f"{STAYED}: no body of the model lies nearer to the {keypoints} keypoints"
    return f"moved to {keypoints} keypoints"


def within(rotations: Tensor, body: BodyModel) -> tuple[Tensor, Tensor]:
    """Rotations (B, 24, 3, 3) brought within the joints' limits, and which (B, 24) had to be, as 0 and 1."""
    pose = body.pose_of(rotations).unflatten(1, (-1, 3))
    limited = torch.from_numpy(within_limits(pose.double().cpu().numpy())).to(pose)
    found = body.rotations(limited.flatten(1))
    beyond = (found - rotations).flatten(2).norm(dim=-1) > LIMIT_SPREAD
    return found, beyond.to(pose)


def keypoint_points(kinematics: Kinematics, rows: Tensor) -> tuple[Points, Tensor]:
    """Keypoints that `rows` (17, V) regress from a mesh, as sums of points that hang on one joint each.

    Skinning is linear, so that these few points, one for each keypoint and joint, give what its many vertices would.
    Returns N points, whose weights are the keypoint's on that joint, and the sums (N, 17).
    """
    model = kinematics.model
    weights = rows @ model.weights.mT  # (17, K)
    keypoint, joint = (weights.abs() > SMALL).nonzero(as_tuple=True)
    own = weights[keypoint, joint]  # (N,)
    shares = rows[keypoint] * model.weights[joint] / own[:, None]  # (N, V)
    held, sums = own.new_zeros(model.num_joints, len(own)), own.new_zeros(len(own), len(rows))
    number = torch.arange(len(own), device=own.device)
    held[joint, number], sums[number, keypoint] = own, 1
    return Points(model.basis @ shares.mT, held, kinematics.lineage.mT @ held), sums


@dataclass(frozen=True)
class Nearness:
    """How far keypoints lie from where a camera sees those of a body; the state's `extra` is the logarithm of what
    multiplies the camera's scale.

    Each distance is weighted, then shortened as Geman and McClure do: it never counts more than `FAR`.
    """

    points: Points
    sums: Tensor  # (N, 17)
    camera: Tensor  # (B, 3)
    target: Tensor  # (B, 17, 2)
    weight: Tensor  # (B, 17)

    def _seen(self, posed: Posed) -> tuple[Tensor, Tensor]:
        """Where the camera sees the keypoints (B, 17, 2), and its scale (B, 1)."""
        scale = self.camera[:, :1] * posed.state.extra.exp()
        found = (posed.points(self.points) @ self.sums).mT[..., :2]
        return scale[..., None] * (found + self.camera[:, None, 1:]), scale

    def residual(self, posed: Posed) -> Tensor:
        """(B, 34)."""
        off = self.weight[..., None] * (self._seen(posed)[0] - self.target)
        return (off * _shortening(off)).flatten(1)

    def jacobian(self, posed: Posed) -> Tensor:
        """(B, P, 34)."""
        seen, scale = self._seen(posed)
        moved = (posed.jacobian(self.points) @ self.sums)[:, :, :2].mT  # (B, P, 17, 2) meters
        moved[:, -4:-1] = torch.eye(3).to(moved)[:, None, :2]  # the translation moves a keypoint, not each of its parts
        moved = moved * scale[..., None, None]
        moved[:, -1] = seen
        off, moved = self.weight[..., None] * (seen - self.target), self.weight[:, None, :, None] * moved
        share = _shortening(off)  # (B, 17, 1)
        along = (moved * off[:, None]).sum(-1, keepdim=True)
        return (share[:, None] * moved - (share**3 / FAR**2 * off)[:, None] * along).flatten(2)


def _shortening(off: Tensor) -> Tensor:
    """What distances (B, 17, 2) are multiplied by: (B, 17, 1)."""
    return (1 + off.square().sum(-1, keepdim=True) / FAR**2).rsqrt()


@dataclass(frozen=True)
class Rotations:
    """Joints that are to stay at `target`; for small angles the squares' sum is that of weight times angle."""

    target: Tensor  # (B, 24, 3, 3)
    weight: Tensor  # (B, 24) or (24,)

    def residual(self, posed: Posed) -> Tensor:
        """(B, 216)."""
        away = (posed.state.rotations - self.target).flatten(2)
        return (away * (0.5**0.5 * self.weight[..., None])).flatten(1)

    def jacobian(self, posed: Posed) -> Tensor:
        """(B, P, 216)."""
        own = posed.rotation_jacobian() * (0.5**0.5 * self.weight[..., None, None])  # (B, 24, 3, 9)
        batch, joints = own.shape[:2]
        found = own.new_zeros(batch, posed.state.unknowns, joints, 9)
        for joint in range(joints):
            found[:, 3 * joint : 3 * joint + 3, joint] = own[:, joint]
        return found.flatten(2)


@dataclass(frozen=True)
class Numbers:
    """Betas, translation and the camera's scale, which are to stay as they are in `start`."""

    start: BodyState
    weight: Tensor  # (14,)

    def residual(self, posed: Posed) -> Tensor:
        """(B, 14)."""
        now, then = (torch.cat([s.betas, s.translation, s.extra], 1) for s in (posed.state, self.start))
        return (now - then) * self.weight

    def jacobian(self, posed: Posed) -> Tensor:
        """(B, P, 14)."""
        batch, count = len(posed.state.betas), len(self.weight)
        found = self.weight.new_zeros(batch, posed.state.unknowns, count)
        found[:, -count:] = torch.diag(self.weight)
        return found


def anchors(start: BodyState, turns: Tensor) -> tuple[Rotations, Numbers]:
    """What holds bodies at the prediction; turns: (24,) radians that joints may be off."""
    spreads = [BETAS] * start.betas.shape[1] + [PLACE] * 3 + [SCALE]
    return Rotations(start.rotations, 1 / turns), Numbers(start, 1 / torch.tensor(spreads).to(turns))
