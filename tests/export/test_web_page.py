"""The exported page in headless Chromium: photographs, boxes and the fake camera against Python's numbers."""

from __future__ import annotations

import http.server
import importlib.util
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.browser import find_browser, served
from tests.conftest import assert_agrees
from tests.devtools import Page
from tests.export.conftest import needs_page
from tore.export.browser import FACES_FILE, LICENSES_FILE, export_web, loaded_size
from tore.export.exporting import export_model
from tore.inference.images import read_image
from tore.paths import example_photograph
from tore_runtime.crops import crop_of_box, crops_of
from tore_runtime.record import read_record

pytestmark = pytest.mark.slow
READY = "document.getElementById('camera')?.disabled === false"
MODULE = "const { state } = await import('/page.js');"
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
COUNTED = """(() => {
  const media = navigator.mediaDevices, open = media.getUserMedia.bind(media);
  window.cameras = 0;
  media.getUserMedia = (wanted) => { window.cameras++; return open(wanted); };
})()"""
# The columns and rows of the image that the mesh is drawn upon: left, top, right, bottom.
DRAWN = """(() => {
  const mesh = document.getElementById("mesh"), copy = document.createElement("canvas");
  Object.assign(copy, { width: mesh.width, height: mesh.height });
  const context = copy.getContext("2d");
  context.drawImage(mesh, 0, 0);
  const { data, width, height } = context.getImageData(0, 0, mesh.width, mesh.height);
  const found = [width, height, 0, 0];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (data[4 * (y * width + x) + 3] > 0) {
    found[0] = Math.min(found[0], x); found[1] = Math.min(found[1], y);
    found[2] = Math.max(found[2], x + 1); found[3] = Math.max(found[3], y + 1);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def page_folder(network: torch.nn.Module, rule_body_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    find_browser()
    needs_page()
    folder = tmp_path_factory.mktemp("page")
    export_web(network, folder, weights="float32", runtimes=["onnxruntime"], body_dir=rule_body_dir)
    return folder


@pytest.fixture(scope="module")
def serve(page_folder: Path) -> ModuleType:
    """The folder's own server."""
    spec = importlib.util.spec_from_file_location("page_server", page_folder / "serve.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def address(page_folder: Path, serve: ModuleType) -> Iterator[str]:
    with served(serve.server(str(page_folder), 0)) as found:
        yield found


@torch.no_grad()
def expected(network: torch.nn.Module, image: np.ndarray, box: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in meters, and (V, 2) in pixels of the image."""
    (crop,) = crops_of(image, [box], image_format=network.config.image_format)
    found = network(torch.from_numpy(crop.image)[None])
    vertices, (scale, tx, ty) = found.vertices[0].numpy(), found.camera[0].numpy()
    return vertices, crop.region.to_image(scale * (vertices[:, :2] + [tx, ty]))


def check_people(page: Page, network: torch.nn.Module, image: np.ndarray, box: tuple[float, ...]) -> None:
    """The page's one person is Python's of the same box, and is drawn where Python puts it."""
    (person,) = json.loads(page.ask(f"(async () => {{ {MODULE} return JSON.stringify(state.people.map((person) => "
                                    "({ ...person, vertices: [...person.vertices] }))); })()"))  # fmt: skip
    region = crop_of_box(box, image.shape[:2])
    assert (person["crop"]["left"], person["crop"]["top"], person["crop"]["side"]) == (*region.upper_left, region.size)
    vertices, places = expected(network, image, box)
    assert_agrees(np.array(person["vertices"]).reshape(-1, 3), vertices, 2e-5)
    extent = np.array([image.shape[1], image.shape[0]])
    limits = np.concatenate([places.min(0).clip(0, extent), places.max(0).clip(0, extent)])
    assert np.abs(page.ask(DRAWN) - limits).max() < 2, "pixels"


def test_a_photograph(page_folder: Path, address: str, network: torch.nn.Module, tmp_path: Path) -> None:
    """Its person, and one in a box that is dragged; nothing is asked of anybody else."""
    image = read_image(example_photograph())
    Image.fromarray(image).save(tmp_path / "photo.png")
    page = Page(address, tmp_path / "profile")
    try:
        page.wait(READY)
        assert page.ask("crossOriginIsolated")
        page.choose_file("#file", tmp_path / "photo.png")
        page.wait("document.getElementById('state').textContent.startsWith('Drag a box')")
        box = page.ask(f"(async () => {{ {MODULE} return (await state.recovery.find(state.image, true))[0].box; }})()")
        check_people(page, network, image, tuple(box))
        page.screenshot(tmp_path / "page.png")
        frame = page.ask("(() => { const f = document.getElementById('image').getBoundingClientRect(); "
                         "return [f.left, f.top, f.width]; })()")  # fmt: skip
        assert frame[2] == image.shape[1], "a pixel of the image is one of the window"
        page.drag(*[(frame[0] + x, frame[1] + y) for x, y in ((40, 30), (100, 200), (340, 460))])
        page.wait(f"(async () => {{ {MODULE} return state.people[0]?.crop.side === {1.2 * 430}; }})()")
        check_people(page, network, image, (40, 30, 300, 430))
        assert page.ask("fetch('http://127.0.0.2:9/').then(() => 'sent', () => 'refused')") == "refused"
        refused = [line for line in page.complaints if "Content Security Policy" in line]
        assert refused and not [line for line in page.complaints if line not in refused and "GL Driver" not in line]
        assert len(page.asked) > 10 and all(asked.startswith((address, "data:", "blob:")) for asked in page.asked)
    finally:
        page.close()


def test_an_error_stays_said(address: str, tmp_path: Path) -> None:
    """It is not taken for an image without people, and those of the image before are gone."""
    image = read_image(example_photograph())
    Image.fromarray(image).save(tmp_path / "first.png")
    Image.fromarray(image[:-100]).save(tmp_path / "second.png")
    broken = "state.recovery.recover = async () => { throw new Error('It is broken'); };"
    page = Page(address, tmp_path / "profile")
    try:
        page.wait(READY)
        page.choose_file("#file", tmp_path / "first.png")
        page.wait("document.getElementById('state').textContent.startsWith('Drag a box')")
        page.ask(f"(async () => {{ {MODULE} {broken} }})()")
        page.choose_file("#file", tmp_path / "second.png")
        page.wait(f"(async () => {{ {MODULE} return state.image.height === {len(image) - 100}; }})()")
        time.sleep(0.5)  # until the page computes, which it does a moment after it shows an image
        page.ask(f"(async () => {{ {MODULE} await state.work; }})()")
        assert page.ask("document.getElementById('state').textContent") == "It is broken."
        assert page.ask(f"(async () => {{ {MODULE} return state.people.length; }})()") == 0
    finally:
        page.close()


def write_film(path: Path, image: np.ndarray, frames: int = 3) -> None:
    """A film in Y4M of one image (H, W, 3), sides even."""
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).tobytes()
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F30:1 Ip C420jpeg\n".encode() + frames * (b"FRAME\n" + planes))


def test_the_camera(address: str, tmp_path: Path) -> None:
    image = cv2.copyMakeBorder(read_image(example_photograph()), 0, 0, 64, 64, cv2.BORDER_REPLICATE)
    write_film(tmp_path / "film.y4m", cv2.resize(image, (640, 512), interpolation=cv2.INTER_AREA)[16:496])
    film = f"--use-file-for-fake-video-capture={tmp_path / 'film.y4m'}"
    page = Page(address, tmp_path / "profile", *FAKE_CAMERA, film)
    try:
        page.wait(READY)
        page.ask(COUNTED)
        page.ask("document.getElementById('camera').click(); document.getElementById('camera').click()")
        page.wait(f"(async () => {{ {MODULE} return state.frames > 3; }})()")
        assert page.ask("window.cameras") == 1, "a second click does nothing while the user is asked"
        people, size = page.ask(f"(async () => {{ {MODULE} return [state.people.length, [state.view.width, "
                                "state.view.height]]; })()")  # fmt: skip
        assert people == 1 and size == [640, 480]
        assert "images a second" in page.ask("document.getElementById('times').textContent")
        left, top, right, bottom = page.ask(DRAWN)
        assert right > left and bottom > top
        page.ask("document.getElementById('camera').click()")
        assert page.ask("document.getElementById('state').textContent") == "The camera is off."
        assert all(asked.startswith((address, "data:", "blob:")) for asked in page.asked)
    finally:
        page.close()


def test_one_thread_and_other_engines(page_folder: Path, tmp_path: Path) -> None:
    """Without the headers there is one thread; WebGPU is refused where there is none, or where it is wrong."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(page_folder))
    with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        page = Page(address, tmp_path / "profile")
        try:
            page.wait(READY)
            assert page.ask("document.getElementById('engine-name').textContent") == "WASM, 1 thread"
            page.ask("document.getElementById('engine').value = 'webgpu'")
            page.ask("void document.getElementById('engine').dispatchEvent(new Event('change'))")
            page.wait("document.getElementById('state').textContent.endsWith('no WebGPU adapter; use WASM.')")
            assert page.ask("document.getElementById('engine').value") == "wasm"
            compare = f"(async () => {{ {MODULE} const ours = state.recovery; await ours.compareWith(WITH); }})()"
            page.ask(compare.replace("WITH", "ours"))
            wrong = """{ ort: ours.ort, sessions: { ...ours.sessions, network: { run: async (...given) => {
              const found = await ours.sessions.network.run(...given);
              found.vertices.data[7] += 0.002;
              return found;
            } } } }"""
            with pytest.raises(AssertionError, match="its numbers differ from WASM's in this browser"):
                page.ask(compare.replace("WITH", wrong))
            (tmp_path / "no.png").write_bytes(b"no image")
            page.choose_file("#file", tmp_path / "no.png")
            page.wait("document.getElementById('state').textContent === 'no.png is no image that this browser reads.'")
        finally:
            page.close()


def test_the_folder(page_folder: Path, network: torch.nn.Module, rule_body_dir: Path) -> None:
    for part in ("network", "finder"):
        record = read_record(page_folder / part)
        assert set(record.differences) == {"onnxruntime", "onnxruntime-web"}
    faces = np.fromfile(page_folder / FACES_FILE, "<u4").reshape(-1, 3)
    with np.load(page_folder / "network" / "body.npz") as body:
        assert np.array_equal(faces, body["faces"])
    licenses = (page_folder / LICENSES_FILE).read_text()
    for owner in ("Copyright (c) Microsoft Corporation", "three.js authors", "Google LLC", "whose license holds"):
        assert owner in licenses
    assert 10e6 < loaded_size(page_folder) < sum(path.stat().st_size for path in page_folder.rglob("*.*"))
    with pytest.raises(FileExistsError, match="holds a page; add --overwrite"):
        export_web(network, page_folder, body_dir=rule_body_dir)
    with pytest.raises(FileExistsError, match="holds a page, in whose place an export is not written"):
        export_model(network, page_folder, body_dir=rule_body_dir, overwrite=True)
    with pytest.raises(FileExistsError, match="holds an export, in whose place a page is not written"):
        export_web(network, page_folder / "network", body_dir=rule_body_dir, overwrite=True)
