"""The JavaScript of the page without a browser: crops, the finder's image and its people, against Python's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests import rules
from tests.conftest import assert_agrees
from tore.export.browser import PAGE
from tore.image_format import ImageFormat
from tore_runtime import movenet
from tore_runtime.crops import crop_of_box, crops_of
from tore_runtime.detector import Found, take, without_duplicates

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
SHOWN = ImageFormat(64, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7))
BOXES = [(12.25, 7.75, 80.0, 60.0), (-30.5, 20.0, 100.5, 40.0), (0.5, 0.5, 9.0, 20.0), (50.0, 60.0, 300.0, 400.0),
         (2.0, 3.0, 4.25, 1.0), (100.0, 50.0, 53.333, 53.333)]  # fmt: skip
START = """
import { readFileSync, writeFileSync } from "node:fs";
import * as images from "PAGE/images.js";
import * as people from "PAGE/people.js";
const given = JSON.parse(readFileSync("given.json"));
const image = { data: readFileSync("image.rgba"), width: given.width, height: given.height };
const write = (name, floats) => writeFileSync(name, Buffer.from(floats.buffer));
"""


def run(folder: Path, image: np.ndarray, code: str, **given: Any) -> Any:
    """What the code prints as JSON; it has the image, and `given`."""
    height, width = image.shape[:2]
    (folder / "image.rgba").write_bytes(np.dstack([image, np.full((height, width), 255, np.uint8)]).tobytes())
    (folder / "given.json").write_text(json.dumps({"width": width, "height": height, **given}))
    (folder / "package.json").write_text('{"type": "module"}')
    for module in PAGE.glob("*.js"):
        shutil.copyfile(module, folder / module.name)
    (folder / "run.js").write_text(START.replace("PAGE", ".") + code)
    done = subprocess.run(["node", "run.js"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_crops(tmp_path: Path) -> None:
    image = rules.photo(1, 120, 160)
    code = """
    const shown = given.shown, crops = given.boxes.map(images.cropOfBox), size = 3 * shown.size ** 2;
    const planes = new Float32Array(crops.length * size);
    crops.forEach((crop, i) => images.writeCrop(image, crop, shown, planes, i * size));
    write("planes", planes);
    console.log(JSON.stringify(crops));
    """
    shown = {"size": SHOWN.size, "mean": SHOWN.mean, "std": SHOWN.std}
    found = run(tmp_path, image, code, boxes=BOXES, shown=shown)
    for crop, box in zip(found, BOXES, strict=True):
        expected = crop_of_box(box, (120, 160))
        assert (crop["left"], crop["top"], crop["side"]) == (*expected.upper_left, expected.size), box
    planes = np.fromfile(tmp_path / "planes", np.float32).reshape(len(BOXES), 3, 64, 64)
    expected = np.stack([crop.image for crop in crops_of(image, BOXES, image_format=SHOWN)])
    assert_agrees(planes, expected, 2e-6)


@pytest.mark.parametrize(("height", "width", "longer"), [(120, 160, 64), (90, 160, 256), (480, 640, 256), (37, 23, 32)])
def test_the_finders_image(height: int, width: int, longer: int, tmp_path: Path) -> None:
    image, factor = rules.photo(2, height, width), longer / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    wide, high = (-(-side // 32) * 32 for side in size)
    code = """
    write("planes", images.resizedPlanes(image, ...given.size));
    console.log("null");
    """
    run(tmp_path, image, code, size=[*size, wide, high])
    planes = np.fromfile(tmp_path / "planes", np.float32).reshape(3, high, wide)
    shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    difference = np.abs(planes[:, : size[1], : size[0]].transpose(1, 2, 0) - shown)
    often = 0.03 if factor < 1 else 0.2  # OpenCV enlarges in whole numbers
    assert difference.max() <= 1 and difference.mean() < often, "levels of 255"
    assert planes[:, size[1] :].max(initial=0) == 0 and planes[:, :, size[0] :].max(initial=0) == 0


def candidates(seed: int) -> dict[str, np.ndarray]:
    """Six people as the finder's graph gives them, three of them alike, one of no size, one unsure."""
    draw = np.random.default_rng(seed)
    corners = np.sort(draw.uniform(0, 0.9, (6, 2, 2)), 1)
    corners[1], corners[2] = corners[0] + 0.003, corners[0]
    corners[4, 1] = corners[4, 0]
    keypoints = np.concatenate([draw.uniform(-0.05, 0.95, (6, 17, 2)), draw.uniform(0, 1, (6, 17, 1))], -1)
    keypoints[1] = keypoints[0] + [0.002, 0.001, 0]
    keypoints[5, :, 2] = 0.1
    scores = np.array([0.9, 0.8, 0.7, 0.5, 0.45, 0.3]) - 0.1 * (seed == 1)
    arrays = {"boxes": corners.reshape(6, 4), "keypoints": keypoints, "scores": scores}
    return {name: values.astype(np.float32)[None] for name, values in arrays.items()}


def people_of_python(image: np.ndarray, looks: list[dict[str, np.ndarray]]) -> Found:
    answers = iter(looks)
    detector = movenet.PeopleFinder(lambda images: next(answers), None)
    found = detector._look(image, movenet.FIRST_LOOK)
    if len(looks) > 1:
        closer = detector._look(image, movenet.SECOND_LOOK)
        small = closer.boxes[:, 2:].prod(1) < movenet.SMALL * image.shape[0] * image.shape[1]
        found = movenet._joined(found, take(closer, small))
    found = without_duplicates(found)
    boxes = movenet._holding(found.boxes, found.keypoints, image.shape)
    return without_duplicates(found._replace(boxes=boxes))


@pytest.mark.parametrize(("height", "width"), [(300, 420), (520, 390)])
def test_people(height: int, width: int, tmp_path: Path) -> None:
    image, looks = rules.photo(3, height, width), [candidates(0), candidates(1)][: 2 if height > 512 else 1]
    code = """
    const floats = ([name, data]) => [name, { data: Float32Array.from(data.flat(9)) }];
    const answers = given.looks.map((look) => Object.fromEntries(Object.entries(look).map(floats)));
    const found = await people.findPeople(async () => answers.shift(), image, true);
    console.log(JSON.stringify(found));
    """
    plain = [{name: values.tolist() for name, values in look.items()} for look in looks]
    found, expected = run(tmp_path, image, code, looks=plain), people_of_python(image, looks)
    assert 2 <= len(expected.boxes) < 5 * len(looks)
    assert_agrees(np.array([person["box"] for person in found]), expected.boxes, 1e-4)
    assert_agrees(np.array([person["score"] for person in found]), expected.scores, 1e-6)
    assert_agrees(np.array([person["keypoints"] for person in found]), expected.keypoints, 1e-4)
