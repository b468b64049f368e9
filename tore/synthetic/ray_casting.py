"""Renders one mesh by ray casting (embreex), with light at every pixel: what synthetic images are made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tore.geometry.camera import PinholeCamera
from tore.synthetic.rendering import need_render_packages
from tore_runtime.renderer import (
    MESH_COLOR,
    STUDIO,
    Box,
    Lighting,
    Render,
    checked_canvas,
    checked_mesh,
    empty_render,
    face_normals,
    outline,
    projected_box,
    vertex_normals,
)

RAYS_AT_ONCE = 400_000


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


def cast_image(
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
    vertices, faces = checked_mesh(vertices, faces)
    canvas = checked_canvas(background, size)
    box = projected_box(vertices, camera, size)
    toward = face_normals(vertices, faces)
    attributes = _vertex_attributes(vertices, faces, colors)
    if front_faces_only:
        front = np.einsum("fc,fc->f", toward, vertices[faces[:, 0]]) < 0
        faces, toward = faces[front], toward[front]
    if box is None or not len(faces):
        return empty_render(canvas)
    painter = _Painter(_caster(vertices, faces), faces, toward, attributes, camera, lighting)
    return _draw(canvas, _pixels(box), painter, samples, edges_only)


def _draw(canvas: np.ndarray, pixels: np.ndarray, painter: _Painter, samples: int, edges_only: bool) -> Render:
    """Draws over the canvas at pixels (N, 2), those that the mesh can touch, a band of them at a time."""
    _, depth, _, coverage = empty_render(canvas)
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
        return _shade(normals, mixed[:, 3:], directions, self.lighting)


def _shade(normals: np.ndarray, colors: np.ndarray, directions: np.ndarray, lighting: Lighting) -> np.ndarray:
    """Light that a surface sends to the viewer.

    normals: (P, 3) unit, outward. colors: (P, 3) in [0, 1]. directions: (P, 3) of the viewing rays, any length.
    Returns (P, 3) in [0, 1]. The renderer computes the same in planes (3, P), which is faster and rounds otherwise;
    here the order of the arithmetic stays, so that a set of the capsule figures stays the same to the byte.
    """
    up = (0.5 - 0.5 * normals[:, 1:2]).astype(np.float32)  # (P, 1): 1 looks up, 0 looks down
    incoming = up * np.asarray(lighting.sky, np.float32) + (1 - up) * np.asarray(lighting.ground, np.float32)
    glint = np.zeros_like(incoming)
    for lamp in lighting.lights:
        toward = np.asarray(lamp.direction, np.float32)
        toward = toward / np.linalg.norm(toward)
        strength = np.asarray(lamp.color, np.float32)
        incoming = incoming + np.maximum(normals @ toward, 0)[:, None] * strength
        if lighting.gloss:
            view = -directions / np.linalg.norm(directions, axis=1, keepdims=True)
            half = view + toward
            half /= np.linalg.norm(half, axis=1, keepdims=True)
            facing = np.maximum(np.einsum("pc,pc->p", normals, half), 0) ** lighting.shininess
            glint = glint + facing[:, None] * strength
    return np.clip(colors * incoming + lighting.gloss * glint, 0, 1)


def _vertex_attributes(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | tuple[float, float, float]
) -> np.ndarray:
    """(V, 6) float32: unit normal, color."""
    paint = np.broadcast_to(np.asarray(colors, np.float32), vertices.shape)
    return np.hstack([vertex_normals(vertices, faces), paint]).astype(np.float32)


def _pixels(box: Box) -> np.ndarray:
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
    embreex = need_render_packages("making synthetic images")
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
