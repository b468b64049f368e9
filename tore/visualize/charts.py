"""Charts as inline SVG for a page: lines over steps, and horizontal bars. Colours are the page's (`page/style.css`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

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
