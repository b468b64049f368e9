"""Contact sheets: pictures in a grid, each with a caption above it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tore.files import replacing

PAPER, INK = (250, 250, 250), (30, 30, 30)
GAP, CAPTION_HEIGHT, FONT_SIZE = 4, 18, 12


def contact_sheet(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    cell: int = 224,
) -> np.ndarray:
    """Pictures (h, w, 3) uint8 of any size, each fitted into a square of `cell` pixels, row by row: one uint8 picture.

    columns: as many as make the sheet about square, if not given. A caption that is too long for its cell is cut.
    Raises ValueError for no picture, or for captions that are not as many as pictures.
    """
    if not pictures:
        raise ValueError("a contact sheet needs one picture at least")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    columns = columns or ceil(sqrt(len(pictures)))
    rows = ceil(len(pictures) / columns)
    top = CAPTION_HEIGHT if captions is not None else 0
    pitch_x, pitch_y = cell + GAP, cell + top + GAP
    sheet = Image.new("RGB", (columns * pitch_x + GAP, rows * pitch_y + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for index, picture in enumerate(pictures):
        x, y = GAP + index % columns * pitch_x, GAP + index // columns * pitch_y
        sheet.paste(Image.fromarray(_fitted(picture, cell)), (x, y + top))
        if captions is not None:
            pen.text((x, y + 1), _cut(captions[index], cell, font), INK, font)
    return np.asarray(sheet)


def _fitted(picture: np.ndarray, cell: int) -> np.ndarray:
    """The picture scaled into a square of paper, its shape kept."""
    height, width = picture.shape[:2]
    factor = cell / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
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
