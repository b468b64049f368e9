"""Where the kept image tokens looked: each cluster's weights over the feature map, laid over the crop (section 3.3)."""

from __future__ import annotations

import cv2
import numpy as np

from tore.visualize.sheet import contact_sheet

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
