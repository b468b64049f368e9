"""A plain transcription of the official crop, kept as the oracle of tore_runtime.cutting and as its yardstick."""

from __future__ import annotations

import cv2
import numpy as np


def get_transform(center, scale, size, rotation):
    h = 200 * scale
    t = np.array(
        [
            [size / h, 0, size * (-float(center[0]) / h + 0.5)],
            [0, size / h, size * (-float(center[1]) / h + 0.5)],
            [0, 0, 1],
        ]
    )
    if rotation != 0:
        sine, cosine = np.sin(-rotation * np.pi / 180), np.cos(-rotation * np.pi / 180)
        turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        to_middle = np.array([[1, 0, -size / 2], [0, 1, -size / 2], [0, 0, 1]])
        back = np.array([[1, 0, size / 2], [0, 1, size / 2], [0, 0, 1]])
        t = np.dot(back, np.dot(turn, np.dot(to_middle, t)))
    return t


def transform(point, center, scale, size, rotation=0.0, invert=False):
    t = get_transform(center, scale, size, rotation)
    if invert:
        t = np.linalg.inv(t)
    moved = np.dot(t, np.array([point[0] - 1, point[1] - 1, 1.0]))
    return moved[:2].astype(int) + 1


def crop(image, center, scale, size, rotation=0.0):
    upper_left = transform([1, 1], center, scale, size, invert=True) - 1
    lower_right = transform([size + 1, size + 1], center, scale, size, invert=True) - 1
    pad = int(np.linalg.norm(lower_right - upper_left) / 2 - float(lower_right[1] - upper_left[1]) / 2)
    if rotation != 0:
        upper_left -= pad
        lower_right += pad
    canvas = np.zeros((lower_right[1] - upper_left[1], lower_right[0] - upper_left[0], 3))
    top, bottom = max(0, upper_left[1]), min(lower_right[1], image.shape[0])
    left, right = max(0, upper_left[0]), min(lower_right[0], image.shape[1])
    if bottom > top and right > left:
        rows = slice(top - upper_left[1], bottom - upper_left[1])
        columns = slice(left - upper_left[0], right - upper_left[0])
        canvas[rows, columns] = image[top:bottom, left:right]
    if rotation != 0:
        h, w = canvas.shape[:2]
        turn = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), rotation, 1)
        canvas = cv2.warpAffine(canvas, turn, (w, h))
        canvas = canvas[pad : h - pad, pad : w - pad]
    return cv2.resize(canvas, (size, size))
