"""Names and orders of joints, and the edges that draw them as skeletons; tuples of strings and numbers."""

from __future__ import annotations

# The 24 joints of the data labels ("train" joints), from GraphCMR.
J24_NAMES = (
    "R_Ankle", "R_Knee", "R_Hip", "L_Hip", "L_Knee", "L_Ankle", "R_Wrist", "R_Elbow", "R_Shoulder", "L_Shoulder",
    "L_Elbow", "L_Wrist", "Neck", "Top_of_Head", "Pelvis", "Thorax", "Spine", "Jaw", "Head", "Nose", "L_Eye", "R_Eye",
    "L_Ear", "R_Ear",
)  # fmt: skip
# COCO's keypoints.
COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
# The 17 joints of Human3.6M's evaluation, regressed from the mesh.
H36M_NAMES = (
    "Pelvis", "R_Hip", "R_Knee", "R_Ankle", "L_Hip", "L_Knee", "L_Ankle", "Torso", "Neck", "Nose", "Head",
    "L_Shoulder", "L_Elbow", "L_Wrist", "R_Shoulder", "R_Elbow", "R_Wrist",
)  # fmt: skip
# The 14 joints that networks predict and metrics compare.
J24_TO_J14 = (*range(13), 18)
J14_NAMES = tuple(J24_NAMES[joint] for joint in J24_TO_J14)
# SMPL's skeleton, the order of the 24 axis-angle vectors of a pose (Loper et al. 2015).
SMPL_NAMES = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
)  # fmt: skip

# MANO's skeleton, the order of the 16 axis-angle vectors of a hand's pose (Romero et al. 2017).
_MANO_FINGERS = ("Index", "Middle", "Pinky", "Ring", "Thumb")
MANO_NAMES = ("Wrist", *(f"{finger}_{joint}" for finger in _MANO_FINGERS for joint in (1, 2, 3)))
SKELETON_NAMES = {"body": SMPL_NAMES, "hand": MANO_NAMES}  # by kind

# The 21 hand joints: wrist, then each finger from palm to tip.
FINGERS = ("Thumb", "Index", "Middle", "Ring", "Pinky")
HAND_NAMES = ("Wrist", *(f"{finger}_{joint}" for finger in FINGERS for joint in range(1, 5)))
JOINT_NAMES = {"body": J14_NAMES, "hand": HAND_NAMES}  # that networks predict, by kind
NUM_JOINTS = {kind: len(names) for kind, names in JOINT_NAMES.items()}
# Of files in COCO's form, by kind.
KEYPOINT_NAMES = {"body": COCO_NAMES, "hand": tuple(name.lower() for name in HAND_NAMES)}
HAND_WRIST = HAND_NAMES.index("Wrist")

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
