"""Renders meshes before a pinhole camera: a z-buffer with light at the vertices, in numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from tore_runtime.camera import PinholeCamera
from tore_runtime.rasterizer import NEAR, Fragments, Triangles, clip_near, project_triangles, rasterize


@dataclass(frozen=True)
class Light:
    """A lamp at infinity: `direction` (3,) points from the surface to the lamp, `color` (3,) is its strength."""

    direction: tuple[float, float, float]
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Lighting:
    """Lamps, and the light from everywhere: `sky` on surfaces that look up, `ground` on those that look down."""

    lights: tuple[Light, ...]
    sky: tuple[float, float, float] = (0.32, 0.33, 0.36)
    ground: tuple[float, float, float] = (0.20, 0.19, 0.18)
    gloss: float = 0.0
    shininess: float = 24.0


STUDIO = Lighting(
    lights=(
        Light((-0.5, -0.7, -0.8), (0.62, 0.61, 0.58)),
        Light((0.9, -0.1, -0.5), (0.20, 0.21, 0.24)),
        Light((0.2, -0.6, 0.9), (0.16, 0.16, 0.17)),
    ),
    gloss=0.08,
)


def incoming_light(normals: np.ndarray, lighting: Lighting) -> np.ndarray:
    """What falls on surfaces with unit normals (3, P): (3, P) RGB."""
    up = (0.5 - 0.5 * normals[1]).astype(np.float32)  # (P,): 1 looks up, 0 looks down
    light = np.stack([up * sky + (1 - up) * ground for sky, ground in zip(lighting.sky, lighting.ground, strict=True)])
    for lamp in lighting.lights:
        cosine = np.maximum(_dot(normals, _unit(np.asarray(lamp.direction, np.float32))), 0)
        for channel, strength in zip(light, lamp.color, strict=True):
            channel += cosine * np.float32(strength)
    return light


def highlights(normals: np.ndarray, directions: np.ndarray, lighting: Lighting) -> np.ndarray:
    """The lamps' reflections on a glossy surface: normals and viewing rays (3, P) -> (3, P) RGB."""
    light = np.zeros(normals.shape, np.float32)
    if not lighting.gloss:
        return light
    view = -_unit(directions)
    for lamp in lighting.lights:
        half = _unit(view + _unit(np.asarray(lamp.direction, np.float32))[:, None])
        facing = np.maximum(_dot(normals, half), 0) ** lighting.shininess
        for channel, strength in zip(light, lamp.color, strict=True):
            channel += lighting.gloss * strength * facing
    return light


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of vectors (3, ...) along their first axis."""
    return np.asarray(one[0] * other[0] + one[1] * other[1] + one[2] * other[2])


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (3, ...) of length 1; zero stays zero."""
    return vectors / np.maximum(np.sqrt(_dot(vectors, vectors)), 1e-12)


MESH_COLOR = (0.65, 0.74, 0.86)
DEPTH_STEP = 1.03  # neighbors whose depths differ by this factor belong to different surfaces
BAND = 1 << 22  # pixels that are drawn at once, with some 200 bytes each; larger images are drawn in bands of rows
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last two excluded


class Render(NamedTuple):
    """What the camera sees."""

    color: np.ndarray  # (H, W, 3) uint8 RGB, over the background
    depth: np.ndarray  # (H, W) float32 z in meters at the pixel center, inf where the mesh is not
    mask: np.ndarray  # (H, W) bool, the pixel center is covered
    coverage: np.ndarray  # (H, W) float32, the share of the pixel that is covered


def render(
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: PinholeCamera,
    size: tuple[int, int],
    *,
    colors: np.ndarray | tuple[float, float, float] = MESH_COLOR,
    lighting: Lighting = STUDIO,
    background: np.ndarray | None = None,
    samples: int = 2,
) -> Render:
    """Draws a mesh, or several in one: what is nearer hides what is farther.

    vertices: (V, 3) meters in the camera frame. faces: (F, 3) indices, counter-clockwise from outside.
    size: (height, width) pixels. colors: (3,) or (V, 3) in [0, 1], before light. background: (H, W, 3) uint8, black
    without. samples: points per pixel and direction (samples^2 in all) where a pixel lies on an outline; 1 leaves
    stairs. Normals, colors and highlights are those of the vertices, mixed between them. What reaches behind the
    viewer is cut.

    Raises ValueError for arrays that are no mesh, a background of another size, or samples below 1.
    """
    vertices, faces = checked_mesh(vertices, faces)
    if samples < 1:
        raise ValueError(f"samples is {samples}; give 1 or more points per pixel and direction")
    canvas = checked_canvas(background, size)
    box = projected_box(vertices, camera, size)
    whole = empty_render(canvas)
    if box is not None:
        left, top = max(box[0] - 1, 0), max(box[1] - 1, 0)  # with a rim, so that outlines show inside
        right, bottom = min(box[2] + 1, size[1]), min(box[3] + 1, size[0])
        rows = max(1, BAND // (right - left))
        for first in range(top, bottom, rows):
            last = min(first + rows, bottom)
            start, end = max(first - 1, top), min(last + 1, bottom)  # a row of the neighbors, for outlines
            scene = _Scene(*_triangles(vertices, faces, camera, colors, lighting, (left, start)), lighting)
            for plane, part in zip(whole, _draw(canvas[start:end, left:right], scene, samples), strict=True):
                plane[first:last, left:right] = part[first - start : last - start]
    return whole


class _Scene(NamedTuple):
    """What is drawn, in the pixels of a part of the image."""

    triangles: Triangles  # with the normal, the color and the highlights of their corners, 3 values each
    points: np.ndarray  # (N, 2) that they hang on
    lighting: Lighting

    def look(self, size: tuple[int, int]) -> tuple[Fragments, np.ndarray]:
        """What is seen at the pixels' centers, and its light (3, P)."""
        return self._lit(rasterize(self.triangles, size))

    def look_closely(self, edges: np.ndarray, samples: int) -> tuple[Fragments, np.ndarray]:
        """The same at samples^2 points of the pixels that `edges` (h, w) names, as if the image were finer."""
        wanted = np.repeat(np.repeat(edges, samples, 0), samples, 1)
        triangles = self.triangles.only(_near(self.triangles, edges)).finer(samples)
        return self._lit(rasterize(triangles, wanted.shape, wanted))

    def _lit(self, seen: Fragments) -> tuple[Fragments, np.ndarray]:
        normals, colors, glint = seen.values.reshape(3, 3, -1)
        return seen, np.clip(colors * incoming_light(_unit(normals), self.lighting) + glint, 0, 1)


def _triangles(
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: PinholeCamera,
    colors: np.ndarray | tuple[float, float, float],
    lighting: Lighting,
    origin: tuple[int, int],
) -> tuple[Triangles, np.ndarray]:
    """Triangles with normal, color and highlights (9,) at their corners, and their points (N, 2), from `origin` on.

    Inner sides are left out where the mesh is closed and lies before the viewer.
    """
    paint = np.broadcast_to(np.asarray(colors, np.float32), vertices.shape)
    normals = vertex_normals(vertices, faces).astype(np.float32)
    hidden = is_closed(faces) and bool((vertices[:, 2] > NEAR).all())
    sides = [np.hstack([n, paint, highlights(n.T, vertices.T, lighting).T]) for n in (normals, -normals)[: 2 - hidden]]
    points, ends, values = clip_near(vertices.astype(np.float64), faces, np.hstack(sides))
    image_points = camera.project(points) - origin
    linear = (np.vstack([np.ones(len(points)), values.T]) / points[:, 2]).astype(np.float32)  # (10 or 19, N)
    ends = ends.T
    x, y = image_points[:, 0][ends], image_points[:, 1][ends]  # (3, T)
    inward = (x[1] - x[0]) * (y[2] - y[0]) > (y[1] - y[0]) * (x[2] - x[0])  # seen from inside
    shown = [np.flatnonzero(~inward)]
    corners = [linear[:10][:, ends[:, shown[0]]]]
    if not hidden:
        shown.append(np.flatnonzero(inward))
        corners.append(linear[np.r_[0, 10:19]][:, ends[:, shown[1]]])
    chosen = np.concatenate(shown)
    return project_triangles(x[:, chosen], y[:, chosen], np.concatenate(corners, axis=2)), image_points


def _draw(canvas: np.ndarray, scene: _Scene, samples: int) -> Render:
    """The scene over a canvas (h, w, 3)."""
    height, width = canvas.shape[:2]
    drawn = empty_render(canvas.copy())
    seen, light = scene.look((height, width))
    drawn.depth.ravel()[seen.samples] = seen.depth
    drawn.mask.ravel()[seen.samples] = True
    if samples == 1:
        lay_over(drawn, seen.samples, light, None)
        return drawn
    edges = outline(drawn.depth)
    columns, rows = np.floor(scene.points).astype(np.int64).T
    inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    where = rows[inside] * width + columns[inside]
    edges.ravel()[where] |= ~drawn.mask.ravel()[where]  # what is thinner than a pixel
    plain = np.flatnonzero(~edges.ravel()[seen.samples])
    lay_over(drawn, seen.samples[plain], light[:, plain], None)
    lay_over(drawn, *_mean(scene, edges, samples))
    return drawn


def _mean(scene: _Scene, edges: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels (N,) that `edges` (h, w) names, their mean light (3, N), and the covered share (N,).

    Light is already times that share; samples^2 points are looked at in each pixel.
    """
    width = edges.shape[1]
    seen, light = scene.look_closely(edges, samples)
    rows = seen.samples // (width * samples)
    columns = seen.samples - rows * (width * samples)
    pixels = np.flatnonzero(edges)
    number = np.zeros(edges.size, np.int64)
    number[pixels] = np.arange(len(pixels))
    owners = number[rows // samples * width + columns // samples]
    total = np.stack([np.bincount(owners, channel, len(pixels)) for channel in light])
    return pixels, total / samples**2, np.bincount(owners, minlength=len(pixels)) / samples**2


def _near(triangles: Triangles, edges: np.ndarray) -> np.ndarray:
    """Which triangles (T,) have a pixel of `edges` (h, w) in their bounding box."""
    height, width = edges.shape
    total = cv2.integral(edges.astype(np.uint8))
    left, right = (np.clip(x, 0, width).astype(np.int64) for x in (triangles.x.min(0), triangles.x.max(0) + 1))
    top, bottom = (np.clip(y, 0, height).astype(np.int64) for y in (triangles.y.min(0), triangles.y.max(0) + 1))
    return np.asarray(total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left] > 0)


def lay_over(drawn: Render, pixels: np.ndarray, light: np.ndarray, share: np.ndarray | None) -> None:
    """Lays light (3, N) in [0, 1], already times the covered share (N,), over the pixels (N,) of what is drawn.

    share: of each pixel; None where pixels are covered whole.
    """
    color = drawn.color.reshape(-1, 3)
    level = light.T * 255 if share is None else light.T * 255 + (1 - share)[:, None] * color[pixels]
    color[pixels] = np.rint(level).astype(np.uint8)
    drawn.coverage.ravel()[pixels] = 1 if share is None else share


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3), (F, 3) -> (F, 3) outward normals, as long as twice the triangle's area."""
    first, second, third = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return np.cross(second - first, third - first)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3), (F, 3) -> (V, 3) unit normals, the mean of the faces around weighted by area; zero at a stray vertex."""
    normals, corners, count = face_normals(vertices, faces), faces.T.ravel(), len(vertices)  # (F, 3), (3F,)
    total = np.stack([np.bincount(corners, np.tile(normals[:, axis], 3), count) for axis in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return total / np.where(length > 0, length, 1)


def outline(depth: np.ndarray) -> np.ndarray:
    """(H, W) depth, inf outside -> (H, W) bool: the pixel or a neighbor (of 8) lies across a jump in depth."""
    grown = np.ones((3, 3), np.uint8)
    finite = np.where(np.isfinite(depth), depth, np.finfo(np.float32).max / 2)
    near = cv2.erode(finite, grown, borderType=cv2.BORDER_REPLICATE)
    far = cv2.dilate(finite, grown, borderType=cv2.BORDER_REPLICATE)
    return far > DEPTH_STEP * near


def checked_mesh(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float32 and faces (F, 3) int32. ValueError for arrays that are no mesh."""
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"a mesh is vertices (V, 3) and faces (F, 3), not {vertices.shape} and {faces.shape}")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{int((~np.isfinite(vertices)).any(1).sum())} of {len(vertices)} vertices are not finite")
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError(f"faces name vertices {faces.min()}..{faces.max()}, the mesh has {len(vertices)}")
    return vertices.astype(np.float32), np.ascontiguousarray(faces, dtype=np.int32)


def checked_canvas(background: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """A copy of the background (H, W, 3) uint8, or black. ValueError for one of another size or type."""
    canvas = np.zeros((*size, 3), np.uint8) if background is None else background.copy()
    if canvas.shape != (*size, 3) or canvas.dtype != np.uint8:
        raise ValueError(f"background is {canvas.dtype} {canvas.shape}, the image uint8 {(*size, 3)}")
    return canvas


def empty_render(canvas: np.ndarray) -> Render:
    """The background alone."""
    size = canvas.shape[:2]
    return Render(canvas, np.full(size, np.inf, np.float32), np.zeros(size, bool), np.zeros(size, np.float32))


def is_closed(faces: np.ndarray) -> bool:
    """Whether every edge of triangles (F, 3) is run along in both directions equally often: no rim, inside hidden."""
    return _is_closed(np.ascontiguousarray(faces, np.int64).tobytes())


@lru_cache(maxsize=8)
def _is_closed(faces: bytes) -> bool:
    starts = np.frombuffer(faces, np.int64).reshape(-1, 3)
    ends = np.roll(starts, -1, axis=1)
    count = int(starts.max(initial=0)) + 1
    return bool(np.array_equal(np.sort((starts * count + ends).ravel()), np.sort((ends * count + starts).ravel())))


def projected_box(vertices: np.ndarray, camera: PinholeCamera, size: tuple[int, int]) -> Box | None:
    """left, top, right, bottom of the pixels that the mesh can touch; None where it touches none."""
    height, width = size
    in_front = vertices[:, 2] > NEAR
    if not in_front.any():
        return None
    if not in_front.all():  # reaches behind the viewer: its image may be anywhere
        return 0, 0, width, height
    points = camera.project(vertices)
    left, top = np.floor(np.clip(points.min(0), 0, (width, height))).astype(int)
    right, bottom = np.ceil(np.clip(points.max(0), 0, (width, height))).astype(int)
    return (int(left), int(top), int(right), int(bottom)) if right > left and bottom > top else None
