"""Names, orders and index maps of the joints, and the edges that draw them as skeletons.

All are tuples of plain numbers and strings. Orders, maps and flips are those of the official data format.
"""

from __future__ import annotations

from manopth.manolayer import JOINT_ORDER

# The 24 joints of the data labels ("train" joints), from GraphCMR.
J24_NAMES = (
    "R_Ankle", "R_Knee", "R_Hip", "L_Hip", "L_Knee", "L_Ankle", "R_Wrist", "R_Elbow", "R_Shoulder", "L_Shoulder",
    "L_Elbow", "L_Wrist", "Neck", "Top_of_Head", "Pelvis", "Thorax", "Spine", "Jaw", "Head", "Nose", "L_Eye", "R_Eye",
    "L_Ear", "R_Ear",
)  # fmt: skip
# COCO's keypoints, and where the label joints have them: all 17; seven label joints have none.
COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
COCO_TO_J24 = (19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0)
# The 17 joints of Human3.6M's evaluation, regressed from the mesh.
H36M_NAMES = (
    "Pelvis", "R_Hip", "R_Knee", "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Torso", "Neck", "Nose", "Head",
    "L_Shoulder", "L_Elbow", "L_Wrist", "R_Shoulder", "R_Elbow", "R_Wrist",
)  # fmt: skip
# The 14 joints that networks predict and metrics compare.
J24_TO_J14 = (*range(13), 18)
H36M_TO_J14 = (3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10)
J14_NAMES = tuple(J24_NAMES[joint] for joint in J24_TO_J14)
# SMPL's skeleton, the order of the 24 axis-angle vectors of a pose (Loper et al. 2015).
SMPL_NAMES = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
)  # fmt: skip
# Rows of [SMPL's 24 skeleton regressor rows; the 14 extra rows] that give the 24 label joints.
SMPL_TO_J24 = (8, 5, 29, 30, 4, 7, 21, 19, 17, 16, 18, 20, 31, 32, 33, 34, 35, 36, 37, 24, 26, 25, 28, 27)

# MANO's skeleton, the order of the 16 axis-angle vectors of a hand's pose (Romero et al. 2017).
_MANO_FINGERS = ("Index", "Middle", "Pinky", "Ring", "Thumb")
MANO_NAMES = ("Wrist", *(f"{finger}_{joint}" for finger in _MANO_FINGERS for joint in (1, 2, 3)))
SKELETON_NAMES = {"body": SMPL_NAMES, "hand": MANO_NAMES}  # by kind

# The 21 hand joints: wrist, then each finger from palm to tip.
FINGERS = ("Thumb", "Index", "Middle", "Ring", "Pinky")
HAND_NAMES = ("Wrist", *(f"{finger}_{joint}" for finger in FINGERS for joint in range(1, 5)))
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
HAND_WRIST = HAND_NAMES.index("Wrist")
JOINT_NAMES = {"body": J14_NAMES, "hand": HAND_NAMES}  # that networks predict, by kind
NUM_JOINTS = {kind: len(names) for kind, names in JOINT_NAMES.items()}
# Of files in COCO's form, by kind.
KEYPOINT_NAMES = {"body": COCO_NAMES, "hand": tuple(name.lower() for name in HAND_NAMES)}

_LIMBS = tuple(
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("R", "L")
    for start, end in (("Hip", "Knee"), ("Knee", "Ankle"), ("Shoulder", "Elbow"), ("Elbow", "Wrist"))
)
_J24_TRUNK = (
    ("R_Hip", "Pelvis"), ("L_Hip", "Pelvis"), ("Pelvis", "Spine"), ("Spine", "Thorax"), ("Thorax", "Neck"),
    ("Thorax", "R_Shoulder"), ("Thorax", "L_Shoulder"), ("Neck", "Jaw"), ("Jaw", "Nose"), ("Nose", "Head"),
    ("Head", "Top_of_Head"), ("Nose", "R_Eye"), ("Nose", "L_Eye"), ("R_Eye", "R_Ear"), ("L_Eye", "L_Ear"),
)  # fmt: skip
_H36M_TRUNK = (
    ("R_Hip", "Pelvis"), ("L_Hip", "Pelvis"), ("Pelvis", "Torso"), ("Torso", "Neck"), ("Neck", "R_Shoulder"),
    ("Neck", "L_Shoulder"), ("Neck", "Nose"), ("Nose", "Head"),
)  # fmt: skip
_J14_TRUNK = (
    ("R_Hip", "L_Hip"), ("R_Hip", "R_Shoulder"), ("L_Hip", "L_Shoulder"), ("Neck", "R_Shoulder"),
    ("Neck", "L_Shoulder"), ("Neck", "Head"),
)  # fmt: skip


def _edges(names: tuple[str, ...], pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
    return tuple((names.index(start), names.index(end)) for start, end in pairs)


J24_EDGES = _edges(J24_NAMES, _LIMBS + _J24_TRUNK)
H36M_EDGES = _edges(H36M_NAMES, _LIMBS + _H36M_TRUNK)
J14_EDGES = _edges(J14_NAMES, _LIMBS + _J14_TRUNK)
HAND_EDGES = tuple(
    (4 * finger + joint if joint else HAND_WRIST, 4 * finger + joint + 1)
    for finger in range(len(FINGERS))
    for joint in range(4)
)
EDGES = {"body": J14_EDGES, "hand": HAND_EDGES}
