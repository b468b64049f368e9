"""Textures and meshes: the face under each texel, values of the mesh's vertices there, and the texture at a place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
SHIFT = 4  # bits of a fraction of a pixel


def texel_faces(places: Array, face_places: Index, size: int) -> tuple[NDArray[np.int32], Mask]:
    """The face (size, size) at each texel, and whether the mesh covers the texel.

    A texel that no face covers has the face of the nearest one that is covered.
    """
    corners = places[face_places] * size
    corners[:, :, 1] = size - corners[:, :, 1]
    fixed = np.rint((corners - 0.5) * (1 << SHIFT)).astype(np.int32)
    drawn = np.full((size, size), -1.0, np.float32)
    for number, corner in enumerate(fixed):
        cv2.fillConvexPoly(drawn, corner, float(number), lineType=8, shift=SHIFT)
    found = drawn.astype(np.int32)
    covered = found >= 0
    if not covered.any():
        return np.zeros_like(found), covered
    away = (~covered).astype(np.uint8)
    _, label = cv2.distanceTransformWithLabels(away, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    face_of = np.zeros(label.max() + 1, np.int32)
    face_of[label[covered]] = found[covered]
    return face_of[label], covered


def texel_values(places: Array, face_places: Index, faces: Index, values: Array, size: int) -> NDArray[np.float32]:
    """Values (N, C) of a mesh's vertices at each texel, (size, size, C); between faces the nearest covered texel's."""
    found, _ = texel_faces(places, face_places, size)
    middle = (np.arange(size) + 0.5) / size
    spot = np.stack(np.meshgrid(middle, 1 - middle), -1)
    corners = places[face_places][found]
    origin = corners[..., 0, :]
    e1, e2, to = corners[..., 1, :] - origin, corners[..., 2, :] - origin, spot - origin
    area = e1[..., 0] * e2[..., 1] - e1[..., 1] * e2[..., 0]
    area = np.where(np.abs(area) < 1e-12, 1e-12, area)
    second = (to[..., 0] * e2[..., 1] - to[..., 1] * e2[..., 0]) / area
    third = (e1[..., 0] * to[..., 1] - e1[..., 1] * to[..., 0]) / area
    shares = np.clip(np.stack([1 - second - third, second, third], -1), 0, 1)  # outside of a face: its border
    shares /= shares.sum(-1, keepdims=True)
    return np.einsum("hwk,hwkc->hwc", shares, values[faces[found]]).astype(np.float32)


def texture_at(texture: NDArray[np.uint8], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """(P, 4) in [0, 1]: the texture at places (P, 2), bilinear, repeated beyond its border."""
    height, width = texture.shape[:2]
    columns = 256
    padded = -len(places) % columns
    x = np.pad(places[:, 0] * width - 0.5, (0, padded)).reshape(-1, columns)
    y = np.pad((1 - places[:, 1]) * height - 0.5, (0, padded)).reshape(-1, columns)
    found = cv2.remap(texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return found.reshape(-1, 4)[: len(places)].astype(np.float32) / 255
