"""The page's drawing of meshes in headless Chromium against the project's own renderer: depth, light, opacity."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.browser import find_browser, served
from tests.devtools import Page
from tests.export.conftest import needs_page
from tore.body.body_model import load_body
from tore.export.browser import PAGE
from tore.export.libraries import THREE, kept_archive, unpack
from tore.export.web import serve
from tore_runtime.outputs import PEOPLE_COLORS
from tore_runtime.rasterizer import project_triangles, rasterize
from tore_runtime.renderer import STUDIO, highlights, incoming_light, vertex_normals

pytestmark = pytest.mark.slow
WIDTH, HEIGHT = 480, 400
JUMP = 8.0  # pixels between the depths of neighbors that lie on different surfaces
PLACES = [(0.95, 0.0, 0.0, 20, 40, 360), (0.95, 0.0, 0.1, 130, 20, 320)]  # camera; crop's left, top, side
DRAW = """
import * as THREE from "./lib/three.module.js";
import { MeshView } from "./mesh.js";
const given = await (await fetch("./given.json")).json(), canvas = document.getElementById("mesh");
const people = given.people.map((person) => ({ ...person, vertices: Float32Array.from(person.vertices) }));
const behind = document.getElementById("image").getContext("2d");
for (let row = 0; row < given.height; row += 8) {
  behind.fillStyle = row % 16 ? "#000" : "#fff";
  behind.fillRect(0, row, given.width, 8);
}
const view = new MeshView(canvas, Uint32Array.from(given.faces));
view.draw(given.width, given.height, people);
window.drawn = canvas.toDataURL();
// the same once more, into floats: the depth of each pixel as a share of what the camera sees
const { renderer, scene, camera } = view;
const target = new THREE.WebGLRenderTarget(given.width, given.height, { type: THREE.FloatType });
const floats = new Float32Array(4 * given.width * given.height);
scene.overrideMaterial = new THREE.MeshDepthMaterial({ side: THREE.DoubleSide });
renderer.setRenderTarget(target);
renderer.setClearColor(0, 0);
renderer.render(scene, camera);
renderer.readRenderTargetPixels(target, 0, 0, given.width, given.height, floats);
const shares = floats.filter((_, i) => i % 4 === 0); // 1 at the near plane
window.depth = Array.from(shares, (share) => camera.near + (1 - share) * (camera.far - camera.near));
"""
LAYOUT = """<!doctype html><link rel="stylesheet" href="style.css"><script type="module" src="draw.js"></script>
<div id="stage"><canvas id="image" width="480" height="400"></canvas><canvas id="mesh"></canvas></div>"""


def posed(kind: str, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in meters of a bent body or hand seen from aside, and its faces as the page has them."""
    body, draw = load_body(kind, "synthetic"), torch.Generator().manual_seed(3)
    pose = 0.25 * torch.randn(1, 72 if kind == "body" else 48, generator=draw)
    pose[0, :3] = torch.tensor([2.6, 0.5, 0.6])
    vertices = body(pose, torch.zeros(1, 10))[0].numpy()
    vertices = (vertices - vertices.mean(0)) / np.abs(vertices).max()
    return vertices * [-1, 1, 1] if mirrored else vertices, body.faces.numpy()


@pytest.fixture(params=[("body", False), ("hand", False), ("hand", True)], ids=["body", "hand", "left hand"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Page, np.ndarray, np.ndarray]]:
    """A page that shows two meshes, one before the other; their vertices (V, 3) in pixels, and faces."""
    find_browser()
    needs_page()
    kind, mirrored = request.param
    vertices, faces = posed(kind, mirrored)
    people, places = [], []
    for scale, tx, ty, left, top, side in PLACES:
        crop = {"left": left, "top": top, "side": side}
        people.append({"crop": crop, "camera": [scale, tx, ty], "vertices": vertices.ravel().tolist()})
        step = scale * side / 2
        places.append(vertices * step + [left + side / 2 + step * tx, top + side / 2 + step * ty, 0])
    folder = tmp_path / "page"
    unpack(THREE, kept_archive(THREE), folder / "lib")
    for name in ("mesh.js", "style.css"):
        shutil.copyfile(PAGE / name, folder / name)
    given = {"people": people, "faces": faces.ravel().tolist(), "width": WIDTH, "height": HEIGHT}
    (folder / "given.json").write_text(json.dumps(given))
    (folder / "draw.js").write_text(DRAW)
    (folder / "index.html").write_text(LAYOUT)
    with served(serve.server(str(folder), 0)) as address:
        page = Page(address, tmp_path / "profile")
        try:
            page.wait("window.depth !== undefined")
            yield page, np.stack(places), faces[:, ::-1] if mirrored else faces
        finally:
            page.close()


def expected_drawing(places: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of meshes (N, V, 3) in pixels, the first one before the others: which is seen (H, W), -1 for none; its depth
    (H, W) in pixels from its own origin; its light (H, W, 3); whether neighbors lie on other surfaces (H, W)."""
    count, vertices, _ = places.shape
    corners = np.concatenate([faces + index * vertices for index in range(count)]).T  # (3, N F)
    x, y = (np.concatenate(places[:, :, axis])[corners] for axis in (0, 1))
    owner = np.repeat(np.arange(count), vertices)
    normals = np.concatenate([vertex_normals(mesh, faces) for mesh in places]).T
    color = np.array(PEOPLE_COLORS[:count]).T[:, owner]
    nearness = 1e4 - places[:, :, 2].ravel() - 1e3 * owner
    inward = (x[1] - x[0]) * (y[2] - y[0]) > (y[1] - y[0]) * (x[2] - x[0])  # seen from inside
    linear = [np.vstack([nearness, side * normals, color, owner])[:, corners] for side in (1, -1)]
    triangles = project_triangles(x, y, np.where(inward, linear[1], linear[0]).astype(np.float32))
    seen = rasterize(triangles, (HEIGHT, WIDTH))
    values = seen.values / seen.depth  # the rasterizer takes nearness for 1 / z, and mixes value / z
    normal, paint = values[:6].reshape(2, 3, -1)
    normal = normal / np.linalg.norm(normal, axis=0)
    glint = highlights(normal, np.array([[0.0], [0], [1]]), STUDIO)
    light = np.clip(paint * incoming_light(normal, STUDIO) + glint, 0, 1)
    which, depth = np.full((HEIGHT, WIDTH), -1), np.full((HEIGHT, WIDTH), 1e5, np.float32)
    shown = np.zeros((HEIGHT, WIDTH, 3))
    which.ravel()[seen.samples] = owners = np.rint(values[6]).astype(int)
    depth.ravel()[seen.samples] = 1e4 - 1 / seen.depth
    shown.reshape(-1, 3)[seen.samples] = 255 * light.T
    rim = np.ones((3, 3), np.uint8)
    edges = cv2.dilate(depth, rim) - cv2.erode(depth, rim) > JUMP
    depth.ravel()[seen.samples] -= 1e3 * owners
    return which, depth, shown, edges


def test_depth_and_light(scene: tuple[Page, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """At every pixel but those of outlines the nearest surface is drawn, opaque, in the light of `tore infer`."""
    page, places, faces = scene
    which, depth, light, edges = expected_drawing(places, faces)
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(page.ask("drawn").partition(",")[2]))), np.float64)
    found = np.array(page.ask("depth")).reshape(HEIGHT, WIDTH)[::-1]
    covered = drawn[..., 3] == 255.0 * (which >= 0)
    assert covered[~edges].mean() > 0.9999, "but for what is thinner than a pixel; not transparent"
    for index in range(len(places)):
        inside = (which == index) & ~edges
        assert inside.sum() > 2000
        difference = found[inside] - depth[inside]
        difference = np.abs(difference - np.median(difference))  # but for where the page puts the mesh
        assert difference.max() < JUMP and (difference > 1).mean() < 1e-3, "pixels; no other surface is seen"
        off = np.abs(drawn[inside][:, :3] - light[inside])
        assert off.mean() < 1.5 and (off > 10).mean() < 0.01, "levels of 255"
    page.screenshot(tmp_path / "page.png")
    left, top = page.ask("(({ left, top }) => [left, top])(document.getElementById('mesh').getBoundingClientRect())")
    seen = np.asarray(Image.open(tmp_path / "page.png"))[int(top) :, int(left) :, :3][:HEIGHT, :WIDTH]
    inside = (which >= 0) & covered & ~edges
    assert np.abs(seen[inside] - drawn[inside][:, :3]).max() <= 1, "the stripes behind it do not show through"
    assert np.ptp(seen[(which < 0) & ~edges]) > 200, "and are there"
