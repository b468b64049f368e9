"""2D joints drawn over a picture as a stick figure: right limbs warm, left limbs cold, a colour for each finger."""

from __future__ import annotations

import cv2
import numpy as np

from tore.body.joints import (
    H36M_EDGES,
    H36M_NAMES,
    HAND_EDGES,
    HAND_NAMES,
    J14_EDGES,
    J14_NAMES,
    J24_EDGES,
    J24_NAMES,
)

Color = tuple[int, int, int]
RIGHT, LEFT, MIDDLE = (235, 110, 60), (60, 130, 240), (250, 215, 80)
FINGER_COLORS = ((240, 90, 80), (245, 175, 60), (110, 200, 90), (70, 150, 240), (180, 110, 230))
SUBPIXEL_BITS = 4
SKELETONS = {
    len(names): (names, edges)
    for names, edges in (
        (J14_NAMES, J14_EDGES),
        (H36M_NAMES, H36M_EDGES),
        (HAND_NAMES, HAND_EDGES),
        (J24_NAMES, J24_EDGES),
    )
}


def bones_of(joints: int) -> list[tuple[int, int, Color]]:
    """Pairs of joint indices and a colour for 14, 24 (J24 order), 17 (H36M) or 21 (hand) joints.

    Raises ValueError for another number of joints.
    """
    if joints not in SKELETONS:
        raise ValueError(f"{joints} joints make no skeleton known here; {', '.join(map(str, sorted(SKELETONS)))} do")
    names, edges = SKELETONS[joints]
    if joints == len(HAND_NAMES):
        return [(start, end, FINGER_COLORS[(end - 1) // 4]) for start, end in edges]
    return [(start, end, _side_color(names[start], names[end])) for start, end in edges]


def _side_color(start: str, end: str) -> Color:
    sides = {name[:2] for name in (start, end)} & {"R_", "L_"}
    if len(sides) != 1:
        return MIDDLE
    return RIGHT if "R_" in sides else LEFT


def draw_skeleton(
    picture: np.ndarray, joints: np.ndarray, confidence: np.ndarray | None = None, *, thickness: int | None = None
) -> np.ndarray:
    """A copy of the picture (H, W, 3) uint8 with joints (J, 2) in continuous pixels, those of confidence 0 left out."""
    seen = np.ones(len(joints), bool) if confidence is None else np.asarray(confidence) > 0
    seen = seen & np.isfinite(joints).all(1)
    width = thickness or max(1, round(max(picture.shape[:2]) / 110))
    canvas = np.ascontiguousarray(picture.copy())
    # OpenCV counts from pixel centres, we from the corner
    fixed = np.rint((np.nan_to_num(joints) - 0.5).clip(-1e4, 1e4) * 2**SUBPIXEL_BITS).astype(int)
    for first, second, color in bones_of(len(joints)):
        if seen[first] and seen[second]:
            start, end = tuple(map(int, fixed[first])), tuple(map(int, fixed[second]))
            cv2.line(canvas, start, end, color, width, cv2.LINE_AA, SUBPIXEL_BITS)
    for point in fixed[seen]:
        radius = width << SUBPIXEL_BITS
        cv2.circle(canvas, tuple(map(int, point)), radius, (255, 255, 255), -1, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas
