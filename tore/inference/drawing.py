"""The pictures that inference writes: overlay beside the crop, people in the whole picture, other views, tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tore.inference.recovery import Recovery
from tore.visualize.heatmap import token_sheet
from tore.visualize.overlay import overlay, view
from tore.visualize.renderer import MESH_COLOR
from tore.visualize.sheet import contact_sheet

TURNS = {"front": 0.0, "side": 90.0, "back": 180.0}
PEOPLE_COLORS = (
    MESH_COLOR, (0.90, 0.66, 0.52), (0.62, 0.80, 0.60), (0.82, 0.66, 0.84), (0.90, 0.82, 0.52), (0.56, 0.80, 0.80),
)  # fmt: skip


def crop_overlay(recovery: Recovery, faces: np.ndarray) -> np.ndarray:
    """The mesh drawn over the crop by the picture's camera: (n, n, 3) uint8. Behind the camera it is not drawn."""
    crop = recovery.crop.pixels
    if not recovery.in_front:
        return crop.copy()
    return overlay(crop, recovery.vertices + recovery.translation, recovery.own_faces(faces), recovery.crop_view)


def crop_and_overlay(recovery: Recovery, faces: np.ndarray) -> np.ndarray:
    """The crop and, to its right, the mesh over it: (n, 2n, 3) uint8, as published."""
    return np.hstack([recovery.crop.pixels, crop_overlay(recovery, faces)])


def draw_people(picture: np.ndarray, people: Sequence[Recovery], faces: np.ndarray) -> np.ndarray:
    """The whole picture (H, W, 3) uint8 with every person at its place, nearer ones before farther ones.

    All people are of this picture and so share its camera. A person behind the camera is not drawn.
    """
    shown = [person for person in people if person.in_front]
    if not shown:
        return picture.copy()
    vertices = np.concatenate([person.vertices + person.translation for person in shown])  # (N V, 3)
    count = len(shown[0].vertices)
    scene = np.concatenate([person.own_faces(faces) + index * count for index, person in enumerate(shown)])  # (N F, 3)
    colors = [PEOPLE_COLORS[(person.crop.person - 1) % len(PEOPLE_COLORS)] for person in shown]
    return overlay(picture, vertices, scene, shown[0].picture_camera, color=np.repeat(colors, count, axis=0))


def other_views(recovery: Recovery, faces: np.ndarray, names: Sequence[str] = ("side", "back")) -> np.ndarray:
    """A sheet: crop, overlay, and the mesh alone from the named sides ("front", "side", "back")."""
    crop = recovery.crop.pixels
    own = recovery.own_faces(faces)
    drawn = [view(recovery.vertices, own, degrees=TURNS[name], size=crop.shape[0]).color for name in names]
    cells = [crop, crop_overlay(recovery, faces), *drawn]
    return contact_sheet(cells, ["crop", "overlay", *names], columns=len(cells), cell=crop.shape[0])


def tokens(recovery: Recovery) -> np.ndarray:
    """A sheet of where the kept image tokens looked: their mean, then each.

    Raises ValueError for a network without image token pruning.
    """
    if recovery.heatmap is None:
        raise ValueError(f"{recovery.checkpoint or 'this network'} prunes no image tokens, so there are none to show")
    return token_sheet(recovery.crop.pixels, recovery.heatmap)
