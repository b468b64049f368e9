"""Index maps of the joints, beside their names and the edges that draw them (`tore_runtime.joints`).

All are tuples of plain numbers. Orders, maps and flips are those of the official data format.
"""

from __future__ import annotations

from manopth.manolayer import JOINT_ORDER
from tore_runtime.joints import (
    COCO_NAMES,
    EDGES,
    FINGERS,
    H36M_EDGES,
    H36M_NAMES,
    HAND_EDGES,
    HAND_NAMES,
    HAND_WRIST,
    J14_EDGES,
    J14_NAMES,
    J24_EDGES,
    J24_NAMES,
    J24_TO_J14,
    JOINT_NAMES,
    KEYPOINT_NAMES,
    MANO_NAMES,
    NUM_JOINTS,
    SKELETON_NAMES,
    SMPL_NAMES,
)

__all__ = [
    "COCO_FLIP", "COCO_NAMES", "COCO_TO_J24", "EDGES", "FINGERS", "FINGERTIP_JOINTS", "H36M_EDGES", "H36M_NAMES",
    "H36M_PELVIS", "H36M_TO_J14", "HAND_EDGES", "HAND_FINGERTIP_VERTICES", "HAND_NAMES", "HAND_WRIST", "J14_EDGES",
    "J14_FLIP", "J14_HIPS", "J14_NAMES", "J24_EDGES", "J24_FLIP", "J24_NAMES", "J24_PELVIS", "J24_TO_J14",
    "JOINT_NAMES", "KEYPOINT_NAMES", "MANO_NAMES", "MANO_TO_HAND", "NUM_JOINTS", "SKELETON_NAMES", "SMPL_FLIP",
    "SMPL_NAMES", "SMPL_TO_J24",
]  # fmt: skip

# Where the label joints have COCO's keypoints: all 17; seven label joints have none.
COCO_TO_J24 = (19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0)
H36M_TO_J14 = (3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10)
# Rows of [SMPL's 24 skeleton regressor rows; the 14 extra rows] that give the 24 label joints.
SMPL_TO_J24 = (8, 5, 29, 30, 4, 7, 21, 19, 17, 16, 18, 20, 31, 32, 33, 34, 35, 36, 37, 24, 26, 25, 28, 27)

MANO_TO_HAND = JOINT_ORDER  # from MANO's 16 skeleton joints followed by 5 fingertips, thumb to pinky
# Official: joints regressed from a right hand's mesh take vertex 445 for the middle finger's tip, the MANO layer 444.
HAND_FINGERTIP_VERTICES = (745, 317, 445, 556, 673)
FINGERTIP_JOINTS = tuple(HAND_NAMES.index(f"{finger}_4") for finger in FINGERS)

# Joint i of a mirrored image is joint FLIP[i] of the original one.
J24_FLIP = (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, *range(12, 20), 21, 20, 23, 22)
COCO_FLIP = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
J14_FLIP = (*J24_FLIP[:12], 12, 13)
SMPL_FLIP = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22)

J24_PELVIS, H36M_PELVIS = J24_NAMES.index("Pelvis"), H36M_NAMES.index("Pelvis")
J14_HIPS = (J14_NAMES.index("R_Hip"), J14_NAMES.index("L_Hip"))  # their middle is the origin of 3D joint terms
