"""A z-buffer in numpy: which triangle is nearest at every sample point, and what its corners' values mix to there.

Triangles become spans (one triangle, one row of samples), spans become fragments (one triangle, one sample), and the
nearest fragment of a sample wins. A sample belongs to the span that runs from the triangle's left edge to its right
one, and an edge crosses a row at the same place for both of its triangles: neighbors leave no crack and share no
sample. Values are mixed in perspective: value / z and 1 / z are linear over the image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEAR = 1e-3  # meters: what is nearer, or behind the viewer, is cut off
STEEP = 2.0  # a triangle whose depths differ by this factor
SLIVER = 1e-9  # a triangle's area over its squared sides: flatter ones keep the value of one corner


class Triangles(NamedTuple):
    """Triangles on the image: T of them, with C values at every corner."""

    x: np.ndarray  # (3, T) float64, corners in continuous samples
    y: np.ndarray  # (3, T)
    planes: np.ndarray  # (3, 1 + C, T) float32: (1, values) / z at the first corner, their change along x and along y

    def only(self, chosen: np.ndarray) -> Triangles:
        """Those that `chosen`, a mask or indices, names."""
        return Triangles(*(part[..., chosen] for part in self))

    def finer(self, samples: int) -> Triangles:
        """The same on an image of `samples` times as many rows and columns."""
        scale = np.array([1, 1 / samples, 1 / samples], np.float32)[:, None, None]
        return Triangles(self.x * samples, self.y * samples, self.planes * scale)


class Fragments(NamedTuple):
    """What is seen at the samples that a triangle covers: P of them, each sample once."""

    samples: np.ndarray  # (P,) int64, row * width + column
    depth: np.ndarray  # (P,) float32 z in meters
    values: np.ndarray  # (C, P) float32


def clip_near(points: np.ndarray, faces: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (V, 3), faces (F, 3) and values (V, C) of the part of a mesh that lies farther than `NEAR`.

    Triangles that reach nearer are cut; the points and values of the cuts follow the old ones. Points that no
    triangle uses any more are moved before the viewer.
    """
    if (points[:, 2] > NEAR).all():
        return points, faces, values
    ahead = points[faces, 2] > NEAR  # (F, 3)
    count = ahead.sum(1)
    cut = np.flatnonzero((count == 1) | (count == 2))
    single = count[cut] == 1
    alone = np.where(single, ahead[cut].argmax(1), (~ahead[cut]).argmax(1))  # the corner on its side of the cut
    first, second, third = (faces[cut, (alone + step) % 3] for step in range(3))
    starts = np.where(single, first, np.stack([second, third]))  # (2, N): both edges of that corner, from ahead ...
    ends = np.where(single, np.stack([second, third]), first)  # ... to behind
    share = ((NEAR - points[starts, 2]) / (points[ends, 2] - points[starts, 2]))[..., None]
    middle = points[starts] + share * (points[ends] - points[starts])  # (2, N, 3)
    middle[..., 2] = np.nextafter(NEAR, 1)
    between = (1 - share) * values[starts] + share * values[ends]
    left, right = len(points) + np.arange(2 * len(cut)).reshape(2, -1)
    kept = [
        faces[count == 3],
        np.stack([first, left, right], 1)[single],
        np.stack([left, second, third], 1)[~single],
        np.stack([left, third, right], 1)[~single],
    ]
    used = np.where(points[:, 2:] > NEAR, points, np.array([0, 0, 1.0]))
    all_points = np.concatenate([used, middle.reshape(-1, 3)])
    return all_points, np.concatenate(kept), np.concatenate([values, between.reshape(-1, values.shape[1])])


def project_triangles(x: np.ndarray, y: np.ndarray, linear: np.ndarray) -> Triangles:
    """Triangles with corners x, y (3, T) and (1, values) / z at them, (1 + C, 3, T); without those seen edge-on."""
    if (linear[0].max(0) > STEEP * linear[0].min(0)).any():  # count from the farthest corner, where numbers are small
        order = (linear[0].argmin(0) + np.arange(3)[:, None]) % 3
        x, y = np.take_along_axis(x, order, 0), np.take_along_axis(y, order, 0)
        linear = np.take_along_axis(linear, order[None], 1)
    one_x, one_y, two_x, two_y = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    area = one_x * two_y - one_y * two_x
    if not area.all():
        seen = np.flatnonzero(area)
        return project_triangles(x[:, seen], y[:, seen], linear[:, :, seen])
    flat = np.abs(area) < SLIVER * (one_x**2 + one_y**2 + two_x**2 + two_y**2)
    over = np.where(flat, 0, 1 / area)
    sides = ((side * over).astype(np.float32) for side in (one_x, one_y, two_x, two_y))
    one_x, one_y, two_x, two_y = sides
    start, second, third = linear.astype(np.float32, copy=False).swapaxes(0, 1)  # (1 + C, T) each
    second, third = second - start, third - start
    return Triangles(x, y, np.stack([start, second * two_y - third * one_y, third * one_x - second * two_x]))


def rasterize(triangles: Triangles, size: tuple[int, int], wanted: np.ndarray | None = None) -> Fragments:
    """The nearest triangle at the centers of height x width samples.

    wanted: (height, width) bool, samples to look at; all of them if not given.
    """
    height, width = size
    owners, rows, starts, lengths = _spans(triangles, height, width)
    slope = triangles.planes[1, 0][owners]
    near = triangles.planes[0, 0][owners] + slope * (starts + 0.5 - triangles.x[0][owners]).astype(np.float32)
    near += triangles.planes[2, 0][owners] * (rows + 0.5 - triangles.y[0][owners]).astype(np.float32)
    spans = np.repeat(np.arange(len(owners)), lengths)
    steps = np.arange(len(spans)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    samples = (rows * width + starts)[spans] + steps
    if wanted is not None:
        kept = np.flatnonzero(wanted.ravel()[samples])
        samples, spans, steps = samples[kept], spans[kept], steps[kept]
    near = near[spans] + slope[spans] * steps.astype(np.float32)
    winners = _nearest(samples, near, height * width)
    samples, near, owners = samples[winners], near[winners], owners[spans[winners]]
    return Fragments(samples, 1 / near, _mix(triangles, owners, samples, width, near))


def _spans(triangles: Triangles, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The spans of triangles: whose, row, first column and length, (S,) each, int64."""
    order = np.argsort(triangles.y, axis=0)
    x, y = np.take_along_axis(triangles.x, order, 0), np.take_along_axis(triangles.y, order, 0)  # from the top down
    first = np.ceil(y[0] - 0.5).clip(0, height).astype(np.int64)
    last = np.ceil(y[2] - 0.5).clip(0, height).astype(np.int64)
    counts = last - first
    owners = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges cross no row
        long_slope, slopes = (x[2] - x[0]) / (y[2] - y[0]), (x[1:] - x[:2]) / (y[1:] - y[:2])
    center = rows + 0.5
    long = x[0][owners] + (center - y[0][owners]) * long_slope[owners]
    bent = np.where(center >= y[1][owners], len(counts) + owners, owners)  # of the other edges the lower or the upper
    short = x[:2].ravel()[bent] + (center - y[:2].ravel()[bent]) * slopes.ravel()[bent]
    starts = np.ceil(np.minimum(long, short) - 0.5).clip(0, width).astype(np.int64)
    lengths = np.ceil(np.maximum(long, short) - 0.5).clip(0, width).astype(np.int64) - starts
    filled = np.flatnonzero(lengths)
    return owners[filled], rows[filled], starts[filled], lengths[filled]


def _nearest(samples: np.ndarray, near: np.ndarray, count: int) -> np.ndarray:
    """Of fragments (N,) with 1 / z `near`, those that are the greatest at their sample of `count`, one for each."""
    key = (near.view(np.int32).astype(np.int64) << 32) | np.arange(len(near))  # positive floats order as their bits do
    best = np.full(count, -1, np.int64)
    np.maximum.at(best, samples, key)
    return best[best >= 0] & 0xFFFFFFFF


def _mix(triangles: Triangles, owners: np.ndarray, samples: np.ndarray, width: int, near: np.ndarray) -> np.ndarray:
    """The corners' values at samples (P,) of triangles (P,), where 1 / z is `near` (P,): (C, P)."""
    rows = samples // width
    columns = samples - rows * width
    away_x = (columns + 0.5 - triangles.x[0][owners]).astype(np.float32)
    away_y = (rows + 0.5 - triangles.y[0][owners]).astype(np.float32)
    depth = 1 / near
    mixed = [a[owners] + b[owners] * away_x + c[owners] * away_y for a, b, c in triangles.planes[:, 1:].swapaxes(0, 1)]
    return np.stack([value * depth for value in mixed])
