"""Colour of a lit, matt surface with a little gloss; directions in the camera frame (x right, y down, z forward)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
