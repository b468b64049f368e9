"""Renders a mesh before a pinhole camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from tore.geometry.camera import PinholeCamera


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


def shade(normals: np.ndarray, colors: np.ndarray, directions: np.ndarray, lighting: Lighting) -> np.ndarray:
    """Light that a surface sends to the viewer.

    normals: (P, 3) unit, outward. colors: (P, 3) in [0, 1]. directions: (P, 3) of the viewing rays, any length.
    Returns (P, 3) in [0, 1].
    """
    up = (0.5 - 0.5 * normals[:, 1:2]).astype(np.float32)  # (P, 1): 1 looks up, 0 looks down
    incoming = up * np.asarray(lighting.sky, np.float32) + (1 - up) * np.asarray(lighting.ground, np.float32)
    glint = np.zeros_like(incoming)
    for light in lighting.lights:
        toward = np.asarray(light.direction, np.float32)
        toward = toward / np.linalg.norm(toward)
        strength = np.asarray(light.color, np.float32)
        incoming = incoming + np.maximum(normals @ toward, 0)[:, None] * strength
        if lighting.gloss:
            view = -directions / np.linalg.norm(directions, axis=1, keepdims=True)
            half = view + toward
            half /= np.linalg.norm(half, axis=1, keepdims=True)
            facing = np.maximum(np.einsum("pc,pc->p", normals, half), 0) ** lighting.shininess
            glint = glint + facing[:, None] * strength
    return np.clip(colors * incoming + lighting.gloss * glint, 0, 1)


MESH_COLOR = (0.65, 0.74, 0.86)
RAYS_AT_ONCE = 400_000
DEPTH_STEP = 1.03  # neighbors whose depths differ by this factor belong to different surfaces


class Render(NamedTuple):
    """What the camera sees."""

    color: np.ndarray  # (H, W, 3) uint8 RGB, over the background
    depth: np.ndarray  # (H, W) float32 z in meters at the pixel center, inf where the mesh is not
    mask: np.ndarray  # (H, W) bool, the pixel center is covered
    coverage: np.ndarray  # (H, W) float32, the share of the pixel that is covered


class Hits(NamedTuple):
    """What the rays that met the mesh met: P of them."""

    rays: np.ndarray  # (P,) which rays
    faces: np.ndarray  # (P,) which triangles
    weights: np.ndarray  # (P, 3) of the triangle's corners
    depth: np.ndarray  # (P,) z in meters

    def only(self, chosen: np.ndarray) -> Hits:
        """Those of the rays where chosen (P,) is true."""
        return Hits(*(part[chosen] for part in self))


CastRays = Callable[[np.ndarray], Hits]


def need_render_packages(reason: str) -> Any:
    """The `embreex` package, or ImportError with one sentence that says what wanted it and how to get it."""
    try:
        import embreex.mesh_construction
        import embreex.rtcore_scene
    except ImportError as error:
        raise ImportError(
            f"{reason} needs the packages trimesh and embreex: pip install trimesh embreex ({error})"
        ) from error
    return embreex


def render(
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: PinholeCamera,
    size: tuple[int, int],
    *,
    colors: np.ndarray | tuple[float, float, float] = MESH_COLOR,
    lighting: Lighting = STUDIO,
    background: np.ndarray | None = None,
    samples: int = 3,
    edges_only: bool = False,
    front_faces_only: bool = False,
) -> Render:
    """Draws one mesh.

    vertices: (V, 3) meters in the camera frame. faces: (F, 3) indices, counter-clockwise from outside.
    size: (height, width) pixels. colors: (3,) or (V, 3) in [0, 1], before light. background: (H, W, 3) uint8, black
    without. samples: rays per pixel and direction for color (samples^2 in all). edges_only: the further rays only
    where a pixel lies on an outline. front_faces_only: leave triangles out that look away, half the cost
    for a closed mesh that does not enclose the camera.

    Raises ValueError for arrays that are no mesh, ImportError where embreex is missing.
    """
    vertices, faces = _checked(vertices, faces)
    height, width = size
    canvas = np.zeros((height, width, 3), np.uint8) if background is None else background.copy()
    if canvas.shape != (height, width, 3) or canvas.dtype != np.uint8:
        raise ValueError(f"background is {canvas.dtype} {canvas.shape}, the image uint8 {(height, width, 3)}")
    box = _projected_box(vertices, camera, size)
    toward = face_normals(vertices, faces)
    attributes = _vertex_attributes(vertices, faces, toward, colors)
    if front_faces_only:
        front = np.einsum("fc,fc->f", toward, vertices[faces[:, 0]]) < 0
        faces, toward = faces[front], toward[front]
    if box is None or not len(faces):
        return _nothing(canvas)
    painter = _Painter(_caster(vertices, faces), faces, toward, attributes, camera, lighting)
    return _draw(canvas, _pixels(box), painter, samples, edges_only)


def _nothing(canvas: np.ndarray) -> Render:
    """The background alone."""
    size = canvas.shape[:2]
    return Render(canvas, np.full(size, np.inf, np.float32), np.zeros(size, bool), np.zeros(size, np.float32))


def _draw(canvas: np.ndarray, pixels: np.ndarray, painter: _Painter, samples: int, edges_only: bool) -> Render:
    """Draws over the canvas at pixels (N, 2), those that the mesh can touch, a band of them at a time."""
    _, depth, _, coverage = _nothing(canvas)
    central: list[Hits | None] = []  # for every band what the rays through the pixels' centers met
    for part in _bands(len(pixels)):
        hits = painter.cast(_directions(pixels[part] + 0.5, painter.camera))
        where = pixels[part][hits.rays]
        depth[where[:, 1], where[:, 0]] = hits.depth
        central.append(hits if samples == 1 or edges_only else None)
    edges = outline(depth) if edges_only and samples > 1 else np.full(depth.shape, samples > 1)
    for part, seen in zip(_bands(len(pixels)), central, strict=True):
        fine = edges[pixels[part][:, 1], pixels[part][:, 0]]
        if seen is not None:
            plain = seen.only(~fine[seen.rays])
            where = pixels[part][plain.rays]
            light = painter.shade(plain, _directions(where + 0.5, painter.camera))
            _put(canvas, coverage, where, light, np.ones(len(where), np.float32))
        if fine.any():
            where = pixels[part][fine]
            _put(canvas, coverage, where, *painter.mean(where, samples))
    return Render(canvas, depth, np.isfinite(depth), coverage)


def _put(canvas: np.ndarray, coverage: np.ndarray, pixels: np.ndarray, light: np.ndarray, share: np.ndarray) -> None:
    """Lays light (N, 3), already times the covered share (N,), over the canvas at pixels (N, 2)."""
    x, y = pixels[:, 0], pixels[:, 1]
    canvas[y, x] = np.rint(light * 255 + (1 - share)[:, None] * canvas[y, x]).astype(np.uint8)
    coverage[y, x] = share


class _Painter(NamedTuple):
    """Colors pixels: casts rays through them, shades what is met, means over the rays of a pixel."""

    cast: CastRays
    faces: np.ndarray
    face_normals: np.ndarray
    attributes: np.ndarray
    camera: PinholeCamera
    lighting: Lighting

    def mean(self, pixels: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, 2) pixels -> light (N, 3) in [0, 1] already times the covered share, and that share (N,)."""
        light = np.zeros((len(pixels), 3), np.float32)
        share = np.zeros(len(pixels), np.float32)
        for row in range(samples):
            for column in range(samples):
                inside = (np.array([column, row]) + 0.5) / samples
                directions = _directions(pixels + inside, self.camera)
                hits = self.cast(directions)
                light[hits.rays] += self.shade(hits, directions[hits.rays])
                share[hits.rays] += 1
        return light / samples**2, share / samples**2

    def shade(self, hits: Hits, directions: np.ndarray) -> np.ndarray:
        """(P, 3) light of what was met, for the rays' directions (P, 3)."""
        corners = self.attributes[self.faces[hits.faces]]  # (P, 3, 6) normal and color of each corner
        mixed = np.einsum("pk,pkc->pc", hits.weights, corners)
        normals = mixed[:, :3] / np.maximum(np.linalg.norm(mixed[:, :3], axis=1, keepdims=True), 1e-12)
        away = np.einsum("pc,pc->p", self.face_normals[hits.faces], directions) > 0
        normals[away] *= -1
        return shade(normals, mixed[:, 3:], directions, self.lighting)


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3), (F, 3) -> (F, 3) outward normals, as long as twice the triangle's area."""
    first, second, third = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return np.cross(second - first, third - first)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3), (F, 3) -> (V, 3) unit normals, the mean of the faces around weighted by area; zero at a stray vertex."""
    return _vertex_normals(len(vertices), faces, face_normals(vertices, faces))


def _vertex_normals(count: int, faces: np.ndarray, normals: np.ndarray) -> np.ndarray:
    corners = faces.T.ravel()  # (3F,)
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


def _checked(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"a mesh is vertices (V, 3) and faces (F, 3), not {vertices.shape} and {faces.shape}")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{int((~np.isfinite(vertices)).any(1).sum())} of {len(vertices)} vertices are not finite")
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError(f"faces name vertices {faces.min()}..{faces.max()}, the mesh has {len(vertices)}")
    return vertices.astype(np.float32), np.ascontiguousarray(faces, dtype=np.int32)


def _vertex_attributes(
    vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, colors: np.ndarray | tuple[float, float, float]
) -> np.ndarray:
    """(V, 6) float32: unit normal, color."""
    paint = np.broadcast_to(np.asarray(colors, np.float32), vertices.shape)
    return np.hstack([_vertex_normals(len(vertices), faces, normals), paint]).astype(np.float32)


def _projected_box(
    vertices: np.ndarray, camera: PinholeCamera, size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom of the pixels that the mesh can touch; None where it touches none."""
    height, width = size
    in_front = vertices[:, 2] > 1e-6
    if not in_front.any():
        return None
    if not in_front.all():  # reaches behind the viewer: its image may be anywhere
        return 0, 0, width, height
    points = camera.project(vertices)
    left, top = np.floor(np.clip(points.min(0), 0, (width, height))).astype(int)
    right, bottom = np.ceil(np.clip(points.max(0), 0, (width, height))).astype(int)
    return (int(left), int(top), int(right), int(bottom)) if right > left and bottom > top else None


def _pixels(box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    y, x = np.mgrid[top:bottom, left:right]
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _bands(count: int) -> Iterator[slice]:
    return (slice(start, start + RAYS_AT_ONCE) for start in range(0, count, RAYS_AT_ONCE))


def _directions(points: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """(N, 2) continuous pixels -> (N, 3) float32 rays with z = 1, so that a ray's length counts depth."""
    rays = np.ones((len(points), 3), np.float32)
    rays[:, :2] = (points - np.asarray(camera.principal_point)) / camera.focal_length
    return rays


def _caster(vertices: np.ndarray, faces: np.ndarray) -> CastRays:
    """A function from ray directions (N, 3) out of the camera's center to what they meet first."""
    embreex = need_render_packages("drawing a mesh")
    scene = embreex.rtcore_scene.EmbreeScene(robust=True)
    embreex.mesh_construction.TriangleMesh(scene, vertices, faces)  # the scene keeps the triangles

    def cast(directions: np.ndarray) -> Hits:
        origins = np.zeros_like(directions)
        found = scene.run(origins, directions, query="INTERSECT", output=1)
        rays = np.flatnonzero(found["primID"] >= 0)
        second, third = found["u"][rays], found["v"][rays]
        weights = np.stack([1 - second - third, second, third], axis=1)
        return Hits(rays, found["primID"][rays], weights, found["tfar"][rays])

    return cast
