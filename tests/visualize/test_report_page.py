"""The report page: charts against plain arithmetic, the viewer's numbers there and back, nothing from outside."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from tore.visualize import report
from tore.visualize.report import (
    HEIGHT,
    STEP,
    WIDTH,
    Level,
    Series,
    ShownMesh,
    line_chart,
    log_ticks,
    mesh_viewer,
    ticks,
)

TETRAHEDRON = np.array([[0.0, 0, 0], [1.0, 0, 0], [0, 1.5, 0], [0, 0, 0.7]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def svg_of(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html[: html.index("</svg>") + len("</svg>")])


def test_ticks_are_round_numbers_inside() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0, 318) == [0, 100, 200, 300]
    assert np.allclose(ticks(0.13, 0.52), [0.2, 0.3, 0.4, 0.5])
    assert np.allclose(log_ticks(0.03, 4), [0.05, 0.1, 0.2, 0.5, 1, 2])


def test_a_chart_puts_points_where_their_values_are() -> None:
    points = [(0, 10.0), (5, 5.0), (10, 0.0)]
    root = svg_of(line_chart([Series("a", points)], label="l", x_label="x", y_label="y", levels=[Level("half", 5.0)]))
    places = [tuple(map(float, pair.split(","))) for pair in root.find("polyline").attrib["points"].split()]  # type: ignore[union-attr]
    assert places[0][0] < places[1][0] < places[2][0] <= WIDTH
    assert 0 <= places[0][1] < places[1][1] < places[2][1] <= HEIGHT
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.11)
    assert places[1][1] - places[0][1] == pytest.approx(places[2][1] - places[1][1], abs=0.11)
    level = next(line for line in root.iter("line") if line.attrib["class"] == "level")
    assert float(level.attrib["y1"]) == pytest.approx(places[1][1], abs=0.11)
    logarithmic = [(0, 100.0), (1, 10.0), (2, 1.0)]
    root = svg_of(line_chart([Series("a", logarithmic)], label="l", x_label="x", y_label="y", log=True))
    heights = [float(pair.split(",")[1]) for pair in root.find("polyline").attrib["points"].split()]  # type: ignore[union-attr]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.11)


def test_a_chart_refuses_what_it_cannot_draw() -> None:
    for points, log, said in (
        ([], False, "needs points"),
        ([(0, float("nan"))], False, "finite"),
        ([(0, 0.0)], True, "0"),
    ):
        with pytest.raises(ValueError, match=said):
            line_chart([Series("a", points)], label="l", x_label="x", y_label="y", log=log)


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).reshape(-1, 3)


def test_the_viewer_holds_the_mesh() -> None:
    html = mesh_viewer([ShownMesh("one", TETRAHEDRON, (0.5, 0.6, 0.7))], FACES, label="a <mesh>")
    assert "a &lt;mesh&gt;" in html and html.count("<button") == 1
    data = json.loads(re.findall(r"<script[^>]*>(.*)</script>", html)[0])
    assert (unpacked(data["faces"], "<u2") == FACES).all()
    back = unpacked(data["meshes"][0]["vertices"], "<i2") * data["step"]
    middle = (TETRAHEDRON.min(0) + TETRAHEDRON.max(0)) / 2
    assert np.abs(back - (TETRAHEDRON - middle)).max() <= STEP / 2 + 1e-12
    outward = (unpacked(data["meshes"][0]["normals"], "<i1") * (TETRAHEDRON - TETRAHEDRON.mean(0))).sum(1)
    assert (outward > 0).all()
    with pytest.raises(ValueError, match=r"up to 5 m .* within 3\.28 m"):
        mesh_viewer([ShownMesh("one", TETRAHEDRON * [10, 1, 1], (1, 1, 1))], FACES, label="far")


def test_the_page_escapes_text_and_embeds_its_images() -> None:
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[:, :6] = 250
    grid = report.image_rows(["in", "out"], [[pixels, pixels]], ["<b>"])
    table = report.table(["a", "b & c"], [["1", "<2>"], ["3", "4"]], strong=[1])
    page = report.page("T < U", report.paragraph("x > y", "lead"), [report.Section("S & T", grid + table)], "")
    assert "T &lt; U" in page and "S &amp; T" in page and "&lt;2&gt;" in page and "<b>, in" not in page
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)" width="12" height="8"', page)
    assert len(found) == 2
    assert np.abs(np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0])))).astype(int) - pixels).mean() < 12
    assert page.count("class=strong") == 1
    outside = re.findall(r"""(?:src|href)=["']?(?!data:)[^"'\s>]+|url\(|@import|https?://""", page)
    assert not outside, outside
    assert "default-src 'none'" in page
