"""Skin of hands: a tone, paler palms, nails and fine grain, on the texture layout of hand and forearm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tore.synthetic.assets import Assets
from tore.synthetic.cloth_colors import cloth_color
from tore.synthetic.free_body import build_free, texture
from tore.synthetic.skin_tones import draw_skin, tone_color, toned
from tore.synthetic.surfaces import vertex_normals
from tore.synthetic.texels import texel_faces, texel_values

Array = NDArray[np.floating]
Color = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIZE = 1024
ADULT = 0.65  # on the age scale of `people_shapes`
TIP_JOINTS = (3, 6, 9, 12, 15)  # the last joint of each finger, thumb last
BACKS = (
    *[(0.0, 1.0, 0.0)] * 4,
    (0.2, 0.3, 0.9),
)  # where the fingers' backs face on the mean hand, which lies palm down
NAIL = (
    0.66,
    0.3,
    0.0048,
    0.0062,
)  # middle and half length over the last bone's; half width of a finger's, of a thumb's
PALE = 0.8  # of the way to a pale palm, for the darkest skin
WRIST = 0.09  # where the palm ends on the mean hand, meters along x
PALM_TONE = 0.22  # of a pale palm
GLOVED, PAINTED = 0.03, 0.1  # shares of the hands


@dataclass(frozen=True)
class HandLayout:
    """What lies under each texel of hand and forearm."""

    around: Mask  # (S, S) texels of hand and forearm, and a few beside them
    palm: NDArray[np.float32]  # (S, S) 0 on the back of the hand to 1 on the palm
    nail: NDArray[np.float32]  # (S, S) 1 on nails
    grain: NDArray[np.float32]  # (S, S) around 0
    hand: Mask  # (S, S) the hand without the forearm


@lru_cache(maxsize=1)
def hand_layout() -> HandLayout:
    """The layout, computed on first use."""
    model = build_free("hand").model
    vertices, faces = model["v_template"], model["f"].astype(np.int64)
    places, behind = texture("hand"), texture("forearm")
    found, hand = texel_faces(places.places, places.faces, SIZE)
    arm = texel_faces(behind.places, behind.faces, SIZE)[1]
    near_hand, around = (
        cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0 for mask in (hand, hand | arm)
    )
    near_hand &= ~arm
    known = np.concatenate([vertices, vertex_normals(vertices, faces)], 1)
    values = texel_values(places.places, places.faces, faces, known, SIZE)
    finger = model["weights"][faces].sum(1).argmax(1)[found]
    joints = model["J_regressor"] @ vertices
    palm, nail = np.clip(0.3 - 2 * values[..., 4], 0, 1), np.zeros((SIZE, SIZE), np.float32)
    palm *= np.clip((WRIST - values[..., 0]) / 0.03, 0, 1)
    for tip, back in zip(TIP_JOINTS, BACKS, strict=True):
        mine = near_hand & (finger == tip)
        along = joints[tip] - joints[tip - 1]
        along /= np.linalg.norm(along)
        up = np.array(back) - along * (along @ back)
        up /= np.linalg.norm(up)
        if tip == TIP_JOINTS[-1]:
            thumb = near_hand & np.isin(finger, (tip, tip - 1))
            palm[thumb] = np.clip(0.3 - 2 * values[thumb][:, 3:] @ up, 0, 1)
        nail[mine] = _nail(values[mine] - np.concatenate([joints[tip], np.zeros(3)]), along, up, tip == TIP_JOINTS[-1])
    noise = np.random.default_rng(1).normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    grain = 3 * cv2.GaussianBlur(noise, (0, 0), 2.5) + 0.5 * noise
    return HandLayout(around, np.where(near_hand, palm, 0).astype(np.float32), nail, grain, near_hand)


def _nail(values: Array, along: Array, up: Array, thumb: bool) -> NDArray[np.float32]:
    """Where a nail is, 0 to 1, of texels (N, 6): places from the last joint, and normals."""
    middle, half, *widths = NAIL
    ahead = values[:, :3] @ along
    across = values[:, :3] @ np.cross(along, up)
    away = ((ahead / ahead.max() - middle) / half) ** 4 + (across / widths[int(thumb)]) ** 4
    return np.asarray(np.clip((1 - away) * 3, 0, 1) * (values[:, 3:] @ up > 0.3), np.float32)


def hand_skin(assets: Assets | None, rng: np.random.Generator) -> Color:
    """A texture (1024, 1024, 4) for hand and forearm, on the layout of `free_body.texture`; few hands are gloved.

    Without assets the skin is painted.
    """
    layout, tone = hand_layout(), float(rng.random())
    color = tone_color(tone)
    image = np.full((SIZE, SIZE, 4), 255, np.uint8)
    if assets is None:
        image[layout.around, :3] = np.clip(color, 0, 255)
    else:
        skin = draw_skin(assets.skins, rng, ADULT, str(rng.choice(["female", "male"])), tone)
        image = cv2.resize(toned(skin.texture, tone, rng), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    mine = layout.around
    colors = image[mine, :3].astype(np.float32) * (1 + rng.uniform(0.01, 0.05) * layout.grain[mine, None])
    palm = layout.palm[mine]
    pale = tone_color(min(tone, PALM_TONE) + 0.15 * tone) * [1.0, 0.93, 0.92]
    colors *= 1 + (PALE * tone * palm)[:, None] * (pale / np.median(colors[palm > 0.9], axis=0) - 1)
    nail = layout.nail[mine, None]
    nails = cloth_color(rng, "top") if rng.random() < PAINTED else 0.55 * color + 0.45 * np.array([228, 190, 180])
    colors += 0.75 * nail * (nails - colors)
    if rng.random() < GLOVED:
        glove = layout.hand[mine]
        colors[glove] = cloth_color(rng, "top") * (1 + 0.06 * layout.grain[mine][glove, None])
    image[mine, :3] = np.clip(colors, 0, 255)
    return image
