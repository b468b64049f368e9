"""Drawings over images: meshes, skeletons, heatmaps, contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tore_runtime.camera import PinholeCamera, pinhole_of_crop
from tore_runtime.files import replacing
from tore_runtime.joints import (
    H36M_EDGES,
    H36M_NAMES,
    HAND_EDGES,
    HAND_NAMES,
    J14_EDGES,
    J14_NAMES,
    J24_EDGES,
    J24_NAMES,
)
from tore_runtime.names import renamed_argument
from tore_runtime.renderer import MESH_COLOR, Render, render

PAPER, INK = (250, 250, 250), (30, 30, 30)
GAP, CAPTION_HEIGHT, FONT_SIZE = 4, 18, 12


@renamed_argument("pictures", "images")
def contact_sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    cell: int = 224,
) -> np.ndarray:
    """Images (h, w, 3) uint8 of any size, each fitted into a square of `cell` pixels, row by row: one uint8 image.

    columns: as many as make the sheet about square, if not given. A caption that is too long for its cell is cut.
    Raises ValueError for no image, or for captions that are not as many as images.
    """
    if not images:
        raise ValueError("a contact sheet needs one image at least")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    columns = columns or ceil(sqrt(len(images)))
    rows = ceil(len(images) / columns)
    top = CAPTION_HEIGHT if captions is not None else 0
    pitch_x, pitch_y = cell + GAP, cell + top + GAP
    sheet = Image.new("RGB", (columns * pitch_x + GAP, rows * pitch_y + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for index, image in enumerate(images):
        x, y = GAP + index % columns * pitch_x, GAP + index // columns * pitch_y
        sheet.paste(Image.fromarray(_fitted(image, cell)), (x, y + top))
        if captions is not None:
            pen.text((x, y + 1), _cut(captions[index], cell, font), INK, font)
    return np.asarray(sheet)


def _fitted(image: np.ndarray, cell: int) -> np.ndarray:
    """The image scaled into a square of paper, its shape kept."""
    height, width = image.shape[:2]
    factor = cell / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    square = np.full((cell, cell, 3), PAPER, np.uint8)
    top, left = (cell - size[1]) // 2, (cell - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = scaled
    return square


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def save_image(path: str | Path, pixels: np.ndarray, **options: Any) -> None:
    """Writes (h, w, 3) uint8 pixels whole or not at all, as what the ending says; options as PIL's `save` takes them.

    The folder is made when missing. Raises OutputError, and ValueError for an ending of no image.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        Image.fromarray(pixels).save(file, Image.registered_extensions()[Path(path).suffix.lower()], **options)


VIEW_BACKGROUND = 255


def overlay(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: PinholeCamera,
    *,
    color: np.ndarray | tuple[float, float, float] = MESH_COLOR,
    opacity: float = 1.0,
    samples: int = 2,
) -> np.ndarray:
    """The image (H, W, 3) uint8 with the mesh (V, 3) meters, camera frame, drawn over it: same shape, uint8.

    color: of the whole mesh, or (V, 3), in [0, 1].
    """
    height, width = image.shape[:2]
    drawn = render(vertices, faces, camera, (height, width), colors=color, background=image, samples=samples)
    if opacity == 1.0:
        return drawn.color
    seen = drawn.coverage > 0
    drawn.color[seen] = np.rint(opacity * drawn.color[seen] + (1 - opacity) * image[seen].astype(np.float64))
    return drawn.color


def overlay_crop(
    crop: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    weak_perspective: np.ndarray,
    *,
    color: tuple[float, float, float] = MESH_COLOR,
    samples: int = 2,
) -> np.ndarray:
    """A square crop (n, n, 3) uint8 with the mesh, seen by the crop's weak-perspective camera (3,) scale, tx, ty.

    vertices: (V, 3) meters, as the network gives them with that camera. n need not be 224.
    """
    if crop.shape[0] != crop.shape[1]:
        raise ValueError(f"a weak-perspective camera belongs to a square crop, this one is {crop.shape[:2]}")
    camera, translation = pinhole_of_crop(weak_perspective, size=crop.shape[0])
    return overlay(crop, vertices + translation, faces, camera, color=color, samples=samples)


def turned(vertices: np.ndarray, degrees: float) -> np.ndarray:
    """Vertices (V, 3) rotated about the vertical through the center of their box; 90 shows the side, 180 the back."""
    middle = (vertices.min(0) + vertices.max(0)) / 2
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    return (vertices - middle) @ matrix.T + middle


def view(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    degrees: float = 0.0,
    size: int = 224,
    color: tuple[float, float, float] = MESH_COLOR,
    samples: int = 2,
) -> Render:
    """The mesh alone on white, turned by `degrees`, framed so that every turn of it fits a square of `size` pixels."""
    middle = (vertices.min(0) + vertices.max(0)) / 2
    radius = float(np.linalg.norm(vertices - middle, axis=1).max())
    distance = 6 * radius
    # the ball of that radius touches the frame where asin(radius / distance) does
    focal = 0.48 * size * np.sqrt(distance**2 - radius**2) / radius
    camera = PinholeCamera(float(focal), (size / 2, size / 2))
    placed = turned(vertices, degrees) - middle + np.array([0, 0, distance])
    paper = np.full((size, size, 3), VIEW_BACKGROUND, np.uint8)
    return render(placed, faces, camera, (size, size), colors=color, background=paper, samples=samples)


OPACITY = 0.55


def color_heatmap(crop: np.ndarray, weights: np.ndarray, *, opacity: float = OPACITY) -> np.ndarray:
    """One map of weights (h, w), stretched from its least to its greatest, over the crop (n, m, 3) uint8."""
    low, high = float(weights.min()), float(weights.max())
    level = (weights - low) / (high - low) if high > low else np.zeros_like(weights, dtype=np.float64)
    height, width = crop.shape[:2]
    smooth = cv2.resize(level.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    hue = cv2.applyColorMap(np.rint(smooth * 255).clip(0, 255).astype(np.uint8), cv2.COLORMAP_TURBO)[:, :, ::-1]
    return np.rint(opacity * hue + (1 - opacity) * crop.astype(np.float64)).astype(np.uint8)


def grid_shape(cells: int, shape: tuple[int, int] | None = None) -> tuple[int, int]:
    """Height and width of the feature map of `cells` cells: `shape`, or a square. ValueError where they disagree."""
    height, width = shape or (round(cells**0.5), round(cells**0.5))
    if height * width != cells:
        raise ValueError(f"{cells} cells are no map of {height} x {width}; give the feature map's (height, width)")
    return height, width


def mean_heatmap(
    crop: np.ndarray, heatmap: np.ndarray, *, shape: tuple[int, int] | None = None, opacity: float = OPACITY
) -> np.ndarray:
    """The mean over the kept tokens of heatmap (M, h*w), over the crop (n, n, 3) uint8."""
    return color_heatmap(crop, heatmap.mean(0).reshape(grid_shape(heatmap.shape[1], shape)), opacity=opacity)


def token_sheet(
    crop: np.ndarray, heatmap: np.ndarray, *, shape: tuple[int, int] | None = None, cell: int = 112
) -> np.ndarray:
    """A sheet with the mean first and then every kept token of heatmap (M, h*w) over the crop, numbered from 1."""
    grid = grid_shape(heatmap.shape[1], shape)
    tokens = [color_heatmap(crop, weights.reshape(grid)) for weights in heatmap]
    captions = ["mean"] + [f"token {number}" for number in range(1, len(tokens) + 1)]
    return contact_sheet([mean_heatmap(crop, heatmap, shape=grid), *tokens], captions, cell=cell)


Color = tuple[int, int, int]
RIGHT, LEFT, MIDDLE = (235, 110, 60), (60, 130, 240), (250, 215, 80)
FINGER_COLORS = ((240, 90, 80), (245, 175, 60), (110, 200, 90), (70, 150, 240), (180, 110, 230))
SUBPIXEL_BITS = 4
SKELETONS = {
    len(names): (names, edges)
    for names, edges in (
        (J14_NAMES, J14_EDGES),
        (H36M_NAMES, H36M_EDGES),
        (HAND_NAMES, HAND_EDGES),
        (J24_NAMES, J24_EDGES),
    )
}


def bones_of(joints: int) -> list[tuple[int, int, Color]]:
    """Pairs of joint indices and a color for 14, 24 (J24 order), 17 (H36M) or 21 (hand) joints.

    Raises ValueError for another number of joints.
    """
    if joints not in SKELETONS:
        raise ValueError(f"{joints} joints make no skeleton known here; {', '.join(map(str, sorted(SKELETONS)))} do")
    names, edges = SKELETONS[joints]
    if joints == len(HAND_NAMES):
        return [(start, end, FINGER_COLORS[(end - 1) // 4]) for start, end in edges]
    return [(start, end, _side_color(names[start], names[end])) for start, end in edges]


def _side_color(start: str, end: str) -> Color:
    sides = {name[:2] for name in (start, end)} & {"R_", "L_"}
    if len(sides) != 1:
        return MIDDLE
    return RIGHT if "R_" in sides else LEFT


@renamed_argument("picture", "image")
def draw_skeleton(
    image: np.ndarray, joints: np.ndarray, confidence: np.ndarray | None = None, *, thickness: int | None = None
) -> np.ndarray:
    """A copy of the image (H, W, 3) uint8 with joints (J, 2) in continuous pixels, those of confidence 0 left out."""
    seen = np.ones(len(joints), bool) if confidence is None else np.asarray(confidence) > 0
    seen = seen & np.isfinite(joints).all(1)
    width = thickness or max(1, round(max(image.shape[:2]) / 110))
    canvas = np.ascontiguousarray(image.copy())
    # OpenCV counts from pixel centers, we from the corner
    fixed = np.rint((np.nan_to_num(joints) - 0.5).clip(-1e4, 1e4) * 2**SUBPIXEL_BITS).astype(int)
    for first, second, color in bones_of(len(joints)):
        if seen[first] and seen[second]:
            start, end = tuple(map(int, fixed[first])), tuple(map(int, fixed[second]))
            cv2.line(canvas, start, end, color, width, cv2.LINE_AA, SUBPIXEL_BITS)
    for point in fixed[seen]:
        radius = width << SUBPIXEL_BITS
        cv2.circle(canvas, tuple(map(int, point)), radius, (255, 255, 255), -1, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas


def draw_crop_joints(crop: np.ndarray, joints: np.ndarray, confidence: np.ndarray | None = None) -> np.ndarray:
    """`draw_skeleton` of joints (J, 2) in [-1, 1] of a square crop (n, n, 3)."""
    return draw_skeleton(crop, (joints + 1) / 2 * len(crop), confidence)
