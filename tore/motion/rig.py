"""A motion on the skeleton and the skin of its body: what animation files hold.

A rig has one shape, blend weights of at most four joints a vertex, no pose correctives, and the rotations of its joints
over time. Meters, y up. The rest pose is the body model's: all rotations are the identity.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from manopth.lbs import SkinnedModel, linear_blend_skinning, rest_joints
from manopth.rotations import axis_angle_to_matrix
from tore.body.body_model import MANO, BodyModel
from tore.body.joints import SKELETON_NAMES
from tore.motion.sequence import AXES, MIRROR, Motion
from tore.paths import SYNTHETIC
from tore.synthetic.free_body import Texture, texture

Array = NDArray[np.float64]
INFLUENCES = 4  # joints that move a vertex; more are not read everywhere
MEASURED = 24  # frames in which the skin is compared with the body model


@dataclass(frozen=True, eq=False)
class Skin:
    """A rest mesh: `vertices (V, 3)` meters, `faces (F, 3)`, `weights (V, K)` shares of the joints.

    `texture`: where the corners of the faces lie in skin textures, None where the body model does not say it.
    """

    vertices: Array
    faces: NDArray[np.int64]
    weights: Array
    texture: Texture | None


@dataclass(frozen=True, eq=False)
class Rig:
    """A skeleton of K joints with its skin, moving over T frames.

    - `joint_names (K,)`, `parents (K,)`: -1 for the root, joint 0; a joint's parent comes before it
    - `rest (K, 3)`: joints of the rest pose, meters
    - `rotations (T, K, 3, 3)`: relative to the parent, the root's relative to the frame
    - `root (T, 3)`: where the root joint is, meters
    """

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    rest: Array
    skin: Skin
    rotations: Array
    root: Array
    frame_rate: float

    @property
    def offsets(self) -> Array:
        """(K, 3) from each joint's parent to the joint in the rest pose, meters; for the root its place."""
        parents = np.array(self.parents)
        return np.where(parents[:, None] < 0, self.rest, self.rest - self.rest[parents])

    @property
    def times(self) -> Array:
        """(T,) seconds from the first frame."""
        return np.arange(len(self.root)) / self.frame_rate

    def posed(self) -> tuple[Array, Array]:
        """Rotations (T, K, 3, 3) relative to the frame and joints (T, K, 3), meters."""
        turns, places = [self.rotations[:, 0]], [self.root]
        for joint, parent in enumerate(self.parents[1:], 1):
            places.append(places[parent] + turns[parent] @ self.offsets[joint])
            turns.append(turns[parent] @ self.rotations[:, joint])
        return np.stack(turns, 1), np.stack(places, 1)

    def skinned(self) -> Array:
        """Vertices (T, V, 3), meters, as animation programs compute them."""
        turns, joints = self.posed()
        weights, shift = self.skin.weights, joints - np.einsum("tkij,kj->tki", turns, self.rest)
        turned = np.einsum("vk,tkij->tvij", weights, turns, optimize=True)
        return np.einsum("tvij,vj->tvi", turned, self.skin.vertices) + np.einsum("vk,tki->tvi", weights, shift)

    def part(self, frames: slice) -> Rig:
        """Some of the frames."""
        return replace(self, rotations=self.rotations[frames], root=self.root[frames])

    def place(self) -> Array:
        """(3,) where the first frame stands: x and z of its root, y of its lowest vertex."""
        x, _, z = self.root[0]
        return np.array([x, self.part(slice(1)).skinned()[0, :, 1].min(), z])

    def moved(self, by: Array) -> Rig:
        """The same elsewhere. by: (3,) meters."""
        return replace(self, root=self.root + by)


@torch.inference_mode()
def rig_of(motion: Motion, body: BodyModel) -> Rig:
    """A motion on its body model: one shape, the median of its frames'; gaps interpolated; y up.

    A left hand is the mirror image of the right one's model. Raises ValueError where the motion is of another kind
    than the body, or does not have its numbers of pose.
    """
    _check(motion, body)
    skin, known, turn = _skin_model(body), motion.known, AXES[motion.axes]
    sign = MIRROR if motion.left else np.ones(3)
    own_shapes = torch.from_numpy(motion.betas[known])  # (F, S)
    betas = own_shapes.median(0, keepdim=True).values
    still = torch.eye(3, dtype=torch.float64).expand(1, skin.num_joints, 3, 3)
    vertices, joints = (part[0].numpy() for part in linear_blend_skinning(still, betas, skin))
    rotations = sign[:, None] * _rotations(motion, body) * sign  # (F, K, 3, 3)
    rotations[:, 0] = turn @ rotations[:, 0]
    root = rest_joints(own_shapes, skin)[:, 0].numpy() * sign + motion.translation[known]  # (F, 3)
    faces = body.faces.cpu().numpy().astype(np.int64)
    layout = texture(motion.kind) if body.identity.name == SYNTHETIC else None
    if motion.left:
        faces = faces[:, ::-1]
        layout = layout and Texture(layout.places, layout.faces[:, ::-1])
    return Rig(
        name=motion.name,
        joint_names=SKELETON_NAMES[motion.kind],
        parents=(-1, *skin.parents[1:].tolist()),
        rest=joints * sign,
        skin=Skin(vertices * sign, faces, skin.weights.numpy().T, layout),
        rotations=_over_gaps(rotations, known),
        root=_over_gaps(root @ turn.T, known),
        frame_rate=motion.frame_rate,
    )


@torch.inference_mode()
def skin_difference(motion: Motion, body: BodyModel) -> tuple[float, float]:
    """Meters between the skin of a rig and the body model's, on average and at most, over some of the frames.

    It is what pose correctives add, which skins have none of, and weights beyond four joints a vertex.
    """
    _check(motion, body)
    known = np.flatnonzero(motion.known)
    part = motion.frames(known[np.unique(np.linspace(0, len(known) - 1, MEASURED).astype(int))])
    rotations, betas = torch.from_numpy(_rotations(part, body)), torch.from_numpy(part.betas)
    whole = copy.deepcopy(body.skinned).cpu().double()
    pairs = (linear_blend_skinning(rotations, betas, model)[0] for model in (whole, _skin_model(body)))
    away = (next(pairs) - next(pairs)).norm(dim=-1)
    return float(away.mean()), float(away.max())


def _check(motion: Motion, body: BodyModel) -> None:
    if motion.kind != body.kind:
        raise ValueError(f"{motion.name} is the motion of a {motion.kind}, and the body model is that of a {body.kind}")


def _skin_model(body: BodyModel) -> SkinnedModel:
    """A body's arrays in float64 on the CPU as a skin has them: no pose correctives, few joints a vertex."""
    model = copy.deepcopy(body.skinned).cpu().double()
    model.basis[1 + model.num_betas :] = 0
    most = model.weights.topk(min(INFLUENCES, model.num_joints), 0)  # (4, V)
    model.weights.zero_().scatter_(0, most.indices, most.values / most.values.sum(0))
    return model


def _rotations(motion: Motion, body: BodyModel) -> Array:
    """Rotations (F, K, 3, 3) of the frames that have a pose; of a left hand those of its mirror image."""
    joints, pose = body.skinned.num_joints, motion.pose[motion.known]  # (F, C)
    if motion.left:  # y and z of axis-angle vectors are mirrored, coefficients stay
        vectors = 3 if motion.fingers == "pca" else pose.shape[1]
        pose[:, :vectors] *= np.resize(-MIRROR, vectors)
    if isinstance(body, MANO):
        pose = np.concatenate([pose[:, :3], _fingers(pose[:, 3:], motion, body)], 1)
    if pose.shape[1] != 3 * joints:
        raise ValueError(f"{motion.name}: its poses have {pose.shape[1]} numbers, the body model takes {3 * joints}")
    return axis_angle_to_matrix(torch.from_numpy(pose).unflatten(1, (joints, 3))).numpy()


def _fingers(numbers: Array, motion: Motion, hand: MANO) -> Array:
    """Axis-angle vectors (F, 45) of a right hand's fingers, from the flat hand, of what a motion holds."""
    layer = hand.layer
    if motion.fingers == "flat":
        return numbers
    if motion.fingers == "pca":
        numbers = numbers @ layer.th_comps[: numbers.shape[1]].cpu().double().numpy()
    return numbers + layer.th_hands_mean.cpu().double().numpy()


def _over_gaps(values: Array, known: NDArray[np.bool_]) -> Array:
    """Places (F, 3) or rotations (F, K, 3, 3) of the frames with a pose -> of all (T, ...).

    Between two such frames rotations go the shortest way and places straight; before the first and after the last
    nothing moves.
    """
    frames = np.flatnonzero(known)
    if len(frames) == len(known):
        return values
    wanted = np.clip(np.arange(len(known)), frames[0], frames[-1])
    if len(frames) == 1:
        return np.repeat(values, len(known), 0)
    if values.ndim == 2:
        return np.stack([np.interp(wanted, frames, column) for column in values.T], 1)
    between = [Slerp(frames, Rotation.from_matrix(values[:, joint]))(wanted) for joint in range(values.shape[1])]
    return np.stack([rotation.as_matrix() for rotation in between], 1)
