"""Report pages: one HTML file with tables, images, charts and turnable meshes."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tore_runtime.renderer import vertex_normals

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
    """Boxes side by side if the page is wide enough."""
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


def image(pixels: np.ndarray, alt: str) -> str:
    """An (h, w, 3) uint8 image as an embedded JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode()
    height, width = pixels.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(alt, quote=True)}">'
    )


def image_rows(columns: Sequence[str], rows: Sequence[Sequence[np.ndarray]], names: Sequence[str]) -> str:
    """A grid of images, a line of them for each of `names`, under the names of the columns."""
    heads = "".join(f"<div>{escape(name)}</div>" for name in columns)
    cells = [
        image(pixels, f"{name}, {column}")
        for name, row in zip(names, rows, strict=True)
        for column, pixels in zip(columns, row, strict=True)
    ]
    style = f"grid-template-columns:repeat({len(columns)},1fr)"
    return f'<div class="scroll"><div class="people" style="{style}">{heads}{"".join(cells)}</div></div>'


STEP = 1e-4  # meters; vertices are kept as 16-bit multiples of it
REACH = STEP * np.iinfo(np.int16).max


class ShownMesh(NamedTuple):
    """One mesh of a viewer."""

    name: str
    vertices: np.ndarray  # (V, 3) meters, camera frame (x right, y down, z away)
    color: tuple[float, float, float]  # in [0, 1]


def mesh_viewer(meshes: Sequence[ShownMesh], faces: np.ndarray, *, label: str) -> str:
    """The viewer's HTML: meshes of the same faces (F, 3), each moved to the center of its box, with a button each.

    Raises ValueError for meshes larger than 3 meters from their middle or of more than 65535 vertices.
    """
    data = {
        "step": STEP,
        "faces": _packed(faces, np.uint16),
        "meshes": [_numbers(mesh, faces) for mesh in meshes],
    }
    choices = [("all", "all")] if len(meshes) > 1 else []
    choices = [(str(place), mesh.name) for place, mesh in enumerate(meshes)] + choices
    buttons = "".join(
        f'<button type="button" data-show="{value}" aria-pressed="{"true" if value == "0" else "false"}">'
        f"{escape(name)}</button>"
        for value, name in choices
    )
    text = escape(label, quote=True)
    return (
        f'<div class="mesh-viewer"><canvas tabindex="0" role="img" aria-label="{text}"></canvas>'
        f'<div class="buttons">{buttons}</div><script type="application/json">{json.dumps(data)}</script></div>'
    )


def _numbers(mesh: ShownMesh, faces: np.ndarray) -> dict[str, object]:
    vertices = np.asarray(mesh.vertices, np.float64)
    centered = vertices - (vertices.min(0) + vertices.max(0)) / 2
    if len(vertices) > np.iinfo(np.uint16).max or not (np.abs(centered) <= REACH).all():
        raise ValueError(
            f"mesh {mesh.name!r} has {len(vertices)} vertices up to {np.abs(centered).max():g} m from its middle; a "
            f"viewer takes {np.iinfo(np.uint16).max} within {REACH:.2f} m"
        )
    normals = vertex_normals(centered, np.asarray(faces)) * np.iinfo(np.int8).max
    return {
        "name": mesh.name,
        "color": [round(255 * part) for part in mesh.color],
        "vertices": _packed(np.rint(centered / STEP), np.int16),
        "normals": _packed(np.rint(normals), np.int8),
    }


def _packed(values: np.ndarray, kind: type) -> str:
    """Little-endian numbers in base64."""
    return base64.b64encode(np.ascontiguousarray(values).astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()


WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 44
TICKS = 5
COLORS = 5  # of the page, .line0 and so on


class Series(NamedTuple):
    """One curve; its points are marked where there are few."""

    name: str
    points: Sequence[tuple[float, float]]


class Level(NamedTuple):
    """A dashed horizontal line to compare curves with."""

    name: str
    value: float


def ticks(low: float, high: float, wanted: int = TICKS) -> list[float]:
    """About `wanted` round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, which differ."""
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from `low` to `high`, both above 0."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [factor * 10.0**power for power in powers for factor in (1, 2, 5) if low <= factor * 10.0**power <= high]


def line_chart(
    series: Sequence[Series], *, label: str, x_label: str, y_label: str, levels: Sequence[Level] = (), log: bool = False
) -> str:
    """The curves over common axes from 0, the upright one logarithmic where asked; `label` says what is seen.

    Raises ValueError where there is no point, or one that is not above 0 on a logarithmic axis.
    """
    points = [point for one in series for point in one.points]
    heights = [y for _, y in points] + [level.value for level in levels]
    if not points or not all(math.isfinite(y) for y in heights):
        raise ValueError(f"the chart {label!r} needs points with finite values")
    if log and min(heights) <= 0:
        raise ValueError(f"the chart {label!r} is logarithmic and has the value {min(heights)}; give values above 0")
    x_low, x_high = _widened(min(0.0, *(x for x, _ in points)), max(x for x, _ in points))
    y_low, y_high = (min(heights) / 1.08, max(heights) * 1.08) if log else _widened(0.0, max(heights) * 1.06)
    scale: Callable[[float], float] = math.log10 if log else float

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (scale(y) - scale(y_low)) / (scale(y_high) - scale(y_low))
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    y_ticks = log_ticks(y_low, y_high) if log else ticks(y_low, y_high)
    parts = [_grid_line(value, place(x_low, value)[1]) for value in (y_ticks or [y_low, y_high])]
    parts += [_x_tick(value, place(value, y_low)[0]) for value in ticks(x_low, x_high)]
    for level in levels:
        height = place(x_low, level.value)[1]
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(
            f'<text class="level" x="{WIDTH - RIGHT - 4}" y="{height - 5:.1f}" text-anchor="end">'
            f"{escape(level.name)}</text>"
        )
    parts += [_curve(number, one, [place(*point) for point in one.points]) for number, one in enumerate(series)]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    return _svg(parts, HEIGHT, label) + _legend([one.name for one in series])


def _widened(low: float, high: float) -> tuple[float, float]:
    """An axis needs two ends that differ."""
    return (low, high) if high > low else (low, low + 1)


def number(value: float) -> str:
    """A tick's or a point's value in few characters: 1200, 0.05, 3.2."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _grid_line(value: float, height: float) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
    return f'{line}<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{number(value)}</text>'


def _x_tick(value: float, across: float) -> str:
    bottom = HEIGHT - BOTTOM
    return f'<text x="{across:.1f}" y="{bottom + 18}" text-anchor="middle">{number(value)}</text>'


def _curve(order: int, series: Series, places: Sequence[tuple[float, float]]) -> str:
    color = order % COLORS
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = ""
    if len(places) <= 30:
        for (x, y), (step, value) in zip(places, series.points, strict=True):
            told = f"{escape(series.name)}, {number(step)}: {number(value)}"
            marks += f'<circle class="dot{color}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{told}</title></circle>'
    return f'<polyline class="line{color}" points="{path}"/>{marks}'


def _legend(names: Sequence[str]) -> str:
    items = (f'<li><span class="key{order % COLORS}"></span>{escape(name)}</li>' for order, name in enumerate(names))
    return f'<ul class="legend">{"".join(items)}</ul>'


def _svg(parts: Sequence[str], height: int, label: str) -> str:
    text = escape(label, quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{text}">{"".join(parts)}</svg>'
