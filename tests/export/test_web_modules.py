"""The JavaScript of the page without a browser: crops, finders' images, people and hands, against Python's."""

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
from tore_runtime import hands, movenet
from tore_runtime.crop import Crop
from tore_runtime.crops import crop_of_box, crops_of
from tore_runtime.detector import Found, find, take, without_duplicates

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
SHOWN = ImageFormat(64, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7))
BOXES = [(12.25, 7.75, 80.0, 60.0), (-30.5, 20.0, 100.5, 40.0), (0.5, 0.5, 9.0, 20.0), (50.0, 60.0, 300.0, 400.0),
         (2.0, 3.0, 4.25, 1.0), (100.0, 50.0, 53.333, 53.333)]  # fmt: skip
START = """
import { readFileSync, writeFileSync } from "node:fs";
import * as images from "PAGE/images.js";
import * as people from "PAGE/people.js";
import * as hands from "PAGE/hands.js";
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


CROPS = [((60.0, 50.0), 90, 33.0), ((20.5, 100.5), 121, -170.25), ((80.0, 60.0), 300, 90.0), ((75.5, 30.5), 31, 359.0),
         ((40.0, 40.0), 64, 45.0), ((150.0, 5.0), 140, -1e-3)]  # fmt: skip


def described(crops: list[Crop]) -> list[dict[str, float]]:
    """As the page has them."""
    corners = [crop.upper_left for crop in crops]
    return [
        {"left": left, "top": top, "side": crop.size, "rotation": crop.rotation}
        for (left, top), crop in zip(corners, crops, strict=True)
    ]


def test_rotated_and_mirrored_crops(tmp_path: Path) -> None:
    image, crops, left = rules.photo(1, 120, 160), [Crop(*numbers) for numbers in CROPS], [True, False] * 3
    code = """
    const shown = given.shown, size = 3 * shown.size ** 2, planes = new Float32Array(given.crops.length * size);
    given.crops.forEach((crop, i) => images.writeCrop(image, crop, shown, planes, i * size, given.left[i]));
    write("planes", planes);
    console.log("null");
    """
    shown = {"size": SHOWN.size, "mean": SHOWN.mean, "std": SHOWN.std}
    run(tmp_path, image, code, crops=described(crops), shown=shown, left=left)
    planes = np.fromfile(tmp_path / "planes", np.float32).reshape(len(crops), 3, 64, 64)
    expected = np.stack([crop.image for crop in crops_of(image, crops, left=left, image_format=SHOWN)])
    assert_agrees(planes, expected, 4e-6)


def test_crops_of_detectors(tmp_path: Path) -> None:
    """Also those that shrink the image first."""
    image = rules.photo(1, 301, 411)
    crops = [Crop(*numbers) for numbers in CROPS] + [Crop((200.3, 150.7), 260.4, 12.0), Crop((205.5, 150.5), 411)]
    code = """
    const size = 3 * 64 * 64, planes = new Float32Array(given.crops.length * size);
    given.crops.forEach((crop, i) => images.cut(image, crop, 64, planes, i * size));
    write("planes", planes);
    console.log("null");
    """
    run(tmp_path, image, code, crops=described(crops))
    planes = np.fromfile(tmp_path / "planes", np.float32).reshape(len(crops), 3, 64, 64)
    expected = np.stack([movenet.cut(image, crop, 64) for crop in crops]).transpose(0, 3, 1, 2)
    difference = np.abs(planes - expected)
    assert difference.max() <= 1 and difference.mean() < 0.02, "levels of 255"


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


def people_of_python(image: np.ndarray, looks: list[dict[str, np.ndarray]], shown: list[np.ndarray]) -> Found:
    answers = iter(looks)

    def network(images: np.ndarray) -> dict[str, np.ndarray]:
        shown.append(images.transpose(0, 3, 1, 2).ravel())
        return next(answers)

    detector = movenet.PeopleFinder(network, None)
    found = detector._further(image, detector._look(image, movenet.FIRST_LOOK))
    found = without_duplicates(take(found, found.scores >= movenet.THRESHOLD))
    boxes = movenet._holding(found.boxes, found.keypoints, image.shape)
    return without_duplicates(found._replace(boxes=boxes))


@pytest.mark.parametrize(("height", "width"), [(300, 420), (520, 390)])
@pytest.mark.parametrize("full", [False, True])
def test_people(height: int, width: int, full: bool, tmp_path: Path) -> None:
    """The same answers of the network give the same people, also those of the parts of full images."""
    image, looks = rules.photo(3, height, width), [candidates(seed) for seed in range(80)]
    if full:  # six of a size and a score
        looks[0]["boxes"][0, 4] = [0.1, 0.1, 0.3, 0.4]
        looks[0]["scores"][0, 5] = 0.2
    else:
        looks[1]["scores"][0, 3:] = 0.1
    shown: list[np.ndarray] = []
    expected = people_of_python(image, looks, shown)
    code = """
    const floats = ([name, data]) => [name, { data: Float32Array.from(data.flat(9)) }];
    const answers = given.looks.map((look) => Object.fromEntries(Object.entries(look).map(floats)));
    const shown = [];
    const run = async (planes) => { shown.push(Buffer.from(planes.slice().buffer)); return answers.shift(); };
    const found = await people.findPeople(run, image, true);
    writeFileSync("shown", Buffer.concat(shown));
    console.log(JSON.stringify(found));
    """
    plain = [{name: values.tolist() for name, values in look.items()} for look in looks]
    found = run(tmp_path, image, code, looks=plain)
    assert (len(shown) > 8) == full and len(expected.boxes) >= 2
    assert_agrees(np.array([person["box"] for person in found]), expected.boxes, 1e-4)
    assert_agrees(np.array([person["score"] for person in found]), expected.scores, 1e-6)
    assert_agrees(np.array([person["keypoints"] for person in found]), expected.keypoints, 1e-4)
    difference = np.abs(np.fromfile(tmp_path / "shown", np.float32) - np.concatenate(shown))
    assert difference.max() <= 1 and difference.mean() < 0.2, "levels of 255"


def answers_of_hands(boxes: int) -> list[dict[str, np.ndarray]]:
    """What the palm finder (unless boxes are given) and the hand landmarks say in two looks: of four palms two are one,
    one shows no hand, and a hand is seen twice; of boxes one shows no hand."""
    draw = np.random.default_rng(boxes)
    palms, scores = np.zeros((1, 9, 4)), np.full((1, 9), 0.2)
    palms[0] = draw.uniform(0.2, 0.3, (9, 4)) * [1, 1, 0.5, 0.6]
    palms[0, [2, 4, 5, 7], :2] = [[0.3, 0.4], [0.7, 0.4], [0.305, 0.4], [0.5, 0.6]]
    palms[0, 5, 2:] = palms[0, 2, 2:]
    scores[0, [2, 4, 5, 7]] = [0.8, 0.95, 0.9, 0.51]
    first, second = (4 * boxes, boxes) if boxes else (3, 2)
    looks = []
    for count in (first, second):
        joints = draw.uniform(0.3, 0.7, (count, 21, 3))
        looks.append({"joints": joints, "presence": draw.uniform(0.6, 1, count), "right": draw.uniform(0, 1, count)})
    if boxes:
        looks[1]["presence"][1] = 0.4
        return looks
    looks[0]["presence"][1] = 0.49
    return [{"scores": scores, "boxes": palms, "keypoints": draw.uniform(0.2, 0.8, (1, 9, 7, 2))}, *looks]


@pytest.mark.parametrize("boxes", [[], [(20.0, 30.5, 60.0, 40.0), (50.0, 20.0, 80.0, 90.0)]], ids=["found", "boxes"])
def test_hands(boxes: list[tuple[float, ...]], tmp_path: Path) -> None:
    """The same answers of the networks give the same hands and crops, and both sides show them the same images."""
    image = rules.photo(4, 200, 260)
    looks = [{name: value.astype(np.float32) for name, value in look.items()} for look in answers_of_hands(len(boxes))]
    shown: list[np.ndarray] = []
    answers = iter(looks)

    def network(images: np.ndarray) -> dict[str, np.ndarray]:
        shown.append(images.transpose(0, 3, 1, 2).ravel())
        return next(answers)

    placer = hands.HandPlacer(network)
    if boxes:
        expected = hands.upright_detections(placer, image, boxes, [None] * len(boxes))
    else:
        expected = find(hands.HandFinder(network, placer), image, hands=True)
    code = """
    const floats = ([name, data]) => [name, { data: Float32Array.from(data.flat(9)) }];
    const answers = given.looks.map((look) => Object.fromEntries(Object.entries(look).map(floats))), shown = [];
    const network = async (planes, batch, height, width) => {
      if (planes.length !== batch * 3 * height * width) throw new Error("another size");
      shown.push(Buffer.from(planes.buffer));
      return answers.shift();
    };
    const networks = { finder: network, landmarks: network };
    const found = given.boxes.length ? await hands.handsInBoxes(networks, image, given.boxes)
                                     : await hands.findHands(networks, image);
    writeFileSync("planes", Buffer.concat(shown));
    console.log(JSON.stringify(found.map((hand) => ({ ...hand, crop: hands.uprightCrop(hand) }))));
    """
    plain = [{name: values.tolist() for name, values in look.items()} for look in looks]
    found = run(tmp_path, image, code, looks=plain, boxes=boxes)
    planes, wanted = np.fromfile(tmp_path / "planes", np.float32), np.concatenate(shown)
    assert planes.shape == wanted.shape
    assert np.abs(planes - wanted).max() <= 2 and np.abs(planes - wanted).mean() < 0.05, "levels of 255"
    assert len(found) == len(expected) == 2
    for ours, theirs in zip(found, expected, strict=True):
        assert_agrees(np.array(ours["box"]), np.array(theirs.box), 1e-4)
        assert (ours["keypoints"] is None) == (theirs.keypoints is None)
        if theirs.keypoints is not None:
            assert_agrees(np.array(ours["keypoints"]), theirs.keypoints, 1e-4)
        assert ours["left"] == theirs.left and ours.get("score") == theirs.score
        assert abs(ours["rotation"] - theirs.rotation) < 1e-4
        crop, (left, top) = ours["crop"], (region := hands.upright_crop(theirs).whole_pixels()).upper_left
        assert (crop["left"], crop["top"], crop["side"]) == (left, top, region.size)
        assert abs(crop["rotation"] - region.rotation) < 1e-4
