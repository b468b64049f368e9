"""One self-contained report page: pieces of HTML from plain values, and the page around them.

Everything lies in the one file: pictures as data, charts as SVG, style and script inline. Its content security policy
forbids the browser to ask for anything else, so it looks the same offline.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

PARTS = Path(__file__).parent / "page"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
JPEG_QUALITY = 88


class Section(NamedTuple):
    """A heading and the HTML under it."""

    title: str
    content: str


def page(title: str, header: str, sections: Sequence[Section], footer: str) -> str:
    """The whole page. `header`, the sections' content and `footer` are HTML; titles are plain text."""
    body = "\n".join(f"<section><h2>{escape(one.title)}</h2>\n{one.content}</section>" for one in sections)
    style, script = ((PARTS / name).read_text(encoding="utf-8") for name in ("style.css", "mesh_viewer.js"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body><main>
<header><h1>{escape(title)}</h1>
{header}</header>
{body}
<footer>{footer}</footer>
</main>
<script>
{script}</script>
</body>
</html>
"""


def paragraph(text: str, kind: str = "") -> str:
    """Plain text as a paragraph; kind: "lead", "soft"."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Large figures, each with what it is: (figure, words)."""
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>' for value, text in facts
    )
    return f'<div class="tiles">{cells}</div>'


def card(content: str, title: str = "") -> str:
    """A framed box around HTML."""
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="card">{heading}{content}</div>'


def pair(*cards: str) -> str:
    """Boxes side by side where there is room."""
    return f'<div class="pair">{"".join(cards)}</div>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], strong: Sequence[int] = ()) -> str:
    """A table of plain texts, its first column to the left; `strong` rows stand out."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines = []
    for place, row in enumerate(rows):
        cells = "".join(f"<td>{escape(text)}</td>" for text in row)
        lines.append(f"<tr{' class=strong' if place in strong else ''}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def words_table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and what they are, in words."""
    lines = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<div class="scroll"><table class="words"><tbody>{lines}</tbody></table></div>'


def bar_table(columns: Sequence[str], rows: Sequence[tuple[str, float, Sequence[str]]]) -> str:
    """Rows of a name, a bar of its share of the greatest value, and texts; `columns` name all three kinds."""
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    lines = []
    for name, value, texts in rows:
        bar = f'<td class="wide"><span class="bar" style="width:{100 * value / most:.1f}%"></span></td>'
        cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
        lines.append(f"<tr><td>{escape(name)}</td>{bar}{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def picture(pixels: np.ndarray, alt: str) -> str:
    """An (h, w, 3) uint8 picture as an embedded JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode()
    height, width = pixels.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(alt, quote=True)}">'
    )


def picture_rows(columns: Sequence[str], rows: Sequence[Sequence[np.ndarray]], names: Sequence[str]) -> str:
    """A grid of pictures, a line of them for each of `names`, under the names of the columns."""
    heads = "".join(f"<div>{escape(name)}</div>" for name in columns)
    cells = [
        picture(pixels, f"{name}, {column}")
        for name, row in zip(names, rows, strict=True)
        for column, pixels in zip(columns, row, strict=True)
    ]
    style = f"grid-template-columns:repeat({len(columns)},1fr)"
    return f'<div class="scroll"><div class="people" style="{style}">{heads}{"".join(cells)}</div></div>'
