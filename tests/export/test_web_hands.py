"""The exported page of hands in headless Chromium, against `tore_runtime` on the same exports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser import find_browser, served
from tests.conftest import assert_agrees
from tests.devtools import Page
from tests.export.conftest import needs_page
from tests.export.test_web_page import DRAWN, MODULE, READY
from tests.inference.conftest import drawn_hand  # noqa: F401 - a fixture
from tore import cli
from tore.export.browser import FINDERS, LICENSES_FILE
from tore.export.web import serve
from tore_runtime.detector import Detection, find
from tore_runtime.predictor import ExportedRecovery, hand_finder
from tore_runtime.record import read_record
from tore_runtime.result import Recovery

pytestmark = pytest.mark.slow
BOX = (250.0, 10.0, 220.0, 220.0)  # about the left hand of the image
TOLD = """(async () => { MODULE return JSON.stringify(PEOPLE.map((hand) => (
  { ...hand, vertices: [...hand.vertices] }))); })()""".replace("MODULE", MODULE)


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the network that ships, with its weights in 16 bits."""
    find_browser()
    needs_page()
    folder = tmp_path_factory.mktemp("page")
    flags = ["--format", "web", "--output_dir", str(folder), "--runtime", "onnxruntime"]
    assert cli.main(["export", "hands", *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def networks(page_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's exports as `tore-infer` takes them."""
    folder = tmp_path_factory.mktemp("networks")
    for part, name in {"network": "hands", **FINDERS["hand"]}.items():
        (folder / name).symlink_to(page_folder / part)
    return folder


@pytest.fixture(scope="module")
def hands(drawn_hand: tuple[np.ndarray, np.ndarray]) -> np.ndarray:  # noqa: F811
    """(240, 480, 3): a right and a left hand, the latter turned."""
    return np.ascontiguousarray(np.concatenate([drawn_hand[0], np.rot90(drawn_hand[0])[:, ::-1]], 1))


@pytest.fixture
def page(page_folder: Path, tmp_path: Path) -> Iterator[Page]:
    with served(serve.server(str(page_folder), 0)) as address:
        opened = Page(address, tmp_path / "profile")
        try:
            opened.wait(READY)
            yield opened
        finally:
            opened.close()


def plain(detection: Detection) -> dict[str, Any]:
    """As the page has it."""
    points = None if detection.keypoints is None else detection.keypoints.tolist()
    return {"box": detection.box, "keypoints": points, "left": detection.left, "rotation": detection.rotation}


def check_hands(told: str, expected: list[Recovery], *, pixels: float, camera: float, meters: float) -> None:
    """The page's hands are those of Python, in their order."""
    found = json.loads(told)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        region = theirs.crop.region
        crop = np.array([ours["crop"][name] for name in ("left", "top", "side")])
        assert np.abs(crop - [*region.upper_left, region.size]).max() <= pixels
        assert abs(ours["crop"]["rotation"] - region.rotation) <= max(pixels, 1e-9), "degrees"
        assert ours["left"] == theirs.crop.left
        assert np.abs(np.array(ours["vertices"]).reshape(-1, 3) - theirs.vertices).max() < meters
        assert_agrees(np.array(ours["camera"]), theirs.camera, camera)


def test_hands_are_found(page: Page, networks: Path, hands: np.ndarray, tmp_path: Path) -> None:
    """A right and a left one, in the image and in a box; what was found by Python gives its numbers to rounding.

    Each look tells the next one's crop, so that rounding may choose another one.
    """
    recovery, finder = ExportedRecovery(networks / "hands"), hand_finder(networks)
    loose: dict[str, float] = {"pixels": 1, "camera": 1e-2, "meters": 1e-3}
    Image.fromarray(hands).save(tmp_path / "hands.png")
    page.choose_file("#file", tmp_path / "hands.png")
    page.wait("document.getElementById('state').textContent.startsWith('Drag a box around a hand')")
    expected = recovery.predict(hands, detector=finder)
    assert {one.crop.left for one in expected} == {False, True}
    check_hands(page.ask(TOLD.replace("PEOPLE", "state.people")), expected, **loose)
    assert page.ask("document.getElementById('times').textContent").startswith("2 hands: finder")
    assert page.ask("document.title") == "Hand meshes in the browser"

    places = np.concatenate([one.to_pixels(one.vertices) for one in expected])
    limits = np.concatenate([places.min(0), places.max(0)])
    assert np.abs(page.ask(DRAWN) - limits).max() < 2, "pixels"

    given = json.dumps([plain(detection) for detection in find(finder, hands, hands=True)])
    recovered = page.ask(TOLD.replace("PEOPLE", f"(await state.recovery.recover(state.image, {given}))"))
    check_hands(recovered, expected, pixels=0, camera=1e-4, meters=2e-6)

    left, top = page.ask("(({ left, top }) => [left, top])(document.getElementById('image').getBoundingClientRect())")
    x, y, width, height = BOX
    page.drag((left + x, top + y), (left + x + 50, top + y + 90), (left + x + width, top + y + height))
    page.wait(f"(async () => {{ {MODULE} return state.people.length === 1; }})()")
    check_hands(page.ask(TOLD.replace("PEOPLE", "state.people")), recovery.predict(hands, [BOX]), **loose)
    page.ask(f"(async () => {{ {MODULE} await state.recovery.compareWith(state.recovery); }})()")


def test_the_folder(page_folder: Path) -> None:
    for part in ("network", *FINDERS["hand"]):
        record = read_record(page_folder / part)
        assert set(record.differences) == {"onnxruntime", "onnxruntime-web"} and record.weights == "float16"
    assert "MediaPipe's palm finder" in (page_folder / LICENSES_FILE).read_text()
