"""The synthetic body's own numbers: skeleton, solid, landmarks, shape directions.

Meters, y up, facing +z, the left side is +x.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tore.body.joints import H36M_NAMES, SMPL_FLIP, SMPL_NAMES
from tore.synthetic import hand_figure
from tore.synthetic.edge_collapse import Array
from tore.synthetic.rig import ramp
from tore.synthetic.solids import Ellipsoid, Field, Profile, Tube, union

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)

_MIDDLE = {0: (0.0, -0.235, 0.0), 3: (0.0, -0.12, -0.01), 6: (0.0, 0.01, -0.015), 9: (0.0, 0.085, -0.01)}
_MIDDLE |= {12: (0.0, 0.28, -0.02), 15: (0.0, 0.36, 0.005)}
_LEFT = {
    1: (0.085, -0.315, 0.0),
    4: (0.105, -0.70, 0.008),
    7: (0.100, -1.095, -0.028),
    10: (0.115, -1.135, 0.085),
    13: (0.07, 0.205, -0.015),
    16: (0.180, 0.235, -0.02),
    18: (0.435, 0.228, -0.030),
    20: (0.680, 0.228, -0.030),
    22: (0.765, 0.228, -0.025),
}


def joints() -> Array:
    """(24, 3) rest joints."""
    out = np.zeros((24, 3))
    for j, place in _MIDDLE.items():
        out[j] = place
    for j, place in _LEFT.items():
        out[j] = place
        out[SMPL_FLIP[j]] = np.array(place) * [-1, 1, 1]
    return out


def solid() -> Field:
    """The left half (x >= 0) of the body; near x = 0 the right thigh is there too, so that the skin crosses evenly."""
    trunk = Profile(
        [
            (-0.375, 0.050, 0.050, 0.000),
            (-0.330, 0.120, 0.090, -0.004),
            (-0.270, 0.154, 0.108, -0.008),
            (-0.190, 0.158, 0.110, -0.004),
            (-0.100, 0.144, 0.101, 0.003),
            (-0.030, 0.135, 0.097, 0.004),
            (0.060, 0.148, 0.106, 0.002),
            (0.140, 0.163, 0.112, -0.002),
            (0.200, 0.158, 0.100, -0.010),
            (0.245, 0.120, 0.080, -0.018),
            (0.290, 0.055, 0.055, -0.020),
        ]
    )
    leg, left_thigh, right_thigh = _leg()
    return union(
        [
            (trunk, 0.0),
            (Ellipsoid((0.070, 0.132, 0.060), (0.084, 0.066, 0.046)), 0.045),
            (Ellipsoid((0.078, -0.285, -0.070), (0.082, 0.082, 0.058)), 0.04),
            (left_thigh, 0.045),
            (right_thigh, 0.03),
            (leg, 0.02),
            (Tube([(0.03, 0.285, -0.03), (0.165, 0.245, -0.022)], (0.035, 0.040)), 0.05),
            (_arm(), 0.04),
            (_head(), 0.03),
        ]
    )


def _leg() -> tuple[Field, Field, Field]:
    thigh = [(0.087, -0.30, -0.004), (0.097, -0.45, 0.002), (0.104, -0.60, 0.006), (0.105, -0.70, 0.008)]
    girth = (0.086, 0.081, 0.064, 0.056)
    mirrored = [(-x, y, z) for x, y, z in thigh]
    shin = [(0.105, -0.70, 0.006), (0.106, -0.79, -0.012), (0.104, -0.87, -0.020), (0.101, -1.00, -0.026)]
    lower = Tube([*shin, (0.100, -1.095, -0.030)], (0.054, 0.056, 0.053, 0.041, 0.037))
    heel = Tube([(0.100, -1.115, -0.045), (0.104, -1.128, 0.0)], (0.040, 0.036))
    sole = Tube([(0.104, -1.125, 0.0), (0.114, -1.140, 0.085)], (0.032, 0.024), squash=(1.45, 1, 1))
    toes = Tube([(0.114, -1.142, 0.085), (0.117, -1.146, 0.135)], (0.022, 0.016), squash=(1.7, 1, 1))
    instep = Tube([(0.100, -1.085, -0.015), (0.110, -1.128, 0.060)], (0.036, 0.028))
    foot = union([(heel, 0.0), (sole, 0.02), (toes, 0.015), (instep, 0.02)])
    return union([(lower, 0.0), (foot, 0.02)]), Tube(thigh, girth), Tube(mirrored, girth)


def _arm() -> Field:
    upper = [(0.175, 0.235, -0.02), (0.24, 0.232, -0.022), (0.34, 0.230, -0.026), (0.435, 0.228, -0.030)]
    lower = [(0.435, 0.228, -0.030), (0.50, 0.228, -0.030), (0.58, 0.228, -0.030), (0.680, 0.228, -0.030)]
    hand = hand_figure.placed(hand_figure.solid(), joints()[20])
    return union(
        [
            (Tube(upper, (0.060, 0.056, 0.050, 0.043)), 0.0),
            (Tube(lower, (0.043, 0.046, 0.041, 0.029)), 0.015),
            (hand, 0.012),
        ]
    )


def _head() -> Field:
    return union(
        [
            (Tube([(0, 0.24, -0.025), (0, 0.37, 0.0)], (0.060, 0.054)), 0.0),
            (Ellipsoid((0, 0.452, -0.002), (0.077, 0.095, 0.098)), 0.03),
            (Ellipsoid((0, 0.395, 0.040), (0.058, 0.072, 0.058)), 0.03),
            (Ellipsoid((0, 0.345, 0.066), (0.026, 0.020, 0.024)), 0.025),
            (Ellipsoid((0, 0.468, 0.080), (0.050, 0.012, 0.014)), 0.02),
            (Tube([(0, 0.452, 0.094), (0, 0.412, 0.112)], (0.007, 0.014)), 0.012),
            (Ellipsoid((0, 0.380, 0.091), (0.021, 0.008, 0.008)), 0.01),
            (Ellipsoid((0.078, 0.428, -0.004), (0.010, 0.031, 0.019)), 0.006),
        ]
    )


def wanted_edge(p: Array) -> Array:
    """(N,) wanted edge length at points of the body: finer on hands, face and feet."""
    hand = np.interp(p[:, 0], (0.60, 0.70), (0.0, 1.0))
    face = np.interp(p[:, 1], (0.28, 0.36), (0.0, 1.0)) * np.interp(p[:, 2], (-0.02, 0.06), (0.2, 1.0))
    foot = np.interp(-p[:, 1], (1.02, 1.10), (0.0, 1.0))
    return 1.0 - 0.52 * hand - 0.42 * face - 0.25 * foot


BLEND_WIDTHS = (
    *(0.05, 0.05, 0.05, 0.06, 0.032, 0.032, 0.06, 0.024, 0.024, 0.06, 0.022, 0.022),
    *(0.035, 0.045, 0.045, 0.03, 0.038, 0.038, 0.026, 0.026, 0.016, 0.016, 0.014, 0.014),
)


# What share of the volume lost at a bend the pose directions give back: shoulders and hips have flesh of their own.
POSE_GAINS = (0.0, 0.9, 0.9, 1.0, 1.3, 1.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) + (
    1.0,
    0.5,
    0.5,
    1.0,
    0.6,
    0.6,
    1.3,
    1.3,
    1,
    1,
    1,
    1,
)


def bones(p: Array) -> NDArray[np.int64]:
    """(N,) the one bone that each point of the body's skin lies on."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    spine = np.select([y < -0.12, y < 0.01, y < 0.085], [0, 3, 6], 9)
    arm = np.select([x < 0.435, x < 0.680, x < 0.765], [16, 18, 20], 22)
    leg = np.select([y > -0.70, y > -1.075 + 0.25 * z, z < 0.085], [1, 4, 7], 10)
    left = np.select(
        [
            (x > 0.165) & (y > 0.12),
            y < -0.375 + 0.85 * x,
            y > 0.365 - 0.5 * z,
            (y > 0.275) & (x < 0.075),
            (x > 0.05) & (y > 0.165),
        ],
        [arm, leg, np.full(len(p), 15), np.full(len(p), 12), np.full(len(p), 13)],
        spine,
    )
    return np.where(p[:, 0] < 0, np.array(SMPL_FLIP)[left], left)


def shape_directions(p: Array, normals: Array) -> Array:
    """(N, 3, 10) displacement of the skin for one standard deviation of each shape number."""
    x, y, z = p.T
    side, wide = np.sign(x), np.abs(x)
    out = np.zeros((len(p), 3, 10))
    hand, foot, head = ramp(wide, 0.62, 0.70), ramp(y, -1.0, -1.09), ramp(y, 0.27, 0.34)
    arm = ramp(wide, 0.14, 0.22) * ramp(y, 0.12, 0.18)
    leg = ramp(y, -0.26, -0.40)
    trunk = (1 - arm) * (1 - leg) * (1 - head)
    belly = trunk * np.exp(-(((y + 0.08) / 0.12) ** 2))
    out[:, :, 0] = 0.035 * (p - [0, -0.3, 0])  # stature
    soft = 0.55 * (1 - 0.85 * hand) * (1 - 0.75 * foot) * (1 - 0.6 * head) + 0.35 * trunk + 0.8 * belly
    out[:, :, 1] = 0.009 * soft[:, None] * normals  # weight
    out[:, 1, 2] = -0.025 * ramp(y, -0.32, -1.05)  # leg length
    out[:, 0, 3] = 0.018 * side * ramp(wide, 0.18, 0.68) * (y > 0.1)  # arm length
    out[:, 0, 4] = 0.012 * side * ramp(wide, 0.0, 0.17) * ramp(y, 0.02, 0.18) * (1 - head)  # shoulder width
    out[:, 0, 5] = 0.012 * side * ramp(wide, 0.0, 0.11) * ramp(y, 0.0, -0.22)  # hip width
    out[:, :, 6] = 0.045 * head[:, None] * (p - [0, 0.30, 0])  # head size
    out[:, 2, 7] = 0.016 * belly * ramp(z, -0.02, 0.09)  # belly
    out[:, 2, 7] -= 0.006 * trunk * ramp(z, 0.0, 0.10) * np.exp(-(((y - 0.14) / 0.08) ** 2))
    out[:, 1, 8] = 0.020 * ramp(y, -0.22, 0.16)  # trunk length
    girth = arm * (1 - hand)
    out[:, 1, 9] += 0.09 * girth * (y - 0.230)  # thickness of the limbs
    out[:, 2, 9] += 0.09 * girth * (z + 0.027)
    out[:, 0, 9] += 0.07 * leg * (1 - foot) * (x - 0.103 * side * ramp(wide, 0.0, 0.05))
    out[:, 2, 9] += 0.07 * leg * (1 - foot) * (z + 0.008)
    return out


def train_points() -> dict[str, tuple[tuple[float, float, float], float]]:
    """Name -> (place, spread in meters; 0 = the one nearest vertex of the skin) of the joints that SMPL's own 24 lack.

    The official data format calls these rows, in this order, the extra regressor.
    """
    return {
        "Nose": ((0.0, 0.410, 0.130), 0.0),
        "R_Eye": ((-0.032, 0.446, 0.095), 0.0),
        "L_Eye": ((0.032, 0.446, 0.095), 0.0),
        "R_Ear": ((-0.090, 0.428, -0.004), 0.0),
        "L_Ear": ((0.090, 0.428, -0.004), 0.0),
        "R_Hip": ((-0.100, -0.300, 0.0), 0.07),
        "L_Hip": ((0.100, -0.300, 0.0), 0.07),
        "Neck": ((0.0, 0.285, -0.012), 0.05),
        "Top_of_Head": ((0.0, 0.560, -0.002), 0.0),
        "Pelvis": ((0.0, -0.290, 0.0), 0.07),
        "Thorax": ((0.0, 0.235, -0.012), 0.06),
        "Spine": ((0.0, 0.000, -0.010), 0.08),
        "Jaw": ((0.0, 0.365, 0.050), 0.04),
        "Head": ((0.0, 0.480, 0.000), 0.06),
    }


LIMBS = ("Knee", "Ankle", "Shoulder", "Elbow", "Wrist")
H36M_LIMBS = {name: SMPL_NAMES.index(name) for name in H36M_NAMES if name.endswith(LIMBS)}  # joints of both skeletons
