"""The synthetic hand's own numbers: skeleton, solid, shape directions, curl directions. Meters.

Everything is written for a hand whose fingers point to +x, palm down (-y), thumb to +z, wrist at the origin:
the left hand of a figure in T-pose. The right hand is its mirror image in x, the frame of the right-hand model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tore.synthetic.edge_collapse import Array
from tore.synthetic.rig import ramp
from tore.synthetic.solids import Ellipsoid, Field, Tube, union

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # in the order of the joints 1..15, three each
TIP_VERTICES = {"thumb": (745,), "index": (317,), "middle": (445, 444), "ring": (556,), "pinky": (673,)}

# knuckle, the three bone lengths, spread towards the thumb in degrees, droop in degrees, radii knuckle to tip
_FINGER_SHAPES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float, float, tuple]] = {
    "index": ((0.090, 0.002, 0.026), (0.042, 0.026, 0.023), 9.0, 3.0, (0.0110, 0.0102, 0.0092, 0.0076)),
    "middle": ((0.095, 0.004, 0.002), (0.046, 0.030, 0.024), 0.5, 3.0, (0.0113, 0.0105, 0.0095, 0.0078)),
    "ring": ((0.089, 0.002, -0.021), (0.043, 0.028, 0.023), -8.0, 3.0, (0.0107, 0.0099, 0.0089, 0.0074)),
    "pinky": ((0.078, -0.002, -0.041), (0.034, 0.021, 0.020), -19.0, 4.0, (0.0096, 0.0088, 0.0079, 0.0066)),
}
_THUMB_POINTS = ((0.024, -0.010, 0.027), (0.055, -0.017, 0.058), (0.080, -0.019, 0.079), (0.103, -0.020, 0.096))
_THUMB_RADII = (0.0165, 0.0125, 0.0108, 0.0085)


def finger_points(name: str) -> Array:
    """(4, 3) the three joints and the center of the tip of one finger."""
    if name == "thumb":
        return np.array(_THUMB_POINTS)
    knuckle, lengths, spread, droop, _ = _FINGER_SHAPES[name]
    points, angle = [np.array(knuckle)], np.radians(spread)
    for k, length in enumerate(lengths):
        down = np.radians(droop * (k + 1))
        step = [np.cos(angle) * np.cos(down), -np.sin(down), np.sin(angle) * np.cos(down)]
        points.append(points[-1] + length * np.array(step))
    return np.stack(points)


def joints() -> Array:
    """(16, 3) rest joints of the +x hand: wrist, then three of each finger in the order of `FINGERS`."""
    return np.concatenate([np.zeros((1, 3)), *(finger_points(name)[:3] for name in FINGERS)])


def tips() -> Array:
    """(5, 3) ends of the fingers on the skin, in the order of `FINGERS`."""
    ends = []
    for name in FINGERS:
        points = finger_points(name)
        radius = _THUMB_RADII[3] if name == "thumb" else _FINGER_SHAPES[name][4][3]
        step = points[3] - points[2]
        ends.append(points[3] + step / np.linalg.norm(step) * radius)
    return np.stack(ends)


def solid(wrist_length: float = 0.05) -> Field:
    """The +x hand with `wrist_length` meters of forearm behind the wrist joint."""
    palm: list[tuple[Field, float]] = [
        (Tube([(-wrist_length, 0, 0), (0.0, 0, 0), (0.02, 0, 0.0)], (0.023, 0.0205, 0.020), squash=(1, 1.0, 1.3)), 0.0)
    ]
    for name, (knuckle, _, _, _, radii) in _FINGER_SHAPES.items():
        root = (0.012, 0.0, 0.25 * knuckle[2] if name != "pinky" else -0.011)
        palm.append((Tube([root, knuckle], (0.0165, radii[0] + 0.0022)), 0.012))
    palm.append((Ellipsoid((0.040, -0.012, 0.024), (0.034, 0.013, 0.017)), 0.012))
    palm.append((Ellipsoid((0.045, -0.009, -0.020), (0.036, 0.012, 0.015)), 0.012))
    fingers: list[tuple[Field, float]] = []
    for name, (_, _, _, _, radii) in _FINGER_SHAPES.items():
        fingers.append((Tube(finger_points(name).tolist(), radii), 0.002))
    thumb = Tube(_THUMB_POINTS, _THUMB_RADII)
    return union([(union(palm), 0.0), (thumb, 0.014), (union(fingers), 0.006)])


def placed(hand: Field, origin: Array) -> Field:
    """The hand moved so that its wrist lies at `origin`."""

    def field(p: Array) -> Array:
        return hand(p - origin)

    return field


def wanted_edge(p: Array) -> Array:
    """(N,) wanted edge length at points of the +x hand: finer towards the fingertips."""
    return np.interp(p[:, 0], (0.0, 0.09, 0.19), (1.25, 1.0, 0.8))


BLEND_WIDTHS = (0.016, *(0.010, 0.008, 0.007) * 4, *(0.012, 0.009, 0.008))  # meters, at each joint
POSE_GAINS = (0.0, *(1.0, 1.2, 1.2) * 4, *(0.7, 1.2, 1.2))
MEAN_CURL = (0.30, 0.45, 0.25)  # radians at the three joints of a finger of the mean hand
MEAN_THUMB = (0.15, 0.15, 0.20)
_THUMB_TARGET = (0.15, -0.55, -0.80)  # where the thumb bends to, in the +x hand's frame


def bones(p: Array) -> NDArray[np.int64]:
    """(N,) the joint whose bone each point of the +x hand's skin lies on."""
    segments, owners, radii = [], [], []
    for f, name in enumerate(FINGERS):
        points = finger_points(name)
        sizes = _THUMB_RADII if name == "thumb" else _FINGER_SHAPES[name][4]
        segments.append((np.array([0.0, 0.0, 0.3 * points[0, 2]]), points[0]))
        owners.append(0)
        radii.append(sizes[0])
        for k in range(3):
            segments.append((points[k], points[k + 1]))
            owners.append(3 * f + k + 1)
            radii.append(sizes[k])
    distance = np.stack([Tube(np.stack(ends).tolist(), (r, r))(p) for ends, r in zip(segments, radii, strict=True)], 1)
    return np.array(owners)[distance.argmin(1)]


def shape_directions(p: Array, normals: Array, weights: Array) -> Array:
    """(N, 3, 10) displacement of the +x hand's skin for one standard deviation of each shape number."""
    out = np.zeros((len(p), 3, 10))
    finger = np.stack([weights[:, 3 * f + 1 : 3 * f + 4].sum(1) for f in range(5)], 1)  # (N, 5)
    palm = weights[:, 0]
    knuckles = np.stack([finger_points(name)[0] for name in FINGERS])
    stretch = np.zeros((5, len(p), 3))
    for f, name in enumerate(FINGERS):
        points = finger_points(name)
        along = (points[3] - points[0]) / np.linalg.norm(points[3] - points[0])
        stretch[f] = (finger[:, f] * np.maximum((p - points[0]) @ along, 0.0))[:, None] * along
    out[:, :, 0] = 0.05 * p  # size
    out[:, :, 1] = 0.0008 * normals  # fullness
    out[:, :, 2] = 0.06 * stretch[:4].sum(0)  # length of the four fingers
    out[:, :, 3] = 0.07 * stretch[4]  # length of the thumb
    out[:, 2, 4] = 0.06 * (palm * p[:, 2] + finger @ knuckles[:, 2])  # width of the palm
    out[:, 0, 5] = 0.05 * 0.09 * ramp(p[:, 0], 0.0, 0.10)  # length of the palm
    out[:, :, 6] = 0.0007 * finger.sum(1)[:, None] * normals  # thickness of the fingers
    out[:, 1, 7] = 0.08 * palm * p[:, 1]  # thickness of the palm
    out[:, :, 8] = 0.05 * (stretch[0] - stretch[2])  # index finger against little finger
    out[:, :, 9] = 0.0015 * ramp(p[:, 0], 0.03, -0.01)[:, None] * normals  # thickness of the wrist
    return out


def flexion_axes() -> Array:
    """(15, 3) unit axes in the right hand's frame about which a positive turn closes each joint."""
    axes = []
    for name in FINGERS:
        bone = np.diff(finger_points(name), axis=0)
        target = np.array(_THUMB_TARGET if name == "thumb" else (0.0, -1.0, 0.0))
        axis = np.cross(bone, target) * [1, -1, -1]  # a turn's axis, mirrored in x
        axes.append(axis / np.linalg.norm(axis, axis=1, keepdims=True))
    return np.concatenate(axes)


def mean_pose() -> Array:
    """(45,) axis-angle of a hand at ease."""
    angles = np.array([MEAN_THUMB if name == "thumb" else MEAN_CURL for name in FINGERS]).reshape(15, 1)
    return (angles * flexion_axes()).reshape(45)


def pose_components() -> Array:
    """(45, 45) orthonormal rows: close the hand, spread it, thumb across, single fingers; then all the rest."""
    curl = flexion_axes() * np.tile([0.7, 0.9, 0.6], 5)[:, None]
    part = np.zeros((8, 5, 3, 3))
    part[0] = curl.reshape(5, 3, 3) * np.array([1.0, 1.0, 1.0, 1.0, 0.35])[:, None, None]
    part[1, :, 0, 1] = [-0.8, -0.1, 1.0, 0.5, -0.8]
    part[2, 4] = curl.reshape(5, 3, 3)[4]
    for row, f in enumerate((0, 1, 3)):
        part[3 + row, f] = curl.reshape(5, 3, 3)[f]
    part[6] = curl.reshape(5, 3, 3) * np.array([1.0, -0.5, -0.5])[:, None]
    part[7, 4, 0, 1] = 1.0
    named = part.reshape(8, 45)
    basis, triangle = np.linalg.qr(np.concatenate([named, np.eye(45)]).T)
    signs = np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return (basis * signs).T
