"""Draws textured surfaces as a camera sees them: light from all around, the sun, their shadows, and what lies behind.

World frame: meters, y up. Pixel (row i, column j) has its center at (j + 0.5, i + 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tore.synthetic.lighting import GAMMA, Light
from tore.synthetic.surfaces import Camera, Surface, unit
from tore.synthetic.texels import texture_at
from tore_runtime.renderer import vertex_normals

Floats = NDArray[np.float32]
Index = NDArray[np.integer]
Mask = NDArray[np.bool_]

LAYERS = 6  # holes in a row that a ray passes before it meets nothing
STEP = 2e-4  # meters behind a hole from which a ray continues
TEXTURE_FACES = 5  # one in as many faces says how large a texel is
LIFT = 2e-3  # meters above a surface from which shadow rays start
OCCLUSION_RAYS = 4
OCCLUSION_REACH = 0.5  # meters within which a surface takes light from another
SUN_SPREAD = 0.02
EDGE_OFFSETS = np.array([(-0.33, -0.17), (0.33, -0.17), (0.0, 0.36)], np.float32)  # pixels, beside the center
DEPTH_STEP = 1.04  # of neighboring pixels, from which on there is an edge between them
GROUND_REACH = 2.5  # meters around the surfaces within which the ground takes their shadow
GROUND_DARK = 1.65  # power of the ground's share of light by which it is darker; 1 would be matt paper
PANORAMA_HEIGHT = 1.6  # meters above the ground from which panoramas are taken
GROUND_STRETCH = (0.5, 2.5)  # least and most change of a panorama's ground to the camera's height
HIGHLIGHT = (0.35, 18.0)  # strength at full gloss, exponent
SHEEN = 0.12


class Hits(NamedTuple):
    """Rays that met a surface: the whole `pixels (P, 2)` that they pass, unit `directions (P, 3)`, `faces (P,)`,
    `weights (P, 3)` of a face's corners, `distance (P,)` meters, `color (P, 4)` of the texture.
    """

    pixels: Index
    directions: Floats
    faces: Index
    weights: Floats
    distance: Floats
    color: Floats

    def only(self, chosen: Mask | Index) -> Hits:
        """Those of the hits."""
        return Hits(*(np.asarray(part)[chosen] for part in self))  # type: ignore[arg-type]


class Rendering(NamedTuple):
    """An image and what each pixel shows: `radiance (H, W, 3)` in the light's linear units, `surface (H, W)` the number
    of the surface at the pixel's center, -1 for none, `coverage (H, W)` the share that surfaces cover.
    """

    radiance: Floats
    surface: Index
    coverage: Floats


def need_render_packages(reason: str) -> Any:
    """The `embreex` package, or ImportError with one sentence that says what wanted it and how to get it."""
    try:
        import embreex.mesh_construction
        import embreex.rtcore_scene
    except ImportError as error:
        raise ImportError(
            f'{reason} needs the packages trimesh and embreex: pip install "tore[synthetic]" ({error})'
        ) from error
    return embreex


class World:
    """Surfaces as one mesh that rays can meet."""

    def __init__(self, surfaces: Sequence[Surface]) -> None:
        self.surfaces = tuple(surfaces)
        starts = np.cumsum([0, *(len(surface.vertices) for surface in surfaces)])
        parts = [(surface.faces + start).astype(np.int32) for surface, start in zip(surfaces, starts, strict=False)]
        self.vertices = np.concatenate([surface.vertices for surface in surfaces]).astype(np.float32)
        self.normals = np.concatenate([vertex_normals(s.vertices, s.faces) for s in surfaces]).astype(np.float32)
        self.faces = np.concatenate(parts)
        self.surface_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self.places = np.concatenate([s.places.astype(np.float32)[s.face_places] for s in surfaces])  # (F, 3, 2)
        self.gloss = np.array([surface.gloss for surface in surfaces], np.float32)
        self.solid = np.ones(len(self.faces), bool)
        for number, surface in enumerate(surfaces):
            if surface.cut_out:
                self.solid[self.surface_of == number] = _mostly_there(surface)
        embreex = need_render_packages("rendering images of people")
        self._scene = embreex.rtcore_scene.EmbreeScene(robust=True)
        embreex.mesh_construction.TriangleMesh(self._scene, self.vertices, self.faces)

    def first(self, origins: Floats, directions: Floats) -> dict[str, NDArray[Any]]:
        """What rays (P, 3) meet first: `primID (P,)` the face or -1, `u`, `v`, `tfar (P,)` meters."""
        return self._scene.run(_rays(origins), _rays(directions), query="INTERSECT", output=1)

    def blocked(self, origins: Floats, directions: Floats, reach: float) -> Floats:
        """(P,) how much of the light along rays (P, 3) something solid within `reach` meters takes away, in [0, 1]."""
        found = self.first(origins, directions)
        faces, distance = found["primID"], found["tfar"]
        met = (faces >= 0) & (distance < reach)
        met[met] = self.solid[faces[met]]
        return np.asarray(np.where(met, 1 - 0.5 * np.minimum(distance / reach, 1), 0), np.float32)


def render(
    world: World,
    camera: Camera,
    light: Light,
    size: int,
    rng: Generator,
    *,
    background: Floats | None = None,
    ground: float | None = None,
) -> Rendering:
    """An image of `size` x `size` pixels.

    `background (size, size, 3)`, linear radiance, stands in place of the light's panorama; `ground` is the
    height in meters of the plane that takes the shadows.
    """
    textures = _fitting_textures(world, camera)
    pixels = _touched(world, camera, size)
    hits = _shoot(world, camera, pixels + np.float32(0.5), textures)
    at, depth = _maps(world, hits, size)
    edge = _edges(at, depth)
    fine = pixels[edge[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]]
    offsets = (fine[:, None] + np.float32(0.5) + EDGE_OFFSETS).reshape(-1, 2)
    more = _shoot(world, camera, offsets, textures)
    half = hits.only(hits.pixels.sum(1) % 2 == 0)  # every second pixel, as on a chessboard
    open_sky, sunlit = _shadows(world, light, *_points(world, camera, half), rng)
    shade = _spread(size, half.pixels, open_sky, 5), _spread(size, half.pixels, sunlit, 3)
    samples = Hits(*(np.concatenate(pair) for pair in zip(hits, more, strict=True)))
    shown = _shaded(world, camera, light, samples, shade)
    behind = background if background is not None else light.radiance(_around(camera, size, ground))
    if ground is not None:
        behind = behind * _ground_shadow(world, camera, light, size, ground, rng)[..., None] ** np.float32(GROUND_DARK)
    radiance, coverage = _gathered(size, samples.pixels, shown, edge)
    return Rendering(radiance + (1 - coverage)[..., None] * behind, at, coverage)


def _around(camera: Camera, size: int, ground: float | None) -> Floats:
    """(size, size, 3) where in the panorama each pixel looks.

    The horizon is at the camera's height. The panorama's ground, seen from `PANORAMA_HEIGHT`, is looked at where the
    camera's rays meet the ground plane, so that it is as near as the people on it.
    """
    directions = camera.all_directions(size)
    if ground is None:
        return directions
    factor = PANORAMA_HEIGHT / max(float(camera.position[1] - ground), 1e-3)
    down = np.minimum(directions[..., 1], 0) * np.float32(np.clip(factor, *GROUND_STRETCH))
    directions[..., 1] = np.maximum(directions[..., 1], 0) + down
    return unit(directions.reshape(-1, 3)).reshape(directions.shape)


def _maps(world: World, hits: Hits, size: int) -> tuple[Index, Floats]:
    """(size, size) the surface that each pixel shows, -1 for none, and its distance, inf for none."""
    at, depth = np.full((size, size), -1, np.int64), np.full((size, size), np.inf, np.float32)
    at[hits.pixels[:, 1], hits.pixels[:, 0]] = world.surface_of[hits.faces]
    depth[hits.pixels[:, 1], hits.pixels[:, 0]] = hits.distance
    return at, depth


def _gathered(size: int, pixels: Index, shown: Floats, edge: Mask) -> tuple[Floats, Floats]:
    """The mean radiance (size, size, 3) of each pixel's samples (P, 3), those beside all surfaces black, and the share
    of those on one.
    """
    total = np.where(edge, np.float32(1 + len(EDGE_OFFSETS)), np.float32(1))
    flat, count = pixels[:, 1] * size + pixels[:, 0], size * size
    sums = [np.bincount(flat, values, count) for values in (*shown.T, np.ones(len(flat)))]
    mean = np.stack(sums, 1).reshape(size, size, 4).astype(np.float32) / total[..., None]
    return np.asarray(mean[..., :3], np.float32), np.asarray(mean[..., 3], np.float32)


def _rays(values: Floats) -> Floats:
    return np.ascontiguousarray(values, np.float32)


def _mostly_there(surface: Surface) -> Mask:
    """(F,) whether a cut-out surface's face is more than half there, by its middle and its corners drawn inward."""
    corners = surface.places[surface.face_places]
    middle = corners.mean(1, keepdims=True)
    tried = np.concatenate([middle, 0.5 * (corners + middle)], 1).astype(np.float32)  # (F, 4, 2)
    alpha = texture_at(surface.texture, tried.reshape(-1, 2))[:, 3].reshape(-1, 4)
    return np.asarray((alpha > 0.5).sum(1) >= 2)


def _touched(world: World, camera: Camera, size: int) -> Floats:
    """(P, 2) whole pixels in the box around what the camera sees of the surfaces."""
    seen = camera.to_camera(world.vertices)
    if (seen[:, 2] < 1e-3).any():
        low, high = np.zeros(2), np.full(2, size)
    else:
        points = camera.lens.project(seen)
        low = np.floor(np.clip(points.min(0), 0, size))
        high = np.ceil(np.clip(points.max(0), 0, size))
    x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


def _fitting_textures(world: World, camera: Camera) -> list[NDArray[np.uint8]]:
    """Each surface's texture, shrunk to about one texel for a pixel at the surface's nearest part."""
    some = slice(None, None, TEXTURE_FACES)
    corners, of = world.vertices[world.faces[some]], world.surface_of[some]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sides = world.places[some, 1:] - world.places[some, :1]
    in_texture = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    count = len(world.surfaces)
    meters = np.bincount(of, np.linalg.norm(across, axis=1), count)
    share = np.bincount(of, in_texture, count)
    out = []
    for number, surface in enumerate(world.surfaces):
        height, width = surface.texture.shape[:2]
        nearest = max(float(camera.to_camera(surface.vertices[::7])[:, 2].min()), 0.1)
        texels = np.sqrt(max(share[number], 1e-12) * height * width / max(meters[number], 1e-12))  # per meter
        shrink = min(camera.lens.focal_length / (nearest * texels), 1.0)
        if shrink < 0.75 and min(height, width) > 4:
            target = (max(2, round(width * shrink)), max(2, round(height * shrink)))
            out.append(cv2.resize(surface.texture, target, interpolation=cv2.INTER_AREA))
        else:
            out.append(surface.texture)
    return out


def _shoot(world: World, camera: Camera, pixels: Floats, textures: list[NDArray[np.uint8]]) -> Hits:
    """What rays through continuous pixels (P, 2) meet, holes passed."""
    directions = camera.directions(pixels)
    origin = camera.position.astype(np.float32)
    waiting = np.arange(len(pixels))
    start = np.zeros(len(pixels), np.float32)
    done: list[Hits] = []
    for _ in range(LAYERS):
        found = world.first(origin + directions[waiting] * start[waiting, None], directions[waiting])
        met = np.flatnonzero(found["primID"] >= 0)
        faces, u, v = (found[name][met] for name in ("primID", "u", "v"))
        rays = waiting[met]
        weights = np.stack([1 - u - v, u, v], 1)
        distance = np.asarray(found["tfar"][met] + start[rays], np.float32)
        color = _colors(world, faces, weights, textures)
        there = color[:, 3] >= 0.5
        place = np.floor(pixels[rays]).astype(np.int64)
        done.append(Hits(place, directions[rays], faces, weights, distance, color).only(there))
        waiting = rays[~there]
        start[waiting] = distance[~there] + STEP
        if not len(waiting):
            break
    return Hits(*(np.concatenate(parts) for parts in zip(*done, strict=True)))


def _colors(world: World, faces: Index, weights: Floats, textures: list[NDArray[np.uint8]]) -> Floats:
    """(P, 4) texture colors at hits; alpha 1 on surfaces without holes."""
    out = np.ones((len(faces), 4), np.float32)
    of = world.surface_of[faces]
    places = np.einsum("pk,pkc->pc", weights, world.places[faces])
    for number in np.unique(of):
        mine = of == number
        found = texture_at(textures[number], places[mine])
        if not world.surfaces[number].cut_out:
            found[:, 3] = 1
        out[mine] = found
    return out


def _points(world: World, camera: Camera, hits: Hits) -> tuple[Floats, Floats]:
    """World points (P, 3) of hits, and smooth unit normals (P, 3) toward the camera."""
    normals = np.einsum("pk,pkc->pc", hits.weights, world.normals[world.faces[hits.faces]])
    normals = unit(normals)
    away = np.einsum("pc,pc->p", normals, hits.directions) > 0
    normals[away] *= -1
    return camera.position.astype(np.float32) + hits.directions * hits.distance[:, None], normals


def _shadows(world: World, light: Light, points: Floats, normals: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """(P,) the share of the sky and (P,) of the sun that points with normals see."""
    start = points + LIFT * normals
    taken = np.zeros(len(points), np.float32)
    for _ in range(OCCLUSION_RAYS):
        taken += world.blocked(start, _cosine_directions(normals, rng), OCCLUSION_REACH)
    toward = light.sun_direction()
    sunlit = np.zeros(len(points), np.float32)
    facing = np.flatnonzero(normals @ toward > 0.01)
    if len(facing) and light.sun_color.max() > 1e-3:
        aim = toward + SUN_SPREAD * rng.standard_normal((len(facing), 3), np.float32)
        sunlit[facing] = world.blocked(start[facing], aim, np.inf) == 0
    return np.asarray(1 - taken / OCCLUSION_RAYS, np.float32), sunlit


def _cosine_directions(normals: Floats, rng: Generator) -> Floats:
    """(P, 3) one direction above each surface (P, 3), more of them straight up: a normal plus a point of the sphere."""
    around = rng.standard_normal(normals.shape, np.float32)
    return normals * np.float32(1.001) + unit(around)


def _spread(size: int, where: Index, values: Floats, width: int) -> Floats:
    """(size, size) values at pixels (P, 2), the mean of those within `width` pixels."""
    total, weight = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    total[where[:, 1], where[:, 0]] = values
    weight[where[:, 1], where[:, 0]] = 1
    return np.asarray(cv2.blur(total, (width, width)) / np.maximum(cv2.blur(weight, (width, width)), 1e-6))


def _edges(at: Index, depth: Floats) -> Mask:
    """(H, W) whether a pixel or one of its neighbors shows another surface, or one much farther away."""
    grown = np.ones((3, 3), np.uint8)
    other = np.zeros(at.shape, bool)
    finite = np.where(np.isfinite(depth), depth, np.float32(1e9))
    other |= cv2.dilate(finite, grown) > DEPTH_STEP * cv2.erode(finite, grown)
    numbers = at.astype(np.float32)
    return np.asarray(other | (cv2.dilate(numbers, grown) != cv2.erode(numbers, grown)))


def _shaded(world: World, camera: Camera, light: Light, hits: Hits, shade: tuple[Floats, Floats]) -> Floats:
    """(P, 3) radiance of hits; `shade` are maps of the shares of the sky and of the sun that pixels see."""
    normals = _points(world, camera, hits)[1]
    open_sky, sunlit = (part[hits.pixels[:, 1], hits.pixels[:, 0]] for part in shade)
    facing_sun = np.maximum(normals @ light.sun_direction(), 0) * sunlit
    shining = light.irradiance(normals) * open_sky[:, None] + facing_sun[:, None] * light.sun_color
    radiance = hits.color[:, :3] ** np.float32(GAMMA) * shining
    gloss = world.gloss[world.surface_of[hits.faces]]
    shiny = np.flatnonzero(gloss > 0)
    shine = _shine(light, normals[shiny], hits.directions[shiny], open_sky[shiny], sunlit[shiny])
    radiance[shiny] += gloss[shiny, None] * shine
    return radiance


def _shine(light: Light, normals: Floats, ahead: Floats, open_sky: Floats, sunlit: Floats) -> Floats:
    """(P, 3) highlights of the sun and of the surroundings on surfaces seen along `ahead (P, 3)`, at full gloss."""
    between = unit(light.sun_direction() - ahead)
    peak = np.maximum(np.einsum("pc,pc->p", between, normals), 0) ** HIGHLIGHT[1] * sunlit
    facing = -np.einsum("pc,pc->p", ahead, normals)
    mirrored = ahead + 2 * facing[:, None] * normals
    sheen = SHEEN * (0.2 + 0.8 * (1 - facing) ** 4) * open_sky
    return HIGHLIGHT[0] * peak[:, None] * light.sun_color + sheen[:, None] * light.irradiance(mirrored)


def _ground_shadow(world: World, camera: Camera, light: Light, size: int, ground: float, rng: Generator) -> Floats:
    """(size, size) what the light on the ground plane is multiplied by, from half the pixels a side."""
    half = size // 2
    x, y = np.meshgrid(2 * np.arange(half) + 1.0, 2 * np.arange(half) + 1.0)
    directions = camera.directions(np.stack([x.ravel(), y.ravel()], 1).astype(np.float32))
    out = np.ones(half * half, np.float32)
    below = np.flatnonzero(directions[:, 1] < -1e-3)
    distance = (ground - camera.position[1]) / directions[below, 1]
    points = camera.position + directions[below] * distance[:, None]
    low, high = world.vertices.min(0) - GROUND_REACH, world.vertices.max(0) + GROUND_REACH
    near = (distance > 0) & ((points > low) & (points < high))[:, [0, 2]].all(1)
    below, points = below[near], points[near].astype(np.float32)
    if not len(below):
        return np.ones((size, size), np.float32)
    up = np.broadcast_to(np.array([0, 1, 0], np.float32), points.shape)
    open_sky, sunlit = _shadows(world, light, points, up, rng)
    sky = float(light.irradiance(up[:1]).mean())
    sun = float(light.sun_color.mean()) * max(float(light.sun_direction()[1]), 0)
    out[below] = (sky * open_sky + sun * sunlit) / (sky + sun)
    soft = cv2.blur(out.reshape(half, half), (5, 5))
    return np.asarray(cv2.resize(soft, (size, size), interpolation=cv2.INTER_LINEAR))
